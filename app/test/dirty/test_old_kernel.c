/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernels older, or stricter, than this one, played by a table of syscalls: the
 * tracker says what is missing and takes the next best source.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "ground.h"
#include "uapi_priv.h"

static struct {
	uint64_t features;   /* userfaultfd has no others */
	int uffd;            /* userfaultfd(2) fails with this */
	int uffd_full;       /* the same, but USER_FAULTS_ONLY works */
	int scan;            /* PAGEMAP_SCAN fails with this */
	int scan_after;      /* the n-th scan from now fails, after it has done its work */
	uint64_t scan_blind; /* PAGEMAP_SCAN reports nothing */
	int protect;         /* the n-th protection from now fails; atomic */
} old;

static int
old_userfaultfd(int flags)
{
	if (old.uffd != 0)
		return old.uffd;
	if (old.uffd_full != 0 && (flags & USER_FAULTS_ONLY) == 0)
		return old.uffd_full;
	return wherry_sys_kernel.userfaultfd(flags);
}

static int
old_scan(int fd, void *arg)
{
	int n;

	if (old.scan != 0)
		return old.scan;
	n = wherry_sys_kernel.ioctl(fd, SCAN_IOCTL, arg);
	if (old.scan_after > 0 && --old.scan_after == 0)
		return -EINTR;
	return old.scan_blind ? 0 : n;
}

static int
old_api(int fd, struct uffdio_api *api)
{
	int rc;

	if ((api->features & ~old.features) != 0)
		return -EINVAL;
	rc = wherry_sys_kernel.ioctl(fd, UFFDIO_API, api);
	api->features &= old.features;
	return rc;
}

/* Faults are resolved on another thread. */
static bool
protection_fails(void)
{
	return __atomic_load_n(&old.protect, __ATOMIC_RELAXED) > 0 &&
		__atomic_sub_fetch(&old.protect, 1, __ATOMIC_RELAXED) == 0;
}

/* A scan that reports nothing is there to protect. */
static bool
protects(unsigned long request, const void *arg)
{
	return request == UFFDIO_WRITEPROTECT ||
		(request == SCAN_IOCTL && ((const struct scan_arg *)arg)->vec == 0);
}

static int
old_ioctl(int fd, unsigned long request, void *arg)
{
	if (protects(request, arg) && protection_fails())
		return -EAGAIN;
	if (request == SCAN_IOCTL)
		return old_scan(fd, arg);
	if (request == UFFDIO_API)
		return old_api(fd, arg);
	return wherry_sys_kernel.ioctl(fd, request, arg);
}

static struct wherry_sys_calls table;

static void
play_old(void)
{
	table = wherry_sys_kernel;
	table.ioctl = old_ioctl;
	table.userfaultfd = old_userfaultfd;
	memset(&old, 0, sizeof(old));
	old.features = UINT64_MAX;
	wherry_sys = &table;
}

/* What AUTO chooses, and that its reason says @p why. */
static void
expect_source(enum wherry_cpu_source want, const char *why)
{
	struct wherry_tracker_opts opts = { .cpu = WHERRY_CPU_AUTO };
	struct wherry_tracker *tr;
	enum wherry_cpu_source got;
	const char *reason;
	char text[256];
	int rc = wherry_tracker_create(&opts, &tr);

	if (rc != 0) {
		wherry_sys = &wherry_sys_kernel;
		FAIL("no tracker: %d", rc);
	}
	got = wherry_tracker_cpu(tr, &reason);
	snprintf(text, sizeof(text), "%s", reason);
	wherry_tracker_destroy(tr);
	wherry_sys = &wherry_sys_kernel;
	CHECK_EQ(got, want);
	if (strstr(text, why) == NULL)
		FAIL("\"%s\" does not say \"%s\"", text, why);
}

TEST(dirty_kernel_without_pagemap_scan_falls_back_and_says_so)
{
	play_old();
	old.scan = -ENOTTY;
	expect_source(WHERRY_CPU_WP_SYNC, "no PAGEMAP_SCAN");
	play_old();
	old.scan = -ENOTTY;
	expect_source(WHERRY_CPU_WP_SYNC, "Linux 6.7");
}

TEST(dirty_kernel_without_wp_async_falls_back_and_says_so)
{
	play_old();
	old.features = ~FEATURE_WP_ASYNC;
	expect_source(WHERRY_CPU_WP_SYNC, "no userfaultfd WP_ASYNC");
}

TEST(dirty_kernel_without_write_protection_falls_back_to_hashes)
{
	play_old();
	old.features = ~(FEATURE_WP_ASYNC | FEATURE_WP_SHMEM);
	expect_source(WHERRY_CPU_HASH, "Linux 5.19");
}

