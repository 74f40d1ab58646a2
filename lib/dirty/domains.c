/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device writes: which domains the watches are mapped in, and whether tracking is on
 * there. Dirty bits are cleared by whoever reads them, so a domain that somebody else
 * tracks is refused: two readers would steal from each other.
 */
#include <errno.h>
#include <stdlib.h>

#include "dirty_priv.h"

#define LOG_PREFIX "dirty"

static bool
can_tell(const struct wherry_domain *dom)
{
	struct wherry_domain_caps caps;

	wherry_domain_get_caps(dom, &caps);
	return caps.dirty == WHERRY_DIRTY_TRACKED;
}

/* A domain that cannot tell needs no start: it counts as dirty altogether. */
static int
domain_start(struct tracked_domain *td)
{
	int rc;

	if (td->on || !can_tell(td->dom))
		return 0;
	rc = wherry_domain_dirty_start(td->dom);
	td->on = rc == 0;
	if (rc == -EALREADY) {
		LOG_ERR("dirty tracking of a %s domain is on already: stop whoever reads its bits",
			wherry_domain_backend(td->dom));
		return -EBUSY;
	}
	return rc == -EOPNOTSUPP ? 0 : rc;
}

static void
domain_stop(struct tracked_domain *td)
{
	if (td->on)
		wherry_domain_dirty_stop(td->dom);
	td->on = false;
}

int
domains_start(struct wherry_tracker *tr)
{
	struct tracked_domain *td;
	int rc;

	TAILQ_FOREACH(td, &tr->domains, next) {
		rc = domain_start(td);
		if (rc != 0) {
			domains_stop(tr);
			return rc;
		}
	}
	return 0;
}

void
domains_stop(struct wherry_tracker *tr)
{
	struct tracked_domain *td;

	TAILQ_FOREACH(td, &tr->domains, next)
		domain_stop(td);
}

static struct tracked_domain *
domain_get(struct wherry_tracker *tr, struct wherry_domain *dom)
{
	struct tracked_domain *td;

	TAILQ_FOREACH(td, &tr->domains, next) {
		if (td->dom == dom) {
			td->users++;
			return td;
		}
	}
	td = wherry_fault("dirty.domain") ? NULL : calloc(1, sizeof(*td));
	if (td == NULL)
		return NULL;
	td->dom = dom;
	td->users = 1;
	TAILQ_INSERT_TAIL(&tr->domains, td, next);
	return td;
}

static void
domain_put(struct wherry_tracker *tr, struct tracked_domain *td)
{
	if (--td->users > 0)
		return;
	domain_stop(td);
	TAILQ_REMOVE(&tr->domains, td, next);
	free(td);
}

int
domain_use(struct wherry_tracker *tr, struct wherry_domain *dom, struct watch_domain **ret_wd)
{
	struct watch_domain *wd = wherry_fault("dirty.use") ? NULL : calloc(1, sizeof(*wd));
	int rc = 0;

	if (wd == NULL)
		return -ENOMEM;
	wd->td = domain_get(tr, dom);
	if (wd->td == NULL) {
		free(wd);
		return -ENOMEM;
	}
	if (tr->started)
		rc = domain_start(wd->td);
	if (rc != 0) {
		domain_unuse(tr, wd);
		return rc;
	}
	wd->seen = wd->td->on;
	*ret_wd = wd;
	return 0;
}

void
domain_unuse(struct wherry_tracker *tr, struct watch_domain *wd)
{
	domain_put(tr, wd->td);
	free(wd);
}

bool
domain_harvest(
	struct watch_domain *wd, struct wherry_span span, struct wherry_bitmap *into, int *ret_rc)
{
	bool seen = wd->seen;

	*ret_rc = domain_start(wd->td); /* attaching a device may have changed what it can do */
	wd->seen = wd->td->on && can_tell(wd->td->dom);
	if (!seen || !wd->seen)
		return false;
	*ret_rc = wherry_fault("dirty.ask") ? -ENOMEM
					    : wherry_domain_dirty_harvest(wd->td->dom, span, into);
	return true;
}
