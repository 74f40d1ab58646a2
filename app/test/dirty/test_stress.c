/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything at once: threads and a device write, the tracker harvests by itself, a
 * sender takes and copies, gives some pages back. When the writers have stopped, one
 * harvest and one take later the copy equals the memory.
 */
#include <pthread.h>
#include <time.h>
#include <wherry_soft.h>

#include "ground.h"

#define WRITERS 2
#define PAGES 600
#define ROUNDS 150

struct chaos {
	struct ground g;
	bool stop; /* relaxed: joined afterwards */
};

static uint64_t
next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static bool
going_on(const struct chaos *c)
{
	return !__atomic_load_n(&c->stop, __ATOMIC_RELAXED);
}

/* Values go up and down again: a copy made in between must not be kept. */
static void *
write_by_cpu(void *arg)
{
	struct chaos *c = arg;
	uint64_t state = 88172645463325252u + (uint64_t)(uintptr_t)&state;

	while (going_on(c)) {
		uint8_t *at = c->g.mem + next(&state) % PAGES * PAGE + next(&state) % 4;

		__atomic_fetch_add(at, 1, __ATOMIC_RELAXED);
		if (next(&state) % 2 == 0)
			__atomic_fetch_sub(at, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *
write_by_device(void *arg)
{
	struct chaos *c = arg;
	uint64_t state = 2463534242u;

	while (going_on(c)) {
		uint64_t iova = c->g.span.iova + next(&state) % PAGES * PAGE + 64, value;

		value = next(&state) % 4;
		if (wherry_soft_dma_write(c->g.dev, iova, &value, sizeof(value)) != 0)
			abort();
	}
	return NULL;
}

static void *
harvest(void *arg)
{
	struct chaos *c = arg;

	while (going_on(c))
		if (wherry_tracker_harvest(c->g.tr) != 0)
			abort();
	return NULL;
}

/* Every third time the peer is not there: what was taken goes back. */
static void
send_once(struct ground *g, unsigned int i)
{
	if (i % 3 != 2) {
		ground_take(g);
		return;
	}
	wherry_bitmap_clear(g->taken);
	CHECK_EQ(wherry_watch_take(g->w, false, g->taken), 0);
	wherry_watch_give_back(g->w, g->taken);
}

static void
send_for_a_while(struct ground *g)
{
	const struct timespec breath = { .tv_nsec = 100000 };

	for (unsigned int i = 0; i < ROUNDS || ground_stats(g).harvests < ROUNDS; i++) {
		send_once(g, i);
		nanosleep(&breath, NULL);
	}
}

TEST_EACH(dirty_stress_final_copy_equals_memory, every_source, kind)
{
	static struct chaos c;
	pthread_t threads[WRITERS + 2];

	memset(&c, 0, sizeof(c));
	ground_open(&c.g, kind, PAGES);
	ground_map(&c.g);
	CHECK_EQ(wherry_watch_add_domain(c.g.w, c.g.dom), 0);
	CHECK_EQ(wherry_tracker_start(c.g.tr), 0);
	for (unsigned int i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, write_by_cpu, &c), 0);
	CHECK_EQ(pthread_create(&threads[WRITERS], NULL, write_by_device, &c), 0);
	CHECK_EQ(pthread_create(&threads[WRITERS + 1], NULL, harvest, &c), 0);
	send_for_a_while(&c.g);
	__atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < WRITERS + 2; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	ground_harvest(&c.g);
	ground_take(&c.g);
	CHECK(ground_same(&c.g));
	ground_close(&c.g);
}
