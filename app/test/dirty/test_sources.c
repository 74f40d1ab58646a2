/* SPDX-License-Identifier: BSD-3-Clause */
/* What each CPU source sees, against a model, and what it must not see. */
#include <errno.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ground.h"
#include "uffd_priv.h"

/* Which 4 KiB pages a write to one dirties: all of its hugepage, but for hashes. */
static void
expect(const struct ground *g, bool *model, uint64_t page)
{
	uint64_t unit = g->hash ? 1 : g->page / PAGE;

	for (uint64_t i = page / unit * unit; i < page / unit * unit + unit; i++)
		model[i] = true;
}

static void
compare(const struct ground *g, const bool *model)
{
	for (uint64_t i = 0; i < g->len / PAGE; i++)
		if (ground_taken(g, i) != model[i])
			FAIL("page %llu is %s", (unsigned long long)i,
				model[i] ? "written and not reported" : "reported and not written");
}

static void
one_round(struct ground *g, uint64_t writes)
{
	uint64_t n = g->len / PAGE;
	bool *model = calloc(n, sizeof(*model));

	CHECK(model != NULL);
	for (uint64_t i = 0; i < writes; i++) {
		uint64_t page = test_random() % n;

		poke(g->mem, page);
		if (!g->hash ||
			g->mem[page * PAGE + page % PAGE] != g->copy[page * PAGE + page % PAGE])
			expect(g, model, page);
	}
	ground_harvest(g);
	ground_take(g);
	compare(g, model);
	CHECK(ground_same(g));
	free(model);
}

TEST_EACH(dirty_cpu_source_reports_exactly_the_pages_written, every_kind, kind)
{
	static const uint64_t sizes[] = { 1, 63, 64, 65, 257, 511, 2048 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct ground g;

		ground_open(&g, kind, sizes[i]);
		ground_start(&g);
		for (int round = 0; round < 8; round++)
			one_round(&g, round == 0 ? 0 : test_random() % (2 * sizes[i]));
		ground_close(&g);
	}
}

/* More runs than one scan returns. */
TEST_EACH(dirty_cpu_source_reports_every_second_page, every_source, kind)
{
	const uint64_t n = 2000;
	struct ground g;

	ground_open(&g, kind, n);
	ground_start(&g);
	for (uint64_t i = 1; i < n; i += 2)
		poke(g.mem, i);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), n / 2);
	for (uint64_t i = 0; i < n; i++)
		CHECK_EQ(ground_taken(&g, i), i % 2);
	ground_close(&g);
}

TEST_EACH(dirty_cpu_source_starts_clean_after_its_first_take, every_kind, kind)
{
	struct ground g;

	ground_open(&g, kind, 100); /* never touched: not populated */
	ground_start(&g);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 0);
	ground_close(&g);
}

TEST_EACH(dirty_cpu_source_sees_the_first_write_to_a_page_not_populated, every_kind, kind)
{
	struct ground g;

	ground_open(&g, kind, 100);
	CHECK_EQ(wherry_tracker_start(g.tr), 0);
	CHECK_EQ(wherry_watch_take(g.w, false, g.taken), 0); /* and nobody touches the memory */
	poke(g.mem, 7);
	ground_harvest(&g);
	ground_take(&g);
	CHECK(ground_taken(&g, 7));
	CHECK(g.hash || !ground_taken(&g, 7 + g.page / PAGE) || g.len == g.page);
	ground_close(&g);
}

TEST_EACH(dirty_cpu_source_sees_what_the_kernel_writes, every_source, kind)
{
	struct ground g;
	int pipefd[2];

	ground_open(&g, kind, 16);
	ground_start(&g);
	CHECK_EQ(pipe(pipefd), 0);
	CHECK_EQ(write(pipefd[1], "x", 1), 1);
	CHECK_EQ(read(pipefd[0], g.mem + 5 * PAGE, 1), 1);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 1);
	CHECK(ground_taken(&g, 5));
	close(pipefd[0]);
	close(pipefd[1]);
	ground_close(&g);
}

TEST_EACH(dirty_cpu_writes_of_another_mapping_are_seen_by_content_only, every_source, kind)
{
	struct ground g;

	ground_open(&g, kind, 16);
	ground_start(&g);
	poke(g.alias, 3);
	CHECK_EQ(pwrite(g.fd, "x", 1, 9 * PAGE), 1);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), g.hash ? 2 : 0);
	ground_close(&g);
}

