/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A region's memory in another process's hands: attached, and written by both; borrowed to be
 * looked at, then owned; or given away, after which what this process writes goes to copies of its own.
 */
#define LOG_PREFIX "mem"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "region_priv.h"

/* Page tables move in one piece if the address is a multiple of what one of them covers. */
#define TABLE PAGE_2M

/*
 * A second, writable view of what is borrowed, at an address that nobody is told: its page
 * tables are made while there is time, and at own() it takes the place of the first.
 */
static int
make_stage(struct wherry_region *region, int fd)
{
	size_t len = region->info.len,
	       align = region->info.page > TABLE ? region->info.page : TABLE;
	void *room, *p;
	uintptr_t at;
	int rc = wherry_fault("region.stage")
		? -ENOMEM
		: wherry_sys->mmap(NULL, len + align, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &room);

	if (rc != 0)
		return rc;
	at = round_up((uintptr_t)room, align);
	rc = wherry_sys->mmap(
		(void *)at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0, &p);
	if (rc != 0) {
		wherry_sys->munmap(room, len + align);
		return rc;
	}
	if (at > (uintptr_t)room)
		wherry_sys->munmap(room, at - (uintptr_t)room);
	if (align > at - (uintptr_t)room)
		wherry_sys->munmap((void *)(at + len), align - (at - (uintptr_t)room));
	region->stage = p;
	/* changes nothing; a kernel that cannot fills the tables as it goes */
	(void)madvise(p, len, MADV_POPULATE_WRITE);
	return 0;
}

void
region_drop_stage(struct wherry_region *region)
{
	if (region->stage != NULL)
		wherry_sys->munmap(region->stage, region->info.len);
	region->stage = NULL;
}

static int
map_over(const struct wherry_region *region, int fd, int prot, int flags)
{
	void *p;

	if (wherry_fault("region.over"))
		return -ENOMEM;
	return wherry_sys->mmap(
		region->info.vaddr, region->info.len, prot, flags | MAP_FIXED, fd, 0, &p);
}

/* Memory of the same length, in pages of the same size. */
static int
check_file(const struct wherry_region *region, int fd)
{
	struct stat st, ours;

	if (fstat(fd, &st) != 0 || fstat(region->info.fd, &ours) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size != ours.st_size || st.st_blksize != ours.st_blksize)
		return -EPROTO;
	return 0;
}

int
wherry_region_borrow(struct wherry_region *region, int fd)
{
	int rc = region->own_fd >= 0 ? -EALREADY : check_file(region, fd);

	if (rc == 0)
		rc = make_stage(region, fd);
	if (rc != 0)
		return rc;
	rc = map_over(region, fd, PROT_READ, MAP_SHARED);
	if (rc != 0) {
		region_drop_stage(region);
		return rc;
	}
	/* nor is our own memory freed then, which takes long: it would be empty, and stays so */
	(void)fallocate(region->info.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		(off_t)region->info.len);
	region->own_fd = region->info.fd;
	region->info.fd = fd;
	return 0;
}

int
wherry_region_own(struct wherry_region *region)
{
	if (region->own_fd < 0)
		return -EINVAL;
	if (wherry_fault("region.own"))
		return -ENOMEM;
	if (mremap(region->stage, region->info.len, region->info.len, MREMAP_MAYMOVE | MREMAP_FIXED,
		    region->info.vaddr) == MAP_FAILED)
		return -errno;
	region->stage = NULL;
	close(region->own_fd);
	region->own_fd = -1;
	return 0;
}

void
wherry_region_give_back(struct wherry_region *region)
{
	int rc;

	if (region->own_fd < 0)
		return;
	rc = map_over(region, region->own_fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	if (rc != 0) { /* what was borrowed stays where it is, to be looked at only */
		LOG_ERR("%s: its own memory cannot be mapped again: %s", region->name,
			strerror(-rc));
		return;
	}
	region_drop_stage(region);
	close(region->info.fd);
	region->info.fd = region->own_fd;
	region->own_fd = -1;
}

int
wherry_region_let_go(struct wherry_region *region)
{
	return map_over(region, region->info.fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

/* What is there to be mapped: a file of that length, of pages of that size. */
static bool
is_file_of(const struct wherry_region_info *info, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size == info->len &&
		(size_t)st.st_blksize == info->page && info->vaddr != NULL;
}

int
wherry_region_attach(
	const struct wherry_region_info *info, int fd, struct wherry_region **ret_region)
{
	struct wherry_region *region;
	void *p;
	int rc;

	if (!is_file_of(info, fd))
		return -EPROTO;
	region = wherry_fault("region.alloc") ? NULL : calloc(1, sizeof(*region));
	if (region == NULL)
		return -ENOMEM;
	region->own_fd = -1;
	snprintf(region->name, sizeof(region->name), "%s", info->name);
	region->info = *info;
	region->info.name = region->name;
	region->info.reason = NULL;
	region->info.fd = fd;
	rc = region_map_file(&region->info, info->vaddr, &p);
	if (rc != 0) {
		LOG_ERR("%s cannot be mapped at %p: %s", region->name, info->vaddr, strerror(-rc));
		free(region);
		return rc == -EEXIST ? rc : -ENOMEM;
	}
	/* changes nothing, but spares faults; without it pages come as they are needed */
	(void)madvise(p, info->len, MADV_POPULATE_WRITE);
	*ret_region = region;
	return 0;
}
