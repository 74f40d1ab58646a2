/* SPDX-License-Identifier: BSD-3-Clause */
/* Trackers and watches: making, starting, stopping, and every way to be refused. */
#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "ground.h"

static struct wherry_tracker *
tracker_of(enum wherry_cpu_source cpu, unsigned int period_ms)
{
	struct wherry_tracker_opts opts = { .cpu = cpu, .period_ms = period_ms };
	struct wherry_tracker *tr;

	CHECK_EQ(wherry_tracker_create(&opts, &tr), 0);
	return tr;
}

static struct wherry_span
anonymous(uint64_t n_pages)
{
	void *p = mmap(
		NULL, n_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return (struct wherry_span){ .iova = (uint64_t)(uintptr_t)p, .len = n_pages * PAGE };
}

static void
discard(struct wherry_span span)
{
	munmap((void *)(uintptr_t)span.iova, span.len);
}

TEST(dirty_cpu_source_names)
{
	CHECK(strcmp(wherry_cpu_source_name(WHERRY_CPU_AUTO), "auto") == 0);
	CHECK(strcmp(wherry_cpu_source_name(WHERRY_CPU_WP_ASYNC), "wp-async") == 0);
	CHECK(strcmp(wherry_cpu_source_name(WHERRY_CPU_WP_SYNC), "wp-sync") == 0);
	CHECK(strcmp(wherry_cpu_source_name(WHERRY_CPU_HASH), "hash") == 0);
	CHECK(strcmp(wherry_cpu_source_name(WHERRY_CPU_NONE), "none") == 0);
	CHECK(strcmp(wherry_cpu_source_name(WHERRY_CPU_NONE + 1), "unknown") == 0);
}

TEST(dirty_tracker_refuses_a_source_that_does_not_exist)
{
	struct wherry_tracker_opts opts = { .cpu = WHERRY_CPU_NONE + 1 };
	struct wherry_tracker *tr = NULL;

	CHECK_EQ(wherry_tracker_create(&opts, &tr), -EINVAL);
	CHECK(tr == NULL);
	wherry_tracker_destroy(NULL);
	wherry_watch_destroy(NULL);
}

TEST(dirty_tracker_always_has_a_reason)
{
	for (int s = WHERRY_CPU_AUTO; s <= WHERRY_CPU_NONE; s++) {
		struct wherry_tracker_opts opts = { .cpu = (enum wherry_cpu_source)s };
		struct wherry_tracker *tr;
		const char *reason = NULL;

		if (wherry_tracker_create(&opts, &tr) == -EOPNOTSUPP)
			continue;
		CHECK(s == WHERRY_CPU_AUTO || (int)wherry_tracker_cpu(tr, NULL) == s);
		CHECK(wherry_tracker_cpu(tr, &reason) != WHERRY_CPU_AUTO);
		CHECK(reason != NULL && *reason != '\0');
		wherry_tracker_destroy(tr);
	}
}

TEST(dirty_watch_span_has_whole_pages_only)
{
	static const struct {
		uint64_t at, len, page;
		int rc;
	} bad[] = {
		{ 0, 0, PAGE, -EINVAL },
		{ 0, PAGE + 1, PAGE, -EINVAL },
		{ 1, PAGE, PAGE, -EINVAL },
		{ 0, PAGE, 0, -EINVAL },
		{ 0, PAGE, 2048, -EINVAL },
		{ 0, 3 * PAGE, 3 * PAGE, -EINVAL },
		{ 0, UINT64_C(2) << 30, UINT64_C(2) << 30, -EINVAL },
		{ PAGE, 2 * PAGE, 2 * PAGE, -EINVAL },
		{ 0, UINT64_MAX - 4095, PAGE, -EOVERFLOW },
	};
	struct wherry_tracker *tr = tracker_of(WHERRY_CPU_NONE, 0);
	struct wherry_watch *w = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct wherry_span span = { .iova = (UINT64_C(1) << 32) + bad[i].at,
			.len = bad[i].len };

		CHECK_EQ(wherry_watch_create(tr, "bad", span, bad[i].page, &w), bad[i].rc);
		CHECK(w == NULL);
	}
	wherry_tracker_destroy(tr);
}

TEST(dirty_watch_refuses_overlap)
{
	struct wherry_span mem = anonymous(16),
			   part = { .iova = mem.iova + 7 * PAGE, .len = 2 * PAGE };
	struct wherry_tracker *tr = tracker_of(WHERRY_CPU_AUTO, 0);
	struct wherry_watch *w[3] = { NULL };

	mem.len = 8 * PAGE;
	CHECK_EQ(wherry_watch_create(tr, "a", mem, PAGE, &w[0]), 0);
	CHECK_EQ(wherry_watch_create(tr, "b", part, PAGE, &w[1]), -EEXIST);
	CHECK(w[1] == NULL);
	part.iova += PAGE;
	CHECK_EQ(wherry_watch_create(tr, "b", part, PAGE, &w[1]), 0);
	CHECK(strcmp(wherry_watch_name(w[0]), "a") == 0 &&
		strcmp(wherry_watch_name(w[1]), "b") == 0);
	CHECK(wherry_watch_span(w[1]).iova == part.iova && wherry_watch_span(w[1]).len == part.len);
	wherry_watch_destroy(w[0]);
	CHECK_EQ(wherry_watch_create(tr, "a", mem, PAGE, &w[2]), 0);
	wherry_tracker_destroy(tr);
	mem.len = 16 * PAGE;
	discard(mem);
}

