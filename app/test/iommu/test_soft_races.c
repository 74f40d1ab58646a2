/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA against unmap and harvest. First one interleaving at a time, with schedule
 * hooks that hold a device in the middle of a write; then many at random.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "rig.h"
#include "soft_hooks_priv.h"

#define BASE UINT64_C(0x40000000)

#ifdef WHERRY_TEST_HOOKS
/*
 * One device thread writes one byte and is held at a moment; the test's thread
 * unmaps or harvests meanwhile, and lets the device go where that thread comes to
 * wait for it, or just before entries are cleared.
 */
struct race {
	struct rig rig;
	pthread_t device, main;
	enum soft_moment hold_at;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool held, released, done; /* under lock */
	bool let_wait;             /* release in the wait only, not before clearing */
	unsigned int drains;       /* waits begun while the device was held */
	int rc;                    /* of the device's write */
};

static void
set_flag(struct race *race, bool *flag)
{
	pthread_mutex_lock(&race->lock);
	*flag = true;
	pthread_cond_broadcast(&race->changed);
	pthread_mutex_unlock(&race->lock);
}

static void
await_flag(struct race *race, const bool *flag)
{
	pthread_mutex_lock(&race->lock);
	while (!*flag)
		pthread_cond_wait(&race->changed, &race->lock);
	pthread_mutex_unlock(&race->lock);
}

static void
on_moment(void *ctx, enum soft_moment moment)
{
	struct race *race = ctx;

	if (!pthread_equal(pthread_self(), race->main)) {
		if (moment != race->hold_at || race->held)
			return; /* held is written by this thread only */
		set_flag(race, &race->held);
		await_flag(race, &race->released);
		return;
	}
	if (moment == SOFT_DRAINING && !race->released)
		race->drains++;
	if (moment == SOFT_UNMAPPING && race->let_wait)
		return;
	if (moment == SOFT_DRAINING || moment == SOFT_UNMAPPING)
		set_flag(race, &race->released);
	if (moment == SOFT_UNMAPPING)
		await_flag(race, &race->done);
}

static void *
write_once(void *arg)
{
	struct race *race = arg;

	race->rc = rig_poke(&race->rig, 0, BASE, 77);
	set_flag(race, &race->done);
	return NULL;
}