/* A lock word: 0 at the harvest, 1 when the page was copied, 0 again. */
TEST(dirty_hash_compares_with_what_was_sent)
{
	struct ground g;

	ground_open(&g, "hash", 4);
	ground_start(&g);
	poke(g.mem, 2);
	ground_harvest(&g);
	g.mem[2 * PAGE] = 1;
	CHECK_EQ(ground_take(&g), 1);
	g.mem[2 * PAGE] = 0;
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 1);
	CHECK(ground_same(&g));
	ground_close(&g);
}

TEST(dirty_hash_page_taken_and_not_told_is_pending_again)
{
	struct ground g;

	ground_open(&g, "hash", 8);
	ground_start(&g);
	poke(g.mem, 2);
	ground_harvest(&g);
	CHECK_EQ(wherry_watch_take(g.w, false, g.taken), 0);
	CHECK(ground_taken(&g, 2));
	ground_harvest(&g); /* nothing changed, but who knows what was copied */
	CHECK_EQ(ground_take(&g), 1);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 0);
	ground_close(&g);
}

TEST(dirty_sent_takes_whole_pages_of_the_watch_only)
{
	struct ground g;
	struct wherry_span span;

	ground_open(&g, "hash", 8);
	span = g.span;
	CHECK_EQ(wherry_watch_sent(g.w, span, g.mem), 0);
	span.len += PAGE;
	CHECK_EQ(wherry_watch_sent(g.w, span, g.mem), -EINVAL);
	span.len = 0;
	CHECK_EQ(wherry_watch_sent(g.w, span, g.mem), -EINVAL);
	span.len = PAGE - 1;
	CHECK_EQ(wherry_watch_sent(g.w, span, g.mem), -EINVAL);
	span.iova -= PAGE;
	span.len = 2 * PAGE;
	CHECK_EQ(wherry_watch_sent(g.w, span, g.mem), -EINVAL);
	ground_close(&g);
}

/* The scan would call memory clean that is not watched any more. */
TEST(dirty_memory_no_longer_watched_is_an_error_not_clean)
{
	struct ground g;

	ground_open(&g, "wp-async", 16);
	ground_start(&g);
	CHECK(mmap(g.mem + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, g.fd,
		      4 * (off_t)PAGE) != MAP_FAILED);
	CHECK_EQ(wherry_tracker_harvest(g.tr), -EFAULT);
	ground_take(&g);
	CHECK(ground_taken(&g, 4));
	ground_close(&g);
}

TEST(dirty_own_uapi_declarations_equal_the_systems)
{
#ifdef PAGEMAP_SCAN
	CHECK_EQ(SCAN_IOCTL, PAGEMAP_SCAN);
	CHECK_EQ(sizeof(struct scan_arg), sizeof(struct pm_scan_arg));
	CHECK_EQ(offsetof(struct scan_arg, return_mask), offsetof(struct pm_scan_arg, return_mask));
	CHECK_EQ(offsetof(struct scan_arg, vec_len), offsetof(struct pm_scan_arg, vec_len));
	CHECK_EQ(sizeof(struct scan_region), sizeof(struct page_region));
	CHECK_EQ(SCAN_WATCHED, PAGE_IS_WPALLOWED);
	CHECK_EQ(SCAN_WRITTEN, PAGE_IS_WRITTEN);
	CHECK_EQ(SCAN_PROTECT, PM_SCAN_WP_MATCHING);
	CHECK_EQ(SCAN_CHECK_WPASYNC, PM_SCAN_CHECK_WPASYNC);
	CHECK_EQ(FEATURE_WP_ASYNC, UFFD_FEATURE_WP_ASYNC);
	CHECK_EQ(FEATURE_WP_UNPOPULATED, UFFD_FEATURE_WP_UNPOPULATED);
	CHECK_EQ(FEATURE_WP_SHMEM, UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
#else
	SKIP("these kernel headers are older than 6.7: install linux-libc-dev from backports");
#endif
}

/* Part of a hugepage would be seen by no scan. */
TEST(dirty_windows_are_whole_hugepages_and_leave_nothing_out)
{
	const uint64_t gib = UINT64_C(1) << 30;
	struct wherry_span rest = { .iova = 5 * gib - 3 * PAGE, .len = 2 * gib + 4 * PAGE };
	const struct wherry_span want[] = {
		{ .iova = 5 * gib - 3 * PAGE, .len = 3 * PAGE },
		{ .iova = 5 * gib, .len = gib },
		{ .iova = 6 * gib, .len = gib },
		{ .iova = 7 * gib, .len = PAGE },
	};
	struct wherry_span window;

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		CHECK(next_window(&rest, &window));
		CHECK_EQ(window.iova, want[i].iova);
		CHECK_EQ(window.len, want[i].len);
	}
	CHECK(!next_window(&rest, &window));
}
