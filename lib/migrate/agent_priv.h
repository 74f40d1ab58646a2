/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef AGENT_PRIV_H
#define AGENT_PRIV_H

/*
 * The agent and its two threads. The worker runs what blocks: one migration as source
 * or destination at a time, and calls the ops. The control thread answers the socket.
 * They share what stands under the lock, and two eventfds: cancel_fd ends whatever the
 * worker waits for, notify_fd tells the control thread that there is news.
 *
 * Lock order: agent.tracker_lock, then the tracker's own; agent.lock is a leaf, never
 * held while an op, the tracker or the network is waited for.
 */

#include <pthread.h>

#include "base_priv.h"
#include "porter_priv.h"
#include "reason_priv.h"
#include "states_priv.h"
#include "uri_priv.h"
#include "wherry_arbiter.h"
#include "wherry_migrate.h"

#define MIG_ROUNDS_MAX 1000u
#define MIG_SECTIONS_MAX 32u
#define MIG_SECTION_BYTES ((size_t)64 * 1024) /* the most a section may be */

enum mig_job { MIG_JOB_NONE, MIG_JOB_SOURCE, MIG_JOB_DEST, MIG_JOB_RESOLVE, MIG_JOB_REHEARSE };

struct mig_control;

struct wherry_agent {
	/* set by create and add_section, constant once started */
	char *name;
	char *control_path;
	char *incoming; /* NULL: serving */
	struct wherry_tracker *tracker;
	struct wherry_agent_ops ops;
	struct wherry_arbiter *arbiter; /* NULL: none; used by the worker */
	char id[WHERRY_OWNER_MAX];      /* of this process at the arbiter */
	struct wherry_section sections[MIG_SECTIONS_MAX];
	unsigned int n_sections;
	struct mig_library *libraries; /* some of the sections are theirs */
	struct mig_tls *tls;           /* keys; NULL: none; used by the worker once started */
	bool insecure;                 /* TCP needs none */
	int listen_fd;                 /* of incoming; -1: none, or its peer has come */
	struct mig_porter *porter;     /* at it; NULL: likewise */
	uint64_t strangers;            /* that it sent away; atomic */
	uint64_t refused_clients;      /* of the control socket; atomic */
	bool reload; /* keys are to be read again, by the control thread; atomic */
	int cancel_fd, notify_fd;
	int recover_fd; /* an eventfd: somebody wants the paused migration to go on */
	struct mig_control *control;
	pthread_t worker;
	bool started;

	struct wherry_mutex lock;
	pthread_cond_t changed; /* job, quit or status */
	/* all under lock */
	enum mig_job job;
	bool quit;
	bool rehearse;       /* somebody wants quiesce tried; done when there is no job */
	uint64_t quiesce_ns; /* of the latest; 0: not known */
	uint64_t harvest_ns; /* of the latest that a client watched; likewise */
	bool cancelled;      /* somebody wants it to end; cancel_fd is readable */
	bool recovering;     /* paused, and an attempt to recover is under way */
	bool gate;           /* closed: COMMIT or READY is about to be sent, too late to cancel */
	bool owner;          /* the last migration, if any, left the state here */
	enum mig_when knows; /* of ownership: what moves of the table ask for */
	bool dest_over;      /* incoming: it owns the state and has said so, or gave up */
	int result;          /* of the destination, for wait */
	struct mig_uri uri;
	struct wherry_migrate_params params; /* without its keys */
	struct mig_tls *migration_tls;       /* of the latest migration only; NULL: the agent's */
	struct wherry_status status;
	uint64_t begun;       /* when migrate was called, ns */
	uint64_t round_total; /* pages the round under way has to handle */
	uint64_t round_done;  /* of which handled */
	uint64_t migrations;  /* begun so far: tells clients an old end from a new one */
	bool ended;           /* the latest is over, its end can be told */
	bool clock_shared;    /* blackout was read off one clock */
	struct wherry_round rounds[MIG_ROUNDS_MAX + 1]; /* status.rounds of them */
	struct mig_heat *heat[MIG_ROUNDS_MAX + 1];      /* likewise; NULL: not known */

	struct wherry_mutex tracker_lock;
	/* all under tracker_lock */
	unsigned int tracker_users;
	bool tracker_ours; /* we started it, so we stop it */
};

/* Move on to a state. -ECANCELED: somebody wants it to end; nothing has changed. */
int mig_agent_move(struct wherry_agent *agent, enum wherry_state to);
/*
 * Connection lost: source or destination stands still in to, and says why; again for an
 * attempt to recover that failed, with to the state it is in. -ECANCELED.
 */
int mig_agent_pause(struct wherry_agent *agent, enum wherry_state to, const char *why);
/* Source, paused: wait for wherry_agent_recover. -ECANCELED; -ETIMEDOUT: nobody did. */
int mig_agent_await_recover(
	struct wherry_agent *agent, unsigned int timeout_ms, struct mig_uri *ret_uri);