TEST_EACH(dirty_watch_refuses_memory_that_is_not_there, wp_sources, kind)
{
	struct wherry_span mem = anonymous(4);
	struct wherry_watch *w = NULL;
	struct ground g;

	ground_open(&g, kind, 4);
	discard(mem);
	CHECK_EQ(wherry_watch_create(g.tr, "gone", mem, PAGE, &w), -EFAULT);
	CHECK(w == NULL);
	ground_close(&g);
}

TEST_EACH(dirty_watch_made_while_started_has_all_pages_pending, every_source, kind)
{
	struct wherry_span mem = anonymous(40);
	struct wherry_watch_stats stats;
	struct wherry_bitmap *into;
	struct wherry_watch *w;
	struct ground g;

	ground_open(&g, kind, 4);
	ground_start(&g);
	CHECK_EQ(wherry_watch_create(g.tr, "late", mem, PAGE, &w), 0);
	CHECK_EQ(wherry_bitmap_create(mem, PAGE, &into), 0);
	wherry_watch_get_stats(w, &stats);
	CHECK_EQ(stats.pending_pages, 40);
	CHECK_EQ(wherry_watch_take(w, false, into), 0);
	CHECK_EQ(wherry_watch_sent(w, mem, (void *)(uintptr_t)mem.iova), 0);
	poke((uint8_t *)(uintptr_t)mem.iova, 39);
	ground_harvest(&g);
	wherry_bitmap_clear(into);
	CHECK_EQ(wherry_watch_take(w, false, into), 0);
	CHECK_EQ(wherry_bitmap_count(into), 1);
	CHECK(wherry_bitmap_test(into, wherry_span_last(mem)));
	wherry_watch_destroy(w);
	wherry_bitmap_destroy(into);
	discard(mem);
	ground_close(&g);
}

TEST(dirty_tracker_works_between_start_and_stop_only)
{
	struct ground g;

	ground_open(&g, "wp-async", 64);
	CHECK_EQ(wherry_tracker_harvest(g.tr), -EINVAL);
	CHECK_EQ(wherry_watch_take(g.w, false, g.taken), -EINVAL);
	wherry_tracker_stop(g.tr); /* harmless */
	ground_start(&g);
	CHECK_EQ(wherry_tracker_start(g.tr), -EALREADY);
	poke(g.mem, 1);
	ground_harvest(&g);
	CHECK_EQ(ground_stats(&g).pending_pages, 1);
	wherry_tracker_stop(g.tr);
	CHECK_EQ(ground_stats(&g).pending_pages, 0);
	CHECK_EQ(wherry_tracker_harvest(g.tr), -EINVAL);
	CHECK_EQ(wherry_watch_take(g.w, true, g.taken), -EINVAL);
	ground_start(&g); /* all pages again */
	CHECK_EQ(ground_stats(&g).harvests, 0);
	ground_close(&g);
}

TEST_EACH(dirty_memory_can_be_written_after_stop, every_kind, kind)
{
	struct ground g;

	ground_open(&g, kind, 64);
	ground_start(&g);
	wherry_tracker_stop(g.tr);
	for (uint64_t i = 0; i < 64; i++)
		poke(g.mem, i);
	ground_start(&g);
	wherry_watch_destroy(g.w); /* while started */
	for (uint64_t i = 0; i < 64; i++)
		poke(g.mem, i);
	ground_close(&g);
}

