/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TORN_PRIV_H
#define TORN_PRIV_H

/*
 * Pages that were written between their hash and their sending. In pre-copy a plain
 * connection's pages are hashed and sent from where they stand, one after the other, and
 * nothing holds the application back: lane_priv.h. Such a batch is called live. If its sum is
 * not that of what came, the destination counts what it has, and tells the hashes of all
 * pages of the batch with the round's GOT. The source believes them instead of its own, and
 * sends again what differs: it was written, so it is dirty, and it is given back in any case.
 *
 * An entry, all little-endian: u64 region, u64 page, the hash in two u64.
 */

#include <stddef.h>
#include <stdint.h>

#define MIG_TORN_ENTRY 32u

/* Entries as they go over the wire. Zeroed is empty. */
struct mig_torn {
	uint8_t *bytes;
	size_t len, cap;
};

/* -ENOMEM. */
int mig_torn_add(struct mig_torn *t, uint32_t region, uint64_t page, const uint64_t hash[2]);
/* The entry at bytes. */
void mig_torn_get(
	const uint8_t *bytes, uint32_t *ret_region, uint64_t *ret_page, uint64_t ret_hash[2]);
/* Move the last of them, at most cap bytes, to the buffer; how many bytes. */
size_t mig_torn_take(struct mig_torn *t, uint8_t *buf, size_t cap);
void mig_torn_fini(struct mig_torn *t);

#endif /* TORN_PRIV_H */
