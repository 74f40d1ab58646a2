/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migrations that come to nothing, at every step and on either side. What must hold:
 * before COMMIT the source serves on and the destination says why it gave up; after it
 * the source never runs again by itself.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fault_priv.h"
#include "pair.h"
#include "test.h"
#include "wherry_stream.h"

#define SMALL ((size_t)64 * PAIR_PAGE)

/* Longer than a loaded machine is silent; where silence is what is tested it is shorter. */
static const struct wherry_migrate_params quick = { .timeout_ms = 3000, .verify = true };

static const unsigned int forward[] = { WHERRY_REC_HELLO, WHERRY_REC_PAGES, WHERRY_REC_ZEROS,
	WHERRY_REC_ROUND, WHERRY_REC_SECTION, WHERRY_REC_SKIP, WHERRY_REC_VERIFY,
	WHERRY_REC_DIGEST };
static const unsigned int backward[] = { WHERRY_REC_HELLO, WHERRY_REC_GOT, WHERRY_REC_READY };

/* Strike one record; before COMMIT both sides have to come to rest, and to say why. */
static void
strike(enum proxy_kind kind, bool back, unsigned int type, struct pair **ret_pair,
	struct wherry_status *st)
{
	struct pair_opts opts = { .len = SMALL,
		.writer = true,
		.filter = true,
		.plan = { .kind = kind, .back = back, .type = type } };
	struct wherry_migrate_params params = quick;

	if (kind == PROXY_SWALLOW || kind == PROXY_SILENT)
		params.timeout_ms = 800;
	*ret_pair = pair_create(&opts);
	pair_migrate(*ret_pair, &params, st);
	if (!proxy_struck((*ret_pair)->proxy))
		FAIL("no %s record came by: %s", wherry_record_name(type), st->reason);
}

static void
strike_each(enum proxy_kind kind, bool back, const unsigned int *types, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct wherry_status st;
		struct pair *pair;

		if (proxy_is_healed(kind, types[i]))
			continue;
		strike(kind, back, types[i], &pair, &st);
		pair_check_stayed(pair, &st);
		if (kind == PROXY_CORRUPT) {
			/* a damaged header has no name that can be believed, but a number */
			if (strstr(st.reason, "record ") == NULL ||
				strstr(st.reason, "refused") == NULL)
				FAIL("%s: %s", wherry_record_name(types[i]), st.reason);
		}
		pair_destroy(pair);
	}
}

static void
strike_all(enum proxy_kind kind)
{
	strike_each(kind, false, forward, sizeof(forward) / sizeof(forward[0]));
	strike_each(kind, true, backward, sizeof(backward) / sizeof(backward[0]));
}

TEST(migrate_corrupted_record_is_refused_by_name_and_the_source_serves)
{
	strike_all(PROXY_CORRUPT);
}

/* The first batch is changed on the way; nobody writes its pages. */
static void
spoil_a_batch(bool compress, struct pair **ret_pair, struct wherry_status *st)
{
	struct pair_opts opts = { .len = SMALL,
		.plan = { .kind = PROXY_CORRUPT, .type = WHERRY_REC_PAGES } };
	struct wherry_migrate_params params = quick;

	params.compress = compress;
	*ret_pair = pair_create(&opts);
	pair_migrate(*ret_pair, &params, st);
	CHECK(proxy_struck((*ret_pair)->proxy));
}

