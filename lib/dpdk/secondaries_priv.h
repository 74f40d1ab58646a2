/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SECONDARIES_PRIV_H
#define SECONDARIES_PRIV_H

/*
 * The other processes that write an application's memory: their writes are asked for with its
 * own (wherry_writer.h), their cores park with its own.
 *
 * Whoever does not answer when it is to park is looked at: a process that has nothing mapped any
 * more writes nothing. Any other one that does not answer keeps the application from moving.
 *
 * Threads: EAL's adds, the agent's does the rest, one call at a time.
 */

#include <sys/queue.h>

#include "base_priv.h"
#include "wherry_writer.h"

#define SECONDARY_WATCHES 16u /* regions that secondaries can write */

struct secondary;

struct secondaries {
	struct wherry_mutex lock;
	STAILQ_HEAD(, secondary) list; /* under lock */
	bool closed;                   /* under lock: nobody joins while they are parked */
	uint32_t asked;                /* under lock: number of the last order to park */
};

void secondaries_init(struct secondaries *s);
/* Tell all to leave, and forget them. The watches are still there. */
void secondaries_fini(struct secondaries *s);
/*
 * One that has covered all these watches. @p fds and @p sock are ours on success.
 * -EBUSY: not now. Others as wherry_watch_add_writer().
 */
int secondaries_add(struct secondaries *s, const struct wherry_writer_fds *fds, int sock,
	struct wherry_watch *const *watches, unsigned int n);
/* A wherry_known_writer_fn; ctx is the secondaries. */
bool secondaries_known(void *ctx, int pid, struct wherry_span at);
/* How many there are that have not ended. */
unsigned int secondaries_count(struct secondaries *s);

/* Cores of theirs do nothing for so many percent of their time; 0: they go on at full speed. */
void secondaries_throttle(struct secondaries *s, unsigned int percent);
/* Ask all to park, without waiting. */
void secondaries_ask(struct secondaries *s);
/*
 * Wait until all are parked, or gone; *io_last_ns: not before their last burst.
 * -ETIMEDOUT, -EBUSY: one is not (logged).
 */
int secondaries_wait(struct secondaries *s, unsigned int timeout_ms, uint64_t *io_last_ns);
/* Let them run on. Harmless when they do. */
void secondaries_resume(struct secondaries *s);
/* Tell all to leave, parked or not, and forget them: another process owns the memory. */
void secondaries_quit(struct secondaries *s);

#endif /* SECONDARIES_PRIV_H */
