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
			mapping_mark(m, span);
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

WHERRY_HOT void
wherry_dirty_sink_words(struct wherry_dirty_sink *sink, struct wherry_span span, uint64_t page,
	const uint64_t *words) WHERRY_NO_ANALYSIS /* called from a hook, as above */
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(sink->dom, span, &e)) {
		struct mapping *m = e.value;
		const uint64_t *own = words;
		struct wherry_span part = cut_words(span, clip(span, e.span), page, &own);

		if (m->pending == NULL)
			continue;
		wherry_bitmap_or_words(m->pending, part, page, own);
		m->marked = true;
	}
}

/* The mappings that the first and the last byte of a span lie in; there is no hole between. */
struct cover {
	struct wherry_iova_entry first, last;
};

static int
cover_locked(struct wherry_domain *dom, struct wherry_span span, struct cover *ret)
	WHERRY_REQUIRES(&dom->lock)
{
	uint64_t last = wherry_span_last(span);

	if (!wherry_iova_find(dom->mappings, span.iova, &ret->first))
		return -ENOENT;
	ret->last = ret->first;
	while (wherry_span_last(ret->last.span) < last)
		if (!wherry_iova_find(
			    dom->mappings, wherry_span_last(ret->last.span) + 1, &ret->last))
			return -ENOENT;
	return 0;
}

/* Run by run: of a mapping of which the span has a part. */
static void
report_part(struct mapping *m, struct wherry_span span, bool clear, struct wherry_bitmap *into)
{
	uint64_t first = wherry_bitmap_span(m->pending).iova, at = first;
	struct wherry_span run;

	at = span.iova > at ? span.iova : at;
	while (wherry_bitmap_next_run(m->pending, &at, &run) &&
		run.iova <= wherry_span_last(span)) {
		run = clip(run, span);
		wherry_bitmap_mark(into, run);
		if (clear)
			wherry_bitmap_unmark(m->pending, run);
	}
	m->marked = wherry_bitmap_next_run(m->pending, &first, &run);
}

/* From one mapping's pending bits to the caller's bitmap. */
static void
report_mapping(struct mapping *m, struct wherry_span span, bool clear, struct wherry_bitmap *into)
{
	struct wherry_span all;

	if (!m->marked)
		return;
	all = wherry_bitmap_span(m->pending);
	if (all.iova < span.iova || wherry_span_last(all) > wherry_span_last(span)) {
		report_part(m, span, clear, into);
		return;
	}
	if (clear)
		wherry_bitmap_take(into, m->pending);
	else
		wherry_bitmap_or(into, m->pending);
	m->marked = !clear;
}

static void
report_locked(struct wherry_domain *dom, struct wherry_span span, bool clear,
	struct wherry_bitmap *into) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(dom, span, &e))
		report_mapping(e.value, span, clear, into);
}

static int
need_pending(const struct wherry_domain *dom, const struct wherry_iova_entry *e)
{
	struct mapping *m = e->value;

	if (m->pending != NULL)
		return 0;
	return wherry_bitmap_create(e->span, domain_smallest_page(dom), &m->pending);
}

/* Before anything is asked of the backend that reports bits. What was made stays, on failure too. */
static int
need_pending_locked(struct wherry_domain *dom, struct wherry_span span) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };
	int rc = 0;

	while (rc == 0 && domain_next_locked(dom, span, &e))
		rc = need_pending(dom, &e);
	return rc;
}

/* To whole granules, but no farther than the mappings that the ends lie in. */
static struct wherry_span
widen(const struct wherry_domain *dom, struct wherry_span span, const struct cover *cover)
{
	uint64_t granule = dom->caps.granule, first = round_down(span.iova, granule);
	uint64_t last = wherry_span_last(span) | (granule - 1);

	if (first < cover->first.span.iova)
		first = cover->first.span.iova;
	if (last > wherry_span_last(cover->last.span))
		last = wherry_span_last(cover->last.span);
	return (struct wherry_span){ first, last - first + 1 };
}

