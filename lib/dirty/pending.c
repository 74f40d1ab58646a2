/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a watch knows dirty: handed to senders, given back by them, counted.
 *
 * A worthless page is not sent now, but neither is it clean: it stays pending, for it
 * may be put to use without being written again. Only when everything stands still is
 * the owner's answer exact, and the page dropped.
 */
#include <errno.h>

#include "dirty_priv.h"

static bool
covers(const struct wherry_bitmap *bm, struct wherry_span span)
{
	struct wherry_span has = wherry_bitmap_span(bm);

	return wherry_bitmap_page(bm) == PAGE_SIZE_4K && has.iova <= span.iova &&
		wherry_span_last(has) >= wherry_span_last(span);
}

/* A source that compares contents forgets them: it cannot know what will be copied. */
static void
tell_taken(struct wherry_watch *w, const struct wherry_bitmap *pages)
{
	const struct cpu_ops *ops = w->area->src->ops;

	if (ops->taken != NULL)
		ops->taken(w->area, pages);
}

/* worthless is what the filter says; dropped or kept, it is not taken. */
static void
take_locked(struct wherry_watch *w, bool final, struct wherry_bitmap *into)
	WHERRY_REQUIRES(&w->lock)
{
	wherry_bitmap_intersect(w->worthless, w->pending);
	wherry_bitmap_subtract(w->pending, w->worthless);
	wherry_bitmap_or(into, w->pending);
	tell_taken(w, w->pending);
	wherry_bitmap_clear(w->pending);
	w->stats.filtered_pages = final ? 0 : wherry_bitmap_count(w->worthless);
	if (final)
		tell_taken(w, w->worthless);
	else
		wherry_bitmap_or(w->pending, w->worthless);
}

static int
take_filtered(struct wherry_watch *w, bool final, struct wherry_bitmap *into)
	WHERRY_REQUIRES(&w->take_lock)
{
	int rc = -EINVAL;

	if (w->filter != NULL)
		w->filter(w->filter_ctx, final, w->worthless);
	wherry_mutex_lock(&w->lock);
	if (w->on) {
		take_locked(w, final, into);
		rc = 0;
	}
	wherry_mutex_unlock(&w->lock);
	wherry_bitmap_clear(w->worthless);
	return rc;
}

int
wherry_watch_take(struct wherry_watch *w, bool final, struct wherry_bitmap *into)
{
	int rc;

	if (!covers(into, w->span))
		return -EINVAL;
	wherry_mutex_lock(&w->take_lock);
	rc = take_filtered(w, final, into);
	wherry_mutex_unlock(&w->take_lock);
	return rc;
}

void
wherry_watch_give_back(struct wherry_watch *w, const struct wherry_bitmap *pages)
{
	wherry_mutex_lock(&w->lock);
	if (w->on)
		wherry_bitmap_or(w->pending, pages);
	wherry_mutex_unlock(&w->lock);
}

int
wherry_watch_sent(struct wherry_watch *w, struct wherry_span span, const void *copy)
{
	const struct cpu_ops *ops = w->area->src->ops;

	if (((span.iova | span.len) & (PAGE_SIZE_4K - 1)) != 0 || !inside(w->span, span))
		return -EINVAL;
	if (ops->sent != NULL)
		ops->sent(w->area, span, copy);
	return 0;
}

void
wherry_watch_set_filter(struct wherry_watch *w, wherry_filter_fn fn, void *ctx)
{
	wherry_mutex_lock(&w->take_lock);
	w->filter = fn;
	w->filter_ctx = ctx;
	wherry_mutex_unlock(&w->take_lock);
}

void
wherry_watch_worthless(struct wherry_watch *w, bool final, struct wherry_bitmap *worthless)
{
	wherry_mutex_lock(&w->take_lock);
	if (w->filter != NULL)
		w->filter(w->filter_ctx, final, worthless);
	wherry_mutex_unlock(&w->take_lock);
}

static uint64_t
footprint_locked(const struct wherry_watch *w) WHERRY_REQUIRES(&w->lock)
{
	uint64_t bytes = sizeof(*w) + w->area->src->ops->footprint(w->area);

	bytes += wherry_bitmap_footprint(w->pending) + wherry_bitmap_footprint(w->fresh) +
		wherry_bitmap_footprint(w->worthless);
	return w->always == NULL ? bytes : bytes + wherry_bitmap_footprint(w->always);
}

void
wherry_watch_get_stats(const struct wherry_watch *watch, struct wherry_watch_stats *ret_stats)
{
	struct wherry_watch *w = (struct wherry_watch *)(uintptr_t)watch; /* for its lock */

	wherry_mutex_lock(&w->lock);
	*ret_stats = w->stats;
	ret_stats->pending_pages = wherry_bitmap_count(w->pending);
	ret_stats->iommu_rate = w->iommu_rate.per_second;
	ret_stats->cpu_rate = w->cpu_rate.per_second;
	ret_stats->footprint = footprint_locked(w);
	wherry_mutex_unlock(&w->lock);
}

/* Pages that the next harvest will make pending for certain. */
static uint64_t
certain_locked(const struct wherry_watch *w, uint64_t pending) WHERRY_REQUIRES(&w->lock)
{
	uint64_t at = w->span.iova, n = 0;
	struct wherry_span run;

	if (w->all_always)
		return w->span.len / PAGE_SIZE_4K - pending;
	while (w->always != NULL && wherry_bitmap_next_run(w->always, &at, &run))
		for (uint64_t page = 0; page < run.len; page += PAGE_SIZE_4K)
			n += !wherry_bitmap_test(w->pending, run.iova + page);
	return n;
}

double
wherry_watch_forecast(const struct wherry_watch *watch, double seconds)
{
	struct wherry_watch *w = (struct wherry_watch *)(uintptr_t)watch; /* for its lock */
	double dirty, hazard, all = (double)w->span.len / (double)PAGE_SIZE_4K;
	uint64_t pending;

	wherry_mutex_lock(&w->lock);
	pending = wherry_bitmap_count(w->pending);
	dirty = (double)pending;
	if (w->on && seconds > 0)
		dirty += (double)certain_locked(w, pending);
	hazard = w->iommu_rate.hazard + w->cpu_rate.hazard;
	wherry_mutex_unlock(&w->lock);
	return dirty + rate_forecast(hazard, all - dirty, seconds);
}
