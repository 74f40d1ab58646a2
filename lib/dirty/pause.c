/* SPDX-License-Identifier: BSD-3-Clause */
/* Keeping senders and harvests off a span for a moment: see pause_priv.h. */
#include <errno.h>
#include <time.h>

#include "dirty_priv.h"

struct timespec
deadline_in(unsigned int ms)
{
	uint64_t ns = now_ns() + (uint64_t)ms * 1000000u;

	return (struct timespec){
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};
}

void
cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

void
pauses_init(struct pauses *p)
{
	cond_init(&p->changed);
	wherry_mutex_init(&p->lock);
}

void
pauses_fini(struct pauses *p)
{
	wherry_mutex_fini(&p->lock);
	pthread_cond_destroy(&p->changed);
}

static bool
touches(const struct places *places, struct wherry_span span)
{
	for (unsigned int i = 0; i < places->n; i++)
		if (places->at[i].iova <= wherry_span_last(span) &&
			span.iova <= wherry_span_last(places->at[i]))
			return true;
	return false;
}

static void
add(struct places *places, struct wherry_span span)
{
	places->at[places->n++] = span;
}

static bool
take_out(struct places *places, struct wherry_span span)
{
	for (unsigned int i = 0; i < places->n; i++) {
		if (places->at[i].iova != span.iova || places->at[i].len != span.len)
			continue;
		places->at[i] = places->at[--places->n];
		return true;
	}
	return false;
}

/* False: it is too late. */
static bool
wait_locked(struct pauses *p, const struct timespec *until) WHERRY_REQUIRES(&p->lock)
{
	return pthread_cond_timedwait(&p->changed, &p->lock.m, until) == 0;
}

/* The same for a harvest or a copy, to which a pause gives way once. */
static bool
wait_owed_locked(struct pauses *p, const struct timespec *until) WHERRY_REQUIRES(&p->lock)
{
	bool in_time;

	p->waiting++;
	in_time = wait_locked(p, until);
	p->waiting--;
	if (p->owed > 0 && --p->owed == 0)
		pthread_cond_broadcast(&p->changed);
	return in_time;
}

int
pauses_harvest_begin(struct pauses *p)
{
	struct timespec until = deadline_in(PAUSE_LIMIT_MS);
	int rc = 0;

	wherry_mutex_lock(&p->lock);
	while (rc == 0 && p->paused.n > 0)
		rc = wait_owed_locked(p, &until) ? 0 : -ETIMEDOUT;
	if (rc == 0)
		p->harvests++;
	wherry_mutex_unlock(&p->lock);
	return rc;
}

void
pauses_harvest_end(struct pauses *p)
{
	wherry_mutex_lock(&p->lock);
	p->harvests--;
	pthread_cond_broadcast(&p->changed);
	wherry_mutex_unlock(&p->lock);
}

static int
pause_locked(struct pauses *p, struct wherry_span span, const struct timespec *until)
	WHERRY_REQUIRES(&p->lock)
{
	while (p->owed > 0)
		if (!wait_locked(p, until))
			return -ETIMEDOUT;
	if (p->paused.n == PAUSE_PLACES || touches(&p->paused, span))
		return -EBUSY;
	add(&p->paused, span);
	while (p->harvests > 0 || touches(&p->copied, span)) {
		if (wait_locked(p, until))
			continue;
		(void)take_out(&p->paused, span);
		pthread_cond_broadcast(&p->changed);
		return -ETIMEDOUT;
	}
	return 0;
}

int
wherry_tracker_pause(struct wherry_tracker *tr, struct wherry_span span, unsigned int timeout_ms)
{
	struct timespec until = deadline_in(timeout_ms);
	int rc;

	if (span.len == 0 || wherry_span_last(span) < span.iova)
		return -EINVAL;
	wherry_mutex_lock(&tr->pauses.lock);
	rc = pause_locked(&tr->pauses, span, &until);
	wherry_mutex_unlock(&tr->pauses.lock);
	return rc;
}

void
wherry_tracker_resume(struct wherry_tracker *tr, struct wherry_span span)
{
	struct pauses *p = &tr->pauses;

	wherry_mutex_lock(&p->lock);
	if (take_out(&p->paused, span)) {
		p->owed = p->waiting;
		pthread_cond_broadcast(&p->changed);
	}
	wherry_mutex_unlock(&p->lock);
}

static int
copy_begin_locked(struct pauses *p, struct wherry_span span) WHERRY_REQUIRES(&p->lock)
{
	struct timespec until = { .tv_sec = 0 };

	while (p->copied.n == PAUSE_PLACES || touches(&p->paused, span)) {
		if (until.tv_sec == 0)
			until = deadline_in(PAUSE_LIMIT_MS);
		if (!wait_owed_locked(p, &until))
			return -ETIMEDOUT;
	}
	add(&p->copied, span);
	return 0;
}

int
wherry_watch_copy_begin(struct wherry_watch *w, struct wherry_span span)
{
	struct pauses *p = &w->tr->pauses;
	int rc;

	if (!inside(w->span, span))
		return -EINVAL;
	wherry_mutex_lock(&p->lock);
	rc = copy_begin_locked(p, span);
	wherry_mutex_unlock(&p->lock);
	return rc;
}

void
wherry_watch_copy_end(struct wherry_watch *w, struct wherry_span span)
{
	struct pauses *p = &w->tr->pauses;

	wherry_mutex_lock(&p->lock);
	(void)take_out(&p->copied, span);
	if (p->paused.n > 0 || p->waiting > 0)
		pthread_cond_broadcast(&p->changed);
	wherry_mutex_unlock(&p->lock);
}
