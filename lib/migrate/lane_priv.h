/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LANE_PRIV_H
#define LANE_PRIV_H

/*
 * Dirty pages onto one connection. A page of zeroes is found at memory speed and set
 * aside; any other is copied into the batch under way, and its hash is taken of the
 * copy: the memory may change while it is sent. A page that the destination has already
 * (known_priv.h) leaves the batch again. A full batch is compressed if asked, and sent.
 *
 * A live lane copies nothing: the hash is of the memory itself, and the kernel copies a moment
 * later, when the bytes are in the cache. What is written between the two, or while its pages are
 * paused, the destination finds (torn_priv.h), and it is sent again; so no lane is live in
 * the last round. For a GiB a copy and its hash take 120 ms, a hash in place 60.
 * Used by one thread; the counters may be read by any.
 */

#include "channel_priv.h"
#include "digest_priv.h"
#include "known_priv.h"
#include "pack_priv.h"

#define MIG_BATCH_PAGES 128u /* half a cache of the second level */
/* A batch is headed by up to this many runs; the bytes stand right behind the head. */
#define MIG_HEAD_MAX (WHERRY_STREAM_HEADER + 8 + MIG_BATCH_PAGES * 16 + WHERRY_STREAM_TAIL)

/* Room for a record: its head ends where its body begins. */
struct mig_slab {
	uint8_t head[MIG_HEAD_MAX];
	uint8_t body[MIG_BATCH_PAGES * WHERRY_STREAM_PAGE];
};

struct mig_counts {
	uint64_t pages;      /* handled, of all kinds */
	uint64_t zero_pages; /* of which zeroes, and sent as such */
	uint64_t same_pages; /* of which the destination had already */
};

/* Runs being gathered, ascending, in one region. */
struct mig_gathered {
	struct wherry_run runs[MIG_BATCH_PAGES];
	uint32_t n;
	uint64_t pages;
};

/* Where a lane's pages go if not onto a connection; errors with the reason. */
struct mig_lane_out {
	/* These runs of a region hold these bytes, one after the other. */
	int (*pages)(void *ctx, uint32_t region, const struct wherry_run *runs, uint32_t n,
		const uint8_t *bytes);
	/* These hold zeroes. */
	int (*zeros)(void *ctx, uint32_t region, const struct wherry_run *runs, uint32_t n);
	void *ctx;
	uint64_t bytes; /* written so far; atomic */
	struct mig_reason reason;
};

struct mig_lane {
	struct mig_channel *ch;
	struct mig_lane_out *out; /* NULL: the connection */
	struct mig_digest digest; /* of what was sent, the batch under way left out */
	struct mig_digest batch;
	struct mig_known *known;
	struct mig_counts counts; /* since the owner set them to 0; atomic */
	uint64_t busy_ns;         /* spent on runs of which something was sent as bytes, likewise */
	uint64_t same_ns;         /* spent on runs that the destination had already, likewise */
	uint64_t same_timed;      /* pages of those runs, likewise */
	/* what is gathered, of which region */
	uint32_t number;
	const struct mig_region *region;
	struct mig_gathered content, zeros;
	struct mig_pack *pack; /* NULL: nothing is compressed */
	struct mig_slab *raw, *packed;
	bool live;                             /* set by the owner between rounds */
	struct iovec iov[1 + MIG_BATCH_PAGES]; /* of a live batch */
	struct mig_reason
		reason; /* of what neither the connection nor out had to do with; or empty */
};

/* known is shared by all lanes. -ENOMEM. ch stays the caller's. */
int mig_lane_create(struct mig_channel *ch, const uint8_t *key, struct mig_known *known,
	bool compress, struct mig_lane **ret_lane);
/* NULL is fine. */
void mig_lane_destroy(struct mig_lane *lane);
/*
 * Pages of region number i, behind those of it that came before. Waits while they are
 * paused (wherry_watch_copy_begin()). Errors are the channel's, and -EBUSY: they stay paused.
 */
int mig_lane_add(
	struct mig_lane *lane, uint32_t i, const struct mig_region *region, struct wherry_run run);
/* Of the last call that failed. */
const char *mig_lane_reason(const struct mig_lane *lane);
/* Send what is gathered. */
int mig_lane_flush(struct mig_lane *lane);
/* Send runs of region number i as a record of type, which has no bytes. */
int mig_lane_send_runs(struct mig_lane *lane, enum wherry_record_type type, uint32_t i,
	const struct wherry_run *runs, uint32_t n);

/* Is the page at p all zeroes? */
bool mig_page_is_zero(const void *p);

#endif /* LANE_PRIV_H */
