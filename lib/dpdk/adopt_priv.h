/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ADOPT_PRIV_H
#define ADOPT_PRIV_H

/*
 * Ports of an application that knows nothing of Wherry: it configured and started them
 * and polls them with cores of its own. A callback behind each receive burst stands in
 * for wherry_app_poll(): a core that is to be parked frees its burst and waits there,
 * outside of the PMD and without an mbuf.
 *
 * Who polls is learnt from the bursts: every worker lcore that was seen, and that EAL says
 * is running something, has to come when cores are parked; so has the main lcore or a
 * registered thread that was seen within the last moment. A thread without an lcore id
 * cannot be counted, so there is no parking with one.
 *
 * A destination's ports run before it owns anything. Until it does, bursts are dropped
 * and not parked, so that no frame from before the takeover waits in a ring.
 *
 * Threads: bursts on any core; the rest as park_priv.h.
 */

#include <rte_ethdev.h>

#include "park_priv.h"
#include "rx_hook_priv.h"

struct adopt_queue {
	struct rx_hook hook;
	struct adopt *adopt; /* __atomic: NULL: it is gone */
};

struct adopt {
	struct park *park;
	bool discard;              /* __atomic: what comes in is dropped */
	bool strangers;            /* __atomic: a thread without lcore id polls */
	bool polls[RTE_MAX_LCORE]; /* __atomic; each is set by its core alone */
	unsigned int n;
	struct adopt_queue **queues;
};

/* Put a callback on all receive queues. -ENODEV: no such port; -ENOMEM. */
int adopt_port(struct adopt *a, uint16_t port);
/* Take the callbacks away; nobody is parked and no core polls, or all pass. */
void adopt_fini(struct adopt *a);
/* How many cores poll. -EOPNOTSUPP: it cannot be said (logged). */
int adopt_count(struct adopt *a, unsigned int *ret_pollers);

#endif /* ADOPT_PRIV_H */
