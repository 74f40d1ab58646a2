/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef KNOWN_PRIV_H
#define KNOWN_PRIV_H

/*
 * What the destination has, as far as the source knows: the hash of each page's bytes
 * as they were sent last. A page that is reported dirty and holds those bytes still, as
 * 511 of the 512 in a hugepage of which one byte was written, need not be sent. The
 * hash is that of the digest: 128 bits, with the key of this migration, because pages
 * hold bytes that attackers chose. 16 bytes for 4 KiB of memory. It outlives a connection:
 * when one is recovered, what the destination does not confirm is forgotten
 * (source_recover.c).
 *
 * Safe while the page is written: what is written after the harvest that reported the
 * page is reported again. Threads: different pages may be handled at once.
 */

#include "digest_priv.h"
#include "hello_priv.h"

struct mig_known;

/* Nothing is known. -ENOMEM. */
int mig_known_create(const struct mig_regions *regions, struct mig_known **ret_known);
/* NULL is fine. */
void mig_known_destroy(struct mig_known *known);
/* Is anything known of the page? */
bool mig_known_any(const struct mig_known *known, uint32_t region, uint64_t page);
/* Has the destination these bytes? */
bool mig_known_has(
	const struct mig_known *known, uint32_t region, uint64_t page, const uint64_t hash[2]);
/* The hash of what it has, two zeroes if that is not known. */
void mig_known_get(
	const struct mig_known *known, uint32_t region, uint64_t page, uint64_t ret_hash[2]);
/* They have been sent; hash NULL: what it has is not known any more. */
void mig_known_set(struct mig_known *known, uint32_t region, uint64_t page, const uint64_t hash[2]);
/* Count what the destination has of all pages of all regions into d; what is not known are zeroes. */
void mig_known_count(
	const struct mig_known *known, const struct mig_regions *regions, struct mig_digest *d);

#endif /* KNOWN_PRIV_H */
