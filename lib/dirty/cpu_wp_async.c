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
#include <stdlib.h>
#include <unistd.h>

#include "scan_priv.h"
#include "uffd_priv.h"

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

int
async_open_fds(int *ret_uffd, int *ret_pagemap, struct reason *why)
{
	struct uffd_want want = {
		.need = UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_SHMEM | FEATURE_WP_UNPOPULATED |
			FEATURE_WP_ASYNC,
		.user_only = true, /* the kernel resolves its own faults */
	};
	int pagemap = scan_open(why), uffd;
	uint64_t features;

	if (pagemap < 0)
		return pagemap;
	uffd = uffd_open(want, &features, why);
	if (uffd < 0) {
		close(pagemap);
		return uffd;
	}
	*ret_uffd = uffd;
	*ret_pagemap = pagemap;
	return 0;
}

static int
async_open(struct cpu_source **ret_src, struct reason *why)
{
	struct async_source *src = wherry_fault("dirty.source") ? NULL : calloc(1, sizeof(*src));
	int rc;

	if (src == NULL)
		return -ENOMEM;
	rc = async_open_fds(&src->uffd, &src->pagemap, why);
	if (rc != 0) {
		free(src);
		return rc;
	}
	*ret_src = &src->base;
	return 0;
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

/* Such a scan leaves hugetlbfs as it is, where there are few entries anyway. */
static int
async_start(struct cpu_area *area)
{
	return area->mem_page == PAGE_SIZE_4K
		? scan_protect(source_of(area)->pagemap, area->span)
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

static int
async_harvest(struct cpu_area *area, struct wherry_bitmap *into)
{
	return scan_written(source_of(area)->pagemap, area->span, into);
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
