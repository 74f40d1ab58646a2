/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PARK_PRIV_H
#define PARK_PRIV_H

/*
 * Where polling cores wait while the application must not run.
 *
 * One word says what is asked of the pollers. A core looks at it once per burst
 * loop; as long as no flag is set, that one load is all it costs. A core that finds
 * PARK_ASKED is outside of every PMD: it says when it came, is counted as parked,
 * and sleeps on the word (futex) until that bit is gone or PARK_QUIT appears.
 *
 * After a takeover PARK_STAMP asks for a time stamp: a core that leaves the park
 * handles a burst and comes back; the first one to come back says when. A core that
 * was never parked is met once before its burst, which does not count: seen_round, a
 * thread's own, tells the two visits apart.
 *
 * Each ask has a number, in the upper bits of the word and of the count of parked
 * cores: a core counts itself once per ask, and one that is late for an earlier ask
 * is not taken for one that came for this.
 *
 * Threads: park_poll() from any core; park_quit() also from a signal handler, hence
 * atomics and futexes and no mutex; the rest from one thread at a time.
 */

#include <stdbool.h>
#include <stdint.h>

#define PARK_ASKED 0x1u /* wait here */
#define PARK_QUIT 0x2u  /* leave the burst loop; never taken back */
#define PARK_STAMP 0x4u /* say when the first burst has been handled */
#define PARK_FLAGS 0x7u
#define PARK_ASK_ONE (1u << 12) /* bits 12 to 31: number of the ask */
#define PARK_COUNT_MASK (PARK_ASK_ONE - 1)

/* All fields but pollers and wake_fd are atomic. */
struct park {
	uint32_t word;        /* number of the ask, flags; pollers sleep on it */
	uint32_t parked;      /* number of the ask, pollers waiting; who parks them sleeps on it */
	uint32_t stamped;     /* 1: first_ns is there; who wants it sleeps on it */
	uint32_t round;       /* of the stamp that is asked for, unique in the process */
	uint64_t last_ns;     /* when the latest poller parked (CLOCK_MONOTONIC) */
	uint64_t first_ns;    /* when the first burst after a takeover was done */
	unsigned int pollers; /* how many cores poll */
	int wake_fd;          /* eventfd, readable while something is asked */
};

/* Pollers are parked from the start, until park_go() or park_resume(). */
int park_init(struct park *p, unsigned int pollers);
void park_fini(struct park *p);

bool park_poll_slow(struct park *p);

/* See wherry_app_poll(). Relaxed: what follows is ordered by the acquire in the slow path. */
static inline bool
park_poll(struct park *p)
{
	if (__builtin_expect((__atomic_load_n(&p->word, __ATOMIC_RELAXED) & PARK_FLAGS) == 0, 1))
		return true;
	return park_poll_slow(p);
}

/*
 * Park every poller. -ETIMEDOUT: some did not come, the number is logged; -ECANCELED:
 * they are quitting. On failure all run on.
 */
int park_all(struct park *p, unsigned int timeout_ms, uint64_t *ret_last_ns);
/* Let them run on. */
void park_resume(struct park *p);
/* Let them run, and ask for the stamp. */
void park_go(struct park *p);
/* Wait for the stamp park_go() asked for. -ETIMEDOUT, -ECANCELED: quitting. */
int park_wait_first(struct park *p, unsigned int timeout_ms, uint64_t *ret_first_ns);
/* Wake cores that sleep: there is something to receive that no interrupt tells. */
void park_nudge(struct park *p);
/* It has been received: they may sleep again, unless something is asked. Any core. */
void park_nudged(struct park *p);
/* Make every poll return false, now and later. */
void park_quit(struct park *p);
/* Sleep until pollers may run (0) or are to quit (-ECANCELED); -ETIMEDOUT: neither yet. */
int park_wait_running(struct park *p, unsigned int timeout_ms);

uint64_t park_now_ns(void);

#endif /* PARK_PRIV_H */
