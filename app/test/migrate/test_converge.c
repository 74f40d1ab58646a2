/* SPDX-License-Identifier: BSD-3-Clause */
/* Who writes faster than can be sent: throttled if that was asked for, or given up in time. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent_priv.h"
#include "converge_priv.h"
#include "pair.h"
#include "test.h"
#include "wherry_stream.h"

/* 1 MiB, written all over within one round; what can be sent in the downtime is a quarter. */
static const struct pair_opts busy = {
	.len = 1u << 20, .writer = true, .writer_us = 1000, .writer_burst = 60
};
static const struct wherry_migrate_params slow = {
	.max_bandwidth = 16u << 20, .downtime_limit_ms = 15, .max_rounds = 25, .timeout_ms = 3000
};

/* What both sides say they take is in the forecast, and in the blackout: neither depends on the machine. */
TEST(converge_forecast_has_what_both_sides_measured)
{
	struct pair_opts opts = {
		.len = 64 * PAIR_PAGE, .rehearses = true, .quiesce_ms = 200, .dest_takeover_ms = 300
	};
	struct pair *pair = pair_create(&opts);
	struct wherry_migrate_params params = { .downtime_limit_ms = 499, .max_rounds = 2 };
	struct wherry_status st;

	pair_migrate(pair, &params, &st); /* the limit cannot be met */
	CHECK_EQ(st.state, WHERRY_STATE_SERVING);
	CHECK(strstr(st.reason, "not converged") != NULL);
	CHECK(st.round.forecast_ms >= 500);
	pair_destroy(pair);
	pair = pair_create(&opts);
	params.downtime_limit_ms = 60000;
	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK(st.blackout_ns >= 300000000); /* a quiesce counts from the last burst */
	pair_destroy(pair);
}

/* A second is much beside what a busy machine adds. */
TEST(converge_forecast_is_within_twice_the_blackout)
{
	struct pair_opts opts = {
		.len = 64 * PAIR_PAGE, .rehearses = true, .quiesce_ms = 1, .dest_takeover_ms = 1000
	};
	struct pair *pair = pair_create(&opts);
	struct wherry_migrate_params params = { .downtime_limit_ms = 60000 };
	struct wherry_status st;
	double blackout_ms, forecast_ms;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK(st.rounds >= 2); /* the last one is final, and has none */
	forecast_ms = pair->agent->rounds[st.rounds - 2].forecast_ms;
	blackout_ms = (double)st.blackout_ns / 1e6;
	CHECK(forecast_ms <= 2 * blackout_ms);
	CHECK(blackout_ms <= 2 * forecast_ms);
	pair_destroy(pair);
}

/* One measurement in a busy moment says nothing about the next. */
TEST(converge_rehearses_again_what_alone_would_break_the_limit)
{
	struct pair_opts opts = {
		.len = 64 * PAIR_PAGE, .rehearses = true, .quiesce_ms = 1, .busy_rehearsals = 2
	};
	struct pair *pair = pair_create(&opts);
	struct wherry_migrate_params params = { .downtime_limit_ms = 50000, .max_rounds = 9 };
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK_EQ(pair->rehearsals, 3);
	pair_destroy(pair);
	opts.busy_rehearsals = 99; /* it is always so: the application is not stopped for ever */
	pair = pair_create(&opts);
	pair_migrate(pair, &params, &st);
	CHECK_EQ(st.state, WHERRY_STATE_SERVING);
	CHECK_EQ(pair->rehearsals, 3);
	pair_destroy(pair);
}

TEST(converge_throttles_more_while_the_forecast_does_not_halve)
{
	CHECK_EQ(mig_throttle(0, 0, 500), 0); /* nothing to compare with */
	CHECK_EQ(mig_throttle(0, 500, 250), 0);
	CHECK_EQ(mig_throttle(0, 500, 251), 20);
	CHECK_EQ(mig_throttle(20, 500, 500), 30);
	CHECK_EQ(mig_throttle(30, 500, 100), 30);
	CHECK_EQ(mig_throttle(90, 500, 600), 99);
	CHECK_EQ(mig_throttle(99, 500, 600), 99);
}

static void
run(bool auto_converge, struct pair **ret_pair, struct wherry_status *st)
{
	struct wherry_migrate_params params = slow;

	params.auto_converge = auto_converge;
	*ret_pair = pair_create(&busy);
	pair_migrate(*ret_pair, &params, st);
	CHECK_EQ(__atomic_load_n(&(*ret_pair)->throttle, __ATOMIC_ACQUIRE), 0);
	CHECK_EQ(st->throttle_percent, 0);
}

#define TRIES 30 /* a busy machine may keep the writer from writing, but not each time */

#if defined(__SANITIZE_THREAD__)
#define SLOW_WRITER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLOW_WRITER 1
#endif
#endif

