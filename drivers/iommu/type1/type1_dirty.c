/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty bitmaps of the container. The kernel reports all that is pinned for a PCI device,
 * always: PERPETUAL. It is asked all the same once tracking has begun, because it may know better
 * one day, as it does for mediated devices; if it then says "all", it is not asked again until
 * tracking begins anew: to say so takes no call, and to believe so loses nothing. Where it has no
 * dirty ioctls, or is not live, all that is mapped counts as dirty.
 *
 * Its rules: a range may not cut an entry, bits are of its own page size, and the
 * bitmap is zeroed by us. What is read beyond the span that the core asked for is not lost:
 * the core keeps it with the mapping.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "type1_priv.h"

#define LOG_PREFIX "iommu/type1"

#define WORD_BITS 64u
#define FEWEST_WORDS 4096u /* 1 GiB of 4 KiB pages: small mappings are read many at once */

static size_t
words_for(const struct type1_domain *dom, uint64_t len)
{
	uint64_t bits = len >> __builtin_ctzll(dom->info.bitmap_page);

	return (size_t)(bits / WORD_BITS + (bits % WORD_BITS != 0));
}

int
type1_reserve_bits(struct type1_domain *dom, uint64_t len)
{
	size_t need = words_for(dom, len);
	uint64_t *bits;

	need = need < FEWEST_WORDS ? FEWEST_WORDS : need;
	bits = wherry_fault("type1.bits") ? NULL : realloc(dom->bits, need * sizeof(*bits));
	if (bits == NULL)
		return -ENOMEM;
	dom->bits = bits;
	dom->n_words = need;
	return 0;
}

static int
switch_logging(const struct type1_domain *dom, uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap arg = { .argsz = sizeof(arg), .flags = flag };

	return wherry_sys->ioctl(dom->container, VFIO_IOMMU_DIRTY_PAGES, &arg);
}

