/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CPU writes by userfaultfd WP_ASYNC and PAGEMAP_SCAN (Linux 6.7). The kernel
 * resolves the first write fault of a page by itself and remembers it; a scan finds
 * the pages written and protects them again in one atomic step.
 *
 * Traps, each with a test in app/test/dirty:
 *	- before anything is protected every page counts as written: start protects all,
 *	  pages that are not populated yet included
 *	- a hugepage is one unit, and a scan of part of it sees nothing and says so to
 *	  nobody: windows never cut a hugepage
 *	- memory that is no longer registered would look clean: SCAN_CHECK_WPASYNC
 *	- a failed scan may have protected pages it did not report: all it looked at counts
 *	  as dirty
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uffd_priv.h"

#define LOG_PREFIX "dirty/wp-async"

#define SCAN_REGIONS 256 /* on the stack: 6 KiB */

/* Two descriptors, no memory per page. */
struct async_source {
	struct cpu_source base;
	int uffd;
	int pagemap;
};

static struct async_source *
source_of(const struct cpu_area *area)
{
	return (struct async_source *)area->src;
}

static int
open_pagemap(struct reason *why)
{
	struct scan_arg nothing = { .size = sizeof(nothing) };
	int fd = wherry_sys->open("/proc/self/pagemap", O_RDONLY);
	int rc;

	if (fd < 0) {
		reason_set(why, "/proc/self/pagemap: %s", strerror(-fd));
		return -EOPNOTSUPP;
	}
	rc = wherry_sys->ioctl(fd, SCAN_IOCTL, &nothing);
	if (rc < 0) {
		close(fd);
		reason_set(why, "no PAGEMAP_SCAN (%s; Linux 6.7 or newer has it)", strerror(-rc));
		return -EOPNOTSUPP;
	}
	return fd;
}

static int
async_open(struct cpu_source **ret_src, struct reason *why)
{
	struct uffd_want want = {
		.need = UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_SHMEM | FEATURE_WP_UNPOPULATED |
			FEATURE_WP_ASYNC,
		.user_only = true, /* the kernel resolves its own faults */
	};
	struct async_source *src = wherry_fault("dirty.source") ? NULL : calloc(1, sizeof(*src));
	uint64_t features;
	int rc;

	if (src == NULL)
		return -ENOMEM;
	rc = src->pagemap = open_pagemap(why);
	if (rc < 0)
		goto free_source;
	rc = src->uffd = uffd_open(want, &features, why);
	if (rc < 0)
		goto close_pagemap;
	*ret_src = &src->base;
	return 0;
close_pagemap:
	close(src->pagemap);
free_source:
	free(src);
	return rc;
}

static void
async_close(struct cpu_source *base)
{
	struct async_source *src = (struct async_source *)base;

	close(src->uffd);
	close(src->pagemap);
	free(src);
}

static int
async_attach(struct cpu_source *src, struct wherry_span span, uint64_t mem_page,
	struct cpu_area **ret_area)
{
	struct cpu_area *area = wherry_fault("dirty.area") ? NULL : calloc(1, sizeof(*area));
	int rc;

	if (area == NULL)
		return -ENOMEM;
	*area = (struct cpu_area){ .src = src, .span = span, .mem_page = mem_page };
	rc = uffd_register(source_of(area)->uffd, span);
	if (rc != 0) {
		free(area);
		return rc;
	}
	*ret_area = area;
	return 0;
}

static int
async_renew(struct cpu_area *area)
{
	return uffd_register(source_of(area)->uffd, area->span);
}

static void
async_detach(struct cpu_area *area)
{
	uffd_unregister(source_of(area)->uffd, area->span);
	free(area);
}

static int
async_start(struct cpu_area *area)
{
	return uffd_protect(source_of(area)->uffd, area->span, true);
}

static void
async_stop(struct cpu_area *area)
{
	(void)uffd_protect(
		source_of(area)->uffd, area->span, false); /* else: faults that nobody counts */
}

static void
mark_range(struct wherry_bitmap *into, uint64_t start, uint64_t end)
{
	struct wherry_span span = { .iova = start, .len = end - start };

	if (start < end)
		wherry_bitmap_mark(into, span);
}

/* One call: as many regions as fit; on return arg->start is where to go on. */
static int
scan_some(int pagemap, struct scan_arg *arg, struct wherry_bitmap *into)
{
	struct scan_region vec[SCAN_REGIONS];
	int n;

	arg->vec = (uint64_t)(uintptr_t)vec;
	arg->vec_len = SCAN_REGIONS;
	arg->walk_end = 0;
	n = wherry_fault("dirty.scan") ? -EINTR : wherry_sys->ioctl(pagemap, SCAN_IOCTL, arg);
	arg->vec = 0;
	if (n >= 0 && arg->walk_end <= arg->start)
		n = -EIO;
	if (n < 0) {
		LOG_WARN("scan of 0x%llx failed, so all of it counts as dirty: %s",
			(unsigned long long)arg->start, strerror(-n));
		mark_range(into, arg->start, arg->end);
		return n == -ENOMEM ? n : -EFAULT;
	}
	for (int i = 0; i < n; i++)
		mark_range(into, vec[i].start, vec[i].end);
	arg->start = arg->walk_end;
	return 0;
}

static int
scan_window(int pagemap, struct wherry_span window, struct wherry_bitmap *into)
{
	struct scan_arg arg = {
		.size = sizeof(arg),
		.flags = SCAN_PROTECT | SCAN_CHECK_WPASYNC,
		.start = window.iova,
		.end = window.iova + window.len,
		.category_mask = SCAN_WRITTEN,
		.return_mask = SCAN_WRITTEN,
	};

	while (arg.start < arg.end) {
		int rc = scan_some(pagemap, &arg, into);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int
async_harvest(struct cpu_area *area, struct wherry_bitmap *into)
{
	struct wherry_span rest = area->span, window;
	int rc, first = 0;

	while (next_window(&rest, &window)) {
		rc = scan_window(source_of(area)->pagemap, window, into);
		if (rc != 0 && first == 0)
			first = rc;
	}
	return first;
}

static size_t
async_footprint(const struct cpu_area *area)
{
	return sizeof(*area);
}

const struct cpu_ops cpu_wp_async = {
	.kind = WHERRY_CPU_WP_ASYNC,
	.faults = true,
	.open = async_open,
	.close = async_close,
	.attach = async_attach,
	.detach = async_detach,
	.renew = async_renew,
	.start = async_start,
	.stop = async_stop,
	.harvest = async_harvest,
	.footprint = async_footprint,
};