TEST(migrate_of_a_fast_writer_converges_only_with_auto_converge)
{
	struct wherry_status st;
	struct pair *pair;

#ifdef SLOW_WRITER
	SKIP("under ThreadSanitizer nobody writes fast");
#endif
	run(false, &pair, &st);
	for (int i = 0; i < TRIES && st.state == WHERRY_STATE_RELEASED; i++) {
		pair_destroy(pair);
		run(false, &pair, &st);
	}
	if (strstr(st.reason, "not converged") == NULL)
		FAIL("%s: %s, forecast %.1f ms", wherry_state_name(st.state), st.reason,
			st.round.forecast_ms);
	CHECK_EQ(pair->throttles, 0);
	pair_check_stayed(pair, &st);
	pair_destroy(pair);
	run(true, &pair, &st);
	CHECK(pair->throttle_most >= 20);
	CHECK(pair->throttle_most <= 99);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

static bool
becomes_throttled(struct pair *pair, struct wherry_status *st)
{
	do {
		if (__atomic_load_n(&pair->throttle_most, __ATOMIC_ACQUIRE) > 0)
			return true;
		usleep(500);
		wherry_agent_get_status(pair->agent, st);
	} while (st->state != WHERRY_STATE_SERVING);
	return false;
}

/* Begin, and wait until it is throttled. */
static struct pair *
begin_throttled(struct wherry_migrate_params params, struct pair_opts opts)
{
	struct wherry_status st;

	params.auto_converge = true;
	for (int i = 0; i < TRIES; i++) {
		struct pair *pair = pair_create(&opts);

		CHECK_EQ(pair_begin(pair, &params), 0);
		if (becomes_throttled(pair, &st))
			return pair;
		pair_destroy(pair);
	}
	FAIL("never throttled: %s", st.reason);
}

/* It can never get there: the limit is below what a round takes. */
static const struct wherry_migrate_params never = {
	.max_bandwidth = 16u << 20, .downtime_limit_ms = 1, .max_rounds = 1000, .timeout_ms = 3000
};

TEST(migrate_throttle_ends_with_cancel)
{
	struct pair *pair = begin_throttled(never, busy);
	struct wherry_status st;

	CHECK_EQ(wherry_agent_cancel(pair->agent), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	CHECK_EQ(__atomic_load_n(&pair->throttle, __ATOMIC_ACQUIRE), 0);
	CHECK_EQ(st.throttle_percent, 0);
	pair_check_stayed(pair, &st);
	pair_destroy(pair);
}

TEST(migrate_throttle_ends_with_a_lost_connection)
{
	struct wherry_migrate_params params = never;
	struct pair_opts opts = busy;
	struct wherry_status st;
	struct pair *pair;

	params.pause_limit_ms = 20000;
	opts.plan = (struct proxy_plan){ .kind = PROXY_CLOSE, .type = WHERRY_REC_ROUND, .nth = 5 };
	pair = begin_throttled(params, opts);
	pair_wait(pair, WHERRY_STATE_PAUSED, &st);
	CHECK_EQ(st.state, WHERRY_STATE_PAUSED);
	CHECK_EQ(__atomic_load_n(&pair->throttle, __ATOMIC_ACQUIRE), 0);
	CHECK_EQ(st.throttle_percent, 0);
	CHECK_EQ(kill(pair->child, SIGKILL), 0);
	CHECK_EQ(waitpid(pair->child, &pair->status, 0), pair->child);
	pair->status = 0;
	CHECK_EQ(wherry_agent_cancel(pair->agent), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	pair_destroy(pair);
}

/* In the middle of a round, of a pause, and of whatever the other side does. */
TEST(migrate_total_timeout_gives_up_in_time)
{
	const unsigned int limit_ms[2] = { 400,
		3000 }; /* the second one has to get as far as the cut */
	struct proxy_plan cut = { .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 1 };
	struct pair_opts opts[2] = { busy, busy };

	opts[1].plan = cut;
	for (int i = 0; i < 2; i++) {
		const struct wherry_migrate_params params = { .total_timeout_ms = limit_ms[i],
			.pause_limit_ms = i == 0 ? 0 : 60000,
			.max_bandwidth = i == 0 ? 1u << 20 : 0 };
		struct pair *pair = pair_create(&opts[i]);
		struct wherry_status st;

		CHECK_EQ(pair_begin(pair, &params), 0);
		do
			pair_wait(pair, WHERRY_STATE_SERVING, &st);
		while (st.state != WHERRY_STATE_SERVING);
		CHECK(st.total_ns >= (limit_ms[i] - 10) * UINT64_C(1000000));
		CHECK(st.total_ns < (limit_ms[i] + 10000) * UINT64_C(1000000));
		if (strstr(st.reason, i == 0 ? "--total-timeout" : "not recovered") == NULL)
			FAIL("%s", st.reason);
		pair_check_stayed(pair, &st);
		pair_destroy(pair);
	}
}
