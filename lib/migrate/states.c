/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of states. The two lines that matter: a source leaves SWITCHOVER for
 * RELEASED or UNKNOWN only, and a destination gets to SERVING from VERIFIED only.
 */
#include "states_priv.h"

#define TO(state) (1u << WHERRY_STATE_##state)

static const struct {
	const char *name;
	unsigned int next; /* set of TO() */
	enum wherry_state on_failure;
	bool can_cancel;
} states[N_STATES] = {
	[WHERRY_STATE_SERVING] = { "serving", TO(SETUP), WHERRY_STATE_SERVING, false },
	[WHERRY_STATE_SETUP] = { "setup", TO(PRECOPY) | TO(SERVING), WHERRY_STATE_SERVING, true },
	[WHERRY_STATE_PRECOPY] = { "precopy", TO(QUIESCE) | TO(SERVING), WHERRY_STATE_SERVING,
		true },
	[WHERRY_STATE_QUIESCE] = { "quiesce", TO(FINAL) | TO(SERVING), WHERRY_STATE_SERVING, true },
	[WHERRY_STATE_FINAL] = { "final", TO(SWITCHOVER) | TO(SERVING), WHERRY_STATE_SERVING,
		true },
	[WHERRY_STATE_SWITCHOVER] = { "switchover", TO(RELEASED) | TO(UNKNOWN),
		WHERRY_STATE_UNKNOWN, false },
	[WHERRY_STATE_RELEASED] = { "released", 0, WHERRY_STATE_RELEASED, false },
	[WHERRY_STATE_LISTEN] = { "listen", TO(PREPARED) | TO(FAILED), WHERRY_STATE_FAILED, true },
	[WHERRY_STATE_PREPARED] = { "prepared", TO(RECEIVING) | TO(FAILED), WHERRY_STATE_FAILED,
		true },
	[WHERRY_STATE_RECEIVING] = { "receiving", TO(VERIFIED) | TO(FAILED), WHERRY_STATE_FAILED,
		true },
	[WHERRY_STATE_VERIFIED] = { "verified", TO(SERVING) | TO(FAILED), WHERRY_STATE_FAILED,
		false },
	[WHERRY_STATE_FAILED] = { "failed", 0, WHERRY_STATE_FAILED, false },
	[WHERRY_STATE_UNKNOWN] = { "unknown", 0, WHERRY_STATE_UNKNOWN, false },
};

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
mig_state_may(enum wherry_state from, enum wherry_state to)
{
	return is_state(from) && is_state(to) && (states[from].next >> to & 1) != 0;
}

bool
mig_state_can_cancel(enum wherry_state state)
{
	return is_state(state) && states[state].can_cancel;
}

enum wherry_state
mig_state_on_failure(enum wherry_state state)
{
	return is_state(state) ? states[state].on_failure : state;
}
