/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/bitmap: each sentence of wherry_bitmap.h, and the model with random rows of operations. */
#include <errno.h>

#include "fault_priv.h"
#include "fuzz_random.h"
#include "models.h"
#include "test.h"
#include "wherry_bitmap.h"

#define PAGE UINT64_C(4096)

static struct wherry_span
span(uint64_t iova, uint64_t len)
{
	return (struct wherry_span){ .iova = iova, .len = len };
}

static struct wherry_bitmap *
make(struct wherry_span where, uint64_t page)
{
	struct wherry_bitmap *bm = NULL;

	CHECK_EQ(wherry_bitmap_create(where, page, &bm), 0);
	return bm;
}

TEST(bitmap_create_rejects_what_is_not_whole_pages)
{
	struct wherry_bitmap *bm = NULL;

	CHECK_EQ(wherry_bitmap_create(span(0, 0), PAGE, &bm), -EINVAL);
	CHECK_EQ(wherry_bitmap_create(span(0, PAGE), 0, &bm), -EINVAL);
	CHECK_EQ(wherry_bitmap_create(span(0, 3 * PAGE), 3 * PAGE, &bm), -EINVAL);
	CHECK_EQ(wherry_bitmap_create(span(1, PAGE), PAGE, &bm), -EINVAL);
	CHECK_EQ(wherry_bitmap_create(span(PAGE, PAGE + 1), PAGE, &bm), -EINVAL);
	CHECK(bm == NULL);
}

TEST(bitmap_create_rejects_a_span_that_leaves_the_space)
{
	struct wherry_bitmap *bm = NULL;

	CHECK_EQ(wherry_bitmap_create(span(0 - PAGE, 2 * PAGE), PAGE, &bm), -EOVERFLOW);
	CHECK_EQ(wherry_bitmap_create(span(0 - PAGE, PAGE), PAGE, &bm), 0);
	wherry_bitmap_destroy(bm);
}

TEST(bitmap_create_without_memory_leaves_nothing)
{
	FOR_EACH_FAULT(nth) {
		struct wherry_bitmap *bm = NULL;
		int rc = wherry_bitmap_create(span(0, PAGE), PAGE, &bm);

		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		CHECK((bm != NULL) == (rc == 0));
		wherry_bitmap_destroy(bm);
	}
}

TEST(bitmap_says_its_shape)
{
	struct wherry_bitmap *bm = make(span(8 * PAGE, 1 << 30), PAGE);

	CHECK(wherry_bitmap_span(bm).iova == 8 * PAGE);
	CHECK(wherry_bitmap_span(bm).len == 1 << 30);
	CHECK(wherry_bitmap_page(bm) == PAGE);
	/* one bit a page, and the second level: 0.2 % more */
	CHECK(wherry_bitmap_footprint(bm) >= (1 << 30) / PAGE / 8);
	CHECK(wherry_bitmap_footprint(bm) < (1 << 30) / PAGE / 8 + 1024);
	wherry_bitmap_destroy(bm);
	wherry_bitmap_destroy(NULL);
}

TEST(bitmap_mark_sets_every_page_touched)
{
	struct wherry_bitmap *bm = make(span(0, 300 * PAGE), PAGE);

	wherry_bitmap_mark(bm, span(PAGE - 1, 2));
	CHECK(wherry_bitmap_test(bm, 0) && wherry_bitmap_test(bm, PAGE));
	CHECK(!wherry_bitmap_test(bm, 2 * PAGE));
	CHECK_EQ(wherry_bitmap_count(bm), 2);
	wherry_bitmap_mark(bm, span(0, 0));
	wherry_bitmap_mark(bm, span(300 * PAGE, PAGE));
	CHECK_EQ(wherry_bitmap_count(bm), 2);
	wherry_bitmap_destroy(bm);
}

TEST(bitmap_unmark_spares_pages_it_covers_in_part)
{
	struct wherry_bitmap *bm = make(span(0, 300 * PAGE), PAGE);

	wherry_bitmap_mark(bm, span(0, 300 * PAGE));
	wherry_bitmap_unmark(bm, span(1, 3 * PAGE - 2));
	CHECK_EQ(wherry_bitmap_count(bm), 299);
	CHECK(!wherry_bitmap_test(bm, PAGE));
	wherry_bitmap_clear(bm);
	CHECK_EQ(wherry_bitmap_count(bm), 0);
	wherry_bitmap_destroy(bm);
}

TEST(bitmap_argument_behind_the_space_ends_with_it)
{
	struct wherry_bitmap *bm = make(span(0 - 4 * PAGE, 4 * PAGE), PAGE);

	wherry_bitmap_mark(bm, span(0 - PAGE, 8 * PAGE));
	CHECK_EQ(wherry_bitmap_count(bm), 1);
	CHECK(wherry_bitmap_test(bm, UINT64_MAX));
	wherry_bitmap_destroy(bm);
}