/* Window by window. 1: everything is dirty, as it always is, and not pending. */
static int
fetch_windows_locked(struct wherry_domain *dom, struct wherry_span wide, bool clear)
	WHERRY_REQUIRES(&dom->lock)
{
	uint64_t at = wide.iova, last = wherry_span_last(wide);
	uint64_t step = dom->caps.granule > WINDOW ? dom->caps.granule : WINDOW;
	int rc = 0;

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

static int
fetch_covered_locked(struct wherry_domain *dom, struct wherry_span span, const struct cover *cover,
	bool clear) WHERRY_REQUIRES(&dom->lock)
{
	int rc = cover->first.value == cover->last.value ? need_pending(dom, &cover->first)
							 : need_pending_locked(dom, span);

	if (rc == 0 && dom->unsound != NULL)
		wherry_dirty_sink_mark(&dom->sink, span);
	else if (rc == 0)
		rc = fetch_windows_locked(dom, widen(dom, span, cover), clear);
	return rc;
}

int
domain_fetch_locked(struct wherry_domain *dom, struct wherry_span span, bool clear)
{
	struct cover cover;
	int rc = cover_locked(dom, span, &cover);

	if (rc == 0)
		rc = fetch_covered_locked(dom, span, &cover, clear);
	if (rc > 0)
		wherry_dirty_sink_mark(&dom->sink, span);
	return rc < 0 ? rc : 0;
}

static bool
holds(const struct wherry_bitmap *bm, struct wherry_span span)
{
	return span_holds(wherry_bitmap_span(bm), span);
}

/* All that is mapped is usable, so whether a span is gets asked only to say what is wrong. */
static int
check_read_locked(struct wherry_domain *dom, struct wherry_span span,
	const struct wherry_bitmap *into, struct cover *ret_cover) WHERRY_REQUIRES(&dom->lock)
{
	int rc;

	if (domain_aligned(dom, span) && wherry_span_last(span) >= span.iova &&
		cover_locked(dom, span, ret_cover) == 0)
		return holds(into, span) ? 0 : -EINVAL;
	rc = domain_check_span_locked(dom, span);
	if (rc != 0)
		return rc;
	return holds(into, span) ? -ENOENT : -EINVAL;
}

static int
fetch_and_report_locked(struct wherry_domain *dom, struct wherry_span span,
	const struct cover *cover, bool clear, struct wherry_bitmap *into)
	WHERRY_REQUIRES(&dom->lock)
{
	int rc = fetch_covered_locked(dom, span, cover, clear);

	if (rc < 0)
		return rc;
	if (rc > 0)
		wherry_bitmap_mark(into, span);
	else if (cover->first.value == cover->last.value)
		report_mapping(cover->first.value, span, clear, into);
	else
		report_locked(dom, span, clear, into);
	return 0;
}

static int
read_or_harvest(
	struct wherry_domain *dom, struct wherry_span span, bool clear, struct wherry_bitmap *into)
{
	struct cover cover;
	int rc;

	wherry_quick_lock(&dom->lock);
	rc = check_read_locked(dom, span, into, &cover);
	if (rc == 0)
		rc = dom->tracking ? fetch_and_report_locked(dom, span, &cover, clear, into)
				   : -EINVAL;
	wherry_quick_unlock(&dom->lock);
	return rc;
}

int
wherry_domain_dirty_read(
	struct wherry_domain *dom, struct wherry_span span, struct wherry_bitmap *into)
{
	return read_or_harvest(dom, span, false, into);
}

WHERRY_HOT int
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

	if (dom->foreign)
		return -EPERM;
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

	wherry_quick_lock(&dom->lock);
	rc = start_locked(dom);
	wherry_quick_unlock(&dom->lock);
	return rc;
}

void
wherry_domain_dirty_stop(struct wherry_domain *dom)
{
	wherry_quick_lock(&dom->lock);
	if (dom->tracking)
		stop_locked(dom);
	wherry_quick_unlock(&dom->lock);
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
	int rc = need_pending_locked(dom, span);

	if (rc == 0)
		rc = dom->drv->fence(dom->be, span, &dom->sink);
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
	if (dom->foreign)
		return -EPERM;
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
	if (mode == WHERRY_UNMAP_SEED)
		return need_pending_locked(dom, span); /* the unmap reports */
	if (mode == WHERRY_UNMAP_ASSUME)
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
	struct cover cover;

	if (rc == 0)
		rc = check_read_locked(dom, span, into, &cover);
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

	wherry_quick_lock(&dom->lock);
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
	wherry_quick_unlock(&dom->lock);
	content_destroy(content);
	return rc;
}
