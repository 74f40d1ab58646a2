/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLACE_PRIV_H
#define PLACE_PRIV_H

/*
 * Pages of one connection into the destination's memory. The decoder has checked the
 * form of a record; here its numbers are held against our regions. The bytes of a batch
 * are read from the socket straight to where they belong, unless it is compressed;
 * then the hashes of what stands there must add up to what the batch says. A batch that
 * does not has been written all the same: who receives runs nothing before all is
 * proved; if it is live (torn_priv.h) the source is told, else that is the end. One for each
 * thread.
 */

#include "channel_priv.h"
#include "digest_priv.h"
#include "hello_priv.h"
#include "torn_priv.h"

struct mig_unpack;

struct mig_placer {
	const struct mig_region *const *map; /* ours by the source's number */
	uint32_t n_map;
	struct mig_digest digest;  /* of the pages received, as they stand in memory */
	uint64_t pages;            /* received; atomic */
	struct mig_unpack *unpack; /* made when it is needed first, and so is buf */
	uint8_t *buf;
	struct mig_torn torn; /* of the round: of live batches */
	struct mig_reason reason;
};

void mig_placer_init(struct mig_placer *p, const struct mig_region *const *map, uint32_t n_map,
	const uint8_t *key);
/* Zeroes are fine. */
void mig_placer_fini(struct mig_placer *p);
/* Is what this record of runs names there? -EPROTO, with the reason. */
int mig_place_check(struct mig_placer *p, const struct wherry_record *rec);
/*
 * Place a record of pages or zeros that came last on ch. -EPROTO, -ENOMEM, or the
 * channel's errors, all with the reason.
 */
int mig_place(struct mig_placer *p, struct mig_channel *ch, const struct wherry_record *rec);
/* Pages of a record of runs that mig_place_check has let pass. */
uint64_t mig_place_pages(const struct wherry_record *rec);
/* Refuse a record. */
int mig_place_refuse(struct mig_reason *reason, const struct wherry_record *rec, const char *why);

#endif /* PLACE_PRIV_H */