TEST(dirty_kernel_without_userfaultfd_falls_back_to_hashes)
{
	play_old();
	old.uffd = -ENOSYS;
	expect_source(WHERRY_CPU_HASH, "wp-sync: no userfaultfd in this kernel");
}

TEST(dirty_unprivileged_process_has_wp_async_but_not_wp_sync)
{
	play_old();
	old.uffd_full = -EPERM;
	expect_source(WHERRY_CPU_WP_ASYNC, "");
	play_old();
	old.uffd_full = -EPERM;
	old.scan = -ENOTTY;
	expect_source(WHERRY_CPU_HASH, "vm.unprivileged_userfaultfd=1");
}

/* A source is believed after it has seen a write, not because it exists. */
TEST(dirty_source_that_reports_nothing_is_not_believed)
{
	play_old();
	old.scan_blind = 1;
	expect_source(WHERRY_CPU_WP_SYNC, "a write was not reported");
}

TEST(dirty_source_asked_for_and_missing_is_refused)
{
	struct wherry_tracker_opts opts = { .cpu = WHERRY_CPU_WP_ASYNC };
	struct wherry_tracker *tr = NULL;
	int rc;

	play_old();
	old.scan = -ENOTTY;
	rc = wherry_tracker_create(&opts, &tr);
	wherry_sys = &wherry_sys_kernel;
	CHECK_EQ(rc, -EOPNOTSUPP);
	CHECK(tr == NULL);
}

/* Linux 5.19 to 6.3 protect only anonymous pages that are there. */
TEST(dirty_wp_sync_without_wp_unpopulated_sees_the_first_write)
{
	struct ground g;

	play_old();
	old.features = ~(FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED);
	ground_open(&g, "wp-sync/anonymous", 64);
	CHECK_EQ(wherry_tracker_start(g.tr), 0);
	CHECK_EQ(wherry_watch_take(g.w, false, g.taken), 0);
	poke(g.mem, 33);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 1);
	CHECK(ground_taken(&g, 33));
	ground_close(&g);
	wherry_sys = &wherry_sys_kernel;
}

TEST(dirty_scan_that_fails_after_protecting_loses_nothing)
{
	struct ground g;

	play_old();
	ground_open(&g, "wp-async", 64);
	ground_start(&g);
	poke(g.mem, 33);
	old.scan_after = 1;
	CHECK_EQ(wherry_tracker_harvest(g.tr), -EFAULT);
	CHECK(ground_take(&g) >= 1);
	CHECK(ground_taken(&g, 33));
	poke(g.mem, 34);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 1);
	CHECK(ground_same(&g));
	ground_close(&g);
	wherry_sys = &wherry_sys_kernel;
}

TEST(dirty_protection_that_fails_keeps_the_page_pending)
{
	struct ground g;

	play_old();
	ground_open(&g, "wp-sync", 64);
	ground_start(&g);
	poke(g.mem, 33);
	__atomic_store_n(&old.protect, 1, __ATOMIC_RELAXED);
	CHECK_EQ(wherry_tracker_harvest(g.tr), -EFAULT);
	CHECK_EQ(ground_take(&g), 1);
	poke(g.mem, 33); /* not protected: nobody notices */
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 1);
	CHECK(ground_same(&g));
	ground_close(&g);
	wherry_sys = &wherry_sys_kernel;
}

TEST(dirty_start_that_fails_is_undone)
{
	struct ground g;

	play_old();
	ground_open(&g, "wp-async", 64);
	ground_map(&g);
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
	__atomic_store_n(&old.protect, 1, __ATOMIC_RELAXED);
	CHECK_EQ(wherry_tracker_start(g.tr), -EFAULT);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0); /* it is off again */
	wherry_domain_dirty_stop(g.dom);
	ground_start(&g);
	ground_close(&g);
	wherry_sys = &wherry_sys_kernel;
}

static bool
kernel_scans(void)
{
	struct scan_arg nothing = { .size = sizeof(nothing) };
	int fd = wherry_sys_kernel.open("/proc/self/pagemap", O_RDONLY);
	int rc;

	CHECK(fd >= 0);
	rc = wherry_sys_kernel.ioctl(fd, SCAN_IOCTL, &nothing);
	close(fd);
	return rc == 0;
}

/* Else a source that we broke ourselves would only be skipped by all other tests. */
TEST(dirty_best_source_of_this_kernel_is_chosen)
{
	if (!kernel_scans())
		SKIP("no PAGEMAP_SCAN: Linux 6.7 or newer has it");
	play_old();
	expect_source(WHERRY_CPU_WP_ASYNC, "there is no better one");
	play_old();
	old.scan = -ENOTTY;
	if (geteuid() == 0)
		expect_source(WHERRY_CPU_WP_SYNC, "");
	wherry_sys = &wherry_sys_kernel;
}
