/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Does an unmap that returns dirty bits lose a write? One page, one page-table
 * entry, ENGINES DMA engines behind one or two IOTLBs, and one call that harvests
 * (or not) and then unmaps. A migration copies the page after each call that
 * reported it; in the end copy and memory have to be equal, in every interleaving.
 * doc/unmap_dirty.rst explains, doc/model/run gives the parameters:
 *
 *   ORDER  SNAPSHOT: read D, clear the entry, invalidate.
 *          SEED:     clear the entry and take its D in one step, invalidate.
 *          EXACT:    take W away and take D in one step, invalidate, read D,
 *                    clear the entry, invalidate.
 *   DBIT   CHECKED: D is set by compare-and-swap on the entry, before the data.
 *          LATE:    the data goes first, then D is set if the entry is still there.
 *          STALE:   as CHECKED, but on a copy of the entry that the walker keeps and
 *                   that does not follow the CPU's stores; D reaches memory only if
 *                   memory still holds what the copy was made from.
 *   DRAINS an invalidation waits for the DMA in flight: BEFORE it forgets what is
 *          cached, AFTER it, both (3, as drivers/iommu/soft/drain.c does) or never (0).
 *   PARK   the devices are stopped before the unmap is called, and stay so.
 *   TAKE   0: EXACT with a fence that drops the D it replaces.
 *   REREAD 0: EXACT without the second look at D.
 *   DISW   the dirty bit is the write permission (ARM64: AP[2]), so that a late D has
 *          nowhere to go once the entry is fenced.
 *   REACH  what has to be possible, lest a proof be empty; see the end.
 *
 * Left out: other pages and levels of the table (nothing here depends on them), the
 * Accessed bit, weakly ordered CPUs (the drain orders data and D before its return).
 */
#define SNAPSHOT 1
#define SEED 2
#define EXACT 3

#define CHECKED 1
#define LATE 2
#define STALE 3

#define BEFORE 1
#define AFTER 2

#ifndef DRAINS
#define DRAINS 3
#endif
#ifndef PARK
#define PARK 0
#endif
#ifndef TAKE
#define TAKE 1
#endif
#ifndef REREAD
#define REREAD 1
#endif
#ifndef DISW
#define DISW 0
#endif
#ifndef REACH
#define REACH 0
#endif

#ifndef ACCESSES
#define ACCESSES 2 /* of the first engine; the other makes one less */
#endif

#define ENGINES 2

/* age: the number of changes of the entry when this was read from it. */
typedef translation {
	bool present;
	bool writable;
	bool dirty;
	byte age
}

translation pte;             /* in memory, as the CPU sees it */
translation iotlb[ENGINES];  /* .present: there is something cached */
translation walker[ENGINES]; /* STALE: the walker's own copy of pte */
bool shared;                 /* the engines share the first IOTLB: one device with two queues */

byte memory, copy;     /* content: each write makes it new */
bool busy[ENGINES];    /* between the first step of an access and the last */
bool awaited[ENGINES]; /* by a drain that began during this access */
byte uses[ENGINES];    /* age of the translation in use; meaningful while busy */
bool parked;           /* no access may begin */
byte ended;            /* engines that will do nothing more */

bool found;      /* what the unmap reports */
bool in_call;    /* the unmap has been called and has not returned */
bool wrote_late; /* data went to memory during the call */
bool faulted;    /* an access met no permission during the call */

#define assign(to, from) \
	to.present = from.present; \
	to.writable = from.writable; \
	to.dirty = from.dirty; \
	to.age = from.age

#define nothing(t) \
	t.present = false; \
	t.writable = false; \
	t.dirty = false; \
	t.age = 0

#define same(a, b) (a.present == b.present && a.writable == b.writable && a.dirty == b.dirty)

#define CACHE (shared -> 0 : me)

/* What the walker reads: the entry, or its own copy, which it may have kept. */
inline walk()
{
	d_step {
#if DBIT == STALE
		if
		:: walker[CACHE].present -> skip
		:: !walker[CACHE].present -> assign(walker[CACHE], pte)
		fi;
		assign(t, walker[CACHE]);
#else
		assign(t, pte);
#endif
		uses[me] = t.age;
		printf("engine %d: walks, finds W %d, D %d\n", me, t.writable, t.dirty)
	}
}

inline cache()
{
	d_step {
		assign(iotlb[CACHE], t);
		printf("engine %d: caches the entry with D %d\n", me, t.dirty)
	}
}

/* Before the data. Then t is dirty or, the entry having changed, not present: walk again. */
inline set_dirty_checked()
{
	d_step {
		if
		:: same(pte, t) ->
			pte.dirty = true;
			t.age = pte.age;
			t.dirty = true;
			printf("engine %d: sets D\n", me)
		:: else ->
#if DBIT == STALE
			t.dirty = true;
			printf("engine %d: sets D in its own copy of the entry; memory has changed\n", me)
#else
			t.present = false;
			printf("engine %d: finds that the entry has changed\n", me)
#endif
		fi;
#if DBIT == STALE
		walker[CACHE].dirty = walker[CACHE].present;
#endif
		uses[me] = t.age
	}
}

