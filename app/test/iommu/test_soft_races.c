/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA against unmap and harvest. First one interleaving at a time, with schedule
 * hooks that hold a device in the middle of a write; then many at random.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "rig.h"
#include "soft_hooks_priv.h"

#define BASE UINT64_C(0x40000000)

#ifdef WHERRY_TEST_HOOKS
/*
 * One device thread writes one byte and is held at a moment, once; the test's
 * thread unmaps or harvests meanwhile, and lets the device go at a moment of its
 * own: before it waits, or before it clears entries.
 */
struct race {
	struct rig rig;
	struct wherry_span span;
	pthread_t device, main;
	enum soft_moment hold_at;
	void (*on_main)(struct race *race, enum soft_moment moment);
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool held, released, resumed, moved, done; /* under lock */
	unsigned int drains;                       /* waits begun by the test's thread */
	bool was_over;                             /* the write, when the second of them began */
	int rc;                                    /* of the device's write */
};

static void
set_flag(struct race *race, bool *flag)
{
	pthread_mutex_lock(&race->lock);
	*flag = true;
	pthread_cond_broadcast(&race->changed);
	pthread_mutex_unlock(&race->lock);
}

static bool
flag_is_set(struct race *race, const bool *flag)
{
	bool set;

	pthread_mutex_lock(&race->lock);
	set = *flag;
	pthread_mutex_unlock(&race->lock);
	return set;
}

static void
await_flag(struct race *race, const bool *flag)
{
	pthread_mutex_lock(&race->lock);
	while (!*flag)
		pthread_cond_wait(&race->changed, &race->lock);
	pthread_mutex_unlock(&race->lock);
}

/* So that who does not wait for the device is ahead of it. */
static void
dawdle(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
}

static void
on_moment(void *ctx, enum soft_moment moment)
{
	struct race *race = ctx;

	if (pthread_equal(pthread_self(), race->main)) {
		race->drains += moment == SOFT_DRAINING;
		race->on_main(race, moment);
		return;
	}
	if (moment == race->hold_at && !flag_is_set(race, &race->held)) {
		set_flag(race, &race->held);
		await_flag(race, &race->released);
		set_flag(race, &race->resumed);
		dawdle();
	}
	if (moment == SOFT_MOVED)
		set_flag(race, &race->moved);
}

/* Let it go as soon as we wait for it, or have read the dirty bits, and see it through. */
static void
go_before_clearing(struct race *race, enum soft_moment moment)
{
	if (moment == SOFT_DRAINING || moment == SOFT_UNMAPPING)
		set_flag(race, &race->released);
	if (moment == SOFT_UNMAPPING)
		await_flag(race, &race->done);
}

/* Let it go when we wait for it. */
static void
go_when_waited_for(struct race *race, enum soft_moment moment)
{
	if (moment != SOFT_DRAINING)
		return;
	if (race->drains == 2)
		race->was_over = flag_is_set(race, &race->moved);
	set_flag(race, &race->released);
}

static void *
write_once(void *arg)
{
	struct race *race = arg;

	race->rc = rig_poke(&race->rig, 0, BASE, 77);
	set_flag(race, &race->done);
	return NULL;
}

static void
race_prepare(struct race *race, const char *spec, enum soft_moment hold_at)
{
	memset(race, 0, sizeof(*race));
	rig_open(&race->rig, spec);
	wherry_device_detach(race->rig.dev[1]); /* two waits an invalidation, then */
	race->span = rig_map(&race->rig, BASE, 0, 1);
	pthread_mutex_init(&race->lock, NULL);
	pthread_cond_init(&race->changed, NULL);
	race->main = pthread_self();
	race->hold_at = hold_at;
	race->on_main = go_when_waited_for;
}

/* On return the device is held in the middle of writing 77 over 0. */
static void
race_launch(struct race *race)
{
	race->drains = 0;
	soft_hook_set(on_moment, race);
	CHECK_EQ(pthread_create(&race->device, NULL, write_once, race), 0);
	await_flag(race, &race->held);
}

