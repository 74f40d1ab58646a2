/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef STATES_TABLE_H
#define STATES_TABLE_H

/*
 * Where a process of a migration may stand, and which state may follow which. states.c
 * makes its table of this file, and so does doc/model/switchover.pml, where spin tries
 * every order of events, losses and crashes: what the model proves is proved of these
 * lines. So there is nothing here but lists that cpp reads, in C and in Promela.
 *
 * S(id, name, a failure here leads to, may be cancelled without asking the peer)
 */
/* clang-format off */
#define MIG_STATES(S) \
	S(SERVING, "serving", SERVING, 0) \
	S(SETUP, "setup", SERVING, 1) \
	S(PRECOPY, "precopy", SERVING, 1) \
	S(PAUSED, "paused", SERVING, 1) \
	S(QUIESCE, "quiesce", SERVING, 1) \
	S(FINAL, "final", SERVING, 1) \
	S(SWITCHOVER, "switchover", UNKNOWN, 0) \
	S(RELEASED, "released", RELEASED, 0) \
	S(LISTEN, "listen", FAILED, 1) \
	S(PREPARED, "prepared", FAILED, 1) \
	S(RECEIVING, "receiving", FAILED, 1) \
	S(HELD, "held", FAILED, 1) \
	S(VERIFIED, "verified", FAILED, 0) \
	S(FAILED, "failed", FAILED, 0) \
	S(UNKNOWN, "unknown", UNKNOWN, 0)

/*
 * M(from, to, when). ALWAYS: nothing is needed. OWNED: this process holds the state, by
 * COMMIT, by its own compare-and-swap at the arbiter or by an operator's word. GIVEN:
 * another process is known to hold it. These two are the fence.
 */
#define MIG_MOVES(M) \
	M(SERVING, SETUP, ALWAYS) \
	M(SETUP, PRECOPY, ALWAYS) \
	M(SETUP, SERVING, ALWAYS) \
	M(PRECOPY, QUIESCE, ALWAYS) \
	M(PRECOPY, SERVING, ALWAYS) \
	M(PRECOPY, PAUSED, ALWAYS) \
	M(PAUSED, PRECOPY, ALWAYS) \
	M(PAUSED, SERVING, ALWAYS) \
	M(QUIESCE, FINAL, ALWAYS) \
	M(QUIESCE, SERVING, ALWAYS) \
	M(FINAL, SWITCHOVER, ALWAYS) \
	M(FINAL, SERVING, ALWAYS) \
	M(SWITCHOVER, RELEASED, GIVEN) \
	M(SWITCHOVER, UNKNOWN, ALWAYS) \
	M(SWITCHOVER, SERVING, OWNED) \
	M(UNKNOWN, RELEASED, GIVEN) \
	M(UNKNOWN, SERVING, OWNED) \
	M(LISTEN, PREPARED, ALWAYS) \
	M(LISTEN, FAILED, ALWAYS) \
	M(PREPARED, RECEIVING, ALWAYS) \
	M(PREPARED, FAILED, ALWAYS) \
	M(PREPARED, HELD, ALWAYS) \
	M(RECEIVING, VERIFIED, ALWAYS) \
	M(RECEIVING, FAILED, ALWAYS) \
	M(RECEIVING, HELD, ALWAYS) \
	M(HELD, RECEIVING, ALWAYS) \
	M(HELD, FAILED, ALWAYS) \
	M(VERIFIED, SERVING, OWNED) \
	M(VERIFIED, FAILED, ALWAYS)
/* clang-format on */

#endif /* STATES_TABLE_H */
