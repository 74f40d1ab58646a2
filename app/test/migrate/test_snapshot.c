/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots: written under load, restored, owned by one; and what fails on the way. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault_priv.h"
#include "snap.h"
#include "snapshot_file_priv.h"
#include "sys_priv.h"
#include "test.h"
#include "wherry_arbiter.h"

#define SMALL ((size_t)64 * PAIR_PAGE)

static const struct wherry_migrate_params released = { .release = true };

TEST(snapshot_of_a_busy_application_restores_the_moment_it_stood_still)
{
	struct pair_opts opts = { .writer = true, .writer_us = 20 };
	struct wherry_status st;
	struct snap snap;

	snap_create(&snap, &opts);
	for (int i = 0; i < 2; i++) { /* the second replaces the first */
		snap_write(&snap, NULL, &st);
		snap_check_written(&snap, &st);
		CHECK(st.rounds >= 2);
		CHECK(st.blackout_ns > 0);
		snap_restore(&snap);
		snap_check_restored(&snap, snap.pair->resumed_hash);
		CHECK(strcmp(snap.pair->shared->section, "quiesced 1") == 0);
	}
	snap_destroy(&snap);
}

TEST(snapshot_leaves_out_pages_of_zeroes)
{
	struct pair_opts opts = { .len = 16u << 20 };
	struct wherry_status st;
	struct stat file;
	struct snap snap;

	snap_create(&snap, &opts);
	memset(snap.pair->mem[0], 0, snap.pair->len[0]);
	snap_write(&snap, NULL, &st);
	snap_check_written(&snap, &st);
	CHECK_EQ(stat(snap.path, &file), 0);
	CHECK(file.st_size > 16 << 20);
	CHECK((uint64_t)file.st_blocks * 512 < 1u << 20);
	snap_restore(&snap); /* whose memory was full of 0x55 */
	snap_check_restored(&snap, pair_hash(snap.pair));
	snap_destroy(&snap);
}

/* What a page held earlier must not stay in the file. */
TEST(snapshot_page_that_became_zeroes_is_a_hole_again)
{
	struct wherry_run run = { .first = 3, .count = 2 };
	struct mig_region region = { .span = { .len = SMALL } };
	struct mig_regions regions = { .list = &region, .n = 1 };
	struct mig_snapfile f = { .cancel_fd = -1 };
	uint8_t page[2 * PAIR_PAGE];
	struct mig_reason reason;
	struct stat before, after;

	CHECK_EQ(mig_snapfile_create(&f, "/tmp/wherry-test-hole", &regions, &reason), 0);
	memset(page, 0xaa, sizeof(page));
	CHECK_EQ(f.out.pages(f.out.ctx, 0, &run, 1, page), 0);
	CHECK_EQ(fstat(f.fd, &before), 0);
	CHECK_EQ(f.out.zeros(f.out.ctx, 0, &run, 1), 0);
	CHECK_EQ(fstat(f.fd, &after), 0);
	CHECK_EQ(
		pread(f.fd, page, sizeof(page), (off_t)(SNAP_ALIGN + 3 * PAIR_PAGE)), sizeof(page));
	mig_snapfile_close(&f);
	CHECK(page[0] == 0 && memcmp(page, page + 1, sizeof(page) - 1) == 0);
	CHECK(after.st_blocks < before.st_blocks);
	CHECK(access("/tmp/wherry-test-hole.partial", F_OK) != 0);
}

TEST(snapshot_with_release_ends_the_application)
{
	struct pair_opts opts = { .len = SMALL, .writer = true, .filter = true };
	struct wherry_status st;
	struct snap snap;

	snap_create(&snap, &opts);
	snap_write(&snap, &released, &st);
	CHECK_EQ(st.state, WHERRY_STATE_RELEASED);
	while (__atomic_load_n(&snap.pair->releases, __ATOMIC_ACQUIRE) == 0)
		usleep(100);
	CHECK_EQ(snap.pair->resumes, 0);
	CHECK_EQ(snap.pair->silences, 1);
	CHECK_EQ(pair_begin(snap.pair, NULL), -EPERM);
	snap_restore(&snap);
	snap_check_restored(&snap, pair_hash(snap.pair));
	snap_destroy(&snap);
}