/* On return the device is held in the middle of writing 77 over a clean 0. */
static void
race_begin(struct race *race, enum soft_moment hold_at)
{
	memset(race, 0, sizeof(*race));
	rig_open(&race->rig, "soft");
	rig_map(&race->rig, BASE, 0, 1);
	CHECK_EQ(wherry_domain_dirty_start(race->rig.dom), 0);
	pthread_mutex_init(&race->lock, NULL);
	pthread_cond_init(&race->changed, NULL);
	race->main = pthread_self();
	race->hold_at = hold_at;
	soft_hook_set(on_moment, race);
	CHECK_EQ(pthread_create(&race->device, NULL, write_once, race), 0);
	await_flag(race, &race->held);
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
write_is_lost(enum soft_moment hold_at, enum wherry_unmap_mode mode)
{
	struct wherry_bitmap *bm;
	struct wherry_span span;
	struct race race;
	bool lost;

	race_begin(&race, hold_at);
	span = (struct wherry_span){ BASE, race.rig.page };
	bm = rig_bitmap(&race.rig, span);
	CHECK_EQ(wherry_domain_unmap_dirty(race.rig.dom, span, mode, bm), 0);
	CHECK(race.done); /* unmap has waited for it */
	CHECK_EQ(race.rc, race.rig.mem[0] == 77 ? 0 : -EFAULT);
	lost = race.rig.mem[0] == 77 && !wherry_bitmap_test(bm, BASE);
	wherry_bitmap_destroy(bm);
	race_end(&race);
	return lost;
}

/* The reason for WHERRY_UNMAP_EXACT. */
TEST(soft_snapshot_loses_a_write_in_flight)
{
	CHECK(write_is_lost(SOFT_WALKED, WHERRY_UNMAP_SNAPSHOT));
}

TEST(soft_exact_unmap_loses_no_write_in_flight)
{
	CHECK(!write_is_lost(SOFT_WALKED, WHERRY_UNMAP_EXACT));
	CHECK(!write_is_lost(SOFT_TRANSLATED, WHERRY_UNMAP_EXACT));
	CHECK(!write_is_lost(SOFT_MOVED, WHERRY_UNMAP_EXACT));
}

/* D is set by compare-and-swap here: the seed's order is exact too. */
TEST(soft_seed_unmap_loses_no_write_when_dirty_is_checked)
{
	CHECK(!write_is_lost(SOFT_WALKED, WHERRY_UNMAP_SEED));
	CHECK(!write_is_lost(SOFT_TRANSLATED, WHERRY_UNMAP_SEED));
	CHECK(!write_is_lost(SOFT_MOVED, WHERRY_UNMAP_SEED));
}

/* The harvest that reports a page returns after the data of that write has landed. */
TEST(soft_harvest_waits_for_dma_that_used_old_entries)
{
	struct race race;
	struct wherry_span span;

	race_begin(&race, SOFT_TRANSLATED);
	span = (struct wherry_span){ BASE, race.rig.page };
	CHECK_EQ(rig_harvest_count(&race.rig, span), 1);
	CHECK_EQ(race.rig.mem[0], 77);
	CHECK_EQ(race.drains, 1);
	CHECK_EQ(rig_harvest_count(&race.rig, span), 0);
	race_end(&race);
}

/* A write whose D bit is not set yet belongs to the next harvest, whole. */
TEST(soft_harvest_leaves_a_later_write_to_the_next)
{
	struct race race;
	struct wherry_span span;

	race_begin(&race, SOFT_WALKED);
	span = (struct wherry_span){ BASE, race.rig.page };
	CHECK_EQ(rig_harvest_count(&race.rig, span), 0);
	set_flag(&race, &race.released);
	await_flag(&race, &race.done);
	CHECK_EQ(race.rig.mem[0], 77);
	CHECK_EQ(rig_harvest_count(&race.rig, span), 1);
	race_end(&race);
}

TEST(soft_unmap_waits_for_dma_that_used_old_entries)
{
	struct wherry_span span;
	struct race race;

	race_begin(&race, SOFT_TRANSLATED);
	race.let_wait = true;
	span = (struct wherry_span){ BASE, race.rig.page };
	CHECK_EQ(wherry_domain_unmap(race.rig.dom, span), 0);
	CHECK_EQ(race.rig.mem[0], 77);
	CHECK_EQ(race.drains, 1);
	race_end(&race);
}

TEST(soft_detach_waits_for_dma_under_way)
{
	struct race race;

	race_begin(&race, SOFT_TRANSLATED);
	wherry_device_detach(race.rig.dev[0]);
	CHECK_EQ(race.rig.mem[0], 77);
	CHECK_EQ(race.drains, 1);
	race_end(&race);
}
#endif

/* Long enough for every interleaving to come by, short enough for each commit. */
#define STRESS_NS 700000000
#define PAGES 16u
#define THREADS 4u

struct stress {
	struct rig rig;
	uint8_t copy[PAGES * 4096]; /* what the harvests allowed to be known */
	bool stop;                  /* atomic */
};

struct writer {
	struct stress *stress;
	unsigned int number;
	uint64_t landed;
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
			__atomic_add_fetch(&w->landed, 1, __ATOMIC_RELAXED);
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
	for (uint64_t until = now_ns() + test_random() % 50000; now_ns() < until;)
		;
	CHECK_EQ(wherry_domain_unmap_dirty(s->rig.dom, span, mode, bm), 0);
	memcpy(after, s->rig.mem, sizeof(after));
	copy_reported(s, bm);
	for (unsigned int page = 0; page < PAGES; page++)
		differ += memcmp(s->copy + page * 4096, after + page * 4096, 4096) != 0;
	for (uint64_t until = now_ns() + 20000; now_ns() < until;)
		;
	CHECK(memcmp(after, s->rig.mem, sizeof(after)) == 0); /* nothing lands afterwards */
	memcpy(s->copy, s->rig.mem, sizeof(s->copy));
	return differ;
}

static const char *const stressed[] = { "soft", "soft:iotlb=1", "soft:units=2", NULL };

static uint64_t
writes_landed(const struct writer *writers)
{
	uint64_t landed = 0;

	for (unsigned int i = 0; i < THREADS; i++)
		landed += __atomic_load_n(&writers[i].landed, __ATOMIC_RELAXED);
	return landed;
}

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
	/* a busy machine may let no write into the short time a page is mapped */
	for (until = now_ns() + STRESS_NS; now_ns() < until || writes_landed(writers) == 0;)
		lost += stress_round(&s, bm, WHERRY_UNMAP_EXACT);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(lost, 0);
	wherry_bitmap_destroy(bm);
	rig_close(&s.rig);
}
