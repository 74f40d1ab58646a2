/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of states, made of states_table.h, of which doc/model/switchover.pml proves
 * that never two processes own the state. The lines that matter are those with a
 * condition: who serves after a switchover has to own, and a source ends when it knows
 * that another owns.
 */
#include <stddef.h>

#include "states_priv.h"

#define STATE(id, text, fails_to, cancel) \
	[WHERRY_STATE_##id] = { text, WHERRY_STATE_##fails_to, cancel },

static const struct {
	const char *name;
	enum wherry_state on_failure;
	bool can_cancel;
} states[N_STATES] = { MIG_STATES(STATE) };

#define MOVE(from, to, when) { WHERRY_STATE_##from, WHERRY_STATE_##to, MIG_##when },

static const struct {
	enum wherry_state from, to;
	enum mig_when when;
} moves[] = { MIG_MOVES(MOVE) };

static bool
is_state(enum wherry_state state)
{
	return (unsigned int)state < N_STATES;
}

const char *
wherry_state_name(enum wherry_state state)
{
	return is_state(state) ? states[state].name : "?";
}

bool
mig_state_may(enum wherry_state from, enum wherry_state to, enum mig_when when)
{
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++)
		if (moves[i].from == from && moves[i].to == to)
			return moves[i].when == MIG_ALWAYS || moves[i].when == when;
	return false;
}

bool
mig_state_can_cancel(enum wherry_state state)
{
	return is_state(state) && states[state].can_cancel;
}

enum wherry_state
mig_state_on_failure(enum wherry_state state, enum mig_when knows)
{
	enum wherry_state to = is_state(state) ? states[state].on_failure : state;

	return to == WHERRY_STATE_UNKNOWN && knows == MIG_OWNED ? WHERRY_STATE_SERVING : to;
}
