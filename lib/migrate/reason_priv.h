/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef REASON_PRIV_H
#define REASON_PRIV_H

/*
 * Why something came to nothing, for people, with the remedy. It travels beside the
 * errno: who finds out writes it, who handles the failure passes it on.
 */

#include <stdint.h>

struct mig_reason {
	char text[256];
};

/* Write the reason, cut if it is long and in UTF-8 whatever it is made of, and return rc. */
int mig_fail(struct mig_reason *reason, int rc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The one reason that needs no words of its own: -ENOMEM. */
int mig_no_memory(struct mig_reason *reason);

/* CLOCK_MONOTONIC in ns. */
uint64_t mig_now(void);

#endif /* REASON_PRIV_H */
