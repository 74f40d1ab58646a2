/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty tracking: which pages devices wrote, and unmapping without losing that.
 *
 * Bits flow one way: backend -> pending of the mapping -> caller's bitmap. The
 * first step may fail half way, the second cannot: so what a failed harvest has
 * taken from the hardware waits in pending for the next one, and the caller's
 * bitmap is touched only by calls that succeed.
 */
#include <errno.h>

#include "iommu_priv.h"

#define LOG_PREFIX "iommu/dirty"

/*
 * This much is read from the backend at once, or one granule if that is larger, so
 * that one invalidation is for a bounded batch and no window cuts a granule.
 */
#define WINDOW (UINT64_C(1) << 30)

void
wherry_dirty_sink_mark(struct wherry_dirty_sink *sink, struct wherry_span span)
	WHERRY_NO_ANALYSIS /* called from a hook, which runs under the lock */
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(sink->dom, span, &e)) {
		struct mapping *m = e.value;

		if (m->pending != NULL)
			wherry_bitmap_mark(m->pending, span);
	}
}

static struct wherry_span
clip(struct wherry_span span, struct wherry_span to)
{
	uint64_t last = wherry_span_last(span), to_last = wherry_span_last(to);
	uint64_t iova = span.iova > to.iova ? span.iova : to.iova;

	return (struct wherry_span){ iova, (last < to_last ? last : to_last) - iova + 1 };
}

/* The words that hold the bits of part, and what they stand for. */
static struct wherry_span
cut_words(struct wherry_span span, struct wherry_span part, uint64_t page, const uint64_t **words)
{
	uint64_t skip = (part.iova - span.iova) / page / 64, last = wherry_span_last(part);

	*words += skip;
	span.iova += skip * page * 64;
	span.len = round_up(last - span.iova + 1, page);
	return span;
}

void
wherry_dirty_sink_words(struct wherry_dirty_sink *sink, struct wherry_span span, uint64_t page,
	const uint64_t *words) WHERRY_NO_ANALYSIS /* called from a hook, as above */
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(sink->dom, span, &e)) {
		struct mapping *m = e.value;
		const uint64_t *own = words;
		struct wherry_span part = cut_words(span, clip(span, e.span), page, &own);

		if (m->pending != NULL)
			wherry_bitmap_or_words(m->pending, part, page, own);
	}
}

/* Run by run: of a mapping of which the span has a part. */
static void
report_part(struct wherry_bitmap *pending, struct wherry_span span, bool clear,
	struct wherry_bitmap *into)
{
	uint64_t at = span.iova > wherry_bitmap_span(pending).iova
		? span.iova
		: wherry_bitmap_span(pending).iova;
	struct wherry_span run;

	while (wherry_bitmap_next_run(pending, &at, &run) && run.iova <= wherry_span_last(span)) {
		run = clip(run, span);
		wherry_bitmap_mark(into, run);
		if (clear)
			wherry_bitmap_unmark(pending, run);
	}
}

/* From one mapping's pending bits to the caller's bitmap. */
static void
report_mapping(struct wherry_bitmap *pending, struct wherry_span span, bool clear,
	struct wherry_bitmap *into)
{
	struct wherry_span all = wherry_bitmap_span(pending);

	if (all.iova < span.iova || wherry_span_last(all) > wherry_span_last(span))
		report_part(pending, span, clear, into);
	else if (clear)
		wherry_bitmap_take(into, pending);
	else
		wherry_bitmap_or(into, pending);
}

static void
report_locked(struct wherry_domain *dom, struct wherry_span span, bool clear,
	struct wherry_bitmap *into) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(dom, span, &e))
		report_mapping(((struct mapping *)e.value)->pending, span, clear, into);
}

/* To whole granules, but no farther than the mappings that the ends lie in. */
static struct wherry_span
widen_locked(struct wherry_domain *dom, struct wherry_span span) WHERRY_REQUIRES(&dom->lock)
{
	uint64_t granule = dom->caps.granule, first = round_down(span.iova, granule);
	uint64_t last = wherry_span_last(span) | (granule - 1);
	struct wherry_iova_entry e;

	if (first == span.iova && last == wherry_span_last(span))
		return span;
	if (wherry_iova_find(dom->mappings, span.iova, &e) && first < e.span.iova)
		first = e.span.iova;
	if (wherry_iova_find(dom->mappings, wherry_span_last(span), &e) &&
		last > wherry_span_last(e.span))
		last = wherry_span_last(e.span);
	return (struct wherry_span){ first, last - first + 1 };
}

