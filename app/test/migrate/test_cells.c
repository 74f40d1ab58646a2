/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each failure at each record of the protocol, of either side: cell.h says what must hold.
 * By day a sample, WHERRY_RUNS=100 runs all of them a hundred times.
 */
#include <signal.h>

#include "cell.h"
#include "test.h"
#include "wherry_stream.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

static const char *const arbiters[] = { "lock", "none", NULL };

/* What a day has time for. */
enum day { ALL, SAMPLE, FIRST };

static bool
is_for(enum day day, const struct cell *cell, const struct cell_record *record)
{
	return day == ALL || (day == SAMPLE && record->sample) ||
		(day == FIRST && record == cell_records(cell->arbiter));
}

/* A slow reader is no reason to fail. On a machine that does much else there are others: not each time. */
static void
run(const struct cell *cell)
{
	struct wherry_status st;

	for (unsigned int i = 0; i < 5; i++) {
		cell_run(cell, &st);
		if (cell->kind != PROXY_SLOW || st.state == WHERRY_STATE_RELEASED)
			return;
	}
	FAIL("%s: %s", wherry_state_name(st.state), st.reason);
}

static void
skip_under_tsan(void)
{
	if (UNDER_TSAN)
		SKIP("ThreadSanitizer loses a process's threads when it is forked from one that has many");
}

static void
at_each_record(struct cell cell, enum day day)
{
	unsigned int runs = cell_runs();

	skip_under_tsan();
	for (const struct cell_record *r = cell_records(cell.arbiter); r->type != 0; r++) {
		cell.back = r->back;
		cell.type = r->type;
		if (runs == 0 && !is_for(day, &cell, r))
			continue;
		for (unsigned int i = 0; i == 0 || i < runs; i++)
			run(&cell);
	}
}

TEST_EACH(cell_source_killed_leaves_at_most_one_owner, arbiters, arbiter)
{
	at_each_record((struct cell){ CELL_SOURCE, .signal = SIGKILL, .arbiter = arbiter }, ALL);
}

/* The connection is closed before READY could be sent: the arbiter is asked all the same. */
TEST(cell_ready_destination_runs_though_it_cannot_tell_its_source)
{
	const struct cell cell = { CELL_SOURCE, .signal = SIGKILL, .arbiter = "lock",
		.type = WHERRY_REC_DIGEST, .untold = true };

	skip_under_tsan();
	run(&cell);
}

TEST_EACH(cell_destination_killed_leaves_at_most_one_owner, arbiters, arbiter)
{
	at_each_record((struct cell){ CELL_DEST, .signal = SIGKILL, .arbiter = arbiter }, ALL);
}

static void
stop(enum cell_victim victim, const char *arbiter)
{
	const struct cell cell = { victim, .signal = SIGSTOP, .arbiter = arbiter, .timeout_ms = 800,
		.stop_ms = 1800 };

	at_each_record(cell, SAMPLE);
}

TEST_EACH(cell_source_stopped_for_longer_than_the_timeout_leaves_one_owner, arbiters, arbiter)
{
	stop(CELL_SOURCE, arbiter);
}

TEST_EACH(cell_destination_stopped_for_longer_than_the_timeout_leaves_one_owner, arbiters, arbiter)
{
	stop(CELL_DEST, arbiter);
}

TEST_EACH(cell_connection_reset_leaves_at_most_one_owner, arbiters, arbiter)
{
	at_each_record((struct cell){ .kind = PROXY_RESET, .arbiter = arbiter }, ALL);
}

/* What is read slowly is not silent, and takes longer here than silence may: most of it waits in the kernel. */
TEST(cell_slow_reader_is_waited_for)
{
	const struct cell cell = {
		.kind = PROXY_SLOW, .arbiter = "lock", .timeout_ms = 2000, .still = true
	};

	at_each_record(cell, FIRST);
}