static void
race_begin(struct race *race, const char *spec, enum soft_moment hold_at)
{
	race_prepare(race, spec, hold_at);
	CHECK_EQ(wherry_domain_dirty_start(race->rig.dom), 0);
	race_launch(race);
}

static void
race_end(struct race *race)
{
	set_flag(race, &race->released);
	pthread_join(race->device, NULL);
	soft_hook_set(NULL, NULL);
	rig_close(&race->rig);
	pthread_cond_destroy(&race->changed);
	pthread_mutex_destroy(&race->lock);
}

/* Unmap while the device is held: did its write land without being reported? */
static bool
write_is_lost(const char *spec, enum soft_moment hold_at, enum wherry_unmap_mode mode)
{
	struct wherry_bitmap *bm;
	struct race race;
	bool lost;

	race_begin(&race, spec, hold_at);
	race.on_main = go_before_clearing;
	bm = rig_bitmap(&race.rig, race.span);
	CHECK_EQ(wherry_domain_unmap_dirty(race.rig.dom, race.span, mode, bm), 0);
	CHECK(flag_is_set(&race, &race.moved)); /* unmap has waited for it */
	await_flag(&race, &race.done);
	CHECK_EQ(race.rc, race.rig.mem[0] == 77 ? 0 : -EFAULT);
	lost = race.rig.mem[0] == 77 && !wherry_bitmap_test(bm, BASE);
	wherry_bitmap_destroy(bm);
	race_end(&race);
	return lost;
}

/* The reason for WHERRY_UNMAP_EXACT. */
TEST(soft_snapshot_loses_a_write_in_flight)
{
	CHECK(write_is_lost("soft", SOFT_WALKED, WHERRY_UNMAP_SNAPSHOT));
}

TEST(soft_exact_unmap_loses_no_write_in_flight)
{
	CHECK(!write_is_lost("soft", SOFT_WALKED, WHERRY_UNMAP_EXACT));
	CHECK(!write_is_lost("soft", SOFT_TRANSLATED, WHERRY_UNMAP_EXACT));
	CHECK(!write_is_lost("soft", SOFT_MOVED, WHERRY_UNMAP_EXACT));
}

/* D is set by compare-and-swap here: the seed's order is exact too. */
TEST(soft_seed_unmap_loses_no_write_when_dirty_is_checked)
{
	CHECK(!write_is_lost("soft", SOFT_WALKED, WHERRY_UNMAP_SEED));
	CHECK(!write_is_lost("soft", SOFT_TRANSLATED, WHERRY_UNMAP_SEED));
	CHECK(!write_is_lost("soft", SOFT_MOVED, WHERRY_UNMAP_SEED));
}

/* An invalidation waits for more than the data: for D, too, where that comes after it. */
TEST(soft_exact_unmap_waits_for_a_dirty_bit_that_is_late)
{
	static const char late[] = "soft:dbit=late";

	CHECK(!write_is_lost(late, SOFT_WALKED, WHERRY_UNMAP_EXACT));
	CHECK(!write_is_lost(late, SOFT_TRANSLATED, WHERRY_UNMAP_EXACT));
	CHECK(!write_is_lost(late, SOFT_LANDED, WHERRY_UNMAP_EXACT));
	CHECK(!write_is_lost(late, SOFT_MOVED, WHERRY_UNMAP_EXACT));
}

/* The harvest that reports a page returns after the data of that write has landed. */
TEST(soft_harvest_waits_for_dma_that_used_old_entries)
{
	struct race race;

	race_begin(&race, "soft", SOFT_TRANSLATED);
	CHECK_EQ(rig_harvest_count(&race.rig, race.span), 1);
	CHECK_EQ(race.rig.mem[0], 77);
	CHECK_EQ(rig_harvest_count(&race.rig, race.span), 0);
	race_end(&race);
}

