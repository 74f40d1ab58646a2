/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write logs: device writes that somebody knows who is no IOMMU. A log is asked before
 * the domains, so that what it reports was written before they are asked: one that
 * listens to them as well can tell whether they miss a page.
 */
#include <errno.h>
#include <stdlib.h>

#include "dirty_priv.h"

#define LOG_PREFIX "dirty"

static int
log_start(struct wherry_watch *w, struct watch_log *l)
{
	return wherry_fault("dirty.log_start") ? -ENOMEM : l->log.start(l->log.ctx, w->span);
}

static struct watch_log *
find_log(struct wherry_watch *w, const struct wherry_write_log *log)
{
	struct watch_log *l;

	TAILQ_FOREACH(l, &w->logs, next)
		if (l->log.ctx == log->ctx && l->log.harvest == log->harvest)
			break;
	return l;
}

int
log_add(struct wherry_watch *w, const struct wherry_write_log *log, bool start)
{
	struct watch_log *l;
	int rc;

	if (find_log(w, log) != NULL)
		return -EEXIST;
	l = wherry_fault("dirty.log") ? NULL : calloc(1, sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	l->log = *log;
	rc = start ? log_start(w, l) : 0;
	if (rc != 0) {
		free(l);
		return rc;
	}
	TAILQ_INSERT_TAIL(&w->logs, l, next);
	return 0;
}

bool
log_remove(struct wherry_watch *w, const struct wherry_write_log *log, bool stop)
{
	struct watch_log *l = find_log(w, log);

	if (l == NULL)
		return false;
	if (stop)
		l->log.stop(l->log.ctx, w->span);
	TAILQ_REMOVE(&w->logs, l, next);
	free(l);
	return true;
}

void
logs_free(struct wherry_watch *w)
{
	struct watch_log *l;

	while ((l = TAILQ_FIRST(&w->logs)) != NULL) {
		TAILQ_REMOVE(&w->logs, l, next);
		free(l);
	}
}

static void
stop_before(struct wherry_watch *w, const struct watch_log *end)
{
	struct watch_log *l;

	for (l = TAILQ_FIRST(&w->logs); l != end; l = TAILQ_NEXT(l, next))
		l->log.stop(l->log.ctx, w->span);
}

int
logs_start(struct wherry_watch *w)
{
	struct watch_log *l;
	int rc;

	TAILQ_FOREACH(l, &w->logs, next) {
		rc = log_start(w, l);
		if (rc != 0) {
			LOG_ERR("%s does not start: %d", l->log.name, rc);
			stop_before(w, l);
			return rc;
		}
	}
	return 0;
}

void
logs_stop(struct wherry_watch *w)
{
	stop_before(w, NULL);
}

bool
logs_harvest(struct wherry_watch *w, struct wherry_bitmap *into, int *ret_rc)
{
	struct watch_log *l;
	int rc, first = 0;

	TAILQ_FOREACH(l, &w->logs, next) {
		rc = wherry_fault("dirty.log_harvest") ? -ENOMEM
						       : l->log.harvest(l->log.ctx, w->span, into);
		if (rc != 0 && first == 0)
			first = rc;
	}
	*ret_rc = first;
	return first == 0;
}

void
logs_hear(struct wherry_watch *w, const struct wherry_bitmap *reported)
{
	struct watch_log *l;

	TAILQ_FOREACH(l, &w->logs, next)
		if (l->log.heard != NULL)
			l->log.heard(l->log.ctx, w->span, reported);
}