/* Window by window. */
int
domain_fetch_locked(struct wherry_domain *dom, struct wherry_span span, bool clear)
{
	struct wherry_span wide = widen_locked(dom, span);
	uint64_t at = wide.iova, last = wherry_span_last(wide);
	uint64_t step = dom->caps.granule > WINDOW ? dom->caps.granule : WINDOW;
	int rc = 0;

	if (dom->unsound != NULL) {
		wherry_dirty_sink_mark(&dom->sink, span);
		return 0;
	}
	while (rc == 0) {
		uint64_t window_last = at | (step - 1);
		struct wherry_span window = { at,
			(window_last < last ? window_last : last) - at + 1 };

		rc = dom->drv->read_dirty(dom->be, window, clear, &dom->sink);
		if (window_last >= last)
			break;
		at = window_last + 1;
	}
	return rc;
}

static bool
holds(const struct wherry_bitmap *bm, struct wherry_span span)
{
	struct wherry_span all = wherry_bitmap_span(bm);

	return all.iova <= span.iova && wherry_span_last(all) >= wherry_span_last(span);
}

static int
check_read_locked(struct wherry_domain *dom, struct wherry_span span,
	const struct wherry_bitmap *into) WHERRY_REQUIRES(&dom->lock)
{
	int rc = domain_check_span_locked(dom, span);

	if (rc != 0)
		return rc;
	if (!holds(into, span))
		return -EINVAL;
	return wherry_iova_covers(dom->mappings, span) ? 0 : -ENOENT;
}

static int
read_or_harvest(
	struct wherry_domain *dom, struct wherry_span span, bool clear, struct wherry_bitmap *into)
{
	int rc;

	wherry_mutex_lock(&dom->lock);
	rc = check_read_locked(dom, span, into);
	if (rc == 0 && !dom->tracking)
		rc = -EINVAL;
	if (rc == 0)
		rc = domain_fetch_locked(dom, span, clear);
	if (rc == 0)
		report_locked(dom, span, clear, into);
	wherry_mutex_unlock(&dom->lock);
	return rc;
}

int
wherry_domain_dirty_read(
	struct wherry_domain *dom, struct wherry_span span, struct wherry_bitmap *into)
{
	return read_or_harvest(dom, span, false, into);
}

int
wherry_domain_dirty_harvest(
	struct wherry_domain *dom, struct wherry_span span, struct wherry_bitmap *into)
{
	return read_or_harvest(dom, span, true, into);
}

static const struct wherry_span everywhere = { 0, UINT64_MAX }; /* all but the last byte */

static void
drop_pending_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(dom, everywhere, &e)) {
		struct mapping *m = e.value;

		wherry_bitmap_destroy(m->pending);
		m->pending = NULL;
	}
}

static int
make_pending_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };
	int rc;

	while (domain_next_locked(dom, everywhere, &e)) {
		struct mapping *m = e.value;

		rc = wherry_bitmap_create(e.span, domain_smallest_page(dom), &m->pending);
		if (rc != 0)
			goto drop_pending;
	}
	return 0;
drop_pending:
	drop_pending_locked(dom);
	return rc;
}

static void
stop_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	(void)dom->drv->track(dom->be, false);
	dom->tracking = false;
	drop_pending_locked(dom);
}

static int
start_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	int rc;

	if (dom->caps.dirty == WHERRY_DIRTY_NONE)
		return -EOPNOTSUPP;
	if (dom->tracking)
		return -EALREADY;
	rc = make_pending_locked(dom);
	if (rc != 0)
		return rc;
	rc = dom->drv->track(dom->be, true);
	if (rc != 0)
		goto drop_pending;
	dom->tracking = true;
	selftest_locked(dom);
	if (dom->unsound == NULL)
		return 0;
	stop_locked(dom);
	return -EOPNOTSUPP;
drop_pending:
	drop_pending_locked(dom);
	return rc;
}

int
wherry_domain_dirty_start(struct wherry_domain *dom)
{
	int rc;

	wherry_mutex_lock(&dom->lock);
	rc = start_locked(dom);
	wherry_mutex_unlock(&dom->lock);
	return rc;
}

void
wherry_domain_dirty_stop(struct wherry_domain *dom)
{
	wherry_mutex_lock(&dom->lock);
	if (dom->tracking)
		stop_locked(dom);
	wherry_mutex_unlock(&dom->lock);
}

static void
unfence_locked(struct wherry_domain *dom, struct wherry_span span) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(dom, span, &e))
		if ((((struct mapping *)e.value)->prot & WHERRY_DMA_WRITE) != 0)
			dom->drv->unfence(dom->be, e.span);
}

