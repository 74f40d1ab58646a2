/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings: memory becomes reachable at I/O addresses, and is taken away whole.
 * Every rule about spans is checked here, so that no backend has to.
 */
#include <errno.h>
#include <stdlib.h>

#include "iommu_priv.h"

#define LOG_PREFIX "iommu"

static int
check_len(const struct wherry_domain *dom, uint64_t len)
{
	return len == 0 || (len & (domain_smallest_page(dom) - 1)) != 0 ? -EINVAL : 0;
}

/* Most often it is in the first range, and that takes no call. */
static inline bool
is_usable_locked(struct wherry_domain *dom, struct wherry_span span) WHERRY_REQUIRES(&dom->lock)
{
	const struct wherry_domain_caps *caps = &dom->caps;

	return (caps->n_usable > 0 && wherry_span_last(span) >= span.iova &&
		       span_holds(caps->usable[0], span)) ||
		wherry_iova_usable(caps->usable, caps->n_usable, span);
}

WHERRY_HOT int
domain_check_span_locked(struct wherry_domain *dom, struct wherry_span span)
{
	if (!domain_aligned(dom, span))
		return -EINVAL;
	return is_usable_locked(dom, span) ? 0 : -EOVERFLOW;
}

bool
domain_next_locked(
	struct wherry_domain *dom, struct wherry_span span, struct wherry_iova_entry *entry)
{
	uint64_t at = span.iova, last = wherry_span_last(span);

	if (entry->span.len != 0) {
		if (wherry_span_last(entry->span) >= last)
			return false; /* asked first: one more could be 2^64 */
		at = wherry_span_last(entry->span) + 1;
	}
	return wherry_iova_next(dom->mappings, at, entry) && entry->span.iova <= last;
}

WHERRY_HOT size_t
wherry_domain_driver_count(const struct wherry_domain *dom)
	WHERRY_NO_ANALYSIS /* called from a hook, which runs under the lock */
{
	return wherry_iova_count(dom->mappings);
}

bool
wherry_domain_driver_next(const struct wherry_domain *dom, uint64_t iova,
	struct wherry_place *ret_place) WHERRY_NO_ANALYSIS /* as above */
{
	struct wherry_iova_entry e;
	const struct mapping *m;

	if (!wherry_iova_next(dom->mappings, iova, &e))
		return false;
	m = e.value;
	*ret_place = (struct wherry_place){
		.span = e.span,
		.prot = m->prot,
		.vaddr = (void *)(uintptr_t)m->bytes,
		.fd = -1,
	};
	return true;
}

/* What belongs to it. */
static inline void
release(struct mapping *m)
{
	if (m->pending != NULL)
		wherry_bitmap_destroy(m->pending);
	if (m->view.p != NULL)
		view_close(&m->view);
}

static void
forget_mapping_locked(struct wherry_domain *dom, struct mapping *m) WHERRY_REQUIRES(&dom->lock)
{
	release(m);
	wherry_iova_remove_room(dom->mappings, m);
}

void
domain_forget_locked(struct wherry_domain *dom, struct wherry_span span)
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(dom, span, &e))
		forget_mapping_locked(dom, e.value);
}

/* The largest page that could be used if the address were chosen well. */
static uint64_t
best_alignment(const struct wherry_domain *dom, const struct wherry_place *place)
{
	uint64_t memory = place->vaddr != NULL ? (uint64_t)(uintptr_t)place->vaddr : place->offset;
	uint64_t best = domain_smallest_page(dom);

	for (uint64_t page = best; page != 0 && page <= place->span.len; page <<= 1)
		if ((dom->caps.page_sizes & page) != 0 && memory % page == 0)
			best = page;
	return best;
}

static int
choose_span_locked(struct wherry_domain *dom, struct wherry_place *place)
	WHERRY_REQUIRES(&dom->lock)
{
	int rc;

	if (place->span.iova != WHERRY_IOVA_ANY)
		return domain_check_span_locked(dom, place->span);
	rc = check_len(dom, place->span.len);
	if (rc != 0)
		return rc;
	return wherry_iova_find_hole(dom->mappings, dom->search, dom->caps.n_usable, &place->span,
		best_alignment(dom, place));
}