/* After the data. Cached is then the entry as it is now, or what was cached before, with D or as it was. */
inline set_dirty_late()
{
	d_step {
		if
		:: pte.present && (pte.writable || !DISW) ->
			pte.dirty = true;
			printf("engine %d: sets D\n", me)
		:: else ->
			printf("engine %d: finds no entry to set D in\n", me)
		fi;
		assign(t, pte)
	}
	if
	:: t.present -> cache()
	:: true -> iotlb[CACHE].dirty = iotlb[CACHE].present
	:: skip
	fi
}

inline put_data()
{
	d_step {
		memory++;
		wrote_late = wrote_late || in_call;
		printf("engine %d: writes data\n", me)
	}
}

proctype engine(byte me)
{
	byte n;
	bool write;
	translation t;

	do
	:: n == ACCESSES - me || parked -> break
	:: atomic {
		n < ACCESSES - me && !parked ->
		n++;
		busy[me] = true;
		if
		:: write = true
		:: write = false
		fi
	   }
	   d_step {
		assign(t, iotlb[CACHE]);
		uses[me] = t.age
	   }
	   if
	   :: t.present && (!write || (t.writable && (t.dirty || DBIT == LATE))) -> goto translated
	   :: else -> skip
	   fi;
again:
	   skip; /* a label may not stand before a d_step */
	   walk();
	   if
	   :: !t.present || (write && !t.writable) ->
		d_step {
			faulted = faulted || in_call;
			printf("engine %d: faults\n", me)
		}
		goto done
	   :: else -> skip
	   fi;
#if DBIT != LATE
	   if
	   :: write && !t.dirty ->
		set_dirty_checked();
		if
		:: !t.present -> goto again
		:: else -> skip
		fi
	   :: else -> skip
	   fi;
#endif
	   if
	   :: true -> cache()
	   :: skip /* there is no room */
	   fi;
translated:
	   if
	   :: write ->
		put_data();
#if DBIT == LATE
		if
		:: !t.dirty -> set_dirty_late()
		:: else -> skip
		fi
#endif
	   :: else -> skip
	   fi;
done:
	   skip;
	   d_step {
		nothing(t);
		write = false;
		uses[me] = 0;
		awaited[me] = false;
		busy[me] = false
	   }
	od;
	ended++
}

/* Until every access that is under way now has come to its end. */
inline drain()
{
	d_step {
		awaited[0] = busy[0];
		awaited[1] = busy[1]
	}
	(!awaited[0] && !awaited[1])
}

#define forget(cache) \
	d_step { \
		nothing(cache[0]); \
		nothing(cache[1]) \
	}

#define outdated(e) (busy[e] && uses[e] < pte.age && uses[e] > 0)

inline invalidate()
{
#if DBIT == STALE
	forget(walker);
#endif
#if DRAINS & BEFORE
	drain();
#endif
	forget(iotlb);
#if DRAINS & AFTER
	drain();
#endif
	/* nothing goes on with what has been invalidated */
	d_step {
#if DRAINS == 3
		assert(!outdated(0) && !outdated(1));
#endif
		printf("unmapper: invalidation is complete\n")
	}
}

inline copy_page()
{
	d_step {
		copy = memory;
		printf("migration: copies the page\n")
	}
}

inline harvest()
{
	d_step {
		reported = pte.dirty;
		pte.dirty = false;
		pte.age++;
		printf("harvest: takes D %d\n", reported)
	}
	invalidate();
	if
	:: reported -> copy_page()
	:: else -> skip
	fi
}

inline read_dirty()
{
	d_step {
		found = found || pte.dirty;
		printf("unmapper: reads D %d\n", pte.dirty)
	}
}

inline fence()
{
	d_step {
		found = pte.dirty && TAKE;
		pte.writable = false;
		pte.dirty = false;
		pte.age++;
		printf("unmapper: takes W away and takes D %d\n", found)
	}
}

inline clear_entry()
{
	d_step {
#if ORDER == SEED
		found = pte.dirty;
#endif
		printf("unmapper: clears the entry, D was %d\n", pte.dirty);
		pte.present = false;
		pte.writable = false;
		pte.dirty = false;
		pte.age++
	}
}

inline unmap_dirty()
{
#if ORDER == SNAPSHOT
	read_dirty();
#endif
#if ORDER == EXACT
	fence();
	invalidate();
#if REREAD
	read_dirty();
#endif
#endif
	clear_entry();
	invalidate()
}

active proctype unmapper()
{
	bool reported;

	d_step {
		pte.present = true;
		pte.writable = true;
		pte.age = 1
	}
	if
	:: shared = true
	:: shared = false
	fi;
	atomic {
		run engine(0);
		run engine(1)
	}
	if
	:: harvest()
	:: skip
	fi;
#if PARK
	parked = true;
	(!busy[0] && !busy[1]);
#endif
	in_call = true;
	unmap_dirty();
	d_step {
		in_call = false;
		printf("unmapper: returns, reports %d\n", found)
	}
	if
	:: found -> copy_page()
	:: else -> skip
	fi;
	(ended == ENGINES);
#if REACH == 0
	assert(copy == memory) /* no write is lost */
#elif REACH == 1
	assert(!(wrote_late && found)) /* a write during the call is reported */
#elif REACH == 2
	assert(!faulted) /* an access during the call is refused */
#else
	assert(!wrote_late) /* data is written during the call */
#endif
}
