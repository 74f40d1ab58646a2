/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CHURN_H
#define CHURN_H

/*
 * State that changes all the time and can be proved right afterwards: a table of
 * entries rewritten in turn. An entry is valid if it holds its index, the version
 * that a second array, elsewhere, says it has, the pattern that follows from both,
 * and a checksum of it all. Entries lie across page boundaries. So a page that was
 * left behind shows: as a version too old, or as a torn entry.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state;
struct churn_entry;

/* In the arena. len 0: there is no table. */
struct churn {
	void *block;               /* what the arena gave */
	struct churn_entry *table; /* in block, half a page off a page boundary */
	uint64_t *versions;        /* of each entry */
	size_t n;                  /* entries */
	size_t next;               /* to be rewritten */
	uint64_t rewrites;
	uint64_t rate;  /* bytes per second */
	uint64_t at_ns; /* CLOCK_MONOTONIC up to which rewriting is done; 0: not begun here */
};

/* A verification under way, and its result. */
struct churn_run {
	size_t next;
	uint64_t mismatches;
};

/* Make a table of about @p len bytes; -ENOMEM: the arena is full. */
int churn_create(struct state *state, size_t len, uint64_t rate);
/* Rewrite what is due at @p now_ns. When more is due: the time, or UINT64_MAX. */
uint64_t churn_step(struct churn *churn, uint64_t now_ns);
/* Verify some entries more; true when all are. */
bool churn_check(const struct churn *churn, struct churn_run *run);

#endif /* CHURN_H */
