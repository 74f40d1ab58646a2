/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections lost in pre-copy, and recovered. What must hold: what has arrived is not
 * sent again, what has not is; only the source of the migration is let in; and whatever
 * ends it while it is paused leaves both sides as a failed migration does.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel_priv.h"
#include "cut.h"
#include "fault_priv.h"
#include "hello_priv.h"
#include "pair.h"
#include "recover_priv.h"
#include "talk.h"
#include "test.h"

#define LEN ((size_t)16 << 20)
#define CONTENT (LEN / 3 * 2) /* every third page is empty */

static const struct wherry_migrate_params patient = {
	.pause_limit_ms = 15000, .timeout_ms = 5000, .verify = true
};

/* Over the direct way, past the proxy. */
static void
recover(struct pair *pair)
{
	CHECK_EQ(wherry_agent_recover(pair->agent, pair->dest_uri), 0);
}

static void
recover_to_the_end(struct pair *pair, struct wherry_status *st)
{
	recover(pair);
	do
		pair_wait(pair, WHERRY_STATE_RELEASED, st);
	while (st->state == WHERRY_STATE_PAUSED);
	pair_check_moved(pair, st);
	CHECK_EQ(pair->resumes, 0);
}

/* Begin, and lose the connection at that record; *ret_st is that of the pause. */
static struct pair *
pause_at(const struct proxy_plan *plan, bool writer, struct wherry_status *ret_st)
{
	struct pair_opts opts = {
		.len = LEN, .writer = writer, .writer_us = 200, .filter = true, .plan = *plan
	};
	struct pair *pair = pair_create(&opts);

	CHECK_EQ(wherry_agent_recover(pair->agent, NULL), -EALREADY);
	CHECK_EQ(pair_begin(pair, &patient), 0);
	cut_await_paused(pair, 1, ret_st);
	CHECK(ret_st->reason[0] != '\0');
	CHECK_EQ(pair_begin(pair, &patient), -EBUSY);
	return pair;
}

TEST(migrate_recovers_from_a_connection_lost_at_any_record_of_precopy)
{
	static const struct proxy_plan plans[] = {
		{ .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES },
		{ .kind = PROXY_CUT, .type = WHERRY_REC_PAGES, .nth = 1 },
		{ .kind = PROXY_CUT, .type = WHERRY_REC_PAGES, .nth = 10 },
		{ .kind = PROXY_CLOSE, .type = WHERRY_REC_ZEROS },
		{ .kind = PROXY_CUT, .type = WHERRY_REC_ZEROS, .nth = 1 },
		{ .kind = PROXY_CLOSE, .type = WHERRY_REC_ROUND },
		{ .kind = PROXY_CLOSE, .back = true, .type = WHERRY_REC_GOT },
		{ .kind = PROXY_CUT, .back = true, .type = WHERRY_REC_GOT },
	};

	for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		struct wherry_status st;
		struct pair *pair = pause_at(&plans[i], true, &st);

		recover_to_the_end(pair, &st);
		CHECK_EQ(st.pauses, 1);
		CHECK_EQ(st.reason[0], '\0');
		pair_destroy(pair);
	}
}

TEST(migrate_silent_connection_is_recovered_when_it_is_given_up)
{
	struct pair_opts opts = { .len = LEN,
		.writer = true,
		.writer_us = 200,
		.plan = { .kind = PROXY_SILENT, .type = WHERRY_REC_PAGES, .nth = 8 } };
	struct wherry_migrate_params params = patient;
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	params.timeout_ms = 500;
	CHECK_EQ(pair_begin(pair, &params), 0);
	cut_await_paused(pair, 1, &st);
	CHECK(strstr(st.reason, "silent") != NULL);
	recover_to_the_end(pair, &st);
	pair_destroy(pair);
}

/* Of 21 batches and more 18 have arrived; the rest of the last is what a page weighs. */
TEST(migrate_recovery_sends_what_has_not_arrived_and_no_more)
{
	struct proxy_plan late = { .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 18 },
			  none = { .kind = PROXY_CLOSE, .back = true, .type = WHERRY_REC_GOT };
	struct wherry_status before, st;
	struct pair *pair = pause_at(&late, false, &before);

	recover_to_the_end(pair, &st);
	CHECK(before.bytes_sent > CONTENT / 2);
	if (st.bytes_sent - before.bytes_sent > CONTENT / 4)
		FAIL("%llu bytes after %llu",
			(unsigned long long)(st.bytes_sent - before.bytes_sent),
			(unsigned long long)before.bytes_sent);
	/* and it is sent: more than what comes with an empty round */
	CHECK(st.bytes_sent - before.bytes_sent > (size_t)128 * PAIR_PAGE);
	pair_destroy(pair);

	/* all has arrived, but the word of it got lost */
	pair = pause_at(&none, false, &before);
	recover_to_the_end(pair, &st);
	CHECK(before.bytes_sent > CONTENT);
	if (st.bytes_sent - before.bytes_sent > 16 * PAIR_PAGE)
		FAIL("%llu bytes", (unsigned long long)(st.bytes_sent - before.bytes_sent));
	pair_destroy(pair);
}

