/* SPDX-License-Identifier: BSD-3-Clause */
/* Migrations over TLS that are cut, changed on the way, or fail at any step: still one owner. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fault_priv.h"
#include "keys.h"
#include "pair.h"
#include "relay.h"
#include "test.h"

#define SMALL ((size_t)64 * PAIR_PAGE)

static const struct wherry_migrate_params quick = { .timeout_ms = 3000 };

static struct keys *
give_keys(struct pair_opts *opts)
{
	struct keys *keys = keys_make();

	*opts = (struct pair_opts){ .tcp = true, .len = SMALL, .writer = true };
	keys_sign(keys, "node", NULL);
	opts->tls = opts->dest_tls = keys_of(keys, "node");
	return keys;
}

/* Does the byte strike? Then nothing came of it but one owner, and both know why. */
static bool
strike(const struct relay_plan *plan)
{
	struct pair_opts opts;
	struct keys *keys = give_keys(&opts);
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;
	struct relay *relay = relay_create(pair->dest_uri, plan, pair->uri, sizeof(pair->uri));
	bool struck;

	pair_migrate(pair, &quick, &st);
	struck = relay_destroy(relay);
	if (struck && st.state == WHERRY_STATE_RELEASED)
		pair_reap(pair); /* the last words after RUNNING: nobody needs them */
	else
		pair_check_one_owner(pair, &st);
	if (plan->kind == RELAY_FLIP && struck && st.state == WHERRY_STATE_SERVING &&
		strstr(st.reason, "refused") != NULL)
		FAIL("a changed byte came through TLS: %s", st.reason);
	pair_destroy(pair);
	keys_drop(keys);
	return struck;
}

/* From the first byte of the handshake to the last of the migration; it ends where none is left. */
static void
strike_everywhere(enum relay_kind kind, bool back, uint64_t step)
{
	struct relay_plan plan = { .kind = kind, .back = back };
	unsigned int n = 0;

	while (strike(&plan)) {
		plan.at += 1 + test_random() % step;
		n++;
	}
	CHECK(n >= 8);
}

TEST(migrate_tls_cut_anywhere_leaves_one_owner)
{
	strike_everywhere(RELAY_CUT, false, 40000);
	strike_everywhere(RELAY_CUT, true, 200);
}

TEST(migrate_tls_changed_anywhere_leaves_one_owner_and_nothing_wrong)
{
	strike_everywhere(RELAY_FLIP, false, 40000);
	strike_everywhere(RELAY_FLIP, true, 200);
}

TEST(migrate_tls_any_failing_step_of_the_source_leaves_one_owner)
{
	FOR_EACH_FAULT(nth) {
		struct pair_opts opts;
		struct keys *keys = give_keys(&opts);
		struct wherry_migrate_params params = quick;
		struct wherry_status st;
		struct pair *pair;

		wherry_fault_disarm();
		params.tls = opts.tls; /* read when the migration begins: the files' faults, too */
		pair = pair_create(&opts);
		wherry_fault_arm(nth);
		if (pair_begin(pair, &params) == 0) {
			pair_wait(pair, WHERRY_STATE_RELEASED, &st);
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			if (wherry_fault_fired() != NULL)
				wherry_fault_disarm();
			pair_check_one_owner(pair, &st);
		} else {
			CHECK(wherry_fault_fired() != NULL);
			wherry_fault_disarm();
			wherry_agent_get_status(pair->agent, &st);
			CHECK_EQ(st.state, WHERRY_STATE_SERVING);
		}
		pair_destroy(pair);
		keys_drop(keys);
	}
}

TEST(migrate_tls_any_failing_step_of_the_destination_leaves_one_owner)
{
	for (unsigned int nth = 1;; nth++) {
		struct pair_opts opts;
		struct keys *keys = give_keys(&opts);
		struct wherry_status st;
		struct pair *pair;
		bool fired;

		opts.dest_fault = nth;
		pair = pair_create(&opts);
		pair_migrate(pair, &quick, &st);
		pair_check_one_owner(pair, &st);
		fired = pair->shared->trouble[0] != '\0';
		pair_destroy(pair);
		keys_drop(keys);
		if (!fired)
			break;
	}
}
