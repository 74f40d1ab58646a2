/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_BITMAP_H
#define WHERRY_BITMAP_H

#include <wherry_base.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * One bit per page of a span: which pages were written.
 *
 * A second level, one bit per 512 pages, lets count, take and iteration follow the
 * marked pages instead of the span: a TiB with ten thousand dirty pages is cheap.
 *
 * Pages:   a power of two of at least 1 byte; the span starts and ends on one.
 * Outside: parts of an argument that lie outside the span are ignored; an
 *          argument that would go on behind 2^64 ends there.
 * Threads: a bitmap is the caller's and is used by one call at a time.
 * Pure:    no clock, no file, no lock, and after create no allocation.
 */

struct wherry_bitmap;

/**
 * Make a clean bitmap. @p page is bytes for one bit.
 *
 * @retval -EINVAL page is no power of two, span is empty or not made of whole pages
 * @retval -EOVERFLOW the span leaves the 64-bit space
 * @retval -ENOMEM no memory
 */
int wherry_bitmap_create(struct wherry_span span, uint64_t page, struct wherry_bitmap **ret_bm)
	WHERRY_MUST_CHECK;
/** Free it. NULL is fine. */
void wherry_bitmap_destroy(struct wherry_bitmap *bm);

/** The span that create was given. */
struct wherry_span wherry_bitmap_span(const struct wherry_bitmap *bm);
/** Bytes for one bit. */
uint64_t wherry_bitmap_page(const struct wherry_bitmap *bm);
/** Memory it occupies, in bytes. */
size_t wherry_bitmap_footprint(const struct wherry_bitmap *bm);

/** No page is marked any more. */
void wherry_bitmap_clear(struct wherry_bitmap *bm);
/** Mark every page that @p span touches, be it by one byte. */
void wherry_bitmap_mark(struct wherry_bitmap *bm, struct wherry_span span);
/** Unmark every page that lies in @p span as a whole. */
void wherry_bitmap_unmark(struct wherry_bitmap *bm, struct wherry_span span);
/** Is the page of @p iova marked? False outside the span. */
bool wherry_bitmap_test(const struct wherry_bitmap *bm, uint64_t iova);
/** How many pages are marked. */
uint64_t wherry_bitmap_count(const struct wherry_bitmap *bm);

/**
 * Mark in @p into what is marked in @p from, where the two overlap. Page sizes
 * may differ: a coarse bit marks all its fine pages, a fine bit its coarse page.
 */
void wherry_bitmap_or(struct wherry_bitmap *into, const struct wherry_bitmap *from);
/** The same, and unmark in @p from what lies inside @p into as whole pages. */
void wherry_bitmap_take(struct wherry_bitmap *into, struct wherry_bitmap *from);
/** Unmark in @p bm what is marked in @p other, which has the same span and page. */
void wherry_bitmap_subtract(struct wherry_bitmap *bm, const struct wherry_bitmap *other);
/** Unmark in @p bm what is not marked in @p other, which has the same span and page. */
void wherry_bitmap_intersect(struct wherry_bitmap *bm, const struct wherry_bitmap *other);
/**
 * Mark from words in the kernel's form: bit 0 of word 0 is the @p page bytes at
 * @p span.iova, least significant bit first, as many bits as @p span has pages.
 * (linux/iommufd.h IOMMU_HWPT_GET_DIRTY_BITMAP, linux/vfio.h vfio_bitmap)
 */
void wherry_bitmap_or_words(
	struct wherry_bitmap *bm, struct wherry_span span, uint64_t page, const uint64_t *words);

/**
 * The next run of marked pages at or after @p *cursor, longest possible, in
 * @p ret_run; moves @p *cursor behind it. False when there is none. Start with
 * the span's first address; the page that contains @p *cursor counts whole.
 *
 *	uint64_t at = wherry_bitmap_span(bm).iova;
 *	while (wherry_bitmap_next_run(bm, &at, &run)) ...
 *
 * A run that reaches 2^64 leaves @p *cursor at UINT64_MAX, where iteration ends.
 */
bool wherry_bitmap_next_run(
	const struct wherry_bitmap *bm, uint64_t *cursor, struct wherry_span *ret_run);

WHERRY_END_DECLS

#endif /* WHERRY_BITMAP_H */
