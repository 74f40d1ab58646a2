/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who owns the state of a migration, with everything that may go wrong: any message may
 * be late or never arrive, a wait may be given up at any moment, either process may
 * crash and be started again, and so may the arbiter, which keeps what it has written.
 *
 * One source S, one destination D; S tries ATTEMPTS times, each time with a D started
 * afresh. The states and moves are those of the implementation: lib/migrate/states_table.h.
 *
 * Without an arbiter, the destination runs when it holds COMMIT, and a source that has
 * sent it never runs again by itself. With one, the record (owner, epoch) decides:
 *
 *      destination, all there and proved:  (S, e) -> (D, e+1)   this is COMMIT
 *      source that was not told RUNNING:   (S, e) -> (S, e+1)   then it may go on
 *      whoever is started again as owner:  (X, e) -> (X, e+1)   what is under way is void
 *
 * A connection that is lost in pre-copy pauses the migration at both sides: the source is
 * paused, the destination held. Either may notice first, or alone, and either may give up
 * by itself. RECOVER and its answer let both go on; what was under way before is lost then,
 * but a RECOVER that was sent twice may still come late.
 *
 * Whoever has asked asks again until the record is no longer what it was: an answer that
 * got lost is no answer, and a request that nobody waits for may still arrive.
 *
 * Claims, checked in every interleaving:
 *      one     never do both run
 *      rest    when all have come to rest with the arbiter up, somebody runs, unless the
 *              owner has crashed; without an arbiter, unless COMMIT was sent or S crashed
 *
 * Parameters, each a protection that can be taken away:
 *      ARBITER  1: there is one
 *      FENCE    0: a source that was not told RUNNING goes on without asking
 *      CAS      0: the destination runs before its compare-and-swap is answered
 *      EPOCH    0: the source takes ownership back without a new epoch
 *      START    0: who is started again as owner does not ask
 *      LEASE    1: the arbiter gives ownership back to S when D was silent for a while
 *      PATIENT  0: the destination gives up when it finds the record unchanged
 *      LATE     1: without an arbiter: a source that hears nothing after COMMIT pauses, too
 * and REST 0: the second claim is not checked, for what breaks both.
 */

#include "states_table.h"

#ifndef ARBITER
#define ARBITER 1
#endif
#ifndef FENCE
#define FENCE 1
#endif
#ifndef CAS
#define CAS 1
#endif
#ifndef EPOCH
#define EPOCH 1
#endif
#ifndef START
#define START 1
#endif
#ifndef LEASE
#define LEASE 0
#endif
#ifndef PATIENT
#define PATIENT 1
#endif
#ifndef REST
#define REST 1
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 1
#endif
#ifndef LATE
#define LATE 0
#endif
#ifndef PAUSES
#define PAUSES 1 /* of each side */
#endif
#ifndef CRASHES
#define CRASHES 1 /* of S and D together */
#endif
#ifndef OUTAGES
#define OUTAGES 1 /* of the arbiter */
#endif

#define S 0
#define D 1

/* ---- states: those of the implementation ---- */

#define S_ID(id, name, fails_to, cancel) S_##id,
mtype = { MIG_STATES(S_ID) S_NONE }

c_decl {
	/* which moves the search has met; no part of the state */
	static char met[64][32];
	static void meet(const char *move)
	{
		int i = 0;

		while (met[i][0] != 0 && strcmp(met[i], move) != 0)
			i++;
		if (met[i][0] == 0)
			printf("met %s\n", strcpy(met[i], move));
	}
}

mtype state[2];
bool owned[2]; /* holds the state: COMMIT came, or its compare-and-swap won */
bool given[2]; /* knows that the other one holds it */
bool runs[2];  /* handles packets */
bool crashed[2];
bool off_table;

#define ALWAYS(p) true
#define OWNED(p) owned[p]
#define GIVEN(p) given[p]
#define M_TAKE(from, to, when) \
	:: state[p] == S_##from && next == S_##to && when(p) -> c_code { meet(#from " " #to); }

inline move(p, next)
{
	d_step {
		if
		MIG_MOVES(M_TAKE)
		:: else -> off_table = true
		fi;
		state[p] = next
	};
	assert(!off_table)
}

inline go(p)
{
	d_step {
		runs[p] = true;
		assert(!(runs[S] && runs[D]))
	}
}

/* ---- the wire: one way each; a connection lost is a wait given up ---- */

mtype = { DIGEST, COMMIT, ABORT, RUNNING, RECOVER, RECOVERED };
chan to_d = [2] of { mtype };
chan to_s = [2] of { mtype };
bool committed; /* COMMIT was sent: without an arbiter the point of no return */

inline post(c, m)
{
	if
	:: full(c) -> skip /* lost */
	:: nfull(c) -> c!m
	:: true -> skip /* lost */
	fi
}

