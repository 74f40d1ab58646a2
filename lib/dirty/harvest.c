/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One watch's harvest: each source reports into a bitmap that nobody else sees, and
 * only when it has returned its pages become pending. A page must not be copied
 * before: until then the source may still miss a write to it, as through a cached
 * translation that was not flushed yet.
 *
 * A source that fails is no reason not to ask the others. What it reported before it
 * failed is kept, and the first failure is returned.
 */
#include <errno.h>
#include <time.h>

#include "dirty_priv.h"

uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The counters of one source. */
struct tally {
	uint64_t pages;
	uint64_t ns;
};

/* Make pending what a source has reported. */
static void
merge(struct wherry_watch *w, struct tally *tally)
{
	tally->pages = wherry_bitmap_count(w->fresh);
	if (tally->pages == 0)
		return;
	wherry_mutex_lock(&w->lock);
	wherry_bitmap_or(w->pending, w->fresh);
	wherry_mutex_unlock(&w->lock);
	wherry_bitmap_clear(w->fresh);
}

/* Before the domains, see logs.c. */
static int
ask_logs(struct wherry_watch *w, struct tally *tally, bool *ret_all)
{
	int rc;

	if (!logs_harvest(w, w->fresh, &rc))
		*ret_all = true;
	merge(w, tally);
	return rc;
}

static int
ask_domains(struct wherry_watch *w, struct tally *tally, bool *ret_all)
{
	uint64_t began = now_ns();
	bool told = !TAILQ_EMPTY(&w->domains);
	struct watch_domain *wd;
	int rc, first = 0;

	TAILQ_FOREACH(wd, &w->domains, next) {
		if (!domain_harvest(wd, w->span, w->fresh, &rc)) {
			*ret_all = true;
			told = false;
		}
		if (rc != 0 && first == 0)
			first = rc;
	}
	logs_hear(w, told && first == 0 ? w->fresh : NULL);
	merge(w, tally);
	tally->ns = now_ns() - began;
	return first;
}

static int
ask_cpu(struct wherry_watch *w, struct tally *tally)
{
	uint64_t began = now_ns();
	int rc = w->area->src->ops->harvest(w->area, w->fresh);

	merge(w, tally);
	tally->ns = now_ns() - began;
	return rc;
}

/* Pages that count as dirty without looking. */
static uint64_t
mark_always_locked(struct wherry_watch *w, bool all) WHERRY_REQUIRES(&w->lock)
{
	w->all_always = all;
	if (all) {
		wherry_bitmap_mark(w->pending, w->span);
		return w->span.len / PAGE_SIZE_4K;
	}
	if (w->always == NULL)
		return 0;
	wherry_bitmap_or(w->pending, w->always);
	return wherry_bitmap_count(w->always);
}

static void
account_locked(struct wherry_watch *w, struct tally log, struct tally iommu, struct tally cpu)
	WHERRY_REQUIRES(&w->lock)
{
	uint64_t now = now_ns(), pages = w->span.len / PAGE_SIZE_4K;
	double seconds = (double)(now - w->harvested_ns) * 1e-9;

	w->harvested_ns = now;
	w->stats.harvests++;
	w->stats.log_pages += log.pages;
	w->stats.iommu_pages += iommu.pages;
	w->stats.iommu_ns += iommu.ns;
	w->stats.cpu_pages += cpu.pages;
	w->stats.cpu_ns += cpu.ns;
	rate_add(&w->iommu_rate, log.pages + iommu.pages, pages, seconds);
	rate_add(&w->cpu_rate, cpu.pages, pages, seconds);
}

int
watch_harvest(struct wherry_watch *w)
{
	struct tally log = { 0 }, iommu = { 0 }, cpu = { 0 };
	bool all = false;
	int rc_log = ask_logs(w, &log, &all);
	int rc_iommu = ask_domains(w, &iommu, &all);
	int rc_cpu = ask_cpu(w, &cpu);

	wherry_mutex_lock(&w->lock);
	w->stats.always_pages += mark_always_locked(w, all);
	account_locked(w, log, iommu, cpu);
	wherry_mutex_unlock(&w->lock);
	if (rc_log != 0)
		return rc_log;
	return rc_iommu != 0 ? rc_iommu : rc_cpu;
}

/* What cannot be told is dirty; before a start nobody asks. */
int
watch_unmap(struct wherry_watch *w, const struct watch_domain *wd)
{
	bool seen = wd->seen && wd->td->on;
	struct tally tally = { 0 };
	int rc = -EOPNOTSUPP;

	if (!w->tr->started)
		return wherry_domain_unmap(wd->td->dom, w->span);
	if (seen)
		rc = wherry_domain_unmap_dirty(wd->td->dom, w->span, WHERRY_UNMAP_EXACT, w->fresh);
	if (rc == -EOPNOTSUPP)
		rc = wherry_domain_unmap_dirty(wd->td->dom, w->span, WHERRY_UNMAP_ASSUME, w->fresh);
	if (rc != 0)
		return rc;
	merge(w, &tally);
	wherry_mutex_lock(&w->lock);
	w->stats.iommu_pages += tally.pages;
	wherry_mutex_unlock(&w->lock);
	return 0;
}

int
watch_start(struct wherry_watch *w)
{
	int rc = w->area->src->ops->start(w->area);
	struct watch_domain *wd;

	if (rc != 0)
		return rc;
	rc = logs_start(w);
	if (rc != 0) {
		w->area->src->ops->stop(w->area);
		return rc;
	}
	TAILQ_FOREACH(wd, &w->domains, next)
		wd->seen = wd->td->on;
	w->harvested_ns = now_ns();
	wherry_mutex_lock(&w->lock);
	w->on = true;
	wherry_bitmap_mark(w->pending, w->span);
	w->stats = (struct wherry_watch_stats){ 0 };
	w->iommu_rate = w->cpu_rate = (struct rate){ 0 };
	wherry_mutex_unlock(&w->lock);
	return 0;
}

void
watch_stop(struct wherry_watch *w)
{
	logs_stop(w);
	w->area->src->ops->stop(w->area);
	wherry_mutex_lock(&w->lock);
	w->on = false;
	wherry_bitmap_clear(w->pending);
	wherry_mutex_unlock(&w->lock);
}
