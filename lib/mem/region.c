/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions: a memfd, mapped where it is wanted, placed and then populated. The
 * order matters: a NUMA policy applies to pages that do not exist yet, and
 * MADV_POPULATE_WRITE reports missing hugepages where a touch would be SIGBUS.
 */
#define LOG_PREFIX "mem"

#include <errno.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "region_priv.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif
#ifndef MFD_HUGE_1GB
#define MFD_HUGE_1GB (30U << 26)
#endif

#define NODES_MAX 1024u

static int
check_opts(const struct wherry_region_opts *opts, size_t page)
{
	if (page != PAGE_4K && page != PAGE_2M && page != PAGE_1G)
		return -EINVAL;
	if (opts->len == 0 || opts->len > SIZE_MAX / 2)
		return -EINVAL;
	if (((uintptr_t)opts->vaddr & (page - 1)) != 0)
		return -EINVAL;
	if (opts->node != WHERRY_NODE_ANY && !mem_node_exists(opts->node))
		return -EINVAL;
	return 0;
}

static int
make_file(const struct wherry_region_info *info)
{
	unsigned int flags = MFD_CLOEXEC;
	int fd, rc;

	if (info->page == PAGE_2M)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	if (info->page == PAGE_1G)
		flags |= MFD_HUGETLB | MFD_HUGE_1GB;
	fd = wherry_fault("region.memfd") ? -ENOMEM : wherry_sys->memfd_create(info->name, flags);
	if (fd < 0)
		return fd;
	rc = wherry_fault("region.size") ? -ENOMEM : 0;
	if (rc == 0 && ftruncate(fd, (off_t)info->len) < 0)
		rc = -errno;
	if (rc != 0) {
		close(fd);
		return rc;
	}
	return fd;
}

int
region_map_file(const struct wherry_region_info *info, void *at, void **ret_vaddr)
{
	int flags = MAP_SHARED | (at != NULL ? MAP_FIXED_NOREPLACE : 0), rc;
	void *p = NULL;

	if (wherry_fault("region.map"))
		return -ENOMEM;
	rc = wherry_sys->mmap(at, info->len, PROT_READ | PROT_WRITE, flags, info->fd, 0, &p);
	if (rc != 0)
		return rc;
	if (at != NULL && p != at) {
		wherry_sys->munmap(p, info->len);
		return -EEXIST;
	}
	*ret_vaddr = p;
	return 0;
}

/* Preferred, not bound: memory elsewhere is slower, none at all is worse. */
static void
place(const struct wherry_region_info *info)
{
	unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long))] = { 0 };
	unsigned int node = (unsigned int)info->node, bits = 8 * sizeof(mask[0]);

	if (info->node == WHERRY_NODE_ANY || node >= NODES_MAX)
		return;
	mask[node / bits] = 1UL << node % bits;
	if (mbind(info->vaddr, info->len, MPOL_PREFERRED, mask, NODES_MAX, 0) < 0)
		LOG_WARN("%s: cannot prefer NUMA node %d: %s", info->name, info->node,
			strerror(errno));
}

static int
populate(const struct wherry_region_info *info)
{
	if (wherry_fault("region.populate"))
		return -ENOMEM;
	if (madvise(info->vaddr, info->len, MADV_POPULATE_WRITE) == 0)
		return 0;
	return errno == EINVAL ? -EINVAL : -ENOMEM; /* EFAULT: a page was not to be had */
}

static int
make(struct wherry_region *region, void *at)
{
	struct wherry_region_info *info = &region->info;
	int rc;

	info->fd = make_file(info);
	if (info->fd < 0)
		return info->fd;
	rc = region_map_file(info, at, &info->vaddr);
	if (rc != 0)
		goto close_file;
	place(info);
	rc = populate(info);
	if (rc != 0)
		goto unmap;
	return 0;
unmap:
	wherry_sys->munmap(info->vaddr, info->len);
close_file:
	close(info->fd);
	return rc;
}

/* Hugepages were not to be had: say why, and what would help. */
static void
explain(struct wherry_region *region, size_t page, int rc)
{
	struct wherry_region_info *info = &region->info;
	unsigned long want = info->len / page, unused, all;
	char folder[96];

	unused = mem_hugepages(info->node, page, "free_hugepages");
	all = mem_hugepages(info->node, page, "nr_hugepages");
	mem_hugepages_folder(info->node, page, folder, sizeof(folder));
	snprintf(region->reason, sizeof(region->reason),
		"%lu hugepages of %zu MiB wanted, %lu free (%s): echo %lu > %s/nr_hugepages", want,
		page >> 20, unused, strerror(-rc), all + (want > unused ? want - unused : want),
		folder);
}

static int
make_with_fallback(struct wherry_region *region, const struct wherry_region_opts *opts)
{
	struct wherry_region_info *info = &region->info;
	size_t page = info->page;
	int rc = make(region, opts->vaddr);

	if (rc == 0 || rc == -EEXIST || page == PAGE_4K)
		return rc;
	explain(region, page, rc);
	if (opts->page_strict) {
		LOG_ERR("%s: %s", info->name, region->reason);
		return -ENOSPC;
	}
	LOG_WARN("%s: 4 KiB pages instead: %s", info->name, region->reason);
	info->reason = region->reason;
	info->page = PAGE_4K;
	return make(region, opts->vaddr);
}

/* Say what the caller cannot know, and return what the header promises. */
static int
blame(const struct wherry_region *region, void *at, int rc)
{
	if (rc == -ENOSPC)
		return rc; /* explained already */
	if (rc == -EEXIST) {
		LOG_ERR("%s: something else is mapped in the %zu KiB at %p: choose another address",
			region->name, region->info.len >> 10, at);
		return rc;
	}
	LOG_ERR("%s: no %zu KiB of memory at %p: %s", region->name, region->info.len >> 10, at,
		strerror(-rc));
	return -ENOMEM;
}

int
wherry_region_create(const struct wherry_region_opts *opts, struct wherry_region **ret_region)
{
	size_t page = opts->page != 0 ? opts->page : PAGE_4K;
	struct wherry_region *region;
	int rc = check_opts(opts, page);

	if (rc != 0)
		return rc;
	region = wherry_fault("region.alloc") ? NULL : calloc(1, sizeof(*region));
	if (region == NULL)
		return -ENOMEM;
	region->own_fd = -1;
	snprintf(region->name, sizeof(region->name), "%s",
		opts->name != NULL ? opts->name : "wherry");
	region->info = (struct wherry_region_info){ .name = region->name, .page = page };
	region->info.len = round_up(opts->len, page); /* of the page asked for, on both sides */
	region->info.node = opts->node;
	rc = make_with_fallback(region, opts);
	if (rc != 0)
		goto free_region;
	LOG_DEBUG("%s: %zu KiB at %p, pages of %zu KiB", region->name, region->info.len >> 10,
		region->info.vaddr, region->info.page >> 10);
	*ret_region = region;
	return 0;
free_region:
	rc = blame(region, opts->vaddr, rc);
	free(region);
	return rc;
}

void
wherry_region_destroy(struct wherry_region *region)
{
	if (region == NULL)
		return;
	wherry_sys->munmap(region->info.vaddr, region->info.len);
	close(region->info.fd);
	region_drop_stage(region);
	if (region->own_fd >= 0)
		close(region->own_fd);
	free(region);
}

void
wherry_region_get_info(const struct wherry_region *region, struct wherry_region_info *ret_info)
{
	*ret_info = region->info;
}