byte pauses[2] = PAUSES;

inline drain(c)
{
	d_step {
		do
		:: len(c) > 0 -> c?_
		:: else -> break
		od
	}
}

/* ---- the arbiter ---- */

byte owner = S;
byte epoch = 1;
bool up = true;
byte outages = OUTAGES;
/* from one process: the epoch it knows, the owner it wants; back: what is written now */
chan ask[2] = [1] of { byte, byte };
chan answer[2] = [1] of { byte, byte };

/* An answer whose asker has gone away, or that gets lost, is none. */
inline reply(p)
{
	if
	:: nfull(answer[p]) -> answer[p]!owner, epoch
	:: true -> skip
	fi
}

/* (asker's expected owner is implied: S in a migration, itself when started again) */
inline serve(p, known, want)
{
	ask[p]?known, want;
	if
	:: epoch == known && (owner == S || want == owner) ->
		owner = want;
#if !EPOCH
		if
		:: want == S -> skip
		:: else -> epoch = known + 1
		fi
#else
		epoch = known + 1
#endif
	:: else -> skip
	fi;
	reply(p)
}

active proctype arbiter()
{
	byte known, want;

end:
	do
	:: atomic { up && nempty(ask[S]) -> serve(S, known, want) }
	:: atomic { up && nempty(ask[D]) -> serve(D, known, want) }
	:: atomic { up && outages > 0 -> outages--; up = false }
	:: atomic { !up && nempty(ask[S]) -> ask[S]?known, want } /* nobody there */
	:: atomic { !up && nempty(ask[D]) -> ask[D]?known, want }
	:: atomic { !up -> up = true }
#if LEASE
	:: atomic { up && owner == D && epoch < 4 -> owner = S; epoch++ }
#endif
	od
}

/*
 * Ask until the record's epoch is no longer the one known. Leaves what it says in told
 * and when. Each try may be given up before it is answered, and asked again.
 */
inline settle(p, was, want, told, when)
{
	do
	:: nfull(ask[p]) -> ask[p]!was, want
	:: answer[p]?told, when ->
		if
		:: when != was -> break
#if !EPOCH
		:: when == was && p == S -> break
#endif
		:: else -> skip
		fi
#if !PATIENT
	:: p == D && epoch == was -> when = was; break
#endif
	od
}

/* ---- crashes ---- */

byte crashes = CRASHES;

inline maybe_crash(p)
{
	if
	:: crashes > 0 -> crashes--; goto crash
	:: true -> skip
	fi
}

/* A process of that name again, with nothing in memory: does the state belong to it? */
inline start_again(p, told, when)
{
	d_step {
		runs[p] = false;
		owned[p] = false;
		given[p] = false;
		crashed[p] = true;
		do
		:: len(answer[p]) > 0 -> answer[p]?_, _
		:: else -> break
		od
	};
#if ARBITER
	if
	:: true -> goto gone /* nobody starts it */
	:: up ->
		d_step { told = owner; when = epoch };
		if
		:: told != p -> goto gone /* refused: another has it */
		:: else -> skip
		fi;
#if START
		known = when;
		settle(p, known, p, told, when);
		if
		:: told != p -> goto gone
		:: else -> skip
		fi;
#endif
		crashed[p] = false;
		go(p)
	fi
#endif
}

/* ---- the source ---- */

byte attempt;    /* S has begun so many */
byte round_over; /* D has given up so many */
byte said;       /* the epoch S told D */
bool s_gone, d_gone;