static void
sleep_ms(long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t
harvests_of(const struct wherry_watch *w)
{
	struct wherry_watch_stats stats;

	wherry_watch_get_stats(w, &stats);
	return stats.harvests;
}

TEST(dirty_tracker_harvests_by_itself)
{
	struct wherry_span mem = anonymous(8);
	struct wherry_tracker *tr = tracker_of(WHERRY_CPU_AUTO, 5);
	struct wherry_watch *w;
	uint64_t began, harvests;

	CHECK_EQ(wherry_watch_create(tr, "w", mem, PAGE, &w), 0);
	began = now_ms();
	CHECK_EQ(wherry_tracker_start(tr), 0);
	while (harvests_of(w) < 10) {
		CHECK(now_ms() - began < 20000);
		sleep_ms(1);
	}
	harvests = harvests_of(w);
	CHECK(harvests <= (now_ms() - began) / 5 + 1); /* not more often than asked for */
	wherry_tracker_stop(tr);
	harvests = harvests_of(w);
	sleep_ms(30);
	CHECK_EQ(harvests_of(w), harvests);
	CHECK_EQ(wherry_tracker_start(tr), 0); /* and destroy while it runs */
	wherry_tracker_destroy(tr);
	discard(mem);
}

static uint64_t
process_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

TEST(dirty_tracker_threads_sleep_when_nothing_is_to_do)
{
	struct wherry_tracker *tr = tracker_of(WHERRY_CPU_WP_SYNC, 1000);
	uint64_t before;

	CHECK_EQ(wherry_tracker_start(tr), 0);
	before = process_cpu_ns();
	sleep_ms(100);
	CHECK(process_cpu_ns() - before < 10000000);
	wherry_tracker_destroy(tr);
}

struct seen {
	struct wherry_watch *w[4];
	unsigned int n, stop_after;
};

static int
note(void *ctx, struct wherry_watch *w)
{
	struct seen *s = ctx;

	s->w[s->n++] = w;
	return s->n == s->stop_after ? 77 : 0;
}

static int
destroy_it(void *ctx, struct wherry_watch *w)
{
	(void)ctx;
	wherry_watch_destroy(w);
	return 0;
}

TEST(dirty_tracker_each_visits_in_order_until_told_to_stop)
{
	struct wherry_tracker *tr = tracker_of(WHERRY_CPU_NONE, 0);
	struct seen all = { .n = 0 }, two = { .stop_after = 2 }, none = { .n = 0 };
	struct wherry_watch *w[3];

	for (unsigned int i = 0; i < 3; i++) {
		struct wherry_span span = { .iova = (10 - i) * PAGE, .len = PAGE };

		CHECK_EQ(wherry_watch_create(tr, "w", span, PAGE, &w[i]), 0);
	}
	CHECK_EQ(wherry_tracker_each(tr, note, &all), 0);
	CHECK_EQ(all.n, 3);
	CHECK(memcmp(all.w, w, sizeof(w)) == 0);
	CHECK_EQ(wherry_tracker_each(tr, note, &two), 77);
	CHECK_EQ(two.n, 2);
	CHECK_EQ(wherry_tracker_each(tr, destroy_it, NULL), 0);
	CHECK_EQ(wherry_tracker_each(tr, note, &none), 0);
	CHECK_EQ(none.n, 0);
	wherry_tracker_destroy(tr);
}

/* Create, watch, start and harvest: whichever step fails, nothing is left and no write lost. */
static void
run_with_faults(struct wherry_span mem, enum wherry_cpu_source cpu, struct wherry_domain *dom)
{
	struct wherry_tracker_opts opts = { .cpu = cpu, .period_ms = 1000 };
	struct wherry_tracker *tr = NULL;
	struct wherry_watch *w = NULL;
	struct wherry_bitmap *into = NULL;
	int rc = wherry_tracker_create(&opts, &tr);

	if (rc == 0)
		rc = wherry_watch_create(tr, "w", mem, PAGE, &w);
	if (rc == 0)
		rc = wherry_watch_add_domain(w, dom);
	if (rc == 0)
		rc = wherry_tracker_start(tr);
	if (rc == 0)
		rc = wherry_bitmap_create(mem, PAGE, &into);
	if (rc == 0)
		rc = wherry_watch_take(w, false, into);
	if (rc == 0) {
		poke((uint8_t *)(uintptr_t)mem.iova, 3);
		rc = wherry_tracker_harvest(tr); /* failed or not: the page comes */
		wherry_fault_disarm();
		CHECK(rc == 0 || wherry_tracker_harvest(tr) == 0);
		wherry_bitmap_clear(into);
		CHECK_EQ(wherry_watch_take(w, false, into), 0);
		CHECK(wherry_bitmap_test(into, mem.iova + 3 * PAGE));
	}
	wherry_fault_disarm();
	CHECK(rc == 0 || rc == -ENOMEM || rc == -EFAULT || rc == -EOPNOTSUPP);
	if (tr != NULL && w != NULL && into == NULL && rc != 0) /* a failed start is undone */
		CHECK(wherry_tracker_harvest(tr) == -EINVAL ||
			wherry_tracker_start(tr) == -EALREADY);
	wherry_bitmap_destroy(into);
	wherry_tracker_destroy(tr);
}

TEST_EACH(dirty_failure_changes_nothing_and_loses_nothing, every_source, kind)
{
	struct wherry_span span;
	struct ground g;

	ground_open(&g, kind, 8);
	ground_map(&g);
	span = g.span;
	wherry_watch_destroy(g.w);
	FOR_EACH_FAULT(nth) {
		run_with_faults(span, wherry_tracker_cpu(g.tr, NULL), g.dom);
	}
	ground_close(&g);
}
