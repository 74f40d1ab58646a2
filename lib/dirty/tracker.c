/* SPDX-License-Identifier: BSD-3-Clause */
/* The tracker: made, started, stopped; harvests on request and by its own thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dirty_priv.h"
#include "thread_priv.h"

#define LOG_PREFIX "dirty"

int
wherry_tracker_create(const struct wherry_tracker_opts *opts, struct wherry_tracker **ret_tr)
{
	struct wherry_tracker *tr = wherry_fault("dirty.tracker") ? NULL : calloc(1, sizeof(*tr));
	int rc;

	if (tr == NULL)
		return -ENOMEM;
	rc = cpu_open(opts->cpu, &tr->cpu, &tr->why);
	if (rc != 0) {
		free(tr);
		return rc;
	}
	tr->period_ms = opts->period_ms;
	TAILQ_INIT(&tr->watches);
	TAILQ_INIT(&tr->domains);
	wherry_mutex_init(&tr->run_lock);
	wherry_mutex_init(&tr->lock);
	cond_init(&tr->wake);
	wherry_mutex_init(&tr->wake_lock);
	pauses_init(&tr->pauses);
	*ret_tr = tr;
	return 0;
}

void
wherry_tracker_destroy(struct wherry_tracker *tr)
{
	if (tr == NULL)
		return;
	wherry_tracker_stop(tr);
	while (!TAILQ_EMPTY(&tr->watches))
		wherry_watch_destroy(TAILQ_FIRST(&tr->watches));
	tr->cpu->ops->close(tr->cpu);
	pauses_fini(&tr->pauses);
	wherry_mutex_fini(&tr->wake_lock);
	pthread_cond_destroy(&tr->wake);
	wherry_mutex_fini(&tr->lock);
	wherry_mutex_fini(&tr->run_lock);
	free(tr);
}

enum wherry_cpu_source
wherry_tracker_cpu(const struct wherry_tracker *tr, const char **ret_reason)
{
	if (ret_reason != NULL)
		*ret_reason = tr->why.text;
	return tr->cpu->ops->kind;
}

static void
stop_watches_locked(struct wherry_tracker *tr, const struct wherry_watch *end)
	WHERRY_REQUIRES(&tr->lock)
{
	struct wherry_watch *w;

	for (w = TAILQ_FIRST(&tr->watches); w != end; w = TAILQ_NEXT(w, next))
		watch_stop(w);
}

/* Sources first, then all is pending: nothing falls between the two. */
static int
start_locked(struct wherry_tracker *tr) WHERRY_REQUIRES(&tr->lock)
{
	struct wherry_watch *w;
	int rc = domains_start(tr);

	if (rc != 0)
		return rc;
	TAILQ_FOREACH(w, &tr->watches, next) {
		rc = watch_start(w);
		if (rc != 0)
			goto stop_watches;
	}
	tr->started = true;
	return 0;
stop_watches:
	stop_watches_locked(tr, w);
	domains_stop(tr);
	return rc == -ENOMEM ? rc : -EFAULT;
}

static void
stop_locked(struct wherry_tracker *tr) WHERRY_REQUIRES(&tr->lock)
{
	if (!tr->started)
		return;
	tr->started = false;
	stop_watches_locked(tr, NULL);
	domains_stop(tr);
}

/* False: it is time to end. */
static bool
wait_period(struct wherry_tracker *tr)
{
	struct timespec until = deadline_in(tr->period_ms);
	bool quit;

	wherry_mutex_lock(&tr->wake_lock);
	while (!tr->quit && pthread_cond_timedwait(&tr->wake, &tr->wake_lock.m, &until) == 0)
		;
	quit = tr->quit;
	wherry_mutex_unlock(&tr->wake_lock);
	return !quit;
}

