/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/iova: each sentence of wherry_iova.h, and the model with random rows of operations. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "fault_priv.h"
#include "fuzz_random.h"
#include "models.h"
#include "test.h"
#include "wherry_iova.h"

#define PAGE UINT64_C(4096)

static struct wherry_span
span(uint64_t iova, uint64_t len)
{
	return (struct wherry_span){ .iova = iova, .len = len };
}

static struct wherry_iova_set *
make(void)
{
	struct wherry_iova_set *set = NULL;

	CHECK_EQ(wherry_iova_set_create(&set), 0);
	return set;
}

TEST(iova_room_is_there_until_its_interval_is_removed_and_the_set_changes_again)
{
	static const size_t lens[] = { 8, 64, 24, 256 };
	struct wherry_iova_set *set = make();
	void *rooms[4], *again;

	for (unsigned int i = 0; i < 4; i++) {
		CHECK_EQ(wherry_iova_insert_room(set, span(i * PAGE, PAGE), lens[i], &rooms[i]), 0);
		memset(rooms[i], (int)i, lens[i]);
	}
	CHECK_EQ(wherry_iova_insert_room(set, span(PAGE, 1), 8, &again), -EEXIST);
	CHECK_EQ(wherry_iova_remove(set, span(PAGE, 1), &again), -ENOENT);
	CHECK_EQ(wherry_iova_remove(set, span(9 * PAGE, PAGE), &again), -ENOENT);
	wherry_iova_remove_room(set, rooms[0]); /* its memory may be kept for the next */
	CHECK_EQ(wherry_iova_insert_room(set, span(0, PAGE), 512, &rooms[0]), 0);
	memset(rooms[0], 0xff, 512);
	CHECK_EQ(wherry_iova_count(set), 4);
	for (unsigned int i = 1; i < 4; i++) {
		CHECK_EQ(wherry_iova_remove(set, span(i * PAGE, PAGE), &again), 0);
		CHECK(again == rooms[i]);
		CHECK_EQ(((uint8_t *)again)[0], i);
		CHECK_EQ(((uint8_t *)again)[lens[i] - 1], i);
	}
	wherry_iova_set_destroy(set);
}

TEST(iova_insert_rejects_what_overlaps_or_is_no_span)
{
	struct wherry_iova_set *set = make();

	CHECK_EQ(wherry_iova_insert(set, span(PAGE, 0), NULL), -EINVAL);
	CHECK_EQ(wherry_iova_insert(set, span(0 - PAGE, PAGE + 1), NULL), -EOVERFLOW);
	CHECK_EQ(wherry_iova_insert(set, span(PAGE, PAGE), NULL), 0);
	CHECK_EQ(wherry_iova_insert(set, span(2 * PAGE - 1, 1), NULL), -EEXIST);
	CHECK_EQ(wherry_iova_insert(set, span(0, PAGE + 1), NULL), -EEXIST);
	CHECK_EQ(wherry_iova_insert(set, span(0, 9 * PAGE), NULL), -EEXIST);
	CHECK_EQ(wherry_iova_count(set), 1);
	wherry_iova_set_destroy(set);
	wherry_iova_set_destroy(NULL);
}

TEST(iova_adjacent_intervals_stay_apart)
{
	struct wherry_iova_set *set = make();
	int a, b;
	void *value = NULL;

	CHECK_EQ(wherry_iova_insert(set, span(0, PAGE), &a), 0);
	CHECK_EQ(wherry_iova_insert(set, span(PAGE, PAGE), &b), 0);
	CHECK_EQ(wherry_iova_remove(set, span(0, 2 * PAGE), &value), -ENOENT);
	CHECK_EQ(wherry_iova_remove(set, span(PAGE, PAGE), &value), 0);
	CHECK(value == &b);
	CHECK_EQ(wherry_iova_remove(set, span(0, PAGE), NULL), 0);
	CHECK_EQ(wherry_iova_count(set), 0);
	wherry_iova_set_destroy(set);
}

TEST(iova_intervals_reach_the_top_of_the_space)
{
	struct wherry_iova_set *set = make();
	struct wherry_iova_entry entry;

	CHECK_EQ(wherry_iova_insert(set, span(0 - PAGE, PAGE), NULL), 0);
	CHECK(wherry_iova_find(set, UINT64_MAX, &entry));
	CHECK(entry.span.iova == 0 - PAGE);
	CHECK(wherry_iova_covers(set, span(0 - PAGE, PAGE)));
	CHECK(!wherry_iova_would_cut(set, span(0 - PAGE, PAGE)));
	CHECK(wherry_iova_would_cut(set, span(0 - PAGE + 1, PAGE - 1)));
	CHECK(!wherry_iova_covers(set, span(0 - PAGE, 0)));
	CHECK(!wherry_iova_covers(set, span(0 - PAGE, 2 * PAGE)));
	wherry_iova_set_destroy(set);
}