TEST(snapshot_takes_only_the_options_that_make_sense_for_a_file)
{
	struct pair_opts opts = { .len = SMALL };
	struct snap snap;

	snap_create(&snap, &opts);
	CHECK_EQ(pair_begin(snap.pair, &(struct wherry_migrate_params){ .verify = true }), -EINVAL);
	CHECK_EQ(pair_begin(snap.pair, &(struct wherry_migrate_params){ .compress = true }),
		-EINVAL);
	snprintf(snap.pair->uri, sizeof(snap.pair->uri), "unix:/nowhere");
	CHECK_EQ(pair_begin(snap.pair, &released), -EINVAL);
	snap_destroy(&snap);
}

/* ---- who owns ---- */

static struct wherry_owner
recorded(const struct snap *snap)
{
	struct wherry_arbiter *arbiter;
	struct wherry_owner now;

	CHECK_EQ(wherry_arbiter_open(snap->pair->arbiter, &arbiter), 0);
	CHECK_EQ(wherry_arbiter_read(arbiter, &now), 0);
	wherry_arbiter_close(arbiter);
	return now;
}

TEST(snapshot_cannot_be_restored_while_the_arbiter_says_that_the_source_owns)
{
	struct pair_opts opts = { .len = SMALL, .arbiter = "lock" };
	struct wherry_status st;
	struct snap snap;
	uint64_t epoch;

	snap_create(&snap, &opts);
	epoch = recorded(&snap).epoch;
	snap_write(&snap, NULL, &st);
	snap_check_written(&snap, &st);
	snap_restore(&snap);
	snap_check_refused(&snap, -EPERM, "owns the state");
	CHECK_EQ(recorded(&snap).epoch, epoch);
	snap_destroy(&snap);
}

TEST(snapshot_that_owns_makes_one_restore_the_owner_and_no_second)
{
	struct pair_opts opts = { .len = SMALL, .arbiter = "lock" };
	struct wherry_status st;
	struct snap snap;

	snap_create(&snap, &opts);
	snap_write(&snap, &released, &st);
	CHECK_EQ(st.state, WHERRY_STATE_RELEASED);
	CHECK(strncmp(recorded(&snap).id, "snapshot:", 9) == 0);
	CHECK_EQ(recorded(&snap).epoch, 2);
	snap_restore(&snap);
	snap_check_restored(&snap, pair_hash(snap.pair));
	CHECK(strstr(recorded(&snap).id, ".control.dest") != NULL);
	CHECK_EQ(recorded(&snap).epoch, 3);
	/* another one than that which was restored: it has a control socket of its own */
	snprintf(snap.pair->control + strlen(snap.pair->control), 3, ".2");
	snap_restore(&snap);
	snap_check_refused(&snap, -EPERM, "owns the state");
	CHECK_EQ(recorded(&snap).epoch, 3);
	snap_destroy(&snap);
}

TEST(snapshot_of_an_application_with_an_arbiter_is_restored_with_it_only)
{
	struct pair_opts opts = { .len = SMALL, .arbiter = "lock" };
	struct wherry_status st;
	struct snap snap;

	snap_create(&snap, &opts);
	snap_write(&snap, &released, &st);
	snap.pair->opts.arbiter = NULL;
	snap_restore(&snap);
	snap.pair->opts.arbiter = "lock";
	snap_check_refused(&snap, -EPROTO, "--arbiter");
	snap_destroy(&snap);
}

/* ---- what fails ---- */

static uint64_t room; /* bytes left on the disk, atomic */