/* Run lengths at the edges of words, at the edges of a 64-bit space. */
TEST(bitmap_runs_are_as_long_as_possible_at_every_boundary_size)
{
	static const uint64_t sizes[] = { 1, 63, 64, 65, 255, 256, 257, 511 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t len = sizes[i] * PAGE, at = 0 - len;
		struct wherry_bitmap *bm = make(span(at, len), PAGE);
		struct wherry_span run;

		CHECK(!wherry_bitmap_next_run(bm, &at, &run));
		wherry_bitmap_mark(bm, span(at, len));
		CHECK_EQ(wherry_bitmap_count(bm), sizes[i]);
		CHECK(wherry_bitmap_next_run(bm, &at, &run));
		CHECK(run.iova == 0 - len && run.len == len);
		CHECK(at == UINT64_MAX);
		CHECK(!wherry_bitmap_next_run(bm, &at, &run));
		wherry_bitmap_destroy(bm);
	}
}

TEST(bitmap_take_leaves_coarse_pages_that_reach_outside)
{
	struct wherry_bitmap *fine = make(span(PAGE, 1023 * PAGE), PAGE);
	struct wherry_bitmap *coarse = make(span(0, 1024 * PAGE), 512 * PAGE);

	wherry_bitmap_mark(coarse, span(0, 1024 * PAGE));
	wherry_bitmap_take(fine, coarse);
	CHECK_EQ(wherry_bitmap_count(fine), 1023);
	CHECK_EQ(wherry_bitmap_count(coarse), 1);
	CHECK(wherry_bitmap_test(coarse, 0));
	wherry_bitmap_destroy(fine);
	wherry_bitmap_destroy(coarse);
}

/* Where words, or blocks of words, of the two hold the same pages, and where they do not. */
TEST(bitmap_or_marks_the_same_pages_wherever_it_lies)
{
	static const uint64_t places[] = { 0, 1, 63, 64, 65, 128, 512, 576, 1024, 1100 };
	static const uint64_t marked[] = { 0, 63, 64, 500, 511, 512, 575, 699 };
	const size_t n = sizeof(marked) / sizeof(marked[0]);

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct wherry_bitmap *from = make(span((7 + places[i]) * PAGE, 700 * PAGE), PAGE);
		struct wherry_bitmap *into = make(span(7 * PAGE, 1801 * PAGE), PAGE);

		for (size_t k = 0; k < n; k++)
			wherry_bitmap_mark(from, span((7 + places[i] + marked[k]) * PAGE, PAGE));
		wherry_bitmap_or(into, from);
		CHECK_EQ(wherry_bitmap_count(into), n);
		for (size_t k = 0; k < n; k++)
			CHECK(wherry_bitmap_test(into, (7 + places[i] + marked[k]) * PAGE));
		wherry_bitmap_destroy(from);
		wherry_bitmap_destroy(into);
	}
}

TEST(bitmap_or_words_reads_the_kernel_form)
{
	uint64_t words[2] = { UINT64_C(1) << 63 | 1, ~UINT64_C(1) };
	struct wherry_bitmap *bm = make(span(0, 200 * PAGE), PAGE);

	wherry_bitmap_or_words(bm, span(3 * PAGE, 66 * PAGE), PAGE, words);
	CHECK_EQ(wherry_bitmap_count(bm), 3);
	CHECK(wherry_bitmap_test(bm, 3 * PAGE));
	CHECK(wherry_bitmap_test(bm, 66 * PAGE));
	CHECK(wherry_bitmap_test(bm, 68 * PAGE));
	wherry_bitmap_destroy(bm);
}

/* A TiB with ten marked pages: thousands of counts finish only if they skip the rest. */
TEST(bitmap_work_follows_the_marked_pages)
{
	struct wherry_bitmap *bm = make(span(0, UINT64_C(1) << 40), PAGE);
	struct wherry_bitmap *into = make(span(0, UINT64_C(1) << 40), PAGE);

	for (unsigned int round = 0; round < 2000; round++) {
		for (uint64_t i = 0; i < 10; i++)
			wherry_bitmap_mark(bm, span(i * 100 << 30, 1));
		CHECK_EQ(wherry_bitmap_count(bm), 10);
		wherry_bitmap_take(into, bm);
		CHECK_EQ(wherry_bitmap_count(bm), 0);
		CHECK_EQ(wherry_bitmap_count(into), 10);
		wherry_bitmap_clear(into);
	}
	wherry_bitmap_destroy(bm);
	wherry_bitmap_destroy(into);
}

TEST(bitmap_agrees_with_one_byte_per_page)
{
	fuzz_random(bitmap_model_run, 300, 600);
}
