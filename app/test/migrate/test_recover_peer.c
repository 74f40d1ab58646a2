/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may let a migration go on that has lost its connection: the process that began it,
 * proved by the same key, at the destination that began it, likewise. And what each is told
 * of the other's end.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "agent_priv.h"
#include "cut.h"
#include "keys.h"
#include "test.h"
#include "tls_priv.h"

#define LEN ((size_t)16 << 20)

static const struct wherry_migrate_params slow = { .pause_limit_ms = 15000,
	.timeout_ms = 1000,
	.verify = true,
	.max_bandwidth = 10u << 20,
	.downtime_limit_ms = 1000 };

/* Over TLS, paused after a part of the first round. */
static struct pair *
pause_proved(struct keys *keys)
{
	struct pair_opts opts = { .len = LEN, .tcp = true, .writer = true, .writer_us = 500 };
	struct pair *pair;

	keys_sign(keys, "source", NULL);
	keys_sign(keys, "dest", NULL);
	opts.tls = keys_of(keys, "source");
	opts.dest_tls = keys_of(keys, "dest");
	pair = pair_create(&opts);
	cut_begin(pair, &slow);
	return pair;
}

static void
recover_to_the_end(struct pair *pair)
{
	struct wherry_status st;

	CHECK_EQ(wherry_agent_recover(pair->agent, NULL), 0);
	do
		pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	while (st.state == WHERRY_STATE_PAUSED);
	pair_check_moved(pair, &st);
}

/* Files of that name change places with those of another. */
static void
exchange(struct keys *keys, const char *a, const char *b)
{
	static const char *const suffixes[] = { ".pem", ".key" };
	char from[64], to[64];

	for (int i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), "%s%s", a, suffixes[i]);
		snprintf(to, sizeof(to), "%s%s", b, suffixes[i]);
		CHECK_EQ(rename(keys_path(keys, from), keys_path(keys, "aside")), 0);
		CHECK_EQ(rename(keys_path(keys, to), keys_path(keys, from)), 0);
		CHECK_EQ(rename(keys_path(keys, "aside"), keys_path(keys, to)), 0);
	}
}

/*
 * The worst stranger there can be: it knows the id, for it is the source itself, but comes
 * with another certificate of the same authority.
 */
TEST(migrate_recovery_by_another_key_is_refused)
{
	struct keys *keys = keys_make();
	struct pair *pair = pause_proved(keys);
	struct wherry_status st;

	keys_sign(keys, "stranger", NULL);
	exchange(keys, "source", "stranger");
	mig_tls_let_go(pair->agent->tls);
	CHECK_EQ(wherry_agent_recover(pair->agent, NULL), 0);
	cut_await_paused(pair, 2, &st);
	if (strstr(st.reason, "another migration") == NULL)
		FAIL("it was told \"%s\"", st.reason);
	/* and nothing has changed for the right one */
	exchange(keys, "source", "stranger");
	mig_tls_let_go(pair->agent->tls);
	recover_to_the_end(pair);
	CHECK(strstr(pair->shared->log, "its key is not that of the source") != NULL);
	pair_destroy(pair);
	keys_drop(keys);
}

/* A destination in the place of the first, with a good certificate of that name. */
TEST(migrate_recovery_at_another_destination_is_refused)
{
	struct keys *keys = keys_make();
	struct pair *pair = pause_proved(keys);
	struct wherry_status st;

	CHECK_EQ(kill(pair->child, SIGKILL), 0);
	CHECK_EQ(waitpid(pair->child, &pair->status, 0), pair->child);
	pair->status = 0; /* it is reaped */
	keys_sign(keys, "dest", NULL);
	pair_start_dest(pair);
	CHECK_EQ(wherry_agent_recover(pair->agent, pair->dest_uri), 0);
	cut_await_paused(pair, 2, &st);
	if (strstr(st.reason, "with another key than the destination") == NULL)
		FAIL("it says \"%s\"", st.reason);
	CHECK_EQ(wherry_agent_cancel(pair->agent), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	pair_destroy(pair);
	keys_drop(keys);
}

/* New keys, of an authority that those before know nothing of, are for the next one. */
TEST(migrate_goes_on_with_the_keys_it_began_with)
{
	struct keys *keys = keys_make();
	struct pair *pair = pause_proved(keys);
	struct mig_reason reason;

	keys_sign(keys, "source", &(struct keys_leaf){ .by = "other" });
	keys_sign(keys, "dest", NULL);
	CHECK_EQ(mig_tls_reload(pair->agent->tls, &reason), 0);
	recover_to_the_end(pair);
	pair_destroy(pair);
	keys_drop(keys);
}

static const char *const channels[] = { "1", "3", NULL };

/* Far from the limit of either. */
TEST_EACH(migrate_destination_that_is_held_is_told_of_the_end, channels, n)
{
	struct pair_opts opts = { .len = LEN, .tcp = true, .writer = true, .writer_us = 500 };
	struct wherry_migrate_params params = slow;
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	params.channels = (unsigned int)strtoul(n, NULL, 10);
	cut_begin(pair, &params);
	CHECK_EQ(wherry_agent_cancel(pair->agent), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	CHECK(strcmp(st.reason, "cancelled") == 0);
	CHECK(st.total_ns < 10000000000u);
	pair_check_stayed(pair, &st);
	if (strstr(pair->shared->status.reason, "the source ended it") == NULL ||
		strstr(pair->shared->status.reason, "cancelled") == NULL)
		FAIL("it was told \"%s\"", pair->shared->status.reason);
	CHECK_EQ(pair->shared->wait_rc, -ECANCELED);
	pair_destroy(pair);
}
