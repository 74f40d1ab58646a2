/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SENDER_PRIV_H
#define SENDER_PRIV_H

/*
 * The source's connections, each a lane (lane_priv.h), and the dirty pages of a round
 * shared out among them. Lane 0 is the first connection and belongs to the thread that
 * calls; each other has a thread. They take the next run of pages whenever they are done
 * with one, so a slow connection holds nobody up. A small round wakes nobody.
 *
 * At the end of a round each lane that took part but the first says FLUSH; the first
 * then says how many took part. What a page was sent on in one round cannot be overtaken
 * in the next: the destination answers a round when all its lanes are through.
 *
 * A lane that fails raises the stop, which ends the others; the first reason stays.
 */

#include "lane_priv.h"
#include "stop_priv.h"

struct mig_sender;

struct mig_sender_opts {
	const uint8_t *key;                /* of the digest */
	const struct mig_regions *regions; /* outlive the sender */
	struct mig_known *known;           /* likewise, and the next sender's if one follows */
	const struct mig_stop *stop;       /* likewise */
	bool compress;
	struct mig_lane_out *out;    /* pages go there, and ch is NULL; NULL: to ch */
	void (*progress)(void *ctx); /* now and then, from the caller's thread */
	void *progress_ctx;
};

/* With one lane, whose channel stays the caller's. -ENOMEM. */
int mig_sender_create(
	struct mig_channel *ch, const struct mig_sender_opts *opts, struct mig_sender **ret_sender);
/* One lane more; ch becomes the sender's, also on failure. -ENOMEM, -EAGAIN: no thread. */
int mig_sender_add(struct mig_sender *s, struct mig_channel *ch);
/* Ends the threads, closes their connections. NULL is fine. */
void mig_sender_destroy(struct mig_sender *s);

/* What the round under way, or the last, has come to. */
struct mig_sent {
	struct mig_counts counts;
	uint64_t busy_ns;   /* spent on pages that went as bytes, the mean of the lanes */
	double same_ns;     /* for a page that the destination had already; 0: not known */
	unsigned int lanes; /* that took part */
};

/*
 * Send the pages marked in taken[i] of each region i, n_pages in all, as round number n.
 * Errors are a channel's, with the reason in mig_sender_reason.
 */
int mig_sender_round(
	struct mig_sender *s, uint64_t n, struct wherry_bitmap *const *taken, uint64_t n_pages);
/* From now on lanes are live or not (lane_priv.h); between rounds. */
void mig_sender_set_live(struct mig_sender *s, bool live);
/*
 * The destination has bytes of this hash in a page that was sent; between rounds. True: others
 * than were hashed here, and the page has to be sent again.
 */
bool mig_sender_torn(struct mig_sender *s, uint32_t region, uint64_t page, const uint64_t hash[2]);
/* Send the runs of marked pages of region number i as records of type, without bytes. */
int mig_sender_runs(struct mig_sender *s, enum wherry_record_type type, uint32_t i,
	const struct wherry_bitmap *pages);
void mig_sender_get_sent(const struct mig_sender *s, struct mig_sent *ret_sent);
/* Bytes handed to the network by all lanes. */
uint64_t mig_sender_bytes(const struct mig_sender *s);
/* Of all pages of all regions, as the destination has them; between rounds. */
void mig_sender_placed(const struct mig_sender *s, struct mig_digest *ret_digest);
/* Of all pages sent; between rounds. */
void mig_sender_digest(const struct mig_sender *s, struct mig_digest *ret_digest);
/* A lane has failed: its error, and why; 0: none has. */
int mig_sender_failed(struct mig_sender *s, struct mig_reason *ret_reason);

#endif /* SENDER_PRIV_H */
