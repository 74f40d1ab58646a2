/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory handed over as files: nothing is copied, nothing is written before takeover, and
 * whatever fails on the way leaves the source as it was.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fault_priv.h"
#include "pair.h"
#include "test.h"

static struct pair_opts
lending(void)
{
	return (struct pair_opts){ .lend = true, .len = (size_t)64 * PAIR_PAGE };
}

/* The destination has marked one byte, in memory that is the source's still. */
static void
check_handed_over(struct pair *pair, const struct wherry_status *st, uint64_t before)
{
	pair_check_moved(pair, st);
	CHECK_EQ(pair->shared->borrowed, PAIR_REGIONS);
	CHECK_EQ(pair->mem[1][0], 0x77);
	pair->mem[1][0] = 0;
	pair->mem[0][PAIR_PAGE]--; /* quiesce's own */
	CHECK(pair_hash(pair) == before);
}

TEST(handover_moves_memory_and_copies_nothing)
{
	struct pair_opts opts = lending();
	struct wherry_status st;
	struct pair *pair;
	uint64_t before;

	opts.len = 64u << 20;
	pair = pair_create(&opts);
	before = pair_hash(pair);
	pair_migrate(pair, NULL, &st);
	check_handed_over(pair, &st, before);
	CHECK(st.bytes_sent < 8192);
	CHECK_EQ(st.rounds, 2);
	CHECK_EQ(pair->silences, 2); /* before anything is another's, and at the end */
	CHECK(strcmp(pair->shared->section, "quiesced 1") == 0);
	pair_destroy(pair);
}

TEST(handover_reports_to_both_what_became_of_mappings)
{
	/* the last is none of the values: a peer may say anything */
	const unsigned int said[] = { 0, WHERRY_MAPPINGS_KEPT, WHERRY_MAPPINGS_REBUILT, 77 };

	for (size_t i = 0; i < 4; i++) {
		struct pair_opts opts = lending();
		struct wherry_status st;
		struct pair *pair;

		opts.dest_mappings = (enum wherry_mappings)said[i];
		pair = pair_create(&opts);
		pair_migrate(pair, NULL, &st);
		pair_check_moved(pair, &st); /* the destination has ended */
		CHECK_EQ(st.mappings, i == 3 ? 0u : said[i]);
		CHECK_EQ(pair->shared->status.mappings, i == 3 ? 0u : said[i]);
		pair_destroy(pair);
	}
}

TEST(handover_with_an_arbiter_has_the_owner_that_it_names)
{
	struct pair_opts opts = lending();
	struct wherry_status st;
	struct pair *pair;
	uint64_t before;

	opts.arbiter = "lock";
	pair = pair_create(&opts);
	before = pair_hash(pair);
	pair_migrate(pair, NULL, &st);
	check_handed_over(pair, &st, before);
	pair_destroy(pair);
}

TEST(handover_is_a_copy_where_asked_for_or_verified_or_not_local)
{
	const struct wherry_migrate_params params[] = { { .copy = true }, { .verify = true },
		{ 0 } };

	for (size_t i = 0; i < 3; i++) {
		struct pair_opts opts = lending();
		struct wherry_status st;
		struct pair *pair;

		opts.tcp = i == 2;
		pair = pair_create(&opts);
		pair_migrate(pair, &params[i], &st);
		pair_check_moved(pair, &st);
		CHECK_EQ(pair->shared->borrowed, 0);
		CHECK(st.bytes_sent > 32 * PAIR_PAGE);
		pair_destroy(pair);
	}
}

TEST(handover_without_one_of_the_regions_is_refused)
{
	struct pair_opts opts = lending();
	struct wherry_status st;
	struct pair *pair;

	opts.lend_less = true;
	pair = pair_create(&opts);
	pair_migrate(pair, NULL, &st);
	pair_check_stayed(pair, &st);
	CHECK(strstr(st.reason, "region \"table\" was not handed over") != NULL);
	pair_destroy(pair);
}

/* At every step of the destination: what the source has is what it had. */
TEST(handover_failing_at_any_step_of_the_destination_leaves_the_source_untouched)
{
	bool fired = true;

	for (unsigned int nth = 1; fired; nth++) {
		struct pair_opts opts = lending();
		struct wherry_status st;
		struct pair *pair;
		uint64_t before;

		opts.dest_fault = nth;
		pair = pair_create(&opts);
		before = pair_hash(pair);
		pair_migrate(pair, &(struct wherry_migrate_params){ .timeout_ms = 2000 }, &st);
		if (st.state == WHERRY_STATE_SERVING) {
			pair_check_stayed(pair, &st);
			pair->mem[0][PAIR_PAGE] -= (uint8_t)pair->quiesces;
			CHECK(pair_hash(pair) == before);
		} else {
			pair_reap(pair);
		}
		fired = pair->shared->trouble[0] != '\0';
		pair_destroy(pair);
		CHECK(nth < 200);
	}
}

TEST(handover_failing_at_any_step_of_the_source_goes_on_there)
{
	FOR_EACH_FAULT(nth) {
		struct pair_opts opts = lending();
		struct wherry_status st;
		struct pair *pair;

		wherry_fault_disarm();
		pair = pair_create(&opts);
		wherry_fault_arm(nth);
		pair_migrate(pair, &(struct wherry_migrate_params){ .timeout_ms = 2000 }, &st);
		wherry_fault_disarm();
		if (st.state == WHERRY_STATE_RELEASED) {
			pair_check_moved(pair, &st);
		} else if (st.state == WHERRY_STATE_SERVING) {
			CHECK(pair->resumes == pair->quiesces);
			CHECK(pair->mem[1][0] == 0);
		}
		pair_destroy(pair);
	}
}

TEST(handover_takes_nothing_from_a_stranger)
{
	struct pair_opts opts = lending();
	struct wherry_status st;
	struct pair *pair;
	uint64_t before;

	opts.stranger = true; /* connected when the source hands over */
	pair = pair_create(&opts);
	before = pair_hash(pair);
	pair_migrate(pair, NULL, &st);
	check_handed_over(pair, &st, before);
	CHECK(pair->stranger > 0);
	close(pair->stranger);
	pair_destroy(pair);
}
