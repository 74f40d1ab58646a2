/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever connects to a waiting destination and is no source: it is sent away, and the source finds
 * the destination as if nobody had been there. With keys nobody comes so far: test_tls_refused.c.
 */
#include <pthread.h>
#include <string.h>

#include "pair.h"
#include "talk.h"
#include "test.h"

TEST(migrate_waiting_destination_is_not_held_up_by_a_stranger_who_talks)
{
	const struct wherry_migrate_params params = { .timeout_ms = 40000 };
	struct pair_opts opts = { .len = 64 * PAIR_PAGE };
	struct pair *pair = pair_create(&opts);
	struct talker stranger = { .ch = talk_to(pair->dest_uri), .also = WHERRY_REC_PULSE };
	struct wherry_status st;
	pthread_t thread;

	CHECK_EQ(mig_channel_send_empty(stranger.ch, WHERRY_REC_PULSE), 0);
	talk_await_read(stranger.ch);
	CHECK_EQ(pthread_create(&thread, NULL, talk_on, &stranger), 0);
	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK(strstr(pair->shared->log, "did not come within 10000 ms") != NULL);
	pthread_join(thread, NULL);
	mig_channel_destroy(stranger.ch);
	pair_destroy(pair);
}
