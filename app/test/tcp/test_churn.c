/* SPDX-License-Identifier: BSD-3-Clause */
/* examples/tcp-server: the table that proves that no page was left behind. */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "heap.h"
#include "test.h"

#define PAGE 4096u
#define ENTRIES 8u
#define SECOND UINT64_C(1000000000)

static uint64_t
mismatches(const struct churn *c)
{
	struct churn_run run = { 0 };

	while (!churn_check(c, &run))
		;
	return run.mismatches;
}

static void
make(struct state *state, size_t entries, uint64_t rate)
{
	memset(state, 0, sizeof(*state));
	CHECK_EQ(churn_create(state, entries * PAGE, rate), 0);
	CHECK_EQ(state->churn.n, entries);
}

static void
drop(struct state *state)
{
	state_free(state, state->churn.block);
	state_free(state, state->churn.versions);
}

static void
rewrite_all(struct churn *c)
{
	uint64_t before = c->rewrites;
	uint64_t now = 1;

	while (c->rewrites < before + c->n)
		now = churn_step(c, now);
}

TEST(tcp_churn_stays_sound_while_it_changes)
{
	struct state state;

	make(&state, ENTRIES, 1u << 20);
	CHECK_EQ(mismatches(&state.churn), 0);
	rewrite_all(&state.churn);
	CHECK_EQ(mismatches(&state.churn), 0);
	drop(&state);
}

/* Whichever page of the table or of the versions is put back, some entry does not fit. */
TEST(tcp_churn_check_finds_every_page_left_behind)
{
	unsigned char *old = malloc((ENTRIES + 1) * PAGE);
	struct state state;

	make(&state, ENTRIES, 1u << 20);
	unsigned char *first = (unsigned char *)state.churn.table - PAGE / 2;
	CHECK_EQ((uintptr_t)first % PAGE, 0);
	memcpy(old, first, (ENTRIES + 1) * PAGE);
	rewrite_all(&state.churn);
	for (size_t page = 0; page < (ENTRIES + 1) * PAGE; page += PAGE) {
		unsigned char *at = first + page;
		unsigned char now[PAGE];
		memcpy(now, at, PAGE);
		memcpy(at, old + page, PAGE);
		CHECK(mismatches(&state.churn) > 0);
		memcpy(at, now, PAGE);
		CHECK_EQ(mismatches(&state.churn), 0);
	}
	free(old);
	drop(&state);
}

/* The whole table of an earlier time is sound in itself: the versions tell. */
TEST(tcp_churn_check_finds_an_old_table)
{
	unsigned char *old = malloc(ENTRIES * PAGE);
	struct state state;

	make(&state, ENTRIES, 1u << 20);
	memcpy(old, state.churn.table, ENTRIES * PAGE);
	rewrite_all(&state.churn);
	memcpy(state.churn.table, old, ENTRIES * PAGE);
	CHECK_EQ(mismatches(&state.churn), ENTRIES);
	free(old);
	drop(&state);
}

TEST(tcp_churn_keeps_its_rate)
{
	static const uint64_t rates[] = { 3 * PAGE, 1u << 20, 20u << 20, 64u << 20 };

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct state state;
		uint64_t now = SECOND;
		make(&state, 64, rates[i]);
		while (now < 3 * SECOND)
			now = churn_step(&state.churn, now);
		uint64_t want = 2 * rates[i] / PAGE, got = state.churn.rewrites;
		if (got > want + want / 50 + 1 || got + want / 50 + 1 < want)
			FAIL("%llu entries, not %llu", (unsigned long long)got,
				(unsigned long long)want);
		drop(&state);
	}
}

TEST(tcp_churn_does_not_make_up_for_a_pause)
{
	struct state state;

	make(&state, ENTRIES, 20u << 20);
	(void)churn_step(&state.churn, SECOND);
	(void)churn_step(&state.churn, 100 * SECOND);
	uint64_t burst = state.churn.rewrites;
	CHECK(burst > 0 && burst <= 128);
	(void)churn_step(&state.churn, 100 * SECOND + 1000);
	CHECK_EQ(state.churn.rewrites, burst);
	drop(&state);
}

TEST(tcp_churn_of_nothing_is_never_due)
{
	struct state state;

	make(&state, 0, 0);
	CHECK_EQ(churn_step(&state.churn, 1), UINT64_MAX);
	CHECK_EQ(mismatches(&state.churn), 0);
}

TEST(tcp_churn_that_does_not_fit_leaves_nothing)
{
	for (unsigned int n = 0; n < 2; n++) {
		struct state state = { 0 };
		unsigned int before = heap_objects();
		heap_fail_after(n);
		int rc = churn_create(&state, ENTRIES * PAGE, 1);
		heap_fail_after(UINT_MAX);
		CHECK_EQ(rc, -ENOMEM);
		CHECK_EQ(state.churn.n, 0);
		CHECK_EQ(heap_objects(), before);
	}
}
