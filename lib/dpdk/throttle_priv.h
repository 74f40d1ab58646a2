/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THROTTLE_PRIV_H
#define THROTTLE_PRIV_H

/*
 * A share of what the ports receive is dropped before the application sees it, so that
 * it dirties less: its peers, if they speak TCP, slow down. A receive callback does it, so
 * any PMD will do. Callbacks are added when the first share is asked for and stay, with
 * nothing to drop, until the ports have stopped for good.
 *
 * Threads: create, set and destroy by one at a time; the callback by the polling core.
 */

#include <stdint.h>

#include "ports_priv.h"

struct throttle;

/* NULL: no memory. */
struct throttle *throttle_create(const struct ports *ports);
/* Ports are stopped. NULL is fine. */
void throttle_destroy(struct throttle *t);
/* Drop so many of each 100 frames. Queues that cannot be throttled are logged. */
void throttle_set(struct throttle *t, unsigned int percent);
/* Frames dropped so far. */
uint64_t throttle_dropped(const struct throttle *t);

#endif /* THROTTLE_PRIV_H */