TEST(migrate_page_that_came_otherwise_than_it_was_hashed_is_sent_again)
{
	struct wherry_status st;
	struct pair *pair;

	spoil_a_batch(false, &pair, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

/* What is packed is a copy, and nobody else writes it. */
TEST(migrate_corrupted_batch_that_is_not_live_is_refused)
{
	struct wherry_status st;
	struct pair *pair;

	spoil_a_batch(true, &pair, &st);
	pair_check_stayed(pair, &st);
	CHECK(strstr(st.reason, "refused") != NULL);
	pair_destroy(pair);
}

TEST(migrate_connection_closed_at_any_record_leaves_the_source_serving)
{
	strike_all(PROXY_CLOSE);
}

TEST(migrate_connection_cut_within_any_record_leaves_the_source_serving)
{
	strike_all(PROXY_CUT);
}

TEST(migrate_record_left_out_is_noticed)
{
	strike_all(PROXY_SWALLOW);
}

TEST(migrate_silent_peer_is_given_up_by_both)
{
	struct wherry_status st;
	struct pair *pair;

	strike(PROXY_SILENT, false, WHERRY_REC_PAGES, &pair, &st);
	pair_check_stayed(pair, &st);
	CHECK(strstr(st.reason, "silent") != NULL);
	CHECK(strstr(pair->shared->status.reason, "silent") != NULL);
	pair_destroy(pair);
	strike_each(PROXY_SILENT, false, forward, 1);
	strike_each(PROXY_SILENT, true, backward, 3);
}

TEST(migrate_lost_commit_leaves_nobody_running_but_says_so)
{
	static const enum proxy_kind kinds[] = { PROXY_CORRUPT, PROXY_CLOSE, PROXY_CUT };

	for (size_t i = 0; i < 3; i++) {
		struct wherry_status st;
		struct pair *pair;

		strike(kinds[i], false, WHERRY_REC_COMMIT, &pair, &st);
		CHECK_EQ(st.state, WHERRY_STATE_UNKNOWN);
		pair_check_one_owner(pair, &st);
		CHECK_EQ(pair->shared->takeovers, 0);
		CHECK_EQ(wherry_agent_migrate(pair->agent, pair->uri, NULL), -EPERM);
		pair_destroy(pair);
	}
}

TEST(migrate_lost_running_leaves_the_destination_running)
{
	static const enum proxy_kind kinds[] = { PROXY_CORRUPT, PROXY_CLOSE, PROXY_CUT };

	for (size_t i = 0; i < 3; i++) {
		struct wherry_status st;
		struct pair *pair;

		strike(kinds[i], true, WHERRY_REC_RUNNING, &pair, &st);
		CHECK_EQ(st.state, WHERRY_STATE_UNKNOWN);
		pair_check_one_owner(pair, &st);
		CHECK_EQ(pair->shared->takeovers, 1);
		CHECK_EQ(pair->shared->wait_rc, 0);
		CHECK_EQ(pair->shared->status.state, WHERRY_STATE_SERVING);
		pair_destroy(pair);
	}
}

TEST(migrate_any_failing_step_of_the_source_leaves_one_owner)
{
	FOR_EACH_FAULT(nth) {
		struct pair_opts opts = { .len = SMALL, .writer = true, .filter = true };
		struct wherry_status st;
		struct pair *pair;

		wherry_fault_disarm();
		pair = pair_create(&opts);
		wherry_fault_arm(nth);
		pair_migrate(pair, &quick, &st);
		/* the point stays known while the next round asks for it */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (wherry_fault_fired() != NULL)
			wherry_fault_disarm();
		pair_check_one_owner(pair, &st);
		pair_destroy(pair);
	}
}

TEST(migrate_any_failing_step_of_the_destination_leaves_one_owner)
{
	for (unsigned int nth = 1;; nth++) {
		struct pair_opts opts = {
			.len = SMALL, .writer = true, .filter = true, .dest_fault = nth
		};
		struct pair *pair = pair_create(&opts);
		struct wherry_status st;
		bool fired;

		pair_migrate(pair, &quick, &st);
		pair_check_one_owner(pair, &st);
		fired = strncmp(pair->shared->trouble, "fault", 5) == 0;
		pair_destroy(pair);
		if (!fired)
			break;
		CHECK(nth < 1000);
	}
}

/* Refused before the application notices, at both sides, by name. */
static void
check_refused(const struct pair_opts *opts, const char *name)
{
	struct pair *pair = pair_create(opts);
	struct wherry_status st;

	pair_migrate(pair, &quick, &st);
	pair_check_stayed(pair, &st);
	CHECK_EQ(pair->quiesces, 0);
	CHECK_EQ(st.rounds, 0);
	if (strstr(st.reason, name) == NULL)
		FAIL("the source says \"%s\"", st.reason);
	if (strstr(pair->shared->status.reason, name) == NULL)
		FAIL("the destination says \"%s\"", pair->shared->status.reason);
	pair_destroy(pair);
}

TEST(migrate_mismatch_is_refused_by_name_at_both_sides)
{
	check_refused(&(struct pair_opts){ .len = SMALL, .dest_region_name = "other" },
		"region \"arena\"");
	check_refused(&(struct pair_opts){ .len = SMALL, .dest_less = PAIR_PAGE },
		"region \"arena\": length");
	check_refused(&(struct pair_opts){ .len = SMALL, .dest_section_version = 2 },
		"section \"port0\": version");
	check_refused(
		&(struct pair_opts){ .len = SMALL, .dest_check_rc = -ENODEV }, "section \"port0\"");
}

TEST(migrate_destination_that_cannot_take_over_says_so_before_commit)
{
	struct pair_opts load = { .len = SMALL, .dest_load_rc = -ENOSPC },
			 verify = { .len = SMALL, .dest_verify_rc = -EINVAL },
			 *each[] = { &load, &verify };

	for (int i = 0; i < 2; i++) {
		struct pair *pair = pair_create(each[i]);
		struct wherry_status st;

		pair_migrate(pair, &quick, &st);
		pair_check_stayed(pair, &st);
		CHECK_EQ(pair->quiesces, 1);
		CHECK(strstr(st.reason, "the peer gave up") != NULL);
		pair_destroy(pair);
	}
}

TEST(migrate_destination_whose_takeover_fails_is_not_discarded)
{
	struct pair_opts opts = { .len = SMALL, .dest_takeover_rc = -EIO };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &quick, &st);
	CHECK_EQ(st.state, WHERRY_STATE_UNKNOWN);
	pair_check_one_owner(pair, &st);
	CHECK_EQ(pair->shared->discards, 0);
	CHECK_EQ(pair->shared->wait_rc, -EIO);
	pair_destroy(pair);
}

TEST(migrate_application_that_cannot_be_stopped_goes_on)
{
	struct pair_opts opts = { .len = SMALL, .quiesce_rc = -EBUSY, .writer = true };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &quick, &st);
	CHECK_EQ(st.state, WHERRY_STATE_SERVING);
	CHECK(strstr(st.reason, "could not be stopped") != NULL);
	CHECK_EQ(pair->resumes, 0); /* nothing to undo */
	pair_reap(pair);
	CHECK_EQ(pair->shared->wait_rc, -EBUSY);
	pair_destroy(pair);
}

