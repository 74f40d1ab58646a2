/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever connects to a waiting destination and is no source: it is sent away, and the source finds
 * the destination as if nobody had been there. With keys nobody comes so far: test_tls_refused.c.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "pair.h"
#include "talk.h"
#include "test.h"

/* What a source says in another place, at another destination, or to one of another kind. */
TEST(migrate_destination_waits_on_when_something_else_than_hello_came)
{
	static const enum wherry_record_type types[] = { WHERRY_REC_JOIN, WHERRY_REC_RECOVER,
		WHERRY_REC_COMMIT, WHERRY_REC_ABORT };
	struct pair_opts opts = { .len = 64 * PAIR_PAGE };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	for (int i = 0; i < 4; i++) {
		struct mig_channel *ch = talk_to(pair->dest_uri);
		bool gave_up = types[i] == WHERRY_REC_ABORT;

		talk_say(ch, types[i]);
		CHECK_EQ(mig_channel_expect(ch, WHERRY_REC_HELLO, NULL),
			gave_up ? -ECONNRESET : -EPROTO);
		if (!gave_up && strstr(mig_channel_reason(ch), "where hello was due") == NULL)
			FAIL("it is told \"%s\"", mig_channel_reason(ch));
		mig_channel_destroy(ch);
	}
	pair_migrate(pair, NULL, &st);
	pair_check_moved(pair, &st);
	CHECK(strstr(pair->shared->log, "a stranger connected and was sent away") != NULL);
	CHECK(strstr(pair->shared->log, "(recover)") != NULL);
	pair_destroy(pair);
}

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
