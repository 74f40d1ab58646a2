/* SPDX-License-Identifier: BSD-3-Clause */
/* Spans that are paused: who waits for whom, and memory that leaves a domain meanwhile. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#include <wherry_soft.h>

#include "dirty_priv.h"
#include "ground.h"

#define LONG_MS 4000u
#define SHORT_MS 30u

/* One call on another thread. */
struct call {
	struct ground *g;
	int (*fn)(struct call *call);
	struct wherry_span span;
	pthread_t thread;
	int rc;
	unsigned int done; /* atomic */
};

static void *
call_main(void *arg)
{
	struct call *call = arg;

	call->rc = call->fn(call);
	__atomic_store_n(&call->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void
call_begin(struct call *call)
{
	call->done = 0;
	CHECK_EQ(pthread_create(&call->thread, NULL, call_main, call), 0);
}

static int
call_end(struct call *call)
{
	pthread_join(call->thread, NULL);
	return call->rc;
}

/* It has every chance to end, and does not. */
static bool
still_waits(const struct call *call)
{
	usleep(SHORT_MS * 1000);
	return __atomic_load_n(&call->done, __ATOMIC_ACQUIRE) == 0;
}

static int
pause_it(struct call *call)
{
	return wherry_tracker_pause(call->g->tr, call->span, LONG_MS);
}

static int
copy_it(struct call *call)
{
	int rc = wherry_watch_copy_begin(call->g->w, call->span);

	if (rc == 0)
		wherry_watch_copy_end(call->g->w, call->span);
	return rc;
}

static int
harvest_it(struct call *call)
{
	return wherry_tracker_harvest(call->g->tr);
}

TEST(dirty_pause_waits_for_a_copy_in_the_middle)
{
	struct ground g;
	struct call call = { .g = &g, .fn = pause_it };

	ground_open(&g, "none", 64);
	ground_start(&g);
	call.span = ground_pages(&g, 4, 1);
	CHECK_EQ(wherry_watch_copy_begin(g.w, ground_pages(&g, 3, 3)), 0);
	CHECK_EQ(wherry_tracker_pause(g.tr, call.span, SHORT_MS), -ETIMEDOUT);
	CHECK_EQ(wherry_tracker_pause(g.tr, ground_pages(&g, 10, 2), 0), 0); /* others do not */
	wherry_tracker_resume(g.tr, ground_pages(&g, 10, 2));
	call_begin(&call);
	CHECK(still_waits(&call));
	wherry_watch_copy_end(g.w, ground_pages(&g, 3, 3));
	CHECK_EQ(call_end(&call), 0);
	wherry_tracker_resume(g.tr, call.span);
	ground_close(&g);
}

TEST(dirty_pause_keeps_copies_of_its_span_away)
{
	struct ground g;
	struct call call = { .g = &g, .fn = copy_it };

	ground_open(&g, "none", 64);
	ground_start(&g);
	call.span = ground_pages(&g, 3, 3);
	CHECK_EQ(wherry_tracker_pause(g.tr, ground_pages(&g, 5, 10), 0), 0);
	CHECK_EQ(wherry_watch_copy_begin(g.w, ground_pages(&g, 0, 5)), 0); /* ends before it */
	CHECK_EQ(wherry_watch_copy_begin(g.w, ground_pages(&g, 15, 1)), 0);
	call_begin(&call);
	CHECK(still_waits(&call));
	wherry_tracker_resume(g.tr, ground_pages(&g, 5, 9)); /* another span: nothing */
	CHECK(still_waits(&call));
	wherry_tracker_resume(g.tr, ground_pages(&g, 5, 10));
	CHECK_EQ(call_end(&call), 0);
	wherry_watch_copy_end(g.w, ground_pages(&g, 0, 5));
	wherry_watch_copy_end(g.w, ground_pages(&g, 15, 1));
	CHECK_EQ(wherry_tracker_pause(g.tr, g.span, 0), 0);
	wherry_tracker_resume(g.tr, g.span);
	ground_close(&g);
}

TEST(dirty_harvest_waits_while_a_span_is_paused)
{
	struct ground g;
	struct call call = { .g = &g, .fn = harvest_it };

	ground_open(&g, "hash", 64);
	ground_start(&g);
	CHECK_EQ(wherry_tracker_pause(g.tr, ground_pages(&g, 0, 1), 0), 0);
	call_begin(&call);
	CHECK(still_waits(&call));
	poke(g.mem, 0); /* seen, so it was not scanned before */
	wherry_tracker_resume(g.tr, ground_pages(&g, 0, 1));
	CHECK_EQ(call_end(&call), 0);
	CHECK_EQ(ground_take(&g), 1);
	ground_close(&g);
}

/* A write log whose harvest takes as long as the test likes. */
struct slow {
	unsigned int in, let_go; /* atomic */
};

static int
slow_start(void *ctx, struct wherry_span span)
{
	(void)ctx;
	(void)span;
	return 0;
}

static void
slow_stop(void *ctx, struct wherry_span span)
{
	(void)ctx;
	(void)span;
}

static int
slow_harvest(void *ctx, struct wherry_span span, struct wherry_bitmap *into)
{
	struct slow *slow = ctx;

	(void)span;
	(void)into;
	__atomic_store_n(&slow->in, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&slow->let_go, __ATOMIC_ACQUIRE) == 0)
		usleep(100);
	return 0;
}

TEST(dirty_pause_waits_for_a_harvest_under_way)
{
	struct slow slow = { .in = 0 };
	struct wherry_write_log log = { .name = "slow",
		.start = slow_start,
		.stop = slow_stop,
		.harvest = slow_harvest,
		.ctx = &slow };
	struct ground g;
	struct call call = { .g = &g, .fn = harvest_it };

	ground_open(&g, "none", 64);
	CHECK_EQ(wherry_watch_add_log(g.w, &log), 0);
	ground_start(&g);
	call_begin(&call);
	while (__atomic_load_n(&slow.in, __ATOMIC_ACQUIRE) == 0)
		usleep(100);
	CHECK_EQ(wherry_tracker_pause(g.tr, g.span, SHORT_MS), -ETIMEDOUT);
	__atomic_store_n(&slow.let_go, 1, __ATOMIC_RELEASE);
	CHECK_EQ(call_end(&call), 0);
	CHECK_EQ(wherry_tracker_pause(g.tr, g.span, SHORT_MS), 0);
	wherry_tracker_resume(g.tr, g.span);
	ground_harvest(&g); /* the pause that came to nothing is none */
	ground_close(&g);
}

TEST(dirty_pause_refuses_what_is_no_span_or_paused_already)
{
	struct ground g;

	ground_open(&g, "none", 128);
	CHECK_EQ(wherry_tracker_pause(g.tr, (struct wherry_span){ 4096, 0 }, 0), -EINVAL);
	CHECK_EQ(wherry_tracker_pause(g.tr, (struct wherry_span){ UINT64_MAX, 2 }, 0), -EINVAL);
	CHECK_EQ(wherry_watch_copy_begin(g.w, (struct wherry_span){ 4096, 4096 }), -EINVAL);
	CHECK_EQ(wherry_tracker_pause(g.tr, ground_pages(&g, 0, 2), 0), 0);
	CHECK_EQ(wherry_tracker_pause(g.tr, ground_pages(&g, 1, 2), LONG_MS), -EBUSY);
	for (uint64_t i = 2; i < 65; i++)
		CHECK_EQ(wherry_tracker_pause(g.tr, ground_pages(&g, i, 1), 0), 0);
	CHECK_EQ(wherry_tracker_pause(g.tr, ground_pages(&g, 65, 1), 0), -EBUSY);
	wherry_tracker_resume(g.tr, ground_pages(&g, 30, 1));
	CHECK_EQ(wherry_tracker_pause(g.tr, ground_pages(&g, 65, 1), 0), 0);
	ground_close(&g);
}

/* Five seconds: what the header says. */
TEST(dirty_pause_that_stays_ends_who_waits)
{
	struct ground g;
	struct call harvest = { .g = &g, .fn = harvest_it }, copy = { .g = &g, .fn = copy_it };

	ground_open(&g, "none", 64);
	ground_start(&g);
	copy.span = g.span;
	CHECK_EQ(wherry_tracker_pause(g.tr, ground_pages(&g, 7, 1), 0), 0);
	call_begin(&harvest);
	call_begin(&copy);
	CHECK_EQ(call_end(&harvest), -ETIMEDOUT);
	CHECK_EQ(call_end(&copy), -ETIMEDOUT);
	CHECK_EQ(ground_stats(&g).harvests, 0);
	wherry_tracker_resume(g.tr, ground_pages(&g, 7, 1));
	ground_harvest(&g);
	CHECK_EQ(copy_it(&copy), 0);
	ground_close(&g);
}

static unsigned int
count_waiting(struct ground *g)
{
	struct pauses *p = &g->tr->pauses;
	unsigned int n;

	wherry_mutex_lock(&p->lock);
	n = p->waiting;
	wherry_mutex_unlock(&p->lock);
	return n;
}

TEST(dirty_pause_gives_way_to_who_has_waited)
{
	struct ground g;
	struct call copy = { .g = &g, .fn = copy_it };

	ground_open(&g, "none", 64);
	ground_start(&g);
	copy.span = g.span;
	for (unsigned int i = 0; i < 20; i++) {
		CHECK_EQ(wherry_tracker_pause(g.tr, g.span, LONG_MS), 0);
		call_begin(&copy);
		while (count_waiting(&g) == 0)
			usleep(100);
		wherry_tracker_resume(g.tr, g.span);
		CHECK_EQ(wherry_tracker_pause(g.tr, g.span, LONG_MS), 0); /* at once */
		CHECK_EQ(call_end(&copy), 0);
		wherry_tracker_resume(g.tr, g.span);
	}
	ground_close(&g);
}

#define WRITERS 3u
#define ROUNDS 400u

/* A device that writes all the time, also where it is refused. */
struct dma {
	struct ground *g;
	unsigned int *stop; /* atomic */
	uint64_t seed;
	pthread_t thread;
};

static void *
dma_main(void *arg)
{
	struct dma *dma = arg;
	uint64_t word = dma->seed, page;

	while (__atomic_load_n(dma->stop, __ATOMIC_RELAXED) == 0) {
		word = word * UINT64_C(6364136223846793005) + 1442695040888963407u;
		page = (word >> 33) % (dma->g->len / PAGE);
		if (wherry_soft_dma_write(dma->g->dev, dma->g->span.iova + page * PAGE + 8, &word,
			    sizeof(word)) != 0)
			sched_yield();
	}
	return NULL;
}

/* In and out of the domain, while the device writes. */
static void
go_in_and_out(struct ground *g)
{
	struct wherry_span span = g->span;
	uint64_t word = 0;

	CHECK_EQ(wherry_watch_add_domain(g->w, g->dom), 0);
	CHECK_EQ(ground_take(g), g->len / PAGE);
	ground_harvest(g);
	(void)ground_take(g);
	CHECK_EQ(wherry_watch_remove_domain(g->w, g->dom, LONG_MS), 0);
	CHECK_EQ(wherry_soft_dma_write(g->dev, g->span.iova, &word, sizeof(word)), -EFAULT);
	(void)ground_take(g);
	CHECK(ground_same(g));
	ground_harvest(g); /* nobody asks for what is not mapped */
	CHECK_EQ(ground_take(g), 0);
	CHECK_EQ(wherry_watch_remove_domain(g->w, g->dom, LONG_MS), -ENOENT);
	CHECK_EQ(
		wherry_domain_map_file(g->dom, g->fd, 0, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
		0);
}

/* By fence, by content, and where nothing is exact. */
static const char *const exact_ways[] = { "soft:units=2", "soft:exact=content", "soft:dbit=stale",
	NULL };

TEST_EACH(dirty_remove_domain_loses_no_device_write, exact_ways, spec)
{
	struct dma dma[WRITERS];
	unsigned int stop = 0;
	struct ground g;

	ground_open(&g, "none", 64);
	ground_map_in(&g, spec);
	ground_start(&g);
	for (unsigned int i = 0; i < WRITERS; i++) {
		dma[i] = (struct dma){ .g = &g, .stop = &stop, .seed = i };
		CHECK_EQ(pthread_create(&dma[i].thread, NULL, dma_main, &dma[i]), 0);
	}
	for (unsigned int i = 0; i < ROUNDS; i++)
		go_in_and_out(&g);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(dma[i].thread, NULL);
	ground_close(&g);
}

TEST(dirty_remove_domain_waits_for_a_copy_and_changes_nothing_if_in_vain)
{
	struct ground g;

	ground_open(&g, "none", 64);
	ground_map(&g);
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
	ground_start(&g);
	CHECK_EQ(wherry_watch_copy_begin(g.w, ground_pages(&g, 5, 1)), 0);
	CHECK_EQ(wherry_watch_remove_domain(g.w, g.dom, SHORT_MS), -ETIMEDOUT);
	ground_dma(&g, 9); /* it is mapped */
	wherry_watch_copy_end(g.w, ground_pages(&g, 5, 1));
	ground_harvest(&g); /* and asked */
	CHECK_EQ(ground_take(&g), 1);
	CHECK_EQ(wherry_watch_remove_domain(g.w, g.dom, SHORT_MS), 0);
	ground_close(&g);
}

TEST(dirty_remove_domain_before_the_start_is_a_plain_unmap)
{
	struct ground g;
	uint64_t word = 1;

	ground_open(&g, "none", 64);
	ground_map(&g);
	CHECK_EQ(wherry_watch_remove_domain(g.w, g.dom, 0), -ENOENT); /* not added */
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
	CHECK_EQ(wherry_watch_remove_domain(g.w, g.dom, 0), 0);
	CHECK_EQ(wherry_soft_dma_write(g.dev, g.span.iova, &word, sizeof(word)), -EFAULT);
	ground_start(&g);
	ground_close(&g);
}
