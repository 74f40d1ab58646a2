/* SPDX-License-Identifier: BSD-3-Clause */
/* A watch: made, given its sources and taken away. What is pending: pending.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dirty_priv.h"

static bool
overlaps(struct wherry_span a, struct wherry_span b)
{
	return a.iova <= wherry_span_last(b) && b.iova <= wherry_span_last(a);
}

/* The kernel's ends are exclusive, so no memory reaches the end of the space. */
static int
check_span(struct wherry_span span, uint64_t page)
{
	if (!is_pow2(page) || page < PAGE_SIZE_4K || page > MEM_PAGE_MAX || span.len == 0 ||
		((span.iova | span.len) & (page - 1)) != 0)
		return -EINVAL;
	return span.iova + span.len < span.iova || span.iova + span.len == 0 ? -EOVERFLOW : 0;
}

static int
alloc_bitmaps(struct wherry_watch *w)
{
	int rc = wherry_bitmap_create(w->span, PAGE_SIZE_4K, &w->pending);

	if (rc != 0)
		return rc;
	rc = wherry_bitmap_create(w->span, PAGE_SIZE_4K, &w->fresh);
	if (rc != 0)
		goto destroy_pending;
	rc = wherry_bitmap_create(w->span, PAGE_SIZE_4K, &w->worthless);
	if (rc != 0)
		goto destroy_fresh;
	return 0;
destroy_fresh:
	wherry_bitmap_destroy(w->fresh);
destroy_pending:
	wherry_bitmap_destroy(w->pending);
	return rc;
}

/* A watch that nobody knows and no source watches. */
static int
watch_alloc(struct wherry_tracker *tr, const char *name, struct wherry_span span,
	struct wherry_watch **ret_w)
{
	struct wherry_watch *w = wherry_fault("dirty.watch") ? NULL : calloc(1, sizeof(*w));
	int rc = -ENOMEM;

	if (w == NULL)
		return -ENOMEM;
	w->tr = tr;
	w->span = span;
	TAILQ_INIT(&w->domains);
	TAILQ_INIT(&w->logs);
	w->name = wherry_fault("dirty.name") ? NULL : strdup(name);
	if (w->name == NULL)
		goto free_watch;
	rc = alloc_bitmaps(w);
	if (rc != 0)
		goto free_name;
	wherry_mutex_init(&w->take_lock);
	wherry_mutex_init(&w->lock);
	*ret_w = w;
	return 0;
free_name:
	free(w->name);
free_watch:
	free(w);
	return rc;
}

static void
watch_free(struct wherry_watch *w)
{
	wherry_mutex_fini(&w->lock);
	wherry_mutex_fini(&w->take_lock);
	wherry_bitmap_destroy(w->always);
	wherry_bitmap_destroy(w->worthless);
	wherry_bitmap_destroy(w->fresh);
	wherry_bitmap_destroy(w->pending);
	free(w->name);
	free(w);
}

static int
watch_insert_locked(struct wherry_tracker *tr, struct wherry_watch *w, uint64_t mem_page)
	WHERRY_REQUIRES(&tr->lock)
{
	const struct cpu_ops *ops = tr->cpu->ops;
	struct wherry_watch *other;
	int rc;

	TAILQ_FOREACH(other, &tr->watches, next)
		if (overlaps(other->span, w->span))
			return -EEXIST;
	rc = ops->attach(tr->cpu, w->span, mem_page, &w->area);
	if (rc != 0)
		return rc;
	rc = tr->started ? watch_start(w) : 0;
	if (rc != 0) {
		ops->detach(w->area);
		return rc == -ENOMEM ? rc : -EFAULT;
	}
	w->id = ++tr->last_id;
	TAILQ_INSERT_TAIL(&tr->watches, w, next);
	return 0;
}

int
wherry_watch_create(struct wherry_tracker *tr, const char *name, struct wherry_span span,
	uint64_t mem_page, struct wherry_watch **ret_w)
{
	struct wherry_watch *w = NULL; /* gcc -O1 does not see it set */
	int rc = check_span(span, mem_page);

	if (rc != 0)
		return rc;
	rc = watch_alloc(tr, name, span, &w);
	if (rc != 0)
		return rc;
	w->mem_page = mem_page;
	wherry_mutex_lock(&tr->lock);
	rc = watch_insert_locked(tr, w, mem_page);
	wherry_mutex_unlock(&tr->lock);
	if (rc != 0) {
		watch_free(w);
		return rc;
	}
	*ret_w = w;
	return 0;
}

int
wherry_watch_renew(struct wherry_watch *w)
{
	const struct cpu_ops *ops = w->area->src->ops;
	int rc = 0;

	wherry_mutex_lock(&w->tr->lock);
	if (w->tr->started)
		rc = -EBUSY;
	else if (ops->renew != NULL)
		rc = ops->renew(w->area);
	wherry_mutex_unlock(&w->tr->lock);
	return rc;
}

