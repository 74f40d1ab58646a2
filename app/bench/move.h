/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MOVE_H
#define MOVE_H

/*
 * One migration of bench_size bytes from this process to a child of it, over TCP on the
 * loopback device unless said otherwise, and what the migrate bench makes of them.
 */

#include "side.h"

/* How; zero is the default of each field. */
struct move_opts {
	struct wherry_migrate_params params;
	const struct wherry_agent_ops *ops; /* the source's; NULL: it only says when it stopped */
	const char *arbiter;                /* of both sides */
	wherry_filter_fn filter;            /* the source's */
	bool cold;                          /* the child's memory has not been populated */
};

/* What came of it. */
struct moved {
	struct wherry_status status;
	double cpu; /* seconds of both sides */
};

/* memory: at an address that parent and child agree on because fork keeps it. */
int move_to_child(char *memory, const struct move_opts *opts, struct moved *ret_moved);
/* The same from a source that is there to wherever uri is, until it has ended. */
int move_once(struct side *side, const char *uri, const struct wherry_migrate_params *params,
	struct wherry_status *ret_status);
/* An op that says that it is now. */
int move_stamp(void *ctx, uint64_t *ret_burst_ns);

/*
 * What a blackout is made of (blackout.c): with a thread that writes 100 MB/s and the
 * arbiter "lock:"; a handover within the machine; and how long an arbiter takes.
 */
int measure_busy(char *memory, struct bench_result *result);
int measure_handover(struct bench_result *result);
int measure_arbiter(const char *spec, struct bench_result *result);

#endif /* MOVE_H */
