/* SPDX-License-Identifier: BSD-3-Clause */
/* A migration keeps its hands off memory that is paused. */
#include <pthread.h>
#include <unistd.h>

#include "pair.h"
#include "test.h"

#define HELD_US 2000u
#define FREE_US 300u
#define LONG_MS 4000u

/* A word of each page is another one for as long as the region is paused. */
struct flipper {
	struct pair *pair;
	struct wherry_span span;
	unsigned int stop;   /* atomic */
	unsigned int pauses; /* atomic */
};

static void
flip(const struct flipper *f)
{
	for (uint64_t at = 0; at < f->span.len; at += PAIR_PAGE) {
		uint64_t *word = (uint64_t *)(uintptr_t)(f->span.iova + at + 64);

		__atomic_store_n(word, ~*word, __ATOMIC_RELAXED);
	}
}

static void *
flipper_main(void *arg)
{
	struct flipper *f = arg;

	while (__atomic_load_n(&f->stop, __ATOMIC_RELAXED) == 0) {
		if (wherry_tracker_pause(f->pair->tracker, f->span, LONG_MS) != 0)
			continue;
		flip(f);
		usleep(HELD_US);
		flip(f);
		wherry_tracker_resume(f->pair->tracker, f->span);
		__atomic_add_fetch(&f->pauses, 1, __ATOMIC_RELAXED);
		usleep(FREE_US);
	}
	return NULL;
}

/*
 * Nobody tracks these writes: a copy of a page while it is paused would stay wrong. What
 * the pair itself writes, to its second page, is said to be dirty always.
 */
TEST(migrate_copies_no_page_while_it_is_paused)
{
	struct pair_opts opts = { .cpu = WHERRY_CPU_NONE, .len = (size_t)32 << 20 };
	struct wherry_migrate_params params = { .channels = 3 };
	struct pair *pair = pair_create(&opts);
	struct wherry_span all = wherry_watch_span(pair->watches[0]);
	struct flipper f = { .pair = pair,
		.span = { all.iova + 2 * (uint64_t)PAIR_PAGE, all.len - 2 * (uint64_t)PAIR_PAGE } };
	struct wherry_status st;
	pthread_t thread;

	all.len = 2 * (uint64_t)PAIR_PAGE;
	CHECK_EQ(wherry_watch_always(pair->watches[0], all), 0);
	CHECK_EQ(pthread_create(&thread, NULL, flipper_main, &f), 0);
	while (__atomic_load_n(&f.pauses, __ATOMIC_RELAXED) == 0)
		usleep(FREE_US);
	pair_migrate(pair, &params, &st);
	__atomic_store_n(&f.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}