static void *
harvest_now_and_then(void *arg)
{
	struct wherry_tracker *tr = arg;
	int rc, last = 0;

	while (wait_period(tr)) {
		rc = wherry_tracker_harvest(tr);
		if (rc != 0 && rc != last) /* nothing is lost: the next one reports it */
			LOG_WARN("harvest: %s", strerror(-rc));
		last = rc;
	}
	return NULL;
}

static int
start_thread_locked(struct wherry_tracker *tr) WHERRY_REQUIRES(&tr->run_lock)
{
	int rc;

	if (tr->period_ms == 0)
		return 0;
	tr->quit = false; /* no thread is there to see it */
	rc = thread_start(&tr->thread, "wherry-dirty", harvest_now_and_then, tr);
	tr->has_thread = rc == 0;
	return rc;
}

static void
stop_thread_locked(struct wherry_tracker *tr) WHERRY_REQUIRES(&tr->run_lock)
{
	if (!tr->has_thread)
		return;
	wherry_mutex_lock(&tr->wake_lock);
	tr->quit = true;
	pthread_cond_signal(&tr->wake);
	wherry_mutex_unlock(&tr->wake_lock);
	pthread_join(tr->thread, NULL);
	tr->has_thread = false;
}

static int
start_all_locked(struct wherry_tracker *tr) WHERRY_REQUIRES(&tr->run_lock)
{
	int rc;

	wherry_mutex_lock(&tr->lock);
	rc = tr->started ? -EALREADY : start_locked(tr);
	wherry_mutex_unlock(&tr->lock);
	if (rc != 0)
		return rc;
	rc = start_thread_locked(tr);
	if (rc != 0) {
		wherry_mutex_lock(&tr->lock);
		stop_locked(tr);
		wherry_mutex_unlock(&tr->lock);
	}
	return rc;
}

int
wherry_tracker_start(struct wherry_tracker *tr)
{
	int rc;

	wherry_mutex_lock(&tr->run_lock);
	rc = start_all_locked(tr);
	wherry_mutex_unlock(&tr->run_lock);
	return rc;
}

void
wherry_tracker_stop(struct wherry_tracker *tr)
{
	wherry_mutex_lock(&tr->run_lock);
	stop_thread_locked(tr);
	wherry_mutex_lock(&tr->lock);
	stop_locked(tr);
	wherry_mutex_unlock(&tr->lock);
	wherry_mutex_unlock(&tr->run_lock);
}

static int
harvest_locked(struct wherry_tracker *tr) WHERRY_REQUIRES(&tr->lock)
{
	struct wherry_watch *w;
	int rc, first = 0;

	if (!tr->started)
		return -EINVAL;
	TAILQ_FOREACH(w, &tr->watches, next) {
		rc = watch_harvest(w);
		if (rc != 0 && first == 0)
			first = rc;
	}
	return first;
}

int
wherry_tracker_harvest(struct wherry_tracker *tr)
{
	int rc = pauses_harvest_begin(&tr->pauses);

	if (rc != 0)
		return rc;
	wherry_mutex_lock(&tr->lock);
	rc = harvest_locked(tr);
	wherry_mutex_unlock(&tr->lock);
	pauses_harvest_end(&tr->pauses);
	return rc;
}

/* The first watch made after the one of @p id, or NULL. */
static struct wherry_watch *
next_watch(struct wherry_tracker *tr, uint64_t id)
{
	struct wherry_watch *w;

	wherry_mutex_lock(&tr->lock);
	TAILQ_FOREACH(w, &tr->watches, next)
		if (w->id > id)
			break;
	wherry_mutex_unlock(&tr->lock);
	return w;
}

/* No lock is held while fn runs: it may take, harvest, or destroy the watch given. */
int
wherry_tracker_each(
	struct wherry_tracker *tr, int (*fn)(void *ctx, struct wherry_watch *w), void *ctx)
{
	uint64_t id = 0;
	struct wherry_watch *w;
	int rc = 0;

	while (rc == 0 && (w = next_watch(tr, id)) != NULL) {
		id = w->id;
		rc = fn(ctx, w);
	}
	return rc;
}
