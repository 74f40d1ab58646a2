/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LATE_FRAMES_PRIV_H
#define LATE_FRAMES_PRIV_H

/*
 * Late frames in a DPDK process. At the source, cores parked, the agent's thread empties
 * the receive queues: until then the frames lie in the NIC's ring. At the destination
 * they become mbufs of the queue's own pool and wait in a ring that a receive callback
 * puts in front of the next burst, so any PMD will do and the application notices nothing.
 *
 * Threads: receive, attach and inject by the agent's; the callback by the polling core.
 */

#include "park_priv.h"
#include "ports_priv.h"
#include "wherry_migrate.h"

struct late;

/* NULL: no memory. */
struct late *late_create(struct park *park, struct ports *ports);
/* Ports are stopped. NULL is fine. */
void late_destroy(struct late *late);
/* Source: 1: the next frame, until the next call; 0: none. */
int late_receive(struct late *late, struct wherry_late_frame *ret_frame);
/*
 * Source, the ports about to stop: take what lies in the receive queues out of its buffers;
 * late_receive() gives it first. The lines are held, so that there is an end to it.
 */
void late_keep(struct late *late);
/* Source, it goes on and its ports run: what was kept is received after all. */
void late_put_back(struct late *late);
/* Destination, before cores poll: queues give what is injected first. What fails is logged. */
void late_attach(struct late *late);
/* Destination: one frame; dropped if there is no such queue, no mbuf or no room. */
void late_inject(struct late *late, const struct wherry_late_frame *frame);

#endif /* LATE_FRAMES_PRIV_H */
