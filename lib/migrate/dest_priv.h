/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DEST_PRIV_H
#define DEST_PRIV_H

/* A migration as its destination sees it; dest_restore.c reads a snapshot instead. */

#include "agent_priv.h"
#include "channel_priv.h"
#include "dest_lanes_priv.h"
#include "hello_priv.h"

struct mig_dest {
	struct wherry_agent *agent;
	struct mig_channel *ch;
	struct mig_regions regions;
	const struct mig_region **map; /* ours by the source's number, n_map of them */
	struct wherry_bitmap **skip;   /* likewise: worthless, not verified; NULL: none */
	uint32_t n_map;
	struct mig_hello self, peer;
	struct mig_stop stop;         /* ends all connections */
	struct mig_placer placer;     /* of this connection */
	struct mig_dest_lanes *lanes; /* the others */
	uint8_t id[MIG_SESSION_LEN];  /* of the migration: the session of its hello */
	struct mig_identity source;   /* who sent that, and has to come back with the same key */
	bool final_seen;              /* the source's application was stopped: no pause any more */
	uint32_t sections_seen;       /* one bit each */
	uint64_t bytes;               /* received here until the last round ended */
	uint64_t bytes_before;        /* received over connections that are no more */
	uint64_t bytes_now;           /* over the present one */
	struct mig_digest memory;     /* of all memory, when verified */
	bool verified;
	bool committed; /* COMMIT was received */
	uint64_t verify_ns;
	uint64_t last_burst; /* of the source, its clock */
	uint64_t blackout;   /* ns; 0: not known here */
	bool clock_shared;
	uint8_t running[WHERRY_STREAM_HEADER + 64]; /* what the source is told, running_len of it */
	size_t running_len;
	struct mig_reason reason;
};

/* Everything up to the digest, which is right. */
int mig_dest_receive(struct mig_dest *d);
/* What both kinds begin with: memory for all of it. */
int mig_dest_prepare(struct mig_dest *d);
/* All is there and proved: look whether it can be taken over. Too late to cancel then. */
int mig_dest_get_ready(struct mig_dest *d);
/* This process owns: run. What the source is to be told is in d then. */
int mig_dest_take_over(struct mig_dest *d);
/* Move on to a state. -ECANCELED. */
int mig_dest_move(struct mig_dest *d, enum wherry_state to);
/* A restore, from its first state to its last. */
int mig_dest_restore(struct mig_dest *d, const char *path);
/* The next rounds come over this connection, and further ones: accept those. */
int mig_dest_open_lanes(struct mig_dest *d);
/* mig_dest_receive has failed with rc: may the connection be recovered? */
bool mig_dest_can_pause(const struct mig_dest *d, int rc);
/*
 * Keep what came, listen, and wait for the source of this migration, until its limit
 * passes. 0: it is connected again.
 */
int mig_dest_pause(struct mig_dest *d);
/* Say what memory holds of the pages that are wanted. */
int mig_dest_have(struct mig_dest *d, const struct wherry_record *want);
/* The channel failed: its reason is ours. */
int mig_dest_channel_failed(struct mig_dest *d, int rc);

#endif /* DEST_PRIV_H */
