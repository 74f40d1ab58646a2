/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef APP_PRIV_H
#define APP_PRIV_H

/*
 * A migratable application: a domain, a tracker, an agent, memory that moves, ports,
 * and a park for the cores, tied together.
 *
 * Threads: the agent's thread calls the ops of app_migrate.c, one at a time, and only
 * between start and destroy; lists do not change then. What an op writes (an arena
 * that has come) is published to the cores and to start by the word of the park.
 */

#include <sys/queue.h>

#include "adopt_priv.h"
#include "cpus_priv.h"
#include "late_frames_priv.h"
#include "park_priv.h"
#include "ports_priv.h"
#include "secondaries_priv.h"
#include "throttle_priv.h"
#include "wherry_dpdk.h"

/* A region that moves, mapped for devices at its virtual address and watched. */
struct app_memory {
	STAILQ_ENTRY(app_memory) next;
	struct wherry_region *region; /* NULL: EAL's memory */
	bool is_eal;                  /* mapped by eal_mem.c, watched here */
	bool made_here;               /* by add_arena: region and arena are ours */
	bool borrowed;                /* another process's memory, not owned yet */
	bool renew;                   /* owned just now: the tracker has to be told */
	int unreachable;              /* borrowed: why devices do not reach it; 0: they do */
	struct wherry_arena *arena;   /* NULL: no arena, or not here yet */
	struct wherry_watch *watch;
	struct wherry_span span; /* in the domain */
	const char *name;        /* the region's, or eal_name */
	char eal_name[16];
};

struct wherry_app {
	LIST_ENTRY(wherry_app) next; /* under the lock of telemetry.c */
	char *name;
	const struct wherry_app_opts *opts; /* the caller's, until create returns */
	bool incoming;                      /* it starts as a destination */
	unsigned int harvest_ms;
	struct late *late; /* NULL: ports stop when the application does */
	struct throttle *throttle;
	struct wherry_app_ops ops;
	struct wherry_domain *dom;
	struct wherry_tracker *tracker;
	struct wherry_agent *agent;
	STAILQ_HEAD(, app_memory) memory;
	struct ports ports;
	struct park park;
	struct cpus cpus; /* the agent's thread uses it */
	struct adopt adopt;
	struct secondaries secondaries;
	enum wherry_mappings mappings; /* of memory handed over */
};

/* What the agent calls; ctx is the app. */
extern const struct wherry_agent_ops app_agent_ops;

/* Call fn off the polling cores, for what makes threads; -ENOMEM: no thread to call it on. */
int app_as_control(struct wherry_app *app, int (*fn)(struct wherry_app *app));
/* Watch m->span for devices' and CPU's writes and put it into the list. */
int app_memory_watch(struct wherry_app *app, struct app_memory *m, uint64_t page);
/*
 * -EBUSY: another process can write memory that moves (logged, with its process id). Before a
 * migration begins: during a handover the destination can.
 */
int app_memory_alone(struct wherry_app *app);
/* Forget the memory of wherry_app_add_eal(). */
void app_memory_drop_eal(struct wherry_app *app);
/* Forget all memory; devices that reach it have been stopped, the agent is gone. */
void app_memory_drop_all(struct wherry_app *app);

/* Handover within a machine: the agent's ops. -EOPNOTSUPP: EAL's memory is among it. */
int app_lend(void *ctx, unsigned int i, struct wherry_lent *ret_lent);
int app_borrow(void *ctx, const struct wherry_lent *lent);
/* Before READY: nothing that was borrowed is out of devices' reach. */
int app_check_borrowed(struct wherry_app *app);
/* At takeover: it may be written. */
int app_own_borrowed(struct wherry_app *app);
/* When cores run: the tracker learns of it. */
void app_track_owned(struct wherry_app *app);
/* What became of DMA mappings of what was borrowed, when it is owned. */
enum wherry_mappings app_mappings(void *ctx);
/* It came to nothing. Harmless when nothing was borrowed. */
void app_give_back_borrowed(struct wherry_app *app);
/* Source, another runs: what this process still does to the memory stays its own affair. */
void app_let_go(struct wherry_app *app);

/* Primary: let secondary processes attach to the applications there are, from now on. */
void app_serve_secondaries(void);

/* Call fn with the application of that name, which does not go away meanwhile. -ENOENT: none. */
int app_with(const char *name, int (*fn)(struct wherry_app *app, void *ctx), void *ctx);
/* Show it under /wherry/ of DPDK's telemetry, until removed. */
void app_telemetry_add(struct wherry_app *app);
void app_telemetry_remove(struct wherry_app *app);

#endif /* APP_PRIV_H */
