/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DIRTY_PRIV_H
#define DIRTY_PRIV_H

/*
 * The tracker inside.
 *
 * Lock order: tracker.run_lock -> tracker.lock -> [domain locks of lib/iommu]
 *                                              -> watch.lock -> [CPU source's lock]
 *             watch.take_lock -> watch.lock
 *             tracker.wake_lock, pauses.lock: alone
 *
 * A harvest, a pause and a copy exclude each other before any of these (pause_priv.h).
 *
 * A harvest holds tracker.lock throughout and a watch's lock only to merge what one
 * source reported; so a sender's take, stats and forecast never wait for a harvest,
 * and making or removing a watch waits for one at most.
 */

#include <sys/queue.h>

#include "cpu_priv.h"
#include "pause_priv.h"
#include "rate_priv.h"

/* A domain that at least one watch is mapped in. All under the tracker's lock. */
struct tracked_domain {
	TAILQ_ENTRY(tracked_domain) next;
	struct wherry_domain *dom;
	unsigned int users; /* watch_domains */
	bool on;            /* tracking was switched on, by us */
};

/*
 * A watch's use of a domain. Several watches may share the domain, and what it can do
 * may change: each has to know by itself whether all since its last harvest was seen.
 */
struct watch_domain {
	TAILQ_ENTRY(watch_domain) next;
	bool seen; /* tracking was on when this watch was harvested or started last */
	struct tracked_domain *td;
};

/* A write log that a watch asks. */
struct watch_log {
	TAILQ_ENTRY(watch_log) next;
	struct wherry_write_log log;
};

struct wherry_tracker {
	struct cpu_source *cpu; /* with why, set once at create */
	struct reason why;
	unsigned int period_ms;
	struct pauses pauses;

	struct wherry_mutex run_lock; /* one start or stop at a time */
	bool has_thread;              /* under run_lock */
	pthread_t thread;             /* under run_lock */

	struct wherry_mutex lock;
	bool started;                         /* under lock */
	uint64_t last_id;                     /* under lock */
	TAILQ_HEAD(, wherry_watch) watches;   /* under lock; in the order of creation */
	TAILQ_HEAD(, tracked_domain) domains; /* under lock */

	struct wherry_mutex wake_lock;
	pthread_cond_t wake; /* quit has changed */
	bool quit;           /* under wake_lock */
};

/*
 * pending is what is known dirty and not taken. fresh and worthless are clean when
 * nobody works with them.
 */
struct wherry_watch {
	TAILQ_ENTRY(wherry_watch) next;
	struct wherry_tracker *tr;
	struct wherry_span span;
	uint64_t mem_page; /* bytes */
	uint64_t id;       /* ascending */
	char *name;

	struct cpu_area *area;
	TAILQ_HEAD(, watch_domain) domains; /* under tracker.lock */
	TAILQ_HEAD(, watch_log) logs;       /* under tracker.lock */
	struct wherry_bitmap *fresh;        /* under tracker.lock; what one source reports */
	uint64_t harvested_ns;              /* under tracker.lock; start counts as a harvest */

	struct wherry_mutex take_lock;   /* one take at a time; held while the filter runs */
	struct wherry_bitmap *worthless; /* under take_lock */
	wherry_filter_fn filter;         /* under take_lock */
	void *filter_ctx;                /* under take_lock */

	struct wherry_mutex lock;
	bool on;                         /* under lock: pages may be taken */
	struct wherry_bitmap *pending;   /* under lock */
	struct wherry_bitmap *always;    /* under lock; NULL: none */
	bool all_always;                 /* under lock: a domain cannot tell */
	struct wherry_watch_stats stats; /* under lock; the counters of it */
	struct rate iommu_rate;          /* under lock */
	struct rate cpu_rate;            /* under lock */
};

uint64_t now_ns(void);

/* Is @p part, not empty, inside @p whole? */
static inline bool
inside(struct wherry_span whole, struct wherry_span part)
{
	return part.len != 0 && part.iova >= whole.iova && part.len <= whole.len &&
		part.iova - whole.iova <= whole.len - part.len;
}

/* domains.c; under the tracker's lock */
int domains_start(struct wherry_tracker *tr);
void domains_stop(struct wherry_tracker *tr);
int domain_use(struct wherry_tracker *tr, struct wherry_domain *dom, struct watch_domain **ret_wd);
void domain_unuse(struct wherry_tracker *tr, struct watch_domain *wd);
/*
 * Marks what the domain reports of @p span. False: it cannot tell, so all counts as dirty;
 * *ret_rc may be an error in both cases.
 */
bool domain_harvest(
	struct watch_domain *wd, struct wherry_span span, struct wherry_bitmap *into, int *ret_rc);

/* logs.c; under the tracker's lock */
int log_add(struct wherry_watch *w, const struct wherry_write_log *log, bool start);
/* False: it was not there. */
bool log_remove(struct wherry_watch *w, const struct wherry_write_log *log, bool stop);
void logs_free(struct wherry_watch *w);
int logs_start(struct wherry_watch *w);
void logs_stop(struct wherry_watch *w);
/* As domain_harvest(): false: one of them failed, and *ret_rc says how. */
bool logs_harvest(struct wherry_watch *w, struct wherry_bitmap *into, int *ret_rc);
/* What domains reported in a harvest that came after it; NULL: they could not tell. */
void logs_hear(struct wherry_watch *w, const struct wherry_bitmap *reported);

/* harvest.c; under the tracker's lock */
int watch_start(struct wherry_watch *w);
void watch_stop(struct wherry_watch *w);
int watch_harvest(struct wherry_watch *w);
/* Unmap the span; what the domain knows of it becomes pending. */
int watch_unmap(struct wherry_watch *w, const struct watch_domain *wd);

#endif /* DIRTY_PRIV_H */
