/* SPDX-License-Identifier: BSD-3-Clause */
/* Migrations that come through, between two processes, with real memory. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pair.h"
#include "test.h"
#include "wherry_stream.h"

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

TEST(migrate_does_not_send_pages_of_zeroes)
{
	struct pair_opts opts = { .len = 0 };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;
	uint64_t pages;

	pair_migrate(pair, NULL, &st);
	pair_check_moved(pair, &st);
	pages = st.state_bytes / PAIR_PAGE;
	CHECK(st.bytes_sent < (pages - pages / 3 + 4) * (PAIR_PAGE + 32));
	CHECK(st.bytes_sent > (pages - pages / 3 - 4) * PAIR_PAGE);
	pair_destroy(pair);
}

static double
share_of_the_limit(void)
{
	struct pair_opts opts = { .tcp = true };
	struct wherry_migrate_params params = { .max_bandwidth = 8 << 20 };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
	return (double)st.bytes_sent / ((double)st.total_ns / 1e9) / (double)params.max_bandwidth;
}

/* Never more; a busy machine may make it less, but not each time. */
TEST(migrate_keeps_to_the_bandwidth_limit)
{
	double share = 0;

	for (unsigned int i = 0; i < 5 && share < 0.4; i++)
		share = share_of_the_limit();
	if (share > 1.15 || share < 0.4)
		FAIL("%.2f of the limit", share);
}

TEST(migrate_leaves_worthless_pages_out)
{
	struct pair_opts opts = { .filter = true };
	struct wherry_migrate_params params = { .verify = true };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK_EQ(st.filtered_pages, 8);
	pair_destroy(pair);
}

/*
 * A buffer that was free is harvested, filtered, and then owned without being written
 * again: filtered is not clean, so it is sent when all stands still.
 */
TEST(migrate_sends_a_filtered_page_that_becomes_owned_without_a_write)
{
	struct pair_opts opts = { .filter = true, .owned_at_last = true };
	struct wherry_migrate_params params = { .verify = true };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	memset(pair->mem[0] + 8 * PAIR_PAGE, 0x77, 8 * PAIR_PAGE);
	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK_EQ(st.filtered_pages, 0);
	CHECK_EQ(st.round.pages, 8 + 1);
	pair_destroy(pair);
}

/* Whoever connects and is no Wherry is sent away, and the source that comes later served. */
TEST(migrate_destination_sends_strangers_away)
{
	static const char garbage[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	struct pair_opts opts = { .len = 64 * PAIR_PAGE };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	for (int i = 0; i < 3; i++) {
		struct sockaddr_un un = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		snprintf(un.sun_path, sizeof(un.sun_path), "%.100s", pair->dest_uri + 5);
		CHECK_EQ(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
		if (i > 0)
			CHECK(send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL) > 0);
		close(fd);
	}
	for (int i = 0; i < 10000 && strstr(pair->shared->log, "stranger") == NULL; i++)
		usleep(1000);
	CHECK(strstr(pair->shared->log, "stranger") != NULL);
	pair_migrate(pair, NULL, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

/* A peer of another format is told so, whichever side it is. */
TEST(migrate_peer_of_another_format_is_refused_at_both_sides)
{
	struct pair_opts opts = { .len = 64 * PAIR_PAGE,
		.plan = { .kind = PROXY_FORMAT, .type = WHERRY_REC_HELLO } };

	for (int back = 0; back < 2; back++) {
		struct wherry_status st;
		struct pair *pair;

		opts.plan.back = back != 0;
		pair = pair_create(&opts);
		pair_migrate(pair, NULL, &st);
		CHECK(proxy_struck(pair->proxy));
		pair_check_stayed(pair, &st);
		CHECK(strstr(st.reason, "stream format") != NULL);
		CHECK(strstr(pair->shared->status.reason, "stream format") != NULL);
		pair_destroy(pair);
	}
}

/* Only the harvest after quiesce can know. */
TEST(migrate_sends_what_the_last_burst_wrote)
{
	struct pair_opts opts = { .len = 64 * PAIR_PAGE };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, NULL, &st);
	pair_check_moved(pair, &st);
	CHECK_EQ(st.round.pages, 1);
	pair_destroy(pair);
}

/* They come when the destination runs, whole and in order, with or without an arbiter. */
TEST(migrate_late_frames_are_handed_to_the_destination)
{
	static const char *const arbiters[] = { NULL, "lock" };

	for (int i = 0; i < 2; i++) {
		struct pair_opts opts = {
			.len = 64 * PAIR_PAGE, .writer = true, .late = 200, .arbiter = arbiters[i]
		};
		struct wherry_status st;
		struct pair *pair = pair_create(&opts);

		pair_migrate(pair, NULL, &st);
		pair_check_moved(pair, &st);
		CHECK_EQ(pair->shared->injected, 200);
		CHECK_EQ(pair->shared->injected_wrong, 0);
		CHECK_EQ(pair->shared->status.late_frames, 200);
		wherry_agent_get_status(pair->agent, &st);
		CHECK_EQ(st.late_frames, 200);
		CHECK_EQ(pair->silences, 1);
		pair_destroy(pair);
	}
}

TEST(migrate_verify_hashes_memory_that_no_device_writes)
{
	const struct wherry_migrate_params params = { .verify = true };
	struct pair_opts opts = { .len = 64 * PAIR_PAGE, .writer = true, .late = 3 };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK_EQ(pair->silences, 2); /* before, and at the end */
	pair_destroy(pair);
}
