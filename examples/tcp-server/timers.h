/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TIMERS_H
#define TIMERS_H

/*
 * lwIP's periodic work, called by our clock. lwIP's own list of timeouts is never
 * run: it holds pointers to code of the process that made it.
 */

#include <stdint.h>

struct state;

/* Of this process; times are CLOCK_MONOTONIC in ns. */
struct timers {
	uint64_t tcp_ns;      /* when tcp_tmr() is due */
	uint64_t second_ns;   /* when what is done every second is due */
	uint64_t announce_ns; /* when the next announcement is due */
	unsigned int said;    /* so far */
};

/* From now on, with nothing to announce. */
void timers_init(struct timers *timers, uint64_t now_ns);
/* Say on the link that this process has the address: now, and again as --announce-... say. */
void timers_announce(struct timers *timers, uint64_t now_ns);
/* Do what is due; the time when more is. */
uint64_t timers_run(struct timers *timers, struct state *state, uint64_t now_ns);

#endif /* TIMERS_H */