/* A write whose D bit is not set yet belongs to the next harvest, whole. */
TEST(soft_harvest_leaves_a_later_write_to_the_next)
{
	struct race race;

	race_begin(&race, "soft", SOFT_WALKED);
	CHECK_EQ(rig_harvest_count(&race.rig, race.span), 0);
	set_flag(&race, &race.released);
	await_flag(&race, &race.done);
	CHECK_EQ(race.rig.mem[0], 77);
	CHECK_EQ(rig_harvest_count(&race.rig, race.span), 1);
	race_end(&race);
}

TEST(soft_unmap_waits_for_dma_that_used_old_entries)
{
	struct race race;

	race_begin(&race, "soft", SOFT_TRANSLATED);
	CHECK_EQ(wherry_domain_unmap(race.rig.dom, race.span), 0);
	CHECK_EQ(race.rig.mem[0], 77);
	race_end(&race);
}

TEST(soft_detach_waits_for_dma_under_way)
{
	struct race race;

	race_begin(&race, "soft", SOFT_TRANSLATED);
	wherry_device_detach(race.rig.dev[0]);
	CHECK_EQ(race.rig.mem[0], 77);
	race_end(&race);
}

/* The first of the two drains: a translation of before must not be cached afterwards. */
TEST(soft_unmap_keeps_no_translation_that_was_being_made)
{
	struct race race;

	race_prepare(&race, "soft", SOFT_WALKED);
	race_launch(&race);
	CHECK_EQ(wherry_domain_unmap(race.rig.dom, race.span), 0);
	await_flag(&race, &race.done);
	CHECK(race.was_over);
	CHECK_EQ(rig_poke(&race.rig, 0, BASE, 78), -EFAULT);
	race_end(&race);
}

static void
write_during_first_drain(struct race *race, enum soft_moment moment)
{
	if (moment == SOFT_DRAINING && race->drains == 1) {
		CHECK_EQ(pthread_create(&race->device, NULL, write_once, race), 0);
		await_flag(race, &race->held);
	} else if (moment == SOFT_DRAINING) {
		set_flag(race, &race->released);
	}
}

/* The second: nor may a section be left that has found it in the cache. */
TEST(soft_unmap_waits_for_dma_that_began_meanwhile)
{
	struct race race;

	race_prepare(&race, "soft", SOFT_TRANSLATED);
	CHECK_EQ(rig_poke(&race.rig, 0, BASE, 1), 0); /* now it is cached */
	race.on_main = write_during_first_drain;
	soft_hook_set(on_moment, &race);
	CHECK_EQ(wherry_domain_unmap(race.rig.dom, race.span), 0);
	CHECK_EQ(race.rig.mem[0], 77);
	race_end(&race);
}

/* A drain that turns the phase over between reading it and counting in it. */
TEST(soft_drain_waits_for_a_section_that_was_late_to_count)
{
	struct race race;

	race_prepare(&race, "soft", SOFT_ENTERING);
	race_launch(&race);
	wherry_device_detach(race.rig.dev[0]); /* drains once, and lets it go */
	CHECK_EQ(wherry_device_attach(race.rig.dev[0], race.rig.dom, NULL), 0);
	await_flag(&race, &race.resumed);
	pthread_mutex_lock(&race.lock);
	race.hold_at = SOFT_WALKED;
	race.held = race.released = false;
	pthread_mutex_unlock(&race.lock);
	race.drains = 0;
	await_flag(&race, &race.held);
	CHECK_EQ(wherry_domain_unmap(race.rig.dom, race.span), 0);
	CHECK(race.was_over);
	race_end(&race);
}
#endif

/* Long enough for every interleaving to come by, short enough for each commit. */
#define STRESS_NS 700000000
#define ENOUGH 1000u /* writes, on a machine with no time for us */
#define PAGES 16u
#define THREADS 4u

struct stress {
	struct rig rig;
	uint8_t copy[PAGES * 4096]; /* what the harvests allowed to be known */
	bool stop;                  /* atomic */
	uint64_t landed;            /* writes; atomic */
};

struct writer {
	struct stress *stress;
	unsigned int number;
};