/* Going on, to this state: the pause is forgotten. -ECANCELED. */
int mig_agent_unpause(struct wherry_agent *agent, enum wherry_state to);
/* Nobody can cancel any more. -ECANCELED: somebody was faster. */
int mig_agent_close_gate(struct wherry_agent *agent);
/* What this process knows of ownership from here on: the condition of some moves. */
void mig_agent_know(struct wherry_agent *agent, enum mig_when knows);
/* Where a failure leads from here. */
enum wherry_state mig_agent_on_failure(struct wherry_agent *agent);

/* How a migration ended. */
struct mig_outcome {
	int rc;                 /* 0, or why not */
	enum wherry_state done; /* where success leads */
	const char *reason;     /* for people; of a failure */
	uint64_t blackout_ns;   /* 0: there was none, or it is not known here */
	bool clock_shared;
};
/* It is over: state, reason and all change at once, and clients are told. */
void mig_agent_end(struct wherry_agent *agent, const struct mig_outcome *outcome);
/* Incoming: its source knows by now, so that whoever waits may end the process. */
void mig_agent_let_go(struct wherry_agent *agent, int rc);
/* A round is done, or has a forecast now: the last entry of rounds, or a new one. */
void mig_agent_set_round(struct wherry_agent *agent, const struct wherry_round *round);
/* Where the pages lie of the round that will be set next; taken over, NULL: not known. */
void mig_agent_set_heat(struct wherry_agent *agent, struct mig_heat *heat);
/* Of an earlier migration. Under lock, or when nobody else is there. */
void mig_agent_forget_heat(struct wherry_agent *agent);
/* So many pages were never sent because they are worthless. */
void mig_agent_set_filtered(struct wherry_agent *agent, uint64_t pages);
/* How far the round under way is. */
void mig_agent_set_progress(
	struct wherry_agent *agent, uint64_t done_pages, uint64_t total_pages, uint64_t bytes_sent);
/* One more late frame. */
void mig_agent_count_late(struct wherry_agent *agent);
/* Has somebody cancelled the migration? */
bool mig_agent_is_cancelled(struct wherry_agent *agent);
/* Is there anything else to do: another job, or the end? */
bool mig_agent_is_wanted(struct wherry_agent *agent);
/* So long the arbiter took to move ownership, or to tell who has it. */
void mig_agent_set_arbiter_ns(struct wherry_agent *agent, uint64_t ns);
/* As a peer says it, too: what is no such value is none. */
void mig_agent_set_mappings(struct wherry_agent *agent, uint64_t mappings);
/* So much of the intake is not taken in. */
void mig_agent_set_throttle(struct wherry_agent *agent, unsigned int percent);
/* Have quiesce tried if this process serves: the result comes to measured in a while. */
void mig_agent_rehearse(struct wherry_agent *agent);
/* A harvest took so long. */
void mig_agent_set_harvest(struct wherry_agent *agent, uint64_t ns);
/* What was measured last; 0: not known. */
void mig_agent_measured(
	struct wherry_agent *agent, uint64_t *ret_quiesce_ns, uint64_t *ret_harvest_ns);
/* So much memory is under watch. */
void mig_agent_set_state_bytes(struct wherry_agent *agent, uint64_t bytes);
/* Listen where the destination was told to. Errors as mig_listen(). */
int mig_agent_open_listener(struct wherry_agent *agent, struct mig_reason *reason);
/* A peer has come, no other is wanted. */
void mig_agent_close_listener(struct wherry_agent *agent);
/* Wake the control thread. */
void mig_agent_notify(struct wherry_agent *agent);

/*
 * Tracking goes on while somebody wants it. *ret_fresh: it went on just now, so that
 * all pages are pending. Put switches off what get switched on.
 */
int mig_agent_tracker_get(struct wherry_agent *agent, bool *ret_fresh);
void mig_agent_tracker_put(struct wherry_agent *agent);

/* The worker's two jobs, from their first state to their last. */
void mig_source_run(struct wherry_agent *agent);
void mig_dest_run(struct wherry_agent *agent);
/* An operator has said who owns: knows is set, the state follows. */
void mig_resolve_run(struct wherry_agent *agent);
/* Try quiesce for a forecast. */
void mig_rehearse_run(struct wherry_agent *agent);

/* control.c */
int mig_control_create(
	struct wherry_agent *agent, const char *path, struct mig_control **ret_control);
int mig_control_start(struct mig_control *control);
int mig_control_move(struct mig_control *control, const char *path);
void mig_control_stop(struct mig_control *control);    /* undoes start */
void mig_control_destroy(struct mig_control *control); /* tells clients what they wait for */

#endif /* AGENT_PRIV_H */
