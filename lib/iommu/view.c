/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Views: the domain's own mapping of a file that was handed over instead of an
 * address. Backends that know addresses only map that, and a check by content reads
 * through it. What a device of the soft backend writes through it is invisible to
 * anything that watches the application's mapping, as real DMA is.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "iommu_priv.h"

#define LOG_PREFIX "iommu"

/* The part of the file to map: whole blocks, because hugetlbfs maps nothing less. */
static int
place_in_file(const struct wherry_place *place, struct view *view, uint64_t *ret_start)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = place->offset + place->span.len;
	struct stat st;
	uint64_t block;

	if (fstat(place->fd, &st) != 0 || end > (uint64_t)st.st_size || end > INT64_MAX)
		return -EFAULT;
	block = is_pow2((uint64_t)st.st_blksize) ? (uint64_t)st.st_blksize : 1;
	block = block < page ? page : block;
	*ret_start = round_down(place->offset, block);
	*view = (struct view){ .len = (size_t)(round_up(end, block) - *ret_start),
		.dev = st.st_dev,
		.ino = st.st_ino,
		.offset = place->offset };
	return 0;
}

int
view_open(struct view *view, struct wherry_place *place)
{
	int prot = PROT_READ | ((place->prot & WHERRY_DMA_WRITE) != 0 ? PROT_WRITE : 0);
	struct view found;
	uint64_t start;
	int rc = place_in_file(place, &found, &start);

	if (rc != 0)
		return rc;
	rc = wherry_fault("mapping.view") ? -ENOMEM
					  : wherry_sys->mmap(NULL, found.len, prot, MAP_SHARED,
						    place->fd, (off_t)start, &found.p);
	if (rc != 0)
		return rc == -ENOMEM ? rc : -EFAULT;
	*view = found;
	place->vaddr = (uint8_t *)found.p + (place->offset - start);
	return 0;
}

void
view_close(struct view *view)
{
	if (view->p != NULL)
		wherry_sys->munmap(view->p, view->len);
	view->p = NULL;
}
