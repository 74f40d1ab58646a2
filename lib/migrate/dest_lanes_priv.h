/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DEST_LANES_PRIV_H
#define DEST_LANES_PRIV_H

/*
 * The destination's connections but the first, each with a thread that places what
 * comes. The first one's thread waits for them where the source says that a round is
 * sent. One that fails raises the stop; its reason is the migration's, unless the
 * source says on the first connection why.
 */

#include "place_priv.h"
#include "porter_priv.h"
#include "stop_priv.h"

struct mig_dest_lanes;

struct mig_dest_lanes_opts {
	const struct mig_region *const *map; /* outlives the lanes */
	uint32_t n_map;
	const struct mig_hello *peer;      /* its key, session, channels, timeout */
	const struct mig_stop *stop;       /* outlives the lanes */
	const struct mig_identity *source; /* of the first connection, and of all; likewise */
};

/* Without a lane. -ENOMEM. */
int mig_dest_lanes_create(
	const struct mig_dest_lanes_opts *opts, struct mig_dest_lanes **ret_lanes);
/* End the threads, close. NULL is fine. */
void mig_dest_lanes_destroy(struct mig_dest_lanes *lanes);
/* Where further connections come in, and who has to be listened to meanwhile. */
struct mig_dest_door {
	struct mig_porter *porter;
	struct mig_channel *first; /* the first connection */
};
/*
 * Accept the rest of the connections that the source's hello has announced, each with
 * the right word and, if there are keys, proved by the same key as the first; strangers are
 * sent away. -ETIMEDOUT, -ECANCELED, what the source gave up for, ..., with the reason.
 */
int mig_dest_lanes_accept(
	struct mig_dest_lanes *lanes, const struct mig_dest_door *door, struct mig_reason *reason);
/*
 * Wait until the first used connections, the very first included, have placed all of
 * round n, and freeze them. The errors of the lane that failed, with its reason; -ETIMEDOUT:
 * none moves. While they do, the source is told so over ch.
 */
int mig_dest_lanes_await(struct mig_dest_lanes *lanes, uint64_t n, uint64_t used,
	struct mig_channel *ch, struct mig_reason *reason);
/*
 * From here on none places anything: a page that comes is refused, until they are thawed. Before
 * that, what they have placed is not to be asked for. -EPROTO: one is at it, with the reason.
 */
int mig_dest_lanes_freeze(struct mig_dest_lanes *lanes, struct mig_reason *reason);
/* The next round may come. */
void mig_dest_lanes_thaw(struct mig_dest_lanes *lanes);
/* Has one failed? Its error and reason, else 0. */
int mig_dest_lanes_failed(struct mig_dest_lanes *lanes, struct mig_reason *reason);
/* Pages they have placed. From any thread. */
uint64_t mig_dest_lanes_pages(const struct mig_dest_lanes *lanes);
/* Count in what they have placed; frozen. */
void mig_dest_lanes_digest(const struct mig_dest_lanes *lanes, struct mig_digest *d);

/* The next of the lanes that has torn pages, frozen; NULL: none has. */
struct mig_torn *mig_dest_lanes_torn(struct mig_dest_lanes *lanes);

#endif /* DEST_LANES_PRIV_H */
