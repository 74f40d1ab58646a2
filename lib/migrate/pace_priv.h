/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PACE_PRIV_H
#define PACE_PRIV_H

/*
 * The bandwidth limit, shared by all connections of a migration: each byte sent moves
 * the time at which the next may be, whoever sends it. Pieces are no longer than 20 ms
 * of the limit. Zeroes: no limit. Threads: any, no lock; nothing else hangs on the order.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mig_pace {
	uint64_t bandwidth; /* bytes per second; 0: as fast as it goes */
	uint64_t due;       /* when the next byte may be sent, ns; 0: now */
};

void mig_pace_set(struct mig_pace *p, uint64_t bandwidth);
/* How long until the limit lets the next byte go, in ms; 0: now. */
unsigned int mig_pace_wait_ms(const struct mig_pace *p);
/* How many of len bytes may go at once. */
size_t mig_pace_piece(const struct mig_pace *p, size_t len);
/* n bytes have been sent. */
void mig_pace_sent(struct mig_pace *p, size_t n, uint64_t now);

#endif /* PACE_PRIV_H */