static ssize_t
pwrite_while_there_is_room(int fd, const void *buf, size_t len, off_t offset)
{
	if (__atomic_load_n(&room, __ATOMIC_RELAXED) < len)
		return -ENOSPC;
	__atomic_fetch_sub(&room, len, __ATOMIC_RELAXED);
	return wherry_sys_kernel.pwrite(fd, buf, len, offset);
}

TEST(snapshot_that_meets_a_full_disk_leaves_the_old_one_and_says_so)
{
	struct pair_opts opts = { .len = SMALL, .writer = true, .writer_us = 50 };
	struct wherry_sys_calls table = wherry_sys_kernel;
	struct wherry_status st;
	struct snap snap;
	uint64_t before;

	snap_create(&snap, &opts);
	snap_write(&snap, NULL, &st);
	before = snap_hash(&snap);
	table.pwrite = pwrite_while_there_is_room;
	for (uint64_t bytes = 0; bytes < 100 * PAIR_PAGE; bytes += 9 * PAIR_PAGE + 100) {
		__atomic_store_n(&room, bytes, __ATOMIC_RELAXED);
		wherry_sys = &table;
		snap_write(&snap, NULL, &st);
		wherry_sys = &wherry_sys_kernel;
		if (st.reason[0] == '\0')
			break;
		snap_check_failed(&snap, &st);
		CHECK(strstr(st.reason, "No space left on device: make room") != NULL);
		CHECK(snap_hash(&snap) == before);
	}
	CHECK(before != 0);
	snap_destroy(&snap);
}

/* A real one, small. */
TEST(snapshot_on_a_small_file_system_leaves_the_old_one)
{
	static const char dir[] = "/tmp/wherry-test-small-fs";
	struct pair_opts opts = { .len = SMALL };
	struct wherry_status st;
	struct snap snap;
	uint64_t before;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		SKIP("mounting takes root: run as root");
	mkdir(dir, 0700);
	CHECK_EQ(mount("tmpfs", dir, "tmpfs", 0, "size=640k"), 0);
	snap_create(&snap, &opts);
	snprintf(snap.path, sizeof(snap.path), "%s/snapshot", dir);
	snprintf(snap.partial, sizeof(snap.partial), "%s/snapshot.partial", dir);
	snprintf(snap.pair->uri, sizeof(snap.pair->uri), "file:%.100s", snap.path);
	snprintf(snap.pair->dest_uri, sizeof(snap.pair->dest_uri), "file:%.100s", snap.path);
	snap_write(&snap, NULL, &st);
	snap_check_written(&snap, &st);
	before = snap_hash(&snap);
	snap_write(&snap, NULL, &st); /* no room for two */
	snap_check_failed(&snap, &st);
	CHECK(strstr(st.reason, "No space left") != NULL);
	CHECK(snap_hash(&snap) == before);
	snap_restore(&snap);
	snap_check_restored(&snap, snap.pair->resumed_hash);
	snap_destroy(&snap);
	CHECK_EQ(umount(dir), 0);
	rmdir(dir);
}

TEST(snapshot_that_is_cancelled_leaves_the_old_one)
{
	struct pair_opts opts = { .writer = true };
	struct wherry_migrate_params slow = { .max_bandwidth = 1 << 20 };
	struct wherry_status st;
	struct snap snap;
	uint64_t before;

	snap_create(&snap, &opts);
	snap_write(&snap, NULL, &st);
	before = snap_hash(&snap);
	CHECK_EQ(pair_begin(snap.pair, &slow), 0);
	do
		wherry_agent_get_status(snap.pair->agent, &st);
	while (st.bytes_sent == 0);
	CHECK_EQ(wherry_agent_cancel(snap.pair->agent), 0);
	pair_wait(snap.pair, WHERRY_STATE_SERVING, &st);
	snap_check_failed(&snap, &st);
	CHECK(strcmp(st.reason, "cancelled") == 0);
	CHECK(snap_hash(&snap) == before);
	snap_destroy(&snap);
}

