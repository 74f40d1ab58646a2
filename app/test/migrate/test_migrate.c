/* SPDX-License-Identifier: BSD-3-Clause */
/* Migrations that come through, between two processes, with real memory. */
#include <errno.h>
#include <string.h>

#include "pair.h"
#include "test.h"

static const char *const transports[] = { "unix", "tcp", NULL };

TEST_EACH(migrate_moves_every_byte_while_writers_write, transports, transport)
{
	struct pair_opts opts = { .tcp = strcmp(transport, "tcp") == 0, .writer = true };
	struct wherry_migrate_params params = { .verify = true };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK(st.rounds >= 2);
	CHECK(st.round.final);
	CHECK_EQ(st.state_bytes, pair->len[0] + pair->len[1]);
	CHECK(st.blackout_ns > 0 && st.blackout_ns < 5000000000u);
	CHECK(strncmp(pair->shared->section, "quiesced 1", 10) == 0);
	CHECK_EQ(pair->shared->loads, 1);
	CHECK_EQ(wherry_agent_migrate(pair->agent, pair->uri, NULL), -EPERM);
	pair_destroy(pair);
}
