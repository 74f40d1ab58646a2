/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef STATES_PRIV_H
#define STATES_PRIV_H

/* Which state may follow which, for both sides, in one table. Pure. */

#include "wherry_migrate.h"

#define N_STATES (WHERRY_STATE_UNKNOWN + 1)

/* May a process that stands at from come to stand at to? False for what is no state. */
bool mig_state_may(enum wherry_state from, enum wherry_state to);

/* Can a migration that stands here still be given up without asking the peer? */
bool mig_state_can_cancel(enum wherry_state state);

/* Where a failure here leads: SERVING, FAILED, UNKNOWN; the state itself if nothing is under way. */
enum wherry_state mig_state_on_failure(enum wherry_state state);

#endif /* STATES_PRIV_H */