TEST(snapshot_failing_at_any_step_leaves_the_old_one_and_the_application_serving)
{
	struct pair_opts opts = { .len = SMALL, .writer = true };
	struct wherry_status st;
	struct snap snap;
	uint64_t before;

	snap_create(&snap, &opts);
	snap_write(&snap, NULL, &st);
	FOR_EACH_FAULT(nth) {
		const char *point;

		before = snap_hash(&snap);
		snap_write(&snap, NULL, &st);
		point = wherry_fault_fired();
		wherry_fault_disarm();
		if (point == NULL || st.reason[0] == '\0') /* some are survived */
			continue;
		snap_check_failed(&snap, &st);
		CHECK(snap_hash(&snap) == before);
	}
	snap_write(&snap, NULL, &st);
	snap_check_written(&snap, &st);
	snap_destroy(&snap);
}

TEST(snapshot_released_failing_at_any_step_has_one_owner)
{
	FOR_EACH_FAULT(nth) {
		struct pair_opts opts = { .len = SMALL, .arbiter = "lock" };
		struct wherry_status st;
		struct snap snap;

		wherry_fault_disarm();
		snap_create(&snap, &opts);
		wherry_fault_arm(nth);
		snap_write(&snap, &released, &st);
		wherry_fault_disarm();
		if (st.state == WHERRY_STATE_RELEASED) {
			snap_restore(&snap);
			snap_check_restored(&snap, pair_hash(snap.pair));
		} else {
			snap_check_failed(&snap, &st);
			if (snap_hash(&snap) != 0) {
				snap_restore(&snap);
				snap_check_refused(&snap, -EPERM, "owns the state");
			}
		}
		snap_destroy(&snap);
	}
}

TEST(snapshot_restore_failing_at_any_step_owns_nothing)
{
	struct pair_opts opts = { .len = SMALL };
	struct wherry_status st;
	struct snap snap;

	snap_create(&snap, &opts);
	snap_write(&snap, &released, &st);
	for (unsigned int nth = 1;; nth++) {
		snap.pair->opts.dest_fault = nth;
		snap_restore(&snap);
		if (snap.pair->shared->trouble[0] == '\0') /* no such point */
			break;
		if (snap.pair->shared->wait_rc == 0) /* it was survived */
			continue;
		if (strcmp(snap.pair->shared->trouble, "fault dest.takeover") == 0)
			continue; /* it is owner, and says that it cannot run */
		CHECK_EQ(snap.pair->shared->takeovers, 0);
		CHECK_EQ(snap.pair->shared->status.state, WHERRY_STATE_FAILED);
		CHECK(nth < 1000);
	}
	snap_check_restored(&snap, pair_hash(snap.pair));
	snap_destroy(&snap);
}

/* As one that died left it. */
TEST(snapshot_begins_anew_what_a_crash_has_left)
{
	struct pair_opts opts = { .len = SMALL };
	struct wherry_status st;
	struct snap snap;
	int fd;

	snap_create(&snap, &opts);
	fd = open(snap.partial, O_RDWR | O_CREAT, 0644);
	CHECK_EQ(ftruncate(fd, 100 << 20), 0);
	CHECK_EQ(pwrite(fd, "rubbish", 7, SNAP_ALIGN), 7);
	CHECK_EQ(flock(fd, LOCK_EX), 0);
	snap_write(&snap, NULL, &st); /* it lives still */
	CHECK_EQ(st.state, WHERRY_STATE_SERVING);
	CHECK(strstr(st.reason, "another snapshot is being written") != NULL);
	CHECK_EQ(snap_hash(&snap), 0);
	CHECK_EQ(access(snap.partial, F_OK), 0);
	close(fd);
	snap_write(&snap, NULL, &st);
	snap_check_written(&snap, &st);
	snap_restore(&snap);
	snap_check_restored(&snap, pair_hash(snap.pair));
	snap_destroy(&snap);
}
