/* SPDX-License-Identifier: BSD-3-Clause */
/* Cancelling, at every point where that is possible and where it is not; trying again. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "pair.h"
#include "test.h"
#include "wherry_stream.h"

#define SMALL ((size_t)64 * PAIR_PAGE)

/* Begin, wait for the state, cancel, and see that both sides are as before. */
static void
cancel_in(const struct pair_opts *opts, const struct wherry_migrate_params *params,
	enum wherry_state state)
{
	struct pair *pair = pair_create(opts);
	struct wherry_status st;

	CHECK_EQ(pair_begin(pair, params), 0);
	CHECK_EQ(pair_begin(pair, params), -EBUSY);
	pair_wait(pair, state, &st);
	if (st.state != state)
		FAIL("%s: %s", wherry_state_name(st.state), st.reason);
	CHECK_EQ(wherry_agent_cancel(pair->agent), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	CHECK(strcmp(st.reason, "cancelled") == 0);
	pair_check_stayed(pair, &st);
	CHECK_EQ(wherry_agent_cancel(pair->agent), -EALREADY);
	pair_destroy(pair);
}

TEST(migrate_cancel_in_setup)
{
	struct pair_opts opts = { .len = SMALL,
		.plan = { .kind = PROXY_SILENT, .back = true, .type = WHERRY_REC_HELLO } };

	cancel_in(&opts, &(struct wherry_migrate_params){ .timeout_ms = 1500 }, WHERRY_STATE_SETUP);
}

TEST(migrate_cancel_in_precopy)
{
	cancel_in(&(struct pair_opts){ .writer = true },
		&(struct wherry_migrate_params){ .max_bandwidth = 1 << 20 }, WHERRY_STATE_PRECOPY);
}

TEST(migrate_cancel_in_quiesce)
{
	cancel_in(&(struct pair_opts){ .len = SMALL, .writer = true, .quiesce_ms = 200 },
		&(struct wherry_migrate_params){ 0 }, WHERRY_STATE_QUIESCE);
}

TEST(migrate_cancel_in_final)
{
	struct pair_opts opts = { .len = SMALL,
		.writer = true,
		.plan = { .kind = PROXY_SILENT, .type = WHERRY_REC_DIGEST } };

	cancel_in(&opts, &(struct wherry_migrate_params){ .timeout_ms = 1500 }, WHERRY_STATE_FINAL);
}

TEST(migrate_cancel_after_commit_is_too_late)
{
	struct pair_opts opts = { .len = SMALL, .dest_takeover_ms = 200 };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	CHECK_EQ(wherry_agent_cancel(pair->agent), -EALREADY);
	CHECK_EQ(pair_begin(pair, NULL), 0);
	pair_wait(pair, WHERRY_STATE_SWITCHOVER, &st);
	CHECK_EQ(st.state, WHERRY_STATE_SWITCHOVER);
	CHECK_EQ(wherry_agent_cancel(pair->agent), -EALREADY);
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	pair_check_moved(pair, &st);
	CHECK_EQ(wherry_agent_cancel(pair->agent), -EALREADY);
	CHECK(st.blackout_ns >= 200000000);
	pair_destroy(pair);
}

/* Pages that a failed try has taken count as dirty in the next, tracking on or not. */
static void
try_twice(bool tracked)
{
	struct pair_opts opts = { .no_dest = true, .writer = true };
	struct wherry_migrate_params slow = { .max_bandwidth = 16 << 20 }, all = { .verify = true };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	if (tracked)
		CHECK_EQ(wherry_tracker_start(pair->tracker), 0);
	pair_start_dest(pair);
	CHECK_EQ(pair_begin(pair, &slow), 0);
	pair_wait(pair, WHERRY_STATE_PRECOPY, &st);
	usleep(50000);
	CHECK_EQ(wherry_agent_cancel(pair->agent), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	pair_check_stayed(pair, &st);
	pair_start_dest(pair);
	pair_migrate(pair, &all, &st);
	CHECK(st.rounds >= 2);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST(migrate_second_try_sends_all_again)
{
	try_twice(false);
}

TEST(migrate_second_try_sends_all_again_while_others_track)
{
	try_twice(true);
}

TEST(migrate_destination_cancelled_while_it_listens_gives_up)
{
	struct pair_opts opts = { .len = SMALL, .no_dest = true };
	struct pair *pair = pair_create(&opts);
	struct wherry_agent_ops ops = { .quiesce = pair_refuse, .takeover = pair_refuse };
	char control[160];
	struct wherry_agent_opts dest = { .name = "test",
		.control = control,
		.incoming = pair->dest_uri,
		.tracker = pair->tracker,
		.ops = &ops };
	struct wherry_agent *agent;
	struct wherry_status st;

	snprintf(control, sizeof(control), "%s.2", pair->control);
	CHECK_EQ(wherry_agent_create(&dest, &agent), 0);
	CHECK_EQ(wherry_agent_start(agent), 0);
	wherry_agent_get_status(agent, &st);
	CHECK_EQ(st.state, WHERRY_STATE_LISTEN);
	CHECK_EQ(wherry_agent_migrate(agent, "unix:/tmp/x", NULL), -EPERM);
	CHECK_EQ(wherry_agent_cancel(agent), 0);
	CHECK_EQ(wherry_agent_wait(agent), -ECANCELED);
	wherry_agent_get_status(agent, &st);
	CHECK_EQ(st.state, WHERRY_STATE_FAILED);
	wherry_agent_destroy(agent);
	CHECK_EQ(access(pair->dest_uri + 5, F_OK), -1); /* nothing is left behind */
	CHECK_EQ(access(control, F_OK), -1);
	pair_destroy(pair);
}
