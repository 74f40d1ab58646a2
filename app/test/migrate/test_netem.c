/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migrations over a line that the kernel makes bad, packet by packet: line.h. Each time all bytes are
 * compared, exactly one side owns, by what the arbiter's record says as well, and what the line is said
 * to have done is in the kernel's counters. app/test/guest/netem.sh runs these where there is netem.
 */
#include <string.h>

#include "keys.h"
#include "line.h"
#include "pair_priv.h"
#include "test.h"

#define LEN ((size_t)3 << 19) /* a third of it zeroes: 700 packets of data at least */

/* What makes the line bad, and what then cannot but be seen. */
struct trouble {
	const char *name, *faults;
	unsigned int trip_ms;        /* there and back, at least */
	unsigned int least_ms;       /* that a migration takes */
	bool loses;                  /* netem says so itself */
	enum line_end end;           /* where it is counted */
	const char *group, *counter; /* NULL: nowhere */
	unsigned int least;
};

/* That so few of the packets are met by it happens once in some million times. */
static const struct trouble troubles[] = {
	{ "delay", "delay 20ms 5ms", .trip_ms = 30 },
	{ "loss", "delay 2ms loss 3%", .loses = true, .end = LINE_NEAR, .group = "Tcp",
		.counter = "RetransSegs", .least = 1 },
	{ "reordering", "delay 10ms reorder 25%", .end = LINE_FAR, .group = "TcpExt",
		.counter = "TCPOFOQueue", .least = 20 },
	{ "duplication", "delay 2ms duplicate 5%", .end = LINE_FAR, .group = "TcpExt",
		.counter = "TCPDSACKOldSent", .least = 10 },
	{ "corruption", "delay 2ms corrupt 3%", .end = LINE_FAR, .group = "Tcp",
		.counter = "InCsumErrors", .least = 1 },
	{ "bandwidth", "rate 8mbit", .least_ms = 1000 },
	{ "everything", "delay 4ms 2ms loss 1% reorder 25% duplicate 2% corrupt 1%", .loses = true,
		.end = LINE_FAR, .group = "TcpExt", .counter = "TCPOFOQueue", .least = 30 },
};
static const char *const names[] = { "delay", "loss", "reordering", "duplication", "corruption",
	"bandwidth", "everything", NULL };
static const char *const protocols[] = { "tcp", "tls", NULL };

/* A line, and a pair at its ends. */
struct ground {
	struct line line;
	struct keys *keys;
	struct pair *pair;
};

static void
give_keys(struct ground *g, struct pair_opts *opts)
{
	g->keys = keys_make();
	keys_sign(g->keys, "source", &(struct keys_leaf){ .san = "IP:" LINE_NEAR_IP });
	keys_sign(g->keys, "dest", &(struct keys_leaf){ .san = "IP:" LINE_FAR_IP });
	opts->tls = keys_of(g->keys, "source");
	opts->dest_tls = keys_of(g->keys, "dest");
}

static void
set_up(struct ground *g, const char *faults, const char *protocol)
{
	struct pair_opts opts = {
		.len = LEN, .writer = true, .writer_us = 1000, .tcp = true, .arbiter = "lock"
	};

	*g = (struct ground){ .keys = NULL };
	line_create(&g->line, faults);
	opts.dest_address = LINE_FAR_IP;
	opts.dest_netns = g->line.ends[LINE_FAR];
	if (strcmp(protocol, "tls") == 0)
		give_keys(g, &opts);
	else
		opts.insecure = true;
	g->pair = pair_create(&opts);
}

static void
tear_down(struct ground *g)
{
	pair_destroy(g->pair);
	if (g->keys != NULL)
		keys_drop(g->keys);
	line_destroy(&g->line);
}

static struct wherry_migrate_params
patiently(void)
{
	return (struct wherry_migrate_params){ .channels = 2, .downtime_limit_ms = 10000 };
}

static void
check_owner(const struct ground *g, bool source)
{
	uint64_t epoch;

	CHECK_EQ(pair_source_owns(g->pair, &epoch), source);
}

static void
check_count(const struct ground *g, const struct trouble *t)
{
	uint64_t n = line_count(&g->line, t->end, t->group, t->counter);

	if (n < t->least)
		FAIL("%s of %s is %llu, not %u or more: the line is no trouble", t->counter,
			t->group, (unsigned long long)n, t->least);
}

static void
check_trouble(const struct ground *g, const struct trouble *t, const struct wherry_status *st)
{
	unsigned int trip_us = t->trip_ms != 0 ? line_trip_us(&g->line) : 0;

	if (trip_us < t->trip_ms * 1000)
		FAIL("there and back takes %u us only", trip_us);
	if (st->total_ns < t->least_ms * UINT64_C(1000000))
		FAIL("it took %llu us only", (unsigned long long)st->total_ns / 1000);
	if (t->loses && line_lost(&g->line) == 0)
		FAIL("the line has lost nothing");
	if (t->counter != NULL)
		check_count(g, t);
}

static void
moves_over(const char *name, const char *protocol)
{
	struct wherry_migrate_params params = patiently();
	const struct trouble *t = troubles;
	struct wherry_status st;
	struct ground g;

	while (strcmp(t->name, name) != 0)
		t++;
	set_up(&g, t->faults, protocol);
	pair_migrate(g.pair, &params, &st);
	pair_check_moved(g.pair, &st);
	check_owner(&g, false);
	check_trouble(&g, t, &st);
	tear_down(&g);
}

TEST_EACH(netem_line_with_trouble_delivers_every_byte, names, name)
{
	moves_over(name, "tcp");
}

TEST_EACH(netem_line_with_trouble_delivers_every_byte_over_tls, names, name)
{
	moves_over(name, "tls");
}

/* Longer than TCP waits at first, and not as long as the migration does. */
TEST_EACH(netem_line_that_was_dead_for_a_second_is_waited_for, protocols, protocol)
{
	struct wherry_migrate_params params = patiently();
	struct wherry_status st;
	struct ground g;

	set_up(&g, "rate 16mbit", protocol);
	CHECK_EQ(pair_begin(g.pair, &params), 0);
	pair_sleep_us((unsigned int)(test_random() % 500000));
	line_change(&g.line, "loss 100%");
	pair_sleep_us(1000000);
	line_change(&g.line, "rate 16mbit");
	pair_wait(g.pair, WHERRY_STATE_RELEASED, &st);
	pair_check_moved(g.pair, &st);
	check_owner(&g, false);
	tear_down(&g);
}

TEST_EACH(netem_line_that_is_dead_leaves_one_owner, protocols, protocol)
{
	struct wherry_migrate_params params = patiently();
	struct wherry_status st;
	struct ground g;

	params.timeout_ms = 1500;
	set_up(&g, "rate 16mbit", protocol);
	CHECK_EQ(pair_begin(g.pair, &params), 0);
	pair_sleep_us((unsigned int)(test_random() % 1000000));
	line_change(&g.line, "loss 100%");
	pair_wait(g.pair, WHERRY_STATE_RELEASED, &st);
	pair_check_one_owner(g.pair, &st);
	check_owner(&g, st.state == WHERRY_STATE_SERVING);
	tear_down(&g);
}
