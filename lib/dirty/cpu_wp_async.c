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

/* What protects and reports all of the window that was written. */
static struct scan_arg
scan_of(struct wherry_span window)
{
	return (struct scan_arg){
		.size = sizeof(struct scan_arg),
		.flags = SCAN_PROTECT | SCAN_CHECK_WPASYNC,
		.start = window.iova,
		.end = window.iova + window.len,
		.category_mask = SCAN_WRITTEN,
		.return_mask = SCAN_WRITTEN,
	};
}

/*
 * A scan that reports nothing: 8 ms for a GiB in pages of 4 KiB, where
 * UFFDIO_WRITEPROTECT takes 40.
 */
static int
protect_by_scan(const struct cpu_area *area)
{
	struct wherry_span rest = area->span, window;

	while (next_window(&rest, &window)) {
		struct scan_arg arg = scan_of(window);
		int rc = wherry_fault("dirty.protect")
			? -ENOMEM
			: wherry_sys->ioctl(source_of(area)->pagemap, SCAN_IOCTL, &arg);

		if (rc < 0 || arg.walk_end != arg.end)
			return rc == -ENOMEM ? rc : -EFAULT;
	}
	return 0;
}

/* Such a scan leaves hugetlbfs as it is, where there are few entries anyway. */
static int
async_start(struct cpu_area *area)
{
	return area->mem_page == PAGE_SIZE_4K
		? protect_by_scan(area)
		: uffd_protect(source_of(area)->uffd, area->span, true);
}

/* As far as its first page tells, which may not be there. */
static bool
is_shared(const struct cpu_area *area)
{
	off_t at = (off_t)(area->span.iova / PAGE_SIZE_4K * sizeof(uint64_t));
	uint64_t entry = 0;

	return wherry_sys->pread(source_of(area)->pagemap, &entry, sizeof(entry), at) ==
		(ssize_t)sizeof(entry) &&
		(entry & PAGEMAP_SHARED) != 0;
}

/*
 * Else: faults that nobody counts. In shared memory the first write to each page faults,
 * with the same cost, also after its protection has been taken away, so that is spared.
 */
static void
async_stop(struct cpu_area *area)
{
	if (!is_shared(area))
		(void)uffd_protect(source_of(area)->uffd, area->span, false);
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
	struct scan_arg arg = scan_of(window);

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
