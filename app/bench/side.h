/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIDE_H
#define SIDE_H

/*
 * Two processes with the same memory at the same address, and bytes between them over
 * TCP on the loopback device: the parent sends, a forked child receives.
 */

#include <sys/types.h>

#include <wherry_migrate.h>

#include "bench.h"

/* One side of a migration: what it takes to be an agent. */
struct side {
	struct wherry_tracker *tracker;
	struct wherry_watch *watch;
	struct wherry_agent *agent;
	char name[64];
	char control[96];
};

/* What the sides of the next migrations prove themselves with; "": nothing, plain TCP. */
extern char side_psk[96];
/* A pre-shared key of this run in a file, whose name is in side_psk; and away again. */
int side_make_psk(void);
void side_drop_psk(void);

struct side_opts {
	const struct wherry_agent_ops *ops;
	const char *incoming; /* NULL: the source */
	const char *arbiter;  /* NULL: none */
};
/* Watch the memory and start an agent. side_fini after a failure, too. */
int side_init(struct side *side, char *memory, const struct side_opts *how);
void side_fini(struct side *side);

/* The child: gets its memory, then calls main, and tells what main used of the CPU. */
struct receiver {
	pid_t pid;
	int told;               /* a pipe */
	bool cold;              /* set before start: memory is not populated */
	void (*end)(void *ctx); /* set before start, may be NULL: after main, in no account */
};
/*
 * memory, if there is any, is made anew in the child and populated. ready, in the child,
 * before start returns; 0, or what ready returned.
 */
int receiver_start(struct receiver *r, char *memory, int (*ready)(void *ctx),
	int (*main)(void *ctx), void *ctx);
/* Wait for it; *ret_cpu: seconds of main. 0, or what main returned. end_it: first. */
int receiver_end(struct receiver *r, bool end_it, double *ret_cpu);

/* Seconds of CPU this process has used, all threads. */
double bench_cpu(void);
/* A port that was free a moment ago. */
int bench_free_port(void);

struct raw_opts {
	bool cold; /* what receives has not been populated */
	bool near; /* with the sockets of a migration on the loopback device, not the kernel's defaults */
};

/* Send bench_size bytes at memory to a child over bench_channels connections; no format. */
int raw_transfer(char *memory, const struct raw_opts *opts, double *ret_seconds, double *ret_cpu);

#endif /* SIDE_H */
