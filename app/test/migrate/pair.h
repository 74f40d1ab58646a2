/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PAIR_H
#define PAIR_H

/*
 * Two processes and a migration between them: the test is the source, a forked child the
 * destination, with its own copy of the same memory at the same address. What the child
 * comes to know stands in shared memory; it never uses CHECK.
 *
 *	struct pair *pair = pair_create(&opts);
 *	... pair_migrate(pair, &params, &status) ...
 *	pair_destroy(pair);
 */

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

#include "proxy.h"
#include "vitals.h"
#include "wherry_migrate.h"

#define PAIR_REGIONS 2
#define PAIR_PAGE 4096u

/* How the pair is unlike the ordinary. Zeroes are ordinary. */
struct pair_opts {
	bool tcp;                   /* tcp:127.0.0.1:PORT, not unix: */
	const char *dest_address;   /* of tcp; NULL: that one */
	int dest_netns;             /* namespace of the network that it is in; 0: ours */
	size_t len;                 /* of the first region; 0: 4 MiB */
	bool writer;                /* a thread writes all the time until quiesced */
	unsigned int writer_us;     /* pause between its writes */
	unsigned int writer_burst;  /* writes between its pauses; 0: one */
	enum wherry_cpu_source cpu; /* source of the CPU writes */
	bool filter;                /* pages from 8 to 15 of the first region are worthless */
	bool owned_at_last;     /* until everything stands still: then they are in use, unwritten */
	struct proxy_plan plan; /* the proxy stands in between if its kind is not none */
	unsigned int dest_fault; /* the child's nth fault point fails */
	/* what the destination is given differently */
	const char *dest_region_name;
	size_t dest_less; /* its first region is so much shorter */
	unsigned int dest_section_version;
	const char *dest_why; /* what its section says when it is checked; NULL: nothing */
	int dest_check_rc, dest_load_rc, dest_verify_rc, dest_takeover_rc;
	unsigned int dest_takeover_ms;
	bool dest_verify_waits; /* until pair_shared.verify_go: what it says then is READY */
	enum wherry_mappings dest_mappings; /* that it says it has */
	int quiesce_rc;
	bool leak; /* something writes after the last harvest */
	unsigned int quiesce_ms;
	bool rehearses;               /* both say for the forecast what quiesce and takeover take */
	unsigned int busy_rehearsals; /* so many times first it says a minute */
	unsigned int late;            /* frames that come at the source after quiesce */
	bool no_dest;                 /* nobody listens */
	struct wherry_tls tls, dest_tls; /* keys of each */
	bool insecure;                   /* both */
	bool lend;                       /* memory is handed over as files */
	bool lend_less;                  /* but for the second region */
	bool stranger;                   /* one connects before it is */
	bool apart;                      /* the source is a process of its own, too: cell.h */
	const char *arbiter; /* spec of the arbiter of both, "lock": one is made; NULL: none */
};

/* What the child has come to know; the parent reads it when the child is gone. */
struct pair_shared {
	int listening;
	int wait_rc;
	struct wherry_status status;
	uint64_t hash; /* of its memory at the end */
	unsigned int verifies, takeovers, discards, loads;
	unsigned int injected, injected_wrong;
	unsigned int borrowed;
	unsigned int verify_go; /* atomic */
	struct vitals before, after;
	char section[32]; /* as loaded */
	char untold[16];  /* the state it was in when it could not say that it runs; "": it could */
	bool let_go;      /* whoever waits for it had been told by then */
	char log[4096];   /* its warnings and errors */
	char trouble[256];
};

/* Of a source that is a process of its own: what it is told, and what it has come to know. */
struct pair_apart {
	struct wherry_migrate_params params;
	unsigned int serves, go, rests, end; /* atomic: it does; it is to; it does; it is to */
	int rc;
	struct wherry_status status;
	unsigned int quiesces, resumes, releases;
	struct vitals before, after;
};

struct pair {
	struct pair_opts opts;
	uint8_t *mem[PAIR_REGIONS];
	size_t len[PAIR_REGIONS];
	int fd[PAIR_REGIONS]; /* of lend */
	unsigned int lends;   /* how often lend was asked from the beginning */
	int stranger;         /* its connection; 0: none yet; -1: it came to nothing */
	struct pair_shared *shared;
	char dest_uri[128], uri[128], control[128], arbiter[160];
	pid_t child;
	int status;   /* of the child; -1: it has not been waited for */
	pid_t source; /* of opts.apart */
	struct pair_apart *apart;
	struct proxy *proxy;
	struct wherry_tracker *tracker;
	struct wherry_watch *watches[PAIR_REGIONS];
	struct wherry_agent *agent;
	/* the writer */
	pthread_t writer;
	bool writing;       /* the thread exists */
	unsigned int stop;  /* atomic: the thread is to end */
	unsigned int pause; /* atomic: 1: stand still; 2: it does */
	uint64_t writes;    /* atomic */
	/* what the source's ops were asked */
	unsigned int quiesces, resumes, releases;
	unsigned int late_asked, silences;
	unsigned int throttle; /* atomic: percent of the writes left out */
	unsigned int rehearsals;
	unsigned int throttles, throttle_most;
	uint64_t resumed_hash; /* of the memory when the application was resumed last */
};

struct pair *pair_create(const struct pair_opts *opts);
/* wherry_agent_migrate, over one channel and without pauses unless params say otherwise. */
int pair_begin(struct pair *pair, const struct wherry_migrate_params *params);
/* The same, and wait until the source's side is at rest. */
void pair_migrate(struct pair *pair, const struct wherry_migrate_params *params,
	struct wherry_status *ret_status);
/* Until the agent's state is at rest, or state; fails the test after 20 seconds. */
void pair_wait(struct pair *pair, enum wherry_state state, struct wherry_status *ret_status);
/* Fork a destination, another one if there was one: pair_opts.no_dest leaves it to the test. */
void pair_start_dest(struct pair *pair);
/* The spec of the arbiter, or NULL. */
const char *pair_arbiter(const struct pair *pair);
/* An op that nobody should call: -EPERM. */
int pair_refuse(void *ctx, uint64_t *ret_ns);
/* Until the child is gone; it must have done what it was told. */
void pair_reap(struct pair *pair);
/* Of our memory, as pair_shared.hash. */
uint64_t pair_hash(const struct pair *pair);
/* The migration has come through: content equal, one owner. */
void pair_check_moved(struct pair *pair, const struct wherry_status *status);
/* It has come to nothing: the source serves, the destination has said why. */
void pair_check_stayed(struct pair *pair, const struct wherry_status *status);
/* At rest without an arbiter: at most one runs, and exactly one unless what was lost is COMMIT. */
void pair_check_one_owner(struct pair *pair, const struct wherry_status *status);
/* Does the arbiter's record name the source? And in which epoch. */
bool pair_source_owns(const struct pair *pair, uint64_t *ret_epoch);
/* One more agent that begins to serve, known by that control socket; what starting it returned. */
int pair_serve_as(const struct pair *pair, const char *control, struct wherry_agent **ret_agent);
void pair_destroy(struct pair *pair);

#endif /* PAIR_H */