/* Each write has content of its own, so that a lost one shows. */
static void *
keep_writing(void *arg)
{
	struct writer *w = arg;
	struct rig *r = &w->stress->rig;
	uint64_t n = w->number;

	while (!__atomic_load_n(&w->stress->stop, __ATOMIC_RELAXED)) {
		uint64_t page = (n / THREADS * 7 + w->number) % PAGES;
		uint64_t data[4] = { n, n, n, n };

		if (rig_write(r, w->number % RIG_DEVICES, BASE + page * r->page + 64 * w->number,
			    data, sizeof(data)) == 0)
			__atomic_fetch_add(&w->stress->landed, 1, __ATOMIC_RELAXED);
		n += THREADS;
	}
	return NULL;
}

/* Copying while devices write: word by word, as a sender would have to. */
static void
copy_reported(struct stress *s, struct wherry_bitmap *bm)
{
	for (unsigned int page = 0; page < PAGES; page++) {
		if (!wherry_bitmap_test(bm, BASE + page * s->rig.page))
			continue;
		for (size_t at = page * 4096; at < (page + 1) * 4096; at += 8) {
			uint64_t word = __atomic_load_n(
				(uint64_t *)(void *)(s->rig.mem + at), __ATOMIC_ACQUIRE);

			memcpy(s->copy + at, &word, 8);
		}
	}
	wherry_bitmap_clear(bm);
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void
let_others_run(uint64_t ns)
{
	for (uint64_t until = now_ns() + ns; now_ns() < until;)
		sched_yield();
}

/* Map, harvest while devices write, unmap; what was not reported must be as copied. */
static unsigned int
stress_round(struct stress *s, struct wherry_bitmap *bm, enum wherry_unmap_mode mode)
{
	struct wherry_span span = rig_map(&s->rig, BASE, 0, PAGES);
	unsigned int differ = 0;
	uint8_t after[PAGES * 4096];

	for (uint64_t i = 0; i < test_random() % 3; i++) {
		CHECK_EQ(wherry_domain_dirty_harvest(s->rig.dom, span, bm), 0);
		copy_reported(s, bm);
	}
	let_others_run(test_random() % 50000);
	CHECK_EQ(wherry_domain_unmap_dirty(s->rig.dom, span, mode, bm), 0);
	memcpy(after, s->rig.mem, sizeof(after));
	copy_reported(s, bm);
	for (unsigned int page = 0; page < PAGES; page++)
		differ += memcmp(s->copy + page * 4096, after + page * 4096, 4096) != 0;
	let_others_run(20000);
	CHECK(memcmp(after, s->rig.mem, sizeof(after)) == 0); /* nothing lands afterwards */
	memcpy(s->copy, s->rig.mem, sizeof(s->copy));
	return differ;
}

static const char *const stressed[] = { "soft:iotlb=1", "soft:units=2,dbit=late",
	"soft:format=amdv1,leaf=16k", "soft:format=arm64s1,leaf=64k", NULL };

TEST_EACH(soft_exact_unmap_loses_nothing_under_stress, stressed, spec)
{
	static struct stress s;
	struct writer writers[THREADS];
	pthread_t threads[THREADS];
	struct wherry_bitmap *bm;
	uint64_t until, lost = 0;

	memset(&s, 0, sizeof(s));
	rig_open(&s.rig, spec);
	CHECK_EQ(wherry_domain_dirty_start(s.rig.dom), 0);
	bm = rig_bitmap(&s.rig, (struct wherry_span){ BASE, PAGES * s.rig.page });
	for (unsigned int i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){ .stress = &s, .number = i };
		CHECK_EQ(pthread_create(&threads[i], NULL, keep_writing, &writers[i]), 0);
	}
	until = now_ns() + STRESS_NS;
	while (now_ns() < until || __atomic_load_n(&s.landed, __ATOMIC_RELAXED) < ENOUGH)
		lost += stress_round(&s, bm, WHERRY_UNMAP_EXACT);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(lost, 0);
	wherry_bitmap_destroy(bm);
	rig_close(&s.rig);
}