void
wherry_watch_destroy(struct wherry_watch *w)
{
	struct wherry_tracker *tr;
	struct watch_domain *wd;

	if (w == NULL)
		return;
	tr = w->tr;
	wherry_mutex_lock(&tr->lock);
	TAILQ_REMOVE(&tr->watches, w, next);
	if (tr->started)
		logs_stop(w);
	logs_free(w);
	w->area->src->ops->detach(w->area);
	while ((wd = TAILQ_FIRST(&w->domains)) != NULL) {
		TAILQ_REMOVE(&w->domains, wd, next);
		domain_unuse(tr, wd);
	}
	wherry_mutex_unlock(&tr->lock);
	watch_free(w);
}

struct wherry_span
wherry_watch_span(const struct wherry_watch *w)
{
	return w->span;
}

const char *
wherry_watch_name(const struct wherry_watch *w)
{
	return w->name;
}

uint64_t
wherry_watch_page(const struct wherry_watch *w)
{
	return w->mem_page;
}

/* What was written before a new source came is unknown: once more every page is pending. */
static void
pend_all(struct wherry_watch *w)
{
	wherry_mutex_lock(&w->lock);
	wherry_bitmap_mark(w->pending, w->span);
	wherry_mutex_unlock(&w->lock);
}

static int
add_domain_locked(struct wherry_tracker *tr, struct wherry_watch *w, struct wherry_domain *dom)
	WHERRY_REQUIRES(&tr->lock)
{
	struct watch_domain *wd;
	int rc;

	TAILQ_FOREACH(wd, &w->domains, next)
		if (wd->td->dom == dom)
			return -EEXIST;
	rc = domain_use(tr, dom, &wd);
	if (rc != 0)
		return rc;
	TAILQ_INSERT_TAIL(&w->domains, wd, next);
	if (tr->started)
		pend_all(w);
	return 0;
}

int
wherry_watch_add_domain(struct wherry_watch *w, struct wherry_domain *dom)
{
	struct wherry_tracker *tr = w->tr;
	int rc;

	wherry_mutex_lock(&tr->lock);
	rc = add_domain_locked(tr, w, dom);
	wherry_mutex_unlock(&tr->lock);
	return rc;
}

static int
remove_domain_locked(struct wherry_tracker *tr, struct wherry_watch *w,
	const struct wherry_domain *dom) WHERRY_REQUIRES(&tr->lock)
{
	struct watch_domain *wd;
	int rc;

	TAILQ_FOREACH(wd, &w->domains, next)
		if (wd->td->dom == dom)
			break;
	if (wd == NULL)
		return -ENOENT;
	rc = watch_unmap(w, wd);
	if (rc != 0)
		return rc;
	TAILQ_REMOVE(&w->domains, wd, next);
	domain_unuse(tr, wd);
	return 0;
}

int
wherry_watch_remove_domain(
	struct wherry_watch *w, struct wherry_domain *dom, unsigned int timeout_ms)
{
	struct wherry_tracker *tr = w->tr;
	int rc = wherry_tracker_pause(tr, w->span, timeout_ms);

	if (rc != 0)
		return rc;
	wherry_mutex_lock(&tr->lock);
	rc = remove_domain_locked(tr, w, dom);
	wherry_mutex_unlock(&tr->lock);
	wherry_tracker_resume(tr, w->span);
	return rc;
}

int
wherry_watch_add_log(struct wherry_watch *w, const struct wherry_write_log *log)
{
	struct wherry_tracker *tr = w->tr;
	int rc;

	wherry_mutex_lock(&tr->lock);
	rc = log_add(w, log, tr->started);
	if (rc == 0 && tr->started)
		pend_all(w);
	wherry_mutex_unlock(&tr->lock);
	return rc;
}

void
wherry_watch_remove_log(struct wherry_watch *w, const struct wherry_write_log *log)
{
	struct wherry_tracker *tr = w->tr;

	wherry_mutex_lock(&tr->lock);
	if (log_remove(w, log, tr->started) && tr->started)
		pend_all(w);
	wherry_mutex_unlock(&tr->lock);
}

static int
always_locked(struct wherry_watch *w, struct wherry_span span) WHERRY_REQUIRES(&w->lock)
{
	int rc = w->always != NULL ? 0 : wherry_bitmap_create(w->span, PAGE_SIZE_4K, &w->always);

	if (rc != 0)
		return rc;
	wherry_bitmap_mark(w->always, span);
	if (w->on)
		wherry_bitmap_mark(w->pending, span);
	return 0;
}

int
wherry_watch_always(struct wherry_watch *w, struct wherry_span span)
{
	int rc;

	if (!inside(w->span, span))
		return -EINVAL;
	wherry_mutex_lock(&w->lock);
	rc = always_locked(w, span);
	wherry_mutex_unlock(&w->lock);
	return rc;
}
