/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SENDER_PRIV_H
#define SENDER_PRIV_H

/*
 * Dirty pages onto a channel. Pages are gathered by address first, pages of zeroes set
 * aside at memory speed; a full batch is copied into the send buffer, and digest and
 * checksum are taken of the copy: the memory may change while it is sent.
 */

#include "channel_priv.h"
#include "digest_priv.h"
#include "hello_priv.h"

/* A batch is headed by up to this many runs; the bytes stand right behind the head. */
#define MIG_HEAD_MAX (WHERRY_STREAM_HEADER + 8 + WHERRY_STREAM_PAGES_MAX * 16)
#define MIG_SKIP_RUNS WHERRY_STREAM_PAGES_MAX

struct mig_sender {
	struct mig_channel *ch;
	struct mig_digest digest;
	uint64_t pages, zero_pages; /* handled since the owner set them to 0 */
	uint64_t busy_ns;           /* spent copying and sending, likewise */
	/* called after each batch; for progress */
	void (*progress)(void *ctx);
	void *progress_ctx;
	/* the batches under way */
	struct wherry_run runs[WHERRY_STREAM_PAGES_MAX]; /* pages with content */
	uint32_t n_runs;
	uint64_t n_pages;
	struct wherry_run zeros[WHERRY_STREAM_PAGES_MAX];
	uint32_t n_zeros;
	uint64_t n_zero_pages;
	uint8_t head[MIG_HEAD_MAX];
	uint8_t body[WHERRY_STREAM_PAGES_MAX * WHERRY_STREAM_PAGE]; /* follows head */
};

int mig_sender_create(struct mig_channel *ch, const uint8_t *key, struct mig_sender **ret_sender);
void mig_sender_destroy(struct mig_sender *s);

/* Send the pages of region number i that are marked, whose bytes are at their address. */
int mig_sender_region(struct mig_sender *s, uint32_t i, const struct mig_region *region,
	const struct wherry_bitmap *pages);
/* Send the runs of marked pages of region number i as records of type, without bytes. */
int mig_sender_runs(struct mig_sender *s, enum wherry_record_type type, uint32_t i,
	const struct mig_region *region, const struct wherry_bitmap *pages);

/* Is the page at p all zeroes? */
bool mig_page_is_zero(const void *p);

#endif /* SENDER_PRIV_H */