TEST(iova_insert_failure_changes_nothing)
{
	FOR_EACH_FAULT(nth) {
		struct wherry_iova_set *set = NULL;
		int rc = wherry_iova_set_create(&set);

		if (rc == 0)
			rc = wherry_iova_insert(set, span(0, PAGE), NULL);
		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		if (set != NULL)
			CHECK_EQ(wherry_iova_count(set), rc == 0);
		wherry_iova_set_destroy(set);
	}
}

TEST(iova_hole_search_says_why_it_fails)
{
	static const struct wherry_span usable = { .iova = PAGE, .len = 4 * PAGE };
	struct wherry_span want = { .iova = 77, .len = 0 };
	struct wherry_iova_set *set = make();

	CHECK_EQ(wherry_iova_find_hole(set, &usable, 1, &want, PAGE), -EINVAL);
	want.len = PAGE;
	CHECK_EQ(wherry_iova_find_hole(set, &usable, 1, &want, 0), -EINVAL);
	CHECK_EQ(wherry_iova_find_hole(set, &usable, 1, &want, 3 * PAGE), -EINVAL);
	want.len = 5 * PAGE;
	CHECK_EQ(wherry_iova_find_hole(set, &usable, 1, &want, PAGE), -ENOSPC);
	CHECK_EQ(wherry_iova_find_hole(set, NULL, 0, &want, PAGE), -ENOSPC);
	CHECK(want.iova == 77);
	wherry_iova_set_destroy(set);
}

TEST(iova_hole_search_wraps_to_what_was_freed)
{
	static const struct wherry_span usable = { .iova = 16 * PAGE, .len = 4 * PAGE };
	struct wherry_iova_set *set = make();
	struct wherry_span want = { .len = PAGE };

	for (unsigned int i = 0; i < 4; i++) {
		CHECK_EQ(wherry_iova_find_hole(set, &usable, 1, &want, PAGE), 0);
		CHECK_EQ(wherry_iova_insert(set, want, NULL), 0);
	}
	CHECK_EQ(wherry_iova_find_hole(set, &usable, 1, &want, PAGE), -ENOSPC);
	CHECK_EQ(wherry_iova_remove(set, span(17 * PAGE, PAGE), NULL), 0);
	CHECK_EQ(wherry_iova_find_hole(set, &usable, 1, &want, PAGE), 0);
	CHECK(want.iova == 17 * PAGE);
	wherry_iova_set_destroy(set);
}

/* 100,000 pages one by one: minutes if each search began at the bottom. */
TEST(iova_filling_a_space_does_not_cost_its_square)
{
	static const struct wherry_span usable = { .iova = 0, .len = UINT64_C(1) << 40 };
	struct wherry_iova_set *set = make();
	clock_t start = clock();

	for (unsigned int i = 0; i < 100000; i++) {
		struct wherry_span want = { .len = PAGE };

		CHECK_EQ(wherry_iova_find_hole(set, &usable, 1, &want, PAGE), 0);
		CHECK_EQ(wherry_iova_insert(set, want, NULL), 0);
	}
	CHECK((clock() - start) / CLOCKS_PER_SEC < 20);
	wherry_iova_set_destroy(set);
}

TEST(iova_usable_wants_one_span_to_hold_all)
{
	static const struct wherry_span usable[] = { { .iova = 0, .len = PAGE },
		{ .iova = PAGE, .len = PAGE }, { .iova = 0 - PAGE, .len = PAGE } };

	CHECK(wherry_iova_usable(usable, 3, span(PAGE, PAGE)));
	CHECK(!wherry_iova_usable(usable, 3, span(PAGE - 1, 2)));
	CHECK(wherry_iova_usable(usable, 3, span(0 - PAGE, PAGE)));
	CHECK(!wherry_iova_usable(usable, 3, span(0 - PAGE, PAGE + 1)));
	CHECK(!wherry_iova_usable(usable, 3, span(0, 0)));
	CHECK(!wherry_iova_usable(usable, 0, span(0, 1)));
}

TEST(iova_intersect_keeps_what_two_lists_share)
{
	static const struct wherry_span a[] = { { .iova = 0, .len = 10 }, { .iova = 20, .len = 10 },
		{ .iova = UINT64_MAX - 9, .len = 10 } };
	static const struct wherry_span b[] = { { .iova = 5, .len = 20 },
		{ .iova = 29, .len = UINT64_MAX - 28 } };
	static const struct wherry_span want[] = { { .iova = 5, .len = 5 },
		{ .iova = 20, .len = 5 }, { .iova = 29, .len = 1 },
		{ .iova = UINT64_MAX - 9, .len = 10 } };
	struct wherry_span both[5];
	size_t n = wherry_iova_intersect(a, 3, b, 2, both);

	CHECK_EQ(n, 4);
	for (size_t i = 0; i < n; i++)
		CHECK(both[i].iova == want[i].iova && both[i].len == want[i].len);
	CHECK_EQ(wherry_iova_intersect(a, 3, b, 0, both), 0);
}

TEST(iova_agrees_with_one_entry_per_cell)
{
	fuzz_random(iova_model_run, 300, 700);
}