/* What is written while nobody is connected is sent in the end, and all of it is new. */
TEST(migrate_recovery_sends_what_was_written_while_paused)
{
	struct proxy_plan plan = { .kind = PROXY_CLOSE, .back = true, .type = WHERRY_REC_GOT };
	struct wherry_status before, st;
	struct pair *pair = pause_at(&plan, false, &before);

	for (size_t at = 0; at < LEN / 4; at += PAIR_PAGE)
		pair->mem[0][at + LEN / 2] ^= 0x5a;
	recover_to_the_end(pair, &st);
	CHECK(st.bytes_sent - before.bytes_sent > LEN / 4);
	CHECK(st.bytes_sent - before.bytes_sent < LEN / 2);
	pair_destroy(pair);
}

/* At random moments, also of the recovery itself, over several channels; the next one has more time. */
TEST(migrate_recovers_again_and_again_over_several_channels)
{
	struct pair_opts opts = { .len = LEN, .tcp = true, .writer = true, .writer_us = 100 };
	struct wherry_migrate_params params = patient;
	struct pair *pair = pair_create(&opts);
	unsigned int pauses = 0, tries = 0;
	struct wherry_status st;

	params.channels = 3;
	params.pause_limit_ms = 60000;
	params.max_bandwidth = 10u << 20; /* less than gets dirty */
	params.downtime_limit_ms = 100;
	params.max_rounds = 1000;
	CHECK_EQ(pair_begin(pair, &params), 0);
	pair_wait(pair, WHERRY_STATE_PRECOPY, &st);
	while (st.pauses < 6) {
		tries = st.pauses == pauses ? tries + 1 : 0;
		pauses = st.pauses;
		usleep((unsigned int)(test_random() % (60000u << (tries < 6 ? tries : 6))));
		cut_connections(pair);
		pair_wait(pair, WHERRY_STATE_PAUSED, &st);
		if (st.state != WHERRY_STATE_PAUSED)
			FAIL("%s: %s; destination: %s", wherry_state_name(st.state), st.reason,
				pair->shared->status.reason);
		(void)!wherry_agent_recover(pair->agent, NULL); /* -EBUSY: one is under way */
	}
	__atomic_store_n(&pair->pause, 1, __ATOMIC_RELEASE); /* now it converges */
	while (st.state == WHERRY_STATE_PRECOPY || st.state == WHERRY_STATE_PAUSED) {
		(void)!wherry_agent_recover(pair->agent, NULL);
		usleep(2000);
		wherry_agent_get_status(pair->agent, &st);
	}
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	CHECK(st.pauses >= 6);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST(migrate_cancel_while_paused_ends_tracking_and_the_source_serves)
{
	struct proxy_plan plan = { .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 5 };
	struct pair_opts opts = { .len = LEN, .writer = true, .writer_us = 200, .plan = plan };
	struct wherry_migrate_params params = patient;
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	params.pause_limit_ms = 1500;
	CHECK_EQ(pair_begin(pair, &params), 0);
	cut_await_paused(pair, 1, &st);
	CHECK_EQ(wherry_tracker_start(pair->tracker), -EALREADY);
	CHECK_EQ(wherry_agent_cancel(pair->agent), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	CHECK(strcmp(st.reason, "cancelled") == 0);
	CHECK_EQ(wherry_tracker_start(pair->tracker), 0); /* it was off */
	wherry_tracker_stop(pair->tracker);
	CHECK_EQ(wherry_agent_recover(pair->agent, NULL), -EALREADY);
	/* as if the source had died: the destination gives up when its time is up */
	pair_check_stayed(pair, &st);
	CHECK(strstr(pair->shared->status.reason, "not recovered within 1500 ms") != NULL);
	CHECK_EQ(pair->shared->wait_rc, -ETIMEDOUT);
	/* and the next migration has all to send */
	pair_start_dest(pair);
	memcpy(pair->uri, pair->dest_uri, sizeof(pair->uri));
	pair_migrate(pair, &patient, &st);
	CHECK(st.bytes_sent > CONTENT);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST(migrate_pause_has_a_limit_at_both_sides)
{
	struct proxy_plan plan = { .kind = PROXY_CUT, .type = WHERRY_REC_PAGES, .nth = 5 };
	struct pair_opts opts = { .len = LEN, .writer = true, .writer_us = 200, .plan = plan };
	struct wherry_migrate_params params = { .pause_limit_ms = 400 };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	while (st.state == WHERRY_STATE_PAUSED)
		pair_wait(pair, WHERRY_STATE_SERVING, &st);
	CHECK(strstr(st.reason, "not recovered in time") != NULL);
	pair_check_stayed(pair, &st);
	CHECK_EQ(st.pauses, 1);
	CHECK(strstr(pair->shared->status.reason, "not recovered within 400 ms") != NULL);
	pair_destroy(pair);
}

TEST(migrate_destination_that_dies_while_held_leaves_the_source_paused)
{
	struct proxy_plan plan = { .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 5 };
	struct pair_opts opts = { .len = LEN, .writer = true, .writer_us = 200, .plan = plan };
	struct wherry_migrate_params params = { .pause_limit_ms = 15000, .timeout_ms = 1000 };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	CHECK_EQ(pair_begin(pair, &params), 0);
	cut_await_paused(pair, 1, &st);
	CHECK_EQ(kill(pair->child, SIGKILL), 0);
	CHECK_EQ(waitpid(pair->child, &pair->status, 0), pair->child);
	pair->status = 0; /* it is reaped */
	recover(pair);
	cut_await_paused(pair, 2, &st);
	CHECK(strstr(st.reason, "started with --incoming") != NULL);
	/* a destination started afresh holds nothing of this migration */
	pair_start_dest(pair);
	recover(pair);
	cut_await_paused(pair, 3, &st);
	CHECK_EQ(wherry_agent_cancel(pair->agent), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	CHECK_EQ(pair->resumes, pair->quiesces);
	pair_destroy(pair);
}

/* The destination says that it does not know us, and nothing has changed. */
static void
check_sent_away(struct mig_channel *ch)
{
	struct wherry_record answer;

	CHECK_EQ(mig_channel_receive(ch, &answer), -EPERM);
	CHECK(strstr(mig_channel_reason(ch), "another migration") != NULL);
	mig_channel_destroy(ch);
}

/* Say who we are not. */
static void
intrude(const struct pair *pair, size_t id_len, bool over)
{
	static const uint8_t id[MIG_SESSION_LEN * 2] = "nobody's";
	uint8_t rec[WHERRY_STREAM_HEADER + 128];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 128 };
	struct mig_channel *ch = talk_to(pair->dest_uri);

	wherry_table_put_bytes(&t, WHERRY_RECOVER_ID, id, id_len);
	wherry_table_put_bytes(&t, WHERRY_RECOVER_SESSION, id, MIG_SESSION_LEN);
	if (over)
		wherry_table_put_text(&t, WHERRY_RECOVER_OVER, "so that it ends");
	CHECK_EQ(mig_channel_send(ch, WHERRY_REC_RECOVER, t.buf, t.len), 0);
	check_sent_away(ch);
}

TEST(migrate_recovery_of_another_migration_is_refused_and_costs_nothing)
{
	struct proxy_plan plan = { .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 18 };
	struct wherry_status before, st;
	struct pair *pair = pause_at(&plan, true, &before);
	struct mig_channel *ch;

	intrude(pair, MIG_SESSION_LEN, false);
	intrude(pair, MIG_SESSION_LEN, true);
	intrude(pair, MIG_SESSION_LEN - 1, false);
	intrude(pair, MIG_SESSION_LEN + 1, false);
	ch = talk_to(pair->dest_uri);
	talk_say(ch, WHERRY_REC_JOIN);
	check_sent_away(ch);
	ch = talk_to(pair->dest_uri); /* one that was cancelled, which is its own affair */
	talk_say(ch, WHERRY_REC_ABORT);
	CHECK_EQ(mig_channel_expect(ch, WHERRY_REC_RECOVER, NULL), -ECONNRESET);
	mig_channel_destroy(ch);
	ch = talk_to(pair->dest_uri); /* and one that has nothing to say */
	mig_channel_destroy(ch);
	recover_to_the_end(pair, &st);
	CHECK(st.bytes_sent - before.bytes_sent < CONTENT / 2);
	pair_destroy(pair);
}

/* Until the source's own limit passes it may try again. */
TEST(migrate_held_destination_is_not_held_up_by_a_stranger_who_talks)
{
	struct proxy_plan plan = { .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 5 };
	struct wherry_status st;
	struct pair *pair = pause_at(&plan, false, &st);
	struct talker stranger = { .ch = talk_to(pair->dest_uri), .also = WHERRY_REC_PULSE };
	pthread_t thread;

	CHECK_EQ(mig_channel_send_empty(stranger.ch, WHERRY_REC_PULSE), 0);
	talk_await_read(stranger.ch);
	CHECK_EQ(pthread_create(&thread, NULL, talk_on, &stranger), 0);
	do {
		(void)!wherry_agent_recover(pair->agent, pair->dest_uri);
		pair_wait(pair, WHERRY_STATE_PAUSED, &st);
	} while (st.state == WHERRY_STATE_PAUSED);
	pair_check_moved(pair, &st);
	CHECK(strstr(pair->shared->log, "did not come within 2000 ms") != NULL);
	pthread_join(thread, NULL);
	mig_channel_destroy(stranger.ch);
	pair_destroy(pair);
}

/* A second proxy does something bad to the recovery; a third attempt comes through. */
static void
strike_recovery(enum proxy_kind kind, bool back, unsigned int type)
{
	struct proxy_plan first = { .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 15 },
			  second = { .kind = kind, .back = back, .type = type };
	struct wherry_status st;
	struct pair *pair = pause_at(&first, true, &st);
	struct proxy *proxy;
	char uri[160];

	snprintf(uri, sizeof(uri), "%.100s.2", pair->dest_uri);
	proxy = proxy_create(uri, pair->dest_uri, &second);
	mig_channel_destroy(talk_to(pair->dest_uri)); /* it listens: the proxy connects once */
	CHECK_EQ(wherry_agent_recover(pair->agent, uri), 0);
	cut_await_paused(pair, 2, &st);
	if (!proxy_struck(proxy))
		FAIL("no %s came by: %s", wherry_record_name(type), st.reason);
	proxy_destroy(proxy);
	recover_to_the_end(pair, &st);
	pair_destroy(pair);
}

TEST(migrate_attempt_to_recover_that_fails_leaves_it_paused)
{
	strike_recovery(PROXY_CLOSE, false, WHERRY_REC_RECOVER);
	strike_recovery(PROXY_CUT, true, WHERRY_REC_RECOVER);
	strike_recovery(PROXY_CLOSE, false, WHERRY_REC_WANT);
	strike_recovery(PROXY_CUT, true, WHERRY_REC_HAVE);
	strike_recovery(PROXY_CLOSE, true, WHERRY_REC_HAVE);
	strike_recovery(PROXY_CLOSE, false, WHERRY_REC_PAGES);
	strike_recovery(PROXY_CLOSE, true, WHERRY_REC_GOT);
}

/* Steps of a recovery fail one after the other, at the source. */
TEST(migrate_any_failing_step_of_a_recovery_leaves_one_owner)
{
	FOR_EACH_FAULT(nth) {
		struct proxy_plan plan = {
			.kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 1
		};
		struct pair_opts opts = {
			.len = 1 << 20, .writer = true, .writer_us = 200, .plan = plan
		};
		struct pair *pair;
		struct wherry_status st;

		wherry_fault_disarm();
		pair = pair_create(&opts);
		CHECK_EQ(pair_begin(pair, &patient), 0);
		cut_await_paused(pair, 1, &st);
		wherry_fault_arm(nth);
		recover(pair);
		do {
			pair_wait(pair, WHERRY_STATE_PAUSED, &st);
			usleep(1000);
		} while (st.state == WHERRY_STATE_PAUSED && st.pauses == 1);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (wherry_fault_fired() != NULL)
			wherry_fault_disarm();
		if (st.state == WHERRY_STATE_PAUSED)
			recover_to_the_end(pair, &st);
		else if (st.state == WHERRY_STATE_SERVING)
			pair_check_stayed(pair, &st);
		else if (st.state == WHERRY_STATE_RELEASED)
			pair_check_moved(pair, &st);
		else
			CHECK_EQ(st.state, WHERRY_STATE_UNKNOWN);
		pair_destroy(pair);
	}
}

/* After quiesce nothing pauses: the application there waits. */
TEST(migrate_connection_lost_after_quiesce_is_not_paused)
{
	static const unsigned int types[] = { WHERRY_REC_SECTION, WHERRY_REC_DIGEST };

	for (int i = 0; i < 2; i++) {
		struct pair_opts opts = { .len = 64 * PAIR_PAGE,
			.writer = true,
			.plan = { .kind = PROXY_CLOSE, .type = types[i] } };
		struct pair *pair = pair_create(&opts);
		struct wherry_status st;

		pair_migrate(pair, &patient, &st);
		CHECK_EQ(st.pauses, 0);
		pair_check_stayed(pair, &st);
		CHECK_EQ(pair->resumes, 1);
		CHECK_EQ(pair->shared->status.pauses, 0);
		pair_destroy(pair);
	}
}
