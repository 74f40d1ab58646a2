/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Views: the device half's own mapping of a file. What a device writes through
 * it is invisible to anything that watches the application's mapping, as real
 * DMA is.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "soft_priv.h"

#define LOG_PREFIX "iommu/soft"

struct soft_view {
	void *p;
	size_t len;
};

/* The part of the file to map: whole blocks, because hugetlbfs maps nothing less. */
static int
place_in_file(const struct wherry_place *place, uint64_t *ret_start, size_t *ret_len)
{
	struct stat st;
	uint64_t block, end = place->offset + place->span.len;

	if (fstat(place->fd, &st) != 0 || end > (uint64_t)st.st_size || end > INT64_MAX)
		return -EFAULT;
	block = is_pow2((uint64_t)st.st_blksize) ? (uint64_t)st.st_blksize : 1;
	block = block < PT_PAGE ? PT_PAGE : block;
	*ret_start = round_down(place->offset, block);
	*ret_len = (size_t)(round_up(end, block) - *ret_start);
	return 0;
}

static int
map_view(const struct wherry_place *place, struct soft_view *view, uint64_t *ret_paddr)
{
	int prot = ((place->prot & WHERRY_DMA_READ) != 0 ? PROT_READ : 0) |
		((place->prot & WHERRY_DMA_WRITE) != 0 ? PROT_WRITE : 0);
	uint64_t start;
	int rc = place_in_file(place, &start, &view->len);

	if (rc != 0)
		return rc;
	rc = wherry_fault("soft.view_map") ? -ENOMEM
					   : wherry_sys->mmap(NULL, view->len, prot, MAP_SHARED,
						     place->fd, (off_t)start, &view->p);
	if (rc != 0)
		return rc == -ENOMEM ? rc : -EFAULT;
	*ret_paddr = (uint64_t)(uintptr_t)view->p + (place->offset - start);
	return 0;
}

int
soft_view_add(struct soft_domain *dom, const struct wherry_place *place, uint64_t *ret_paddr)
{
	struct soft_view *view = wherry_fault("soft.view") ? NULL : malloc(sizeof(*view));
	int rc;

	if (view == NULL)
		return -ENOMEM;
	rc = map_view(place, view, ret_paddr);
	if (rc != 0)
		goto free_view;
	rc = wherry_iova_insert(dom->views, place->span, view);
	if (rc != 0)
		goto unmap_view;
	return 0;
unmap_view:
	wherry_sys->munmap(view->p, view->len);
free_view:
	free(view);
	return rc;
}

void
soft_views_remove(struct soft_domain *dom, struct wherry_span span)
{
	struct wherry_iova_entry e;
	void *value;

	while (wherry_iova_next(dom->views, span.iova, &e) &&
		e.span.iova <= wherry_span_last(span)) {
		struct soft_view *view = e.value;

		(void)wherry_iova_remove(dom->views, e.span, &value);
		wherry_sys->munmap(view->p, view->len);
		free(view);
	}
}
