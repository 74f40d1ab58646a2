/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DIGEST_PRIV_H
#define DIGEST_PRIV_H

/*
 * A digest: the sum, modulo 2^128, of one keyed hash for each page counted in. The
 * hash covers bytes, region and page number, so the order does not matter, but what
 * went where does. The same page counts again each time it is sent: a sum over what
 * crossed the wire needs no memory of what was sent before, on either side.
 * Each connection keeps a digest of its own; they are merged, and a batch is a digest too.
 * The key is drawn afresh for each migration: pages hold bytes that attackers chose.
 * Pure.
 */

#include <stdint.h>

#define MIG_KEY_LEN 192 /* XXH3's own secret size */

struct mig_digest {
	uint64_t low, high; /* the sum */
	uint64_t pages;     /* counted in */
	uint64_t zero[2];   /* hash of a page of zeroes */
	uint8_t key[MIG_KEY_LEN];
};

void mig_digest_init(struct mig_digest *d, const uint8_t *key);
/* Page number page of the region holds the 4 KiB at bytes. */
void mig_digest_add(struct mig_digest *d, uint32_t region, uint64_t page, const void *bytes);
/* It holds zeroes. */
void mig_digest_add_zero(struct mig_digest *d, uint32_t region, uint64_t page);
/* The same in two steps: the hash of the 4 KiB at bytes, which may be used for more. */
void mig_digest_hash(const struct mig_digest *d, const void *bytes, uint64_t hash[2]);
void mig_digest_count(struct mig_digest *d, uint32_t region, uint64_t page, const uint64_t hash[2]);
/* The page was counted with the hash from, and should have been with the hash to. */
void mig_digest_exchange(struct mig_digest *d, uint32_t region, uint64_t page,
	const uint64_t from[2], const uint64_t to[2]);
/* Count in what other has. */
void mig_digest_merge(struct mig_digest *d, const struct mig_digest *other);

#endif /* DIGEST_PRIV_H */
