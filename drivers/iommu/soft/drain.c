/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Invalidation, and waiting for the DMA that used what was invalidated.
 *
 * A section counts itself in active[phase]. A drain turns phase over and waits
 * until nobody is left in the old one; later sections count in the new one, so
 * the wait ends even if DMA never pauses. Drains of one device never overlap
 * (the domain's lock), so both counters but the one in use are 0 between them.
 *
 * Why a section is either waited for or sees what was changed before the drain:
 * enter() adds to active[p] and then reads phase again; drain() stores phase and
 * then reads active[p]. All four are sequentially consistent, so at least one
 * side sees the other: either the drain sees the count and waits, or the section
 * sees the new phase and counts itself anew. In that case, and if it began with
 * the new phase, its load of phase synchronizes with the drain's store, and all
 * that the draining thread wrote before (page-table entries) is visible to it.
 * leave() subtracts with release, pairing with the acquiring load in drain():
 * data and D bits of the section are visible to whoever has drained.
 */
#include <sched.h>
#include <time.h>

#include "soft_hooks_priv.h"
#include "soft_priv.h"

/* Yields at first; then it is a section whose thread does not run, so sleep. */
#define YIELDS 64u
#define NAP_NS 20000

static unsigned int
my_shard(void)
{
	static unsigned int threads;
	static __thread unsigned int mine; /* 1 and up; 0: not chosen yet */

	if (mine == 0)
		mine = 1 + __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED) % SOFT_SHARDS;
	return mine - 1;
}

struct soft_section
soft_section_enter(struct soft_device *dev)
{
	struct soft_section s = { .shard = &dev->shards[my_shard()] };

	for (;;) {
		s.phase = __atomic_load_n(&dev->phase, __ATOMIC_SEQ_CST);
		soft_hook(SOFT_ENTERING);
		__atomic_fetch_add(&s.shard->active[s.phase], 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&dev->phase, __ATOMIC_SEQ_CST) == s.phase)
			return s;
		soft_section_leave(s);
	}
}

void
soft_section_leave(struct soft_section section)
{
	__atomic_fetch_sub(&section.shard->active[section.phase], 1, __ATOMIC_RELEASE);
}

static void
wait_a_moment(unsigned int round)
{
	struct timespec nap = { .tv_nsec = NAP_NS };

	if (round < YIELDS)
		sched_yield();
	else
		nanosleep(&nap, NULL);
}

void
soft_drain(struct soft_device *dev)
{
	unsigned int old = __atomic_load_n(&dev->phase, __ATOMIC_RELAXED);

	__atomic_store_n(&dev->phase, old ^ 1, __ATOMIC_SEQ_CST);
	soft_hook(SOFT_DRAINING);
	soft_event(dev, WHERRY_SOFT_WAITING);
	for (unsigned int i = 0; i < SOFT_SHARDS; i++)
		for (unsigned int round = 0;
			__atomic_load_n(&dev->shards[i].active[old], __ATOMIC_SEQ_CST) != 0;
			round++)
			wait_a_moment(round);
}

/*
 * Two drains. After the first, no section is left that walked the table before it
 * was changed, so nothing out of date can be filled in any more. What was filled
 * in before is then forgotten. After the second, no section is left that had
 * found it there.
 */
static void
invalidate_device(struct soft_device *dev, struct wherry_span span)
{
	soft_drain(dev);
	soft_iotlb_forget(dev->iotlb, span);
	soft_drain(dev);
	__atomic_fetch_add(&dev->invalidations, 1, __ATOMIC_RELAXED);
	if (span.len >> dev->unit->pt.width != 0)
		__atomic_fetch_add(&dev->flushes, 1, __ATOMIC_RELAXED); /* of all there is */
}

void
soft_invalidate(struct soft_unit *unit, struct wherry_span span)
{
	struct soft_device *dev;

	LIST_FOREACH(dev, &unit->devices, link)
		invalidate_device(dev, span);
}