static int
check_place(const struct wherry_domain *dom, const struct wherry_place *place)
{
	uint64_t memory = place->vaddr != NULL ? (uint64_t)(uintptr_t)place->vaddr : place->offset;

	if (place->prot == 0 || (place->prot & ~(WHERRY_DMA_READ | WHERRY_DMA_WRITE)) != 0)
		return -EINVAL;
	if ((memory & (domain_smallest_page(dom) - 1)) != 0)
		return -EINVAL;
	if (place->span.len > 0 && memory + (place->span.len - 1) < memory)
		return -EFAULT;
	return 0;
}

WHERRY_HOT int
domain_map_locked(struct wherry_domain *dom, struct wherry_place *place)
{
	struct mapping *m;
	void *room;
	int rc;

	rc = check_place(dom, place);
	if (rc == 0)
		rc = choose_span_locked(dom, place);
	if (rc == 0)
		rc = wherry_iova_insert_room(dom->mappings, place->span, sizeof(*m), &room);
	if (rc != 0)
		return rc;
	m = room;
	*m = (struct mapping){ .prot = place->prot, .in_twin = true }; /* a backend maps in both */
	if (place->vaddr == NULL)
		rc = view_open(&m->view, place);
	m->bytes = place->vaddr;
	if (rc == 0)
		rc = dom->foreign ? heritage_find_locked(dom, m, place->span)
				  : dom->drv->map(dom->be, place);
	if (rc != 0)
		forget_mapping_locked(dom, m);
	return rc;
}

static int
map_place(struct wherry_domain *dom, struct wherry_place *place, struct wherry_span *span)
{
	int rc;

	wherry_quick_lock(&dom->lock);
	rc = domain_map_locked(dom, place);
	wherry_quick_unlock(&dom->lock);
	if (rc == 0)
		*span = place->span;
	else
		LOG_DEBUG("map of %#llx bytes refused: %d", (unsigned long long)span->len, rc);
	return rc;
}

WHERRY_HOT int
wherry_domain_map(
	struct wherry_domain *dom, void *vaddr, unsigned int prot, struct wherry_span *span)
{
	struct wherry_place place = { .span = *span, .prot = prot, .vaddr = vaddr, .fd = -1 };

	return vaddr == NULL ? -EFAULT : map_place(dom, &place, span);
}

int
wherry_domain_map_file(struct wherry_domain *dom, int fd, uint64_t offset, unsigned int prot,
	struct wherry_span *span)
{
	struct wherry_place place = { .span = *span, .prot = prot, .fd = fd, .offset = offset };

	return map_place(dom, &place, span);
}

/* Of several mappings, or of none. */
static int
unmap_several_locked(struct wherry_domain *dom, struct wherry_span span) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };
	int rc = domain_check_span_locked(dom, span);

	if (rc != 0)
		return rc;
	if (!domain_next_locked(dom, span, &e) || wherry_iova_would_cut(dom->mappings, span))
		return -ENOENT;
	if (!dom->foreign)
		dom->drv->unmap(dom->be, span, NULL);
	domain_forget_locked(dom, span);
	return 0;
}

/*
 * Most often it is one mapping: one search, and a span that was checked when it was mapped. It is out of
 * the list before the backend is told, who cannot refuse.
 */
static int
unmap_locked(struct wherry_domain *dom, struct wherry_span span) WHERRY_REQUIRES(&dom->lock)
{
	void *m;

	if (wherry_iova_remove(dom->mappings, span, &m) != 0)
		return unmap_several_locked(dom, span);
	if (!dom->foreign)
		dom->drv->unmap(dom->be, span, NULL);
	release(m);
	return 0;
}

WHERRY_HOT int
wherry_domain_unmap(struct wherry_domain *dom, struct wherry_span span)
{
	int rc;

	wherry_quick_lock(&dom->lock);
	rc = unmap_locked(dom, span);
	wherry_quick_unlock(&dom->lock);
	return rc;
}

int
wherry_domain_claim(struct wherry_domain *dom)
{
	int rc;

	wherry_quick_lock(&dom->lock);
	rc = dom->foreign                 ? -EPERM
		: dom->drv->claim != NULL ? dom->drv->claim(dom->be)
					  : -EOPNOTSUPP;
	wherry_quick_unlock(&dom->lock);
	return rc;
}