/* A writer that quiesce has missed: only --verify can tell, and it does. */
TEST(migrate_verify_notices_a_write_that_was_missed)
{
	struct pair_opts opts = { .len = SMALL, .writer = true, .leak = true };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &quick, &st);
	pair_check_stayed(pair, &st);
	if (strstr(pair->shared->status.reason, "memory differs") == NULL)
		FAIL("%s", pair->shared->status.reason);
	pair_destroy(pair);
}

TEST(migrate_that_does_not_converge_gives_up_with_the_numbers)
{
	struct pair_opts opts = { .writer = true };
	struct wherry_migrate_params params = { .max_bandwidth = 16 << 20,
		.max_rounds = 2,
		.downtime_limit_ms = 6,
		.timeout_ms = 1000 };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	pair_check_stayed(pair, &st);
	CHECK_EQ(pair->quiesces, 0);
	CHECK_EQ(st.rounds, 2);
	CHECK(strstr(st.reason, "not converged after 2 rounds") != NULL);
	CHECK(strstr(st.reason, "--downtime-limit") != NULL);
	CHECK_EQ(pair->shared->wait_rc, -ETIMEDOUT);
	pair_destroy(pair);
}

TEST(migrate_with_nobody_listening_says_what_to_start)
{
	static const bool tcp[] = { false, true };

	for (int i = 0; i < 2; i++) {
		struct pair_opts opts = { .len = SMALL, .no_dest = true, .tcp = tcp[i] };
		struct pair *pair = pair_create(&opts);
		struct wherry_status st;

		pair_migrate(pair, &quick, &st);
		CHECK_EQ(st.state, WHERRY_STATE_SERVING);
		if (strstr(st.reason, "started with --incoming") == NULL ||
			strstr(st.reason, pair->uri) == NULL)
			FAIL("%s", st.reason);
		pair_destroy(pair);
	}
}
