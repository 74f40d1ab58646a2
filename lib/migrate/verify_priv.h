/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VERIFY_PRIV_H
#define VERIFY_PRIV_H

/* --verify: all memory hashed, on both sides at once, while nobody writes it. */

#include "channel_priv.h"
#include "digest_priv.h"
#include "hello_priv.h"

/* Region numbers are the source's on both sides; skip[i] may be NULL. */
struct mig_verify {
	const struct mig_region *const *regions;
	struct wherry_bitmap *const *skip; /* worthless pages */
	uint32_t n;
};

/*
 * Count every page of every region into d but the skipped ones; tells the peer now and
 * then that it is still at work. *ret_ns: how long it took.
 */
int mig_verify_hash(
	const struct mig_verify *v, struct mig_channel *ch, struct mig_digest *d, uint64_t *ret_ns);

#endif /* VERIFY_PRIV_H */
