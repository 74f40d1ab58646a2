/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SOURCE_PRIV_H
#define SOURCE_PRIV_H

/*
 * A migration as its source sees it: source.c has the phases and what a failure in each
 * undoes, source_connect.c the connections, source_rounds.c the rounds of pre-copy and the
 * final one, source_recover.c what happens when a connection is lost in pre-copy;
 * source_snapshot.c has the phases of a snapshot into a file instead.
 */

#include "agent_priv.h"
#include "channel_priv.h"
#include "hello_priv.h"
#include "sender_priv.h"

struct mig_source {
	struct wherry_agent *agent;
	struct wherry_migrate_params params;
	struct mig_tls *tls;    /* its keys, the agent's; NULL: none */
	struct mig_stop stop;   /* ends all connections */
	struct mig_channel *ch; /* the first of them */
	struct mig_sender *sender;
	struct mig_known *known; /* what the destination has, over all connections */
	struct mig_regions regions;
	struct wherry_bitmap **taken; /* one for each region: pages of the round, or left of one */
	struct wherry_bitmap **worthless;  /* likewise, NULL without verify */
	const struct mig_region **numbers; /* regions by their number: the list's order */
	struct mig_hello self, peer;
	uint8_t id[MIG_SESSION_LEN]; /* of the migration: the session of its hello */
	bool met;                    /* the destination has proved who it is */
	struct mig_identity dest;    /* then: who has to be at the end of every connection */
	bool held;                   /* what it has is kept there until it hears more */
	bool lost;                   /* the last failure was a lost connection */
	uint64_t bytes_before;       /* sent over connections that are no more */
	struct mig_digest memory;    /* of all of it, if verified */
	bool tracking, quiesced;
	bool stays;          /* a snapshot was made, and the application goes on here */
	bool committed;      /* COMMIT was handed over, or may have been */
	uint64_t last_burst; /* ns */
	uint64_t blackout;   /* ns */
	uint64_t verify_ns;  /* spent hashing while stopped, does not count as blackout */
	/* measured on the way, for the forecast */
	double bandwidth;
	uint64_t busy_ns;  /* of the round, spent sending */
	double same_share; /* of dirty pages, those that the destination had already */
	double same_ns;    /* what one of them costs; 0: not known */
	uint64_t harvest_ns, rtt_ns;
	uint64_t quiesce_ns, arbiter_ns; /* 0: not known; there is none */
	unsigned int rehearsals;         /* that it was measured by */
	uint64_t iommu_seen, cpu_seen;   /* the tracker's counts at the last harvest */
	uint64_t round_begun;            /* ns */
	struct wherry_round round;       /* under way */
	uint64_t round_pages;            /* it has to handle */
	unsigned int throttle;           /* percent of the intake that is not taken in */
	double forecast_ms;              /* after the last round; 0: there was none */
	uint64_t begun;                  /* ns */
	struct mig_reason reason;
};

/* Connect: the first channel, and a sender with nothing but that. */
int mig_source_connect(struct mig_source *s, const struct mig_uri *uri);
/* The further channels. */
int mig_source_open_lanes(struct mig_source *s, const struct mig_uri *uri);
/* Before the first page: does all fit together? */
int mig_source_compare(struct mig_source *s);
/* Another word for the further channels to begin with. */
int mig_source_new_session(struct mig_source *s);
/* Close all of it; mig_source_connect may follow. */
void mig_source_disconnect(struct mig_source *s);
/* Bytes sent over all connections so far. */
uint64_t mig_source_bytes(const struct mig_source *s);
/*
 * The connection is lost: wait until somebody wants to recover it, and do. 0: in precopy
 * again, over new connections, and what has not arrived is pending.
 */
int mig_source_pause(struct mig_source *s);
/* It has come to nothing while paused: tell the destination, if it can be told in a second. */
void mig_source_tell_held(struct mig_source *s);
/* What ends all connections: somebody cancels, one of them fails, time is up. -ENOMEM. */
int mig_source_open_stop(struct mig_source *s);
/* Take in so many percent less; 0: all again. */
void mig_source_throttle(struct mig_source *s, unsigned int percent);
/* When the whole migration has to be over, ns. */
uint64_t mig_source_deadline(const struct mig_source *s);
/* Rounds until the forecast meets the limit. -ETIMEDOUT: it never does. */
int mig_source_precopy(struct mig_source *s);
/* Application stopped: what is left. */
int mig_source_final_round(struct mig_source *s);
/* What both kinds begin with: memory for all of it, and the arbiter's word that we own. */
int mig_source_prepare(struct mig_source *s);
/* Dirty tracking goes on; all pages are pending. */
int mig_source_start_tracking(struct mig_source *s);
/* The application stops. */
int mig_source_quiesce(struct mig_source *s);
/* Move on to a state. -ECANCELED. */
int mig_source_move(struct mig_source *s, enum wherry_state to);
/* For the sender: how far it is. ctx: the source. */
void mig_source_on_progress(void *ctx);
/* May memory be handed over to who listens at uri? */
bool mig_source_can_lend(const struct mig_source *s, const struct mig_uri *uri);
/* Compared: hand it over, stop, and send what is no memory. */
int mig_source_handover(struct mig_source *s, const struct mig_uri *uri);
/* A round in which nothing is sent. */
int mig_source_empty_round(struct mig_source *s, bool final);
/* A snapshot, from its first state to its last. */
int mig_source_snapshot(struct mig_source *s, const char *path);
/* The channel failed: its reason is ours. */
int mig_source_channel_failed(struct mig_source *s, int rc);

#endif /* SOURCE_PRIV_H */
