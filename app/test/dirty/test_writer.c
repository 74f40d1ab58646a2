/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dirty/writer.c: what another process writes, as long as it lives and when it does not. */
#include <errno.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "other.h"

#define PAGES 256
#define ROUNDS 100
#define DEATHS 20

static const char *const memories[] = { "wp-async/memfd", "wp-async/hugetlb", NULL };

struct both {
	struct ground g;
	struct other o;
	struct wherry_writer *writer;
};

static void
both_open(struct both *b, const char *kind)
{
	ground_open(&b->g, kind, PAGES);
	other_open(&b->o, &b->g);
	CHECK_EQ(wherry_watch_add_writer(b->g.w, &b->o.fds, &b->writer), 0);
}

static void
both_close(struct both *b)
{
	wherry_watch_remove_writer(b->g.w, b->writer);
	other_close(&b->o);
	ground_close(&b->g);
}

TEST_EACH(dirty_writer_pages_are_reported_once, memories, kind)
{
	struct both b;
	uint64_t unit;

	both_open(&b, kind);
	unit = b.g.page / PAGE;
	other_order(&b.o, OTHER_POKE, 9); /* before the start: of no interest */
	ground_start(&b.g);
	ground_harvest(&b.g);
	CHECK_EQ(ground_take(&b.g), 0);
	other_order(&b.o, OTHER_POKE, 3);
	other_order(&b.o, OTHER_POKE, 17);
	poke(b.g.mem, 40);
	ground_harvest(&b.g);
	CHECK_EQ(ground_take(&b.g), unit == 1 ? 3 : unit);
	CHECK(ground_taken(&b.g, 3) && ground_taken(&b.g, 17) && ground_taken(&b.g, 40));
	CHECK(ground_same(&b.g));
	ground_harvest(&b.g);
	CHECK_EQ(ground_take(&b.g), 0);
	CHECK(ground_stats(&b.g).log_pages > 0);
	both_close(&b);
}

/* There is something to be lost. A busy machine lets it run when it likes. */
static void
await_write(const struct both *b)
{
	while (ground_same(&b->g))
		sched_yield();
}

/* It is stopped before the last harvest, as everybody is. */
TEST_EACH(dirty_writer_at_full_speed_final_copy_equals_memory, memories, kind)
{
	struct both b;

	both_open(&b, kind);
	ground_start(&b.g);
	other_order(&b.o, OTHER_RUN, 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		await_write(&b);
		ground_harvest(&b.g);
		(void)ground_take(&b.g);
	}
	await_write(&b);
	other_order(&b.o, OTHER_STOP, 0);
	ground_harvest(&b.g);
	CHECK(ground_take(&b.g) > 0);
	CHECK(ground_same(&b.g));
	CHECK(ground_stats(&b.g).log_pages >= ROUNDS);
	both_close(&b);
}

/* Harvests go on while it dies: what it wrote last is in none of them, or in one. */
static void
die_once(struct both *b)
{
	const struct timespec life = { .tv_nsec = 1000000 + (long)(test_random() % 4000000) };

	ground_start(&b->g);
	other_order(&b->o, OTHER_RUN, 0);
	nanosleep(&life, NULL);
	ground_harvest(&b->g);
	(void)ground_take(&b->g);
	other_kill(&b->o);
	while (!wherry_writer_gone(&b->o.fds, b->g.span)) { /* a busy machine takes its time */
		ground_harvest(&b->g);
		(void)ground_take(&b->g);
	}
	ground_harvest(&b->g);
	(void)ground_take(&b->g);
	ground_harvest(&b->g); /* everything once, not for ever */
	CHECK_EQ(ground_take(&b->g), 0);
	CHECK(ground_same(&b->g));
	wherry_tracker_stop(b->g.tr);
}

TEST(dirty_writer_that_is_killed_loses_no_write)
{
	struct both b;

	for (unsigned int i = 0; i < DEATHS; i++) {
		both_open(&b, "wp-async");
		die_once(&b);
		CHECK_EQ(wherry_tracker_start(b.g.tr), 0); /* there is nobody to be started */
		both_close(&b);
	}
}