active proctype source()
{
	byte who, at, known;

	state[S] = S_SERVING;
	owned[S] = true;
	go(S);
again:
	attempt++;
	move(S, S_SETUP);
	maybe_crash(S);
	if
	:: move(S, S_SERVING); goto rest
	:: move(S, S_PRECOPY)
	fi;
precopy:
	maybe_crash(S);
	if
	:: move(S, S_SERVING); goto rest
	:: pauses[S] > 0 -> pauses[S]--; move(S, S_PAUSED); goto paused
	:: move(S, S_QUIESCE)
	fi;
	runs[S] = false;
	if
	:: move(S, S_SERVING); go(S); goto rest
	:: move(S, S_FINAL)
	fi;
	maybe_crash(S);
	if
	:: move(S, S_SERVING); go(S); goto rest
	:: true -> skip
	fi;
#if ARBITER
	/* whoever has the digest may become owner: from here on only the arbiter knows */
	d_step { owned[S] = false; said = epoch };
	move(S, S_SWITCHOVER);
	post(to_d, DIGEST);
	maybe_crash(S);
	if
	:: to_s?RUNNING -> goto released
	:: to_s?ABORT -> skip
	:: true -> skip /* silence, a connection lost */
	fi;
#if FENCE
	at = said;
	if
	:: move(S, S_UNKNOWN) /* the arbiter does not answer at once */
	:: true -> skip
	fi;
	maybe_crash(S);
	settle(S, said, S, who, at);
	if
	:: who != S -> goto released
	:: else -> skip
	fi;
#endif
	owned[S] = true;
	move(S, S_SERVING);
	go(S);
	goto rest;
#else
	post(to_d, DIGEST);
	if
	:: true -> skip /* READY */
	:: move(S, S_SERVING); go(S); goto rest
	fi;
	d_step { owned[S] = false; committed = true };
	move(S, S_SWITCHOVER);
	post(to_d, COMMIT);
	maybe_crash(S);
	if
	:: to_s?RUNNING -> goto released
	:: to_s?ABORT -> skip
	:: true -> skip
	fi;
#if LATE
	state[S] = S_PAUSED; /* no such move */
	goto paused;
#endif
#if FENCE
	move(S, S_UNKNOWN);
	if
	:: goto rest
	:: runs[D] -> given[S] = true; move(S, S_RELEASED); goto rest /* an operator has looked */
	:: state[D] == S_FAILED && empty(to_d) -> owned[S] = true; move(S, S_SERVING); go(S); goto rest
	fi;
#else
	owned[S] = true;
	move(S, S_SERVING);
	go(S);
	goto rest;
#endif
#endif
released:
	given[S] = true;
	move(S, S_RELEASED);
	goto rest;
paused:
	maybe_crash(S);
	if
	:: move(S, S_SERVING); /* cancelled, or its time is up */
		if
		:: runs[S] -> skip
		:: else -> go(S)
		fi;
		goto rest
	:: post(to_d, RECOVER);
		if
		:: to_s?RECOVERED -> drain(to_s); move(S, S_PRECOPY); goto precopy
		:: true -> goto paused
		fi
	fi;
crash:
	start_again(S, who, at);
	goto gone;
rest:
	if
	:: attempt < ATTEMPTS && state[S] == S_SERVING && round_over == attempt -> goto again
	:: d_gone || attempt == ATTEMPTS || state[S] != S_SERVING -> skip
	fi;
gone:
	s_gone = true
}

/* ---- the destination ---- */

active proctype destination()
{
	byte who, at, known;

again:
	if
	:: attempt > round_over -> skip
	:: s_gone && attempt <= round_over -> goto gone
	fi;
	d_step {
		state[D] = S_LISTEN;
		owned[D] = false
	};
	if
	:: move(D, S_FAILED); goto rest
	:: move(D, S_PREPARED)
	fi;
	if
	:: move(D, S_FAILED); goto rest
	:: pauses[D] > 0 -> pauses[D]--; move(D, S_HELD); goto held
	:: move(D, S_RECEIVING)
	fi;
receiving:
	maybe_crash(D);
	if
	:: to_d?DIGEST -> skip
	:: to_d?RECOVER -> goto receiving /* a second one: nobody listens */
	:: pauses[D] > 0 -> pauses[D]--; move(D, S_HELD); goto held
	:: true -> move(D, S_FAILED); post(to_s, ABORT); goto rest
	fi;
	move(D, S_VERIFIED); /* and READY is sent */
	maybe_crash(D);
#if ARBITER
	at = said;
#if CAS
	settle(D, said, D, who, at);
#else
	who = D;
#endif
#if !PATIENT
	if
	:: at == said -> move(D, S_FAILED); goto rest
	:: else -> skip
	fi;
#endif
	if
	:: who != D -> move(D, S_FAILED); goto rest
	:: else -> skip
	fi;
#else
	if
	:: to_d?COMMIT -> skip
	:: true -> move(D, S_FAILED); post(to_s, ABORT); goto rest
	fi;
#endif
	maybe_crash(D);
	owned[D] = true;
	move(D, S_SERVING);
	go(D);
	post(to_s, RUNNING);
	maybe_crash(D);
	goto gone;
held:
	maybe_crash(D);
	if
	:: move(D, S_FAILED); goto rest /* cancelled, or its time is up */
	:: to_d?RECOVER -> drain(to_d); post(to_s, RECOVERED); move(D, S_RECEIVING); goto receiving
	:: to_d?DIGEST -> goto held /* of a connection that is no more */
	:: to_d?COMMIT -> goto held
	fi;
crash:
	start_again(D, who, at);
	goto gone;
rest:
	round_over++;
	if
	:: round_over < ATTEMPTS -> goto again
	:: else -> skip
	fi;
gone:
	d_gone = true
}

/* Nothing moves any more, unless the arbiter goes on for its own sake. */
active proctype monitor()
{
	(s_gone && d_gone && up && empty(ask[S]) && empty(ask[D]));
#if !REST
	skip
#elif ARBITER
	assert(runs[S] || runs[D] || crashed[owner])
#else
	assert(runs[S] || runs[D] || committed || crashed[S])
#endif
}
