/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CELL_H
#define CELL_H

/*
 * One failure at one record of one migration between two forked processes, and the
 * property that must hold when both have come to rest:
 *
 * - never both run; with an arbiter exactly one owns, and runs if it lives: the source if
 *   it survives, or the destination if it got as far as READY; without one, nobody may run
 *   if what was lost is COMMIT, and then the source says so;
 * - whoever runs has every byte, and a source that died as owner can be started again,
 *   one that died as another's predecessor cannot;
 * - who survives holds no more descriptors and threads than before, and leaves no file.
 */

#include <stdbool.h>

#include "pair.h"

enum cell_victim { CELL_NOBODY, CELL_SOURCE, CELL_DEST };

struct cell {
	enum cell_victim victim;
	int signal;           /* for it: SIGKILL, or SIGSTOP and SIGCONT after stop_ms */
	enum proxy_kind kind; /* of nobody's: what happens to the connection, on TCP */
	const char *arbiter;  /* "lock", or "none" */
	bool back;            /* the record goes from destination to source */
	unsigned int type;    /* enum wherry_record_type */
	unsigned int timeout_ms, stop_ms;
	bool still;  /* nobody writes */
	bool untold; /* READY is sent when both connections are closed, and not before */
};

/* Migrate, let it happen, and check; what the source says in the end, unless it was killed. */
void cell_run(const struct cell *cell, struct wherry_status *ret_status);

/* A record, and whether it is one of few that stand for all where time is short. */
struct cell_record {
	bool back;
	unsigned int type;
	bool sample;
};

/* Each record of a migration with that arbiter, in order; ends with type 0. */
const struct cell_record *cell_records(const char *arbiter);
/* WHERRY_RUNS: how often a night runs each cell; 0: it is day, run a sample once. */
unsigned int cell_runs(void);

#endif /* CELL_H */