int
type1_track(void *be, bool on)
{
	struct type1_domain *dom = be;
	int rc;

	if (on && dom->live && dom->info.migration && !dom->logging) {
		rc = switch_logging(dom, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
		if (rc == -ENOMEM)
			return rc;
		dom->logging = rc == 0;
		dom->says_all = false;
		if (rc != 0)
			LOG_WARN("no dirty bitmap: %s; all counts as dirty", strerror(-rc));
	}
	if (!on && dom->logging) {
		(void)switch_logging(dom, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
		dom->logging = false;
	}
	dom->tracking = on;
	return 0;
}

/* A prepared bitmap for the span; it fits. */
static struct vfio_bitmap
bitmap_for(const struct type1_domain *dom, struct wherry_span span)
{
	size_t n = words_for(dom, span.len);

	memset(dom->bits, 0, n * sizeof(*dom->bits));
	return (struct vfio_bitmap){
		.pgsize = dom->info.bitmap_page,
		.size = n * sizeof(*dom->bits),
		.data = (void *)dom->bits,
	};
}

static int
get_bitmap(const struct type1_domain *dom, struct wherry_span span)
{
	union { /* a dirty_bitmap ends with its data */
		struct vfio_iommu_type1_dirty_bitmap head;
		char room[sizeof(struct vfio_iommu_type1_dirty_bitmap) +
			sizeof(struct vfio_iommu_type1_dirty_bitmap_get)];
	} arg = { .head = {
			  .argsz = sizeof(arg), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP } };
	struct vfio_iommu_type1_dirty_bitmap_get get = {
		.iova = span.iova,
		.size = span.len,
		.bitmap = bitmap_for(dom, span),
	};

	memcpy(arg.head.data, &get, sizeof(get));
	return wherry_sys->ioctl(dom->container, VFIO_IOMMU_DIRTY_PAGES, &arg);
}

/* From one mapping on, as many as are adjacent, start below last and fit into the bitmap. */
static struct wherry_span
take_row(const struct type1_domain *dom, struct wherry_span row, uint64_t last)
{
	uint64_t most = dom->n_words * sizeof(*dom->bits);
	struct wherry_place next;

	if (dom->info.max_bitmap != 0 && most > dom->info.max_bitmap)
		most = dom->info.max_bitmap;
	while (wherry_span_last(row) < last &&
		wherry_domain_driver_next(dom->core, wherry_span_last(row) + 1, &next) &&
		next.span.iova == wherry_span_last(row) + 1 &&
		words_for(dom, row.len + next.span.len) * sizeof(*dom->bits) <= most)
		row.len += next.span.len;
	return row;
}

/* The kernel has marked every page of the row. */
static bool
is_full(const struct type1_domain *dom, struct wherry_span row)
{
	uint64_t pages = row.len >> __builtin_ctzll(dom->info.bitmap_page);
	uint64_t left = pages % WORD_BITS, words = pages / WORD_BITS;

	for (uint64_t w = 0; w < words; w++)
		if (dom->bits[w] != UINT64_MAX)
			return false;
	return left == 0 || dom->bits[words] == (UINT64_C(1) << left) - 1;
}

int
type1_read_dirty(void *be, struct wherry_span span, bool clear, struct wherry_dirty_sink *sink)
{
	struct type1_domain *dom = be;
	uint64_t at = span.iova, last = wherry_span_last(span);
	struct wherry_place m;
	int rc = wherry_fault("type1.read_dirty") ? -ENOMEM : 0;
	bool all = true;

	(void)clear; /* the kernel always does; what it took waits in the core */
	if (rc == 0 && (!dom->logging || dom->says_all))
		return 1;
	while (rc == 0 && wherry_domain_driver_next(dom->core, at, &m) && m.span.iova <= last) {
		struct wherry_span row = take_row(dom, m.span, last);

		rc = get_bitmap(dom, row);
		if (rc == 0)
			wherry_dirty_sink_words(sink, row, dom->info.bitmap_page, dom->bits);
		all = all && rc == 0 && is_full(dom, row);
		if (wherry_span_last(row) >= last)
			break;
		at = wherry_span_last(row) + 1;
	}
	dom->says_all = all;
	return rc;
}

/* One mapping, and its bits in the same call. Bits that cannot be had count as dirty. */
static void
unmap_with_bits(
	const struct type1_domain *dom, struct wherry_span span, struct wherry_dirty_sink *sink)
{
	union { /* an unmap ends with its data */
		struct vfio_iommu_type1_dma_unmap head;
		char room[sizeof(struct vfio_iommu_type1_dma_unmap) + sizeof(struct vfio_bitmap)];
	} arg = { .head = { .argsz = sizeof(arg),
			  .flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
			  .iova = span.iova,
			  .size = span.len } };
	struct vfio_bitmap bitmap = bitmap_for(dom, span);
	int rc;

	memcpy(arg.head.data, &bitmap, sizeof(bitmap));
	rc = wherry_sys->ioctl(dom->container, VFIO_IOMMU_UNMAP_DMA, &arg);
	if (rc == 0) {
		wherry_dirty_sink_words(sink, span, dom->info.bitmap_page, dom->bits);
		return;
	}
	LOG_WARN("unmap without its dirty bits: %s; all counts as dirty", strerror(-rc));
	wherry_dirty_sink_mark(sink, span);
	type1_kernel_unmap(dom, span);
}

void
type1_unmap_with_bits(
	const struct type1_domain *dom, struct wherry_span span, struct wherry_dirty_sink *sink)
{
	uint64_t at = span.iova, last = wherry_span_last(span);
	struct wherry_place m;

	if (!dom->logging) {
		wherry_dirty_sink_mark(sink, span);
		if (dom->live)
			type1_kernel_unmap(dom, span);
		return;
	}
	while (wherry_domain_driver_next(dom->core, at, &m) && m.span.iova <= last) {
		unmap_with_bits(dom, m.span, sink);
		if (wherry_span_last(m.span) >= last)
			break;
		at = wherry_span_last(m.span) + 1;
	}
}
