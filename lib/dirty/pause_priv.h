/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PAUSE_PRIV_H
#define PAUSE_PRIV_H

/*
 * Who may look at which memory now. Three parties: who *pauses* a span, who *copies* one,
 * and a harvest, which looks everywhere. A pause excludes a harvest and copies that touch
 * it, and waits for those under way.
 *
 * Nobody starves: who waited while something was paused is owed a look when it is resumed,
 * before the next pause begins. Everybody's wait ends at a deadline.
 */

#include "base_priv.h"

#define PAUSE_PLACES 64u
#define PAUSE_LIMIT_MS 5000u /* harvests and copies wait no longer for who pauses */

/* Spans, in no order. */
struct places {
	struct wherry_span at[PAUSE_PLACES];
	unsigned int n;
};

struct pauses {
	struct wherry_mutex lock;
	pthread_cond_t changed; /* any of what follows; all under lock */
	struct places paused;   /* also those that still wait for who is under way */
	struct places copied;
	unsigned int harvests; /* under way */
	unsigned int waiting;  /* harvests and copies */
	unsigned int owed;     /* of those that waited, how many have not looked again */
};

void pauses_init(struct pauses *p);
void pauses_fini(struct pauses *p);
/* -ETIMEDOUT: something stays paused. */
int pauses_harvest_begin(struct pauses *p);
void pauses_harvest_end(struct pauses *p);

/* CLOCK_MONOTONIC, so many milliseconds from now; a condition that waits on that clock. */
struct timespec deadline_in(unsigned int ms);
void cond_init(pthread_cond_t *cond);

#endif /* PAUSE_PRIV_H */
