/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who owns a state that was written into a file, with an arbiter, which keeps what it has
 * written: A writes the file; B and C, on other machines, would both like to start from it.
 * Any process may crash, A be started again in its own place, any request be late, any
 * answer be lost, and the arbiter be away for a while.
 *
 * With --release A ends with its file, and the file owns then, by an id of its own:
 *
 *      A, the file is in its place:     (A, e) -> (FILE, e+1)
 *      who restores it:                 (FILE, e+1) -> (B, e+2), and only then runs
 *      A, started again in its place:   (A, e) -> (A, e+1): what is under way is void
 *
 * Without it A goes on, and nobody else may run from the file while the record names A.
 *
 * Claims, checked in every interleaving:
 *      one     never do two of them run
 *      rest    when all have come to rest somebody runs, unless the owner has crashed
 *
 * Parameters, each a protection that can be taken away:
 *      RELEASE  0: A goes on
 *      STOPPED  0: A goes on until the arbiter has answered that the file owns
 *      ID       0: a restore asks nobody whether the file owns
 *      ONCE     0: a restore reads the record to look who owns, and again for its swap
 *      CAS      0: a restore runs before its compare-and-swap is answered
 *      START    0: who is started again as owner does so without a new epoch
 *      PLACE    0: A asks the arbiter before the file is in its place
 * and REST 0: the second claim is not checked, for what breaks both.
 */

#ifndef RELEASE
#define RELEASE 1
#endif
#ifndef STOPPED
#define STOPPED 1
#endif
#ifndef ID
#define ID 1
#endif
#ifndef ONCE
#define ONCE 1
#endif
#ifndef CAS
#define CAS 1
#endif
#ifndef START
#define START 1
#endif
#ifndef PLACE
#define PLACE 1
#endif
#ifndef REST
#define REST 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef OUTAGES
#define OUTAGES 1
#endif

#define A 0
#define B 1
#define C 2
#define FILE 3

bool runs[3];
bool crashed[3];
bool rested[3];
bool in_place; /* the file is whole, under its name */
byte file_epoch = 255; /* what it says of the record: (FILE, that) */
byte crashes = CRASHES;

#define two_run (runs[A] + runs[B] + runs[C] > 1)

inline go(p)
{
	d_step {
		runs[p] = true;
		crashed[p] = false;
		assert(!two_run)
	}
}

inline maybe_crash(p)
{
	if
	:: crashes > 0 ->
		d_step { crashes--; runs[p] = false; crashed[p] = true };
		goto crash
	:: true -> skip
	fi
}

/* ---- the arbiter ---- */

byte owner = A;
byte epoch = 1;
bool up = true;
byte outages = OUTAGES;
/* from one process: what it believes, and whom it wants; back: what is written now */
chan ask[3] = [1] of { byte, byte, byte };
chan answer[3] = [1] of { byte, byte };

inline serve(p)
{
	ask[p]?who, known, want;
	if
	:: owner == who && epoch == known ->
		owner = want;
		epoch++
	:: else -> skip
	fi;
	if
	:: nfull(answer[p]) -> answer[p]!owner, epoch
	:: true -> skip /* lost */
	fi
}

active proctype arbiter()
{
	byte who, known, want;

end:
	do
	:: atomic { up && nempty(ask[A]) -> serve(A) }
	:: atomic { up && nempty(ask[B]) -> serve(B) }
	:: atomic { up && nempty(ask[C]) -> serve(C) }
	:: atomic { up && outages > 0 -> outages--; up = false }
	:: atomic { !up && nempty(ask[A]) -> ask[A]?_, _, _ }
	:: atomic { !up && nempty(ask[B]) -> ask[B]?_, _, _ }
	:: atomic { !up && nempty(ask[C]) -> ask[C]?_, _, _ }
	:: atomic { !up -> up = true }
	od
}

/* Ask until the record is no longer what it was. */
inline settle(p, was, at, want, told, when)
{
	do
	:: nfull(ask[p]) -> ask[p]!was, at, want
	:: answer[p]?told, when ->
		if
		:: when != at || told != was -> break
		:: else -> skip
		fi
	od
}

inline forget_answers(p)
{
	d_step {
		do
		:: len(answer[p]) > 0 -> answer[p]?_, _
		:: else -> break
		od
	}
}

/* ---- who writes it ---- */

active proctype application()
{
	byte known, who, when;

	go(A);
	known = epoch; /* the arbiter said so before the first round */
	maybe_crash(A);
	runs[A] = false; /* for the last round */
	maybe_crash(A);
	if
	:: go(A); goto rest /* the disk is full: it came to nothing */
	:: true -> skip
	fi;
#if !RELEASE || !STOPPED
	go(A);
#endif
#if PLACE
	d_step { in_place = true; file_epoch = known + 1 };
	maybe_crash(A);
#endif
#if RELEASE
	if
	:: nfull(ask[A]) -> ask[A]!A, known, FILE; maybe_crash(A) /* with a request under way */
	:: true -> skip
	fi;
	settle(A, A, known, FILE, who, when);
	maybe_crash(A);
#if !PLACE
	if
	:: d_step { in_place = true; file_epoch = known + 1 }
	:: goto rest /* it does not get there */
	fi;
#endif
	if
	:: who == A -> go(A) /* the arbiter says so: the file does not own */
	:: else -> runs[A] = false
	fi;
#endif
	goto rest;
crash:
	forget_answers(A);
	if
	:: goto rest /* nobody starts it */
	:: up ->
		d_step { who = owner; known = epoch };
		if
		:: who != A -> goto rest /* refused */
		:: else -> skip
		fi;
#if START
		settle(A, A, known, A, who, when);
#endif
		if
		:: who == A -> go(A)
		:: else -> skip
		fi
	fi;
rest:
	rested[A] = true
}

/* ---- who would like to start from it ---- */

#define may_restore (up && (!ID || (owner == FILE && epoch == file_epoch)))

inline restore(p)
{
	/* refused as long as the record names somebody else: an operator tries again */
	if
#if ONCE
	:: atomic { may_restore -> who = owner; known = epoch }
#else
	:: may_restore -> d_step { who = owner; known = epoch }
#endif
	:: (owner == B || owner == C || (rested[A] && empty(ask[A]) && owner == A)) -> goto rest
	fi;
	maybe_crash(p);
#if !CAS
	go(p);
#endif
	settle(p, who, known, p, told, when);
	maybe_crash(p);
	if
	:: told == p -> go(p)
	:: else -> runs[p] = false
	fi;
	goto rest;
crash:
	skip;
rest:
	rested[p] = true
}

active proctype b()
{
	byte who, known, told, when;

end:
	in_place;
	restore(B)
}

active proctype c()
{
	byte who, known, told, when;

end:
	in_place;
	restore(C)
}

/* ---- all have come to rest ---- */

#define somebody (runs[A] || runs[B] || runs[C] || (owner != FILE && crashed[owner]) || \
	(owner == FILE && (crashed[B] || crashed[C])))

active proctype judge()
{
end:
	atomic {
		rested[A] && ((rested[B] && rested[C]) || !in_place) && up &&
			empty(ask[A]) && empty(ask[B]) && empty(ask[C]);
		assert(!two_run);
#if REST
		assert(somebody)
#endif
	}
}