/*
 * Once fenced, no write can be added: what the second look finds are dirty bits
 * that were set after the data, on hardware that does so.
 */
static int
fetch_fenced_locked(struct wherry_domain *dom, struct wherry_span span) WHERRY_REQUIRES(&dom->lock)
{
	int rc = dom->drv->fence(dom->be, span, &dom->sink);

	if (rc != 0)
		return rc;
	rc = domain_fetch_locked(dom, span, false);
	if (rc != 0)
		unfence_locked(dom, span);
	return rc;
}

/* The two readings of the bits that a check by content needs, and the look between them. */
static int
fetch_looking_locked(struct wherry_domain *dom, struct wherry_span span, struct content **ret_c)
	WHERRY_REQUIRES(&dom->lock)
{
	struct content *c;
	int rc = content_create_locked(dom, span, &c);

	if (rc != 0)
		return rc;
	rc = domain_fetch_locked(dom, span, false);
	if (rc != 0)
		goto destroy_content;
	content_look_locked(dom, c);
	rc = domain_fetch_locked(dom, span, false);
	if (rc != 0)
		goto destroy_content;
	*ret_c = c;
	return 0;
destroy_content:
	content_destroy(c);
	return rc;
}

/* Can this be done here, and what does it come down to? */
static int
settle_mode_locked(struct wherry_domain *dom, enum wherry_unmap_mode *mode)
	WHERRY_REQUIRES(&dom->lock)
{
	if (*mode == WHERRY_UNMAP_ASSUME)
		return 0;
	if (!dom->tracking)
		return -EINVAL;
	if (*mode == WHERRY_UNMAP_SEED && !dom->drv->unmap_sees_dirty)
		return -EOPNOTSUPP;
	if (*mode == WHERRY_UNMAP_EXACT && dom->caps.exact_by == WHERRY_UNMAP_BY_ASSUMING)
		*mode = WHERRY_UNMAP_ASSUME;
	else if (*mode == WHERRY_UNMAP_EXACT && dom->caps.exact_by == WHERRY_UNMAP_BY_NOTHING)
		return -EOPNOTSUPP;
	return 0;
}

static int
fetch_for_unmap_locked(struct wherry_domain *dom, struct wherry_span span,
	enum wherry_unmap_mode mode, struct content **ret_c) WHERRY_REQUIRES(&dom->lock)
{
	if (mode == WHERRY_UNMAP_SNAPSHOT)
		return domain_fetch_locked(dom, span, false);
	if (mode != WHERRY_UNMAP_EXACT)
		return 0;
	if (dom->caps.exact_by == WHERRY_UNMAP_BY_CONTENT)
		return fetch_looking_locked(dom, span, ret_c);
	return fetch_fenced_locked(dom, span);
}

/* All that can fail; nothing has been unmapped yet. */
static int
prepare_unmap_locked(struct wherry_domain *dom, struct wherry_span span,
	enum wherry_unmap_mode *mode, const struct wherry_bitmap *into, struct content **ret_c)
	WHERRY_REQUIRES(&dom->lock)
{
	int rc = *mode < WHERRY_UNMAP_SNAPSHOT || *mode > WHERRY_UNMAP_SEED ? -EINVAL : 0;

	if (rc == 0)
		rc = check_read_locked(dom, span, into);
	if (rc == 0 && wherry_iova_would_cut(dom->mappings, span))
		rc = -ENOENT;
	if (rc == 0)
		rc = settle_mode_locked(dom, mode);
	return rc != 0 ? rc : fetch_for_unmap_locked(dom, span, *mode, ret_c);
}

int
wherry_domain_unmap_dirty(struct wherry_domain *dom, struct wherry_span span,
	enum wherry_unmap_mode mode, struct wherry_bitmap *into)
{
	struct content *content = NULL;
	int rc;

	wherry_mutex_lock(&dom->lock);
	rc = prepare_unmap_locked(dom, span, &mode, into, &content);
	if (rc != 0)
		goto unlock;
	dom->drv->unmap(dom->be, span, mode == WHERRY_UNMAP_SEED ? &dom->sink : NULL);
	if (content != NULL)
		content_compare_locked(dom, content);
	if (mode == WHERRY_UNMAP_ASSUME)
		wherry_bitmap_mark(into, span);
	else
		report_locked(dom, span, true, into);
	domain_forget_locked(dom, span);
unlock:
	wherry_mutex_unlock(&dom->lock);
	content_destroy(content);
	return rc;
}
