/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef STATES_PRIV_H
#define STATES_PRIV_H

/* Which state may follow which, for both sides, and what has to be known. Pure. */

#include "states_table.h"
#include "wherry_migrate.h"

#define COUNT_STATE(id, text, fails_to, cancel) +1
enum { N_STATES = MIG_STATES(COUNT_STATE) };

/* What a process knows of ownership: what a move of the table may ask for. */
enum mig_when {
	MIG_ALWAYS, /* nothing */
	MIG_OWNED,  /* it is this process's */
	MIG_GIVEN,  /* it is another's */
};

/* May a process that stands at from, and knows this, come to stand at to? False for what is no state. */
bool mig_state_may(enum wherry_state from, enum wherry_state to, enum mig_when when);

/* Can a migration that stands here still be given up without asking the peer? */
bool mig_state_can_cancel(enum wherry_state state);

/*
 * Where a failure here leads: SERVING, FAILED, or UNKNOWN unless it knows that it owns;
 * the state itself if nothing is under way.
 */
enum wherry_state mig_state_on_failure(enum wherry_state state, enum mig_when knows);

#endif /* STATES_PRIV_H */
