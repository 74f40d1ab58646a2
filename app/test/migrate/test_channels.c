/* SPDX-License-Identifier: BSD-3-Clause */
/* Several connections, batches made shorter, pages that are there already. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel_priv.h"
#include "hello_priv.h"
#include "known_priv.h"
#include "pack_priv.h"
#include "pair.h"
#include "socket_priv.h"
#include "test.h"
#include "wherry_stream.h"

#define BIG ((size_t)32 << 20)

static const char *const channels[] = { "1", "2", "3", "7", "32", NULL };

TEST_EACH(migrate_moves_every_byte_over_any_number_of_channels, channels, n)
{
	struct pair_opts opts = { .len = BIG, .writer = true, .writer_us = 50, .tcp = true };
	struct wherry_migrate_params params = { .verify = true,
		.downtime_limit_ms = 10000,
		.channels = (unsigned int)strtoul(n, NULL, 10) };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST(migrate_default_is_a_channel_for_each_cpu)
{
	struct pair_opts opts = { .len = BIG };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	CHECK_EQ(wherry_agent_migrate(pair->agent, pair->uri, NULL), 0);
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST(migrate_refuses_more_channels_than_there_can_be)
{
	struct pair_opts opts = { .no_dest = true };
	struct wherry_migrate_params params = { .channels = MIG_CHANNELS_MAX + 1 };
	struct pair *pair = pair_create(&opts);

	CHECK_EQ(wherry_agent_migrate(pair->agent, pair->uri, &params), -EINVAL);
	pair_destroy(pair);
}

/* All of a pair's first region but every third page is the same word over and over. */
TEST(migrate_compressed_is_shorter_and_the_same)
{
	struct pair_opts opts = { .len = BIG };
	struct wherry_migrate_params params = { .verify = true, .channels = 2, .compress = true };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	for (size_t i = 0; i < pair->len[0]; i += PAIR_PAGE)
		memset(pair->mem[0] + i, 1 + (int)(i / PAIR_PAGE % 200), PAIR_PAGE);
	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK(st.bytes_sent < pair->len[0] / 8);
	pair_destroy(pair);
}

TEST(migrate_limit_holds_for_all_channels_together)
{
	struct pair_opts opts = { .tcp = true };
	struct wherry_migrate_params params = { .max_bandwidth = 8 << 20, .channels = 4 };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;
	double ratio;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	ratio = (double)st.bytes_sent / ((double)st.total_ns / 1e9) / (double)params.max_bandwidth;
	if (ratio > 1.15)
		FAIL("%.2f of the limit", ratio);
	pair_destroy(pair);
}

TEST(migrate_cancel_ends_all_channels)
{
	struct pair_opts opts = { .len = BIG, .writer = true };
	struct wherry_migrate_params params = { .max_bandwidth = 1 << 20, .channels = 4 };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	CHECK_EQ(pair_begin(pair, &params), 0);
	pair_wait(pair, WHERRY_STATE_PRECOPY, &st);
	CHECK_EQ(wherry_agent_cancel(pair->agent), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	CHECK(strcmp(st.reason, "cancelled") == 0);
	pair_check_stayed(pair, &st);
	pair_destroy(pair);
}

/* The destination gives up in the middle: each side shows the first reason, not what it made of the rest. */
TEST(migrate_reason_is_heard_whichever_channel_ends_first)
{
	struct pair_opts opts = { .len = BIG, .dest_load_rc = -EIO };
	struct wherry_migrate_params params = { .channels = 4 };

	for (int i = 0; i < 5; i++) {
		struct pair *pair = pair_create(&opts);
		struct wherry_status st;

		pair_migrate(pair, &params, &st);
		pair_check_stayed(pair, &st);
		if (strstr(st.reason, "could not be loaded") == NULL)
			FAIL("we hear \"%s\"", st.reason);
		pair_destroy(pair);
	}
}

/* As with hugepages: all of it is reported dirty in each round, and hardly any of it is. */
TEST(migrate_dirty_page_that_is_there_already_is_not_sent)
{
	struct pair_opts opts = { .len = BIG };
	struct wherry_migrate_params params = {
		.verify = true, .channels = 2, .downtime_limit_ms = 10000
	};
	struct pair *pair = pair_create(&opts);
	struct wherry_span all = { .iova = (uint64_t)(uintptr_t)pair->mem[0], .len = BIG };
	struct wherry_status st;

	CHECK_EQ(wherry_watch_always(pair->watches[0], all), 0);
	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK(st.rounds >= 2);
	CHECK(st.round.pages >= BIG / PAIR_PAGE);
	CHECK_EQ(st.round.same_pages, st.round.pages - 1); /* quiesce writes one */
	CHECK(st.round.bytes < 3 * PAIR_PAGE);
	pair_destroy(pair);
}

/* ---- the parts ---- */

TEST(migrate_pack_gives_up_on_what_does_not_shrink)
{
	static uint8_t in[1 << 18], out[1 << 18], back[1 << 18];
	struct mig_unpack *u;
	struct mig_pack *p;
	size_t n;

	CHECK_EQ(mig_pack_create(&p), 0);
	CHECK_EQ(mig_unpack_create(&u), 0);
	memset(in, 'x', sizeof(in));
	n = mig_pack(p, out, in, sizeof(in));
	CHECK(n > 0 && n < sizeof(in) / 100);
	CHECK_EQ(mig_unpack(u, back, sizeof(back), out, n), 0);
	CHECK(memcmp(in, back, sizeof(in)) == 0);
	CHECK_EQ(mig_unpack(u, back, sizeof(back) - 1, out, n), -EPROTO);
	CHECK_EQ(mig_unpack(u, back, sizeof(back), out, n - 1), -EPROTO);
	for (size_t i = 0; i < sizeof(in); i += 8) {
		uint64_t r = test_random();

		memcpy(in + i, &r, 8);
	}
	CHECK_EQ(mig_pack(p, out, in, sizeof(in)), 0);
	memset(in, 'x', sizeof(in));
	CHECK_EQ(mig_pack(p, out, in, sizeof(in)), 0); /* untried */
	CHECK(mig_pack(p, out, in, sizeof(in)) > 0);
	mig_unpack_destroy(u);
	mig_pack_destroy(p);
}

TEST(migrate_known_pages_are_those_that_were_set)
{
	struct mig_region region = { .span = { .iova = PAIR_PAGE, .len = 4 * PAIR_PAGE } };
	struct mig_regions regions = { .list = &region, .n = 1 };
	const uint64_t hash[2] = { 1, 2 }, other[2] = { 1, 3 };
	struct mig_known *known;

	CHECK_EQ(mig_known_create(&regions, &known), 0);
	CHECK(!mig_known_has(known, 0, 3, hash));
	mig_known_set(known, 0, 3, hash);
	CHECK(mig_known_has(known, 0, 3, hash));
	CHECK(!mig_known_has(known, 0, 3, other));
	CHECK(!mig_known_has(known, 0, 2, hash));
	mig_known_set(known, 0, 3, NULL);
	CHECK(!mig_known_has(known, 0, 3, hash));
	mig_known_destroy(known);
}