TEST(dirty_writer_that_lets_go_leaves_all_pages_pending_once)
{
	struct both b;

	both_open(&b, "wp-async");
	ground_start(&b.g);
	other_order(&b.o, OTHER_POKE, 7);
	other_order(&b.o, OTHER_UNMAP, 0);
	ground_harvest(&b.g);
	CHECK_EQ(ground_take(&b.g), PAGES);
	CHECK(ground_same(&b.g));
	ground_harvest(&b.g);
	CHECK_EQ(ground_take(&b.g), 0);
	both_close(&b);
}

TEST(dirty_writer_that_is_seen_in_part_is_an_error)
{
	struct both b;

	both_open(&b, "wp-async");
	ground_start(&b.g);
	other_order(&b.o, OTHER_CUT, 0);
	for (unsigned int i = 0; i < 2; i++) {
		CHECK_EQ(wherry_tracker_harvest(b.g.tr), -EFAULT);
		CHECK_EQ(ground_take(&b.g), PAGES);
	}
	wherry_tracker_stop(b.g.tr);
	CHECK_EQ(wherry_tracker_start(b.g.tr), -EFAULT);
	both_close(&b);
}

TEST(dirty_writer_comes_and_goes_while_started)
{
	struct both b;

	ground_open(&b.g, "wp-async", PAGES);
	ground_start(&b.g);
	other_open(&b.o, &b.g);
	CHECK_EQ(wherry_watch_add_writer(b.g.w, &b.o.fds, &b.writer), 0);
	CHECK_EQ(ground_take(&b.g), PAGES);
	other_order(&b.o, OTHER_POKE, 200);
	ground_harvest(&b.g);
	CHECK_EQ(ground_take(&b.g), 1);
	wherry_watch_remove_writer(b.g.w, b.writer);
	CHECK_EQ(ground_take(&b.g), PAGES);
	wherry_watch_remove_writer(b.g.w, NULL);
	ground_harvest(&b.g);
	CHECK_EQ(ground_take(&b.g), 0);
	other_close(&b.o);
	ground_close(&b.g);
}

TEST(dirty_writer_covers_what_it_has_covered_while_it_lives)
{
	struct wherry_span more;
	struct both b;

	both_open(&b, "wp-async");
	more = b.g.span;
	more.len += PAGE;
	CHECK(wherry_writer_covers(&b.o.fds, b.o.pid, b.g.span));
	CHECK(!wherry_writer_covers(&b.o.fds, b.o.pid, more));
	CHECK(!wherry_writer_covers(&b.o.fds, getpid(), b.g.span));
	CHECK(!wherry_writer_gone(&b.o.fds, b.g.span));
	other_order(&b.o, OTHER_EXEC, 0); /* the same process, but it maps something else now */
	CHECK(!wherry_writer_covers(&b.o.fds, b.o.pid, b.g.span));
	CHECK(wherry_writer_gone(&b.o.fds, b.g.span));
	both_close(&b);
}

TEST(dirty_writer_with_other_descriptors_is_refused)
{
	struct wherry_writer *writer;
	struct both b;

	both_open(&b, "wp-async");
	other_order(&b.o, OTHER_CUT, 0);
	CHECK_EQ(wherry_watch_add_writer(b.g.w, &b.o.fds, &writer), -EPROTO);
	wherry_writer_close(&b.o.fds);
	CHECK(b.o.fds.uffd == -1 && b.o.fds.pagemap == -1);
	CHECK_EQ(wherry_watch_add_writer(b.g.w, &b.o.fds, &writer), -EPROTO);
	both_close(&b);
}

TEST(dirty_writer_failure_at_any_step_leaves_no_trace)
{
	struct wherry_writer *writer;
	struct both b;

	both_open(&b, "wp-async");
	ground_start(&b.g);
	FOR_EACH_FAULT(nth) {
		int rc = wherry_watch_add_writer(b.g.w, &b.o.fds, &writer);

		wherry_fault_disarm();
		if (rc == 0)
			wherry_watch_remove_writer(b.g.w, writer);
		else
			CHECK_EQ(rc, -ENOMEM);
	}
	other_order(&b.o, OTHER_POKE, 1);
	(void)ground_take(&b.g);
	ground_harvest(&b.g);
	CHECK(ground_take(&b.g) <= PAGES);
	CHECK(ground_same(&b.g));
	both_close(&b);
}
