/* SPDX-License-Identifier: BSD-3-Clause */
/* Pending pages: taken, filtered, given back, counted without looking, foretold. */
#include <errno.h>

#include "ground.h"

TEST(dirty_take_moves_what_is_pending)
{
	struct ground g;

	ground_open(&g, "wp-async", 64);
	ground_start(&g);
	poke(g.mem, 5);
	CHECK_EQ(ground_take(&g), 0); /* not harvested yet */
	ground_harvest(&g);
	CHECK_EQ(ground_stats(&g).pending_pages, 1);
	wherry_bitmap_clear(g.taken);
	wherry_bitmap_mark(g.taken, ground_pages(&g, 9, 1));
	CHECK_EQ(wherry_watch_take(g.w, false, g.taken), 0);
	CHECK(ground_taken(&g, 5) && ground_taken(&g, 9)); /* OR-ed into */
	CHECK_EQ(ground_stats(&g).pending_pages, 0);
	CHECK_EQ(ground_take(&g), 0);
	ground_close(&g);
}

TEST(dirty_take_wants_a_bitmap_that_covers_the_watch)
{
	struct wherry_bitmap *small, *coarse, *wide;
	struct wherry_span span;
	struct ground g;

	ground_open(&g, "none", 64);
	CHECK_EQ(wherry_tracker_start(g.tr), 0);
	CHECK_EQ(wherry_bitmap_create(ground_pages(&g, 0, 63), PAGE, &small), 0);
	span = (struct wherry_span){ .iova = round_down(g.span.iova, 1 << 20), .len = 4 << 20 };
	CHECK_EQ(wherry_bitmap_create(span, 2 * PAGE, &coarse), 0);
	CHECK_EQ(wherry_bitmap_create(span, PAGE, &wide), 0);
	CHECK_EQ(wherry_watch_take(g.w, false, small), -EINVAL);
	CHECK_EQ(wherry_watch_take(g.w, false, coarse), -EINVAL);
	CHECK_EQ(ground_stats(&g).pending_pages, 64);
	CHECK_EQ(wherry_watch_take(g.w, false, wide), 0);
	CHECK_EQ(wherry_bitmap_count(wide), 64);
	wherry_bitmap_destroy(small);
	wherry_bitmap_destroy(coarse);
	wherry_bitmap_destroy(wide);
	ground_close(&g);
}

TEST_EACH(dirty_give_back_makes_pages_pending_again, every_source, kind)
{
	struct wherry_bitmap *back;
	struct ground g;

	ground_open(&g, kind, 64);
	ground_start(&g);
	CHECK_EQ(wherry_bitmap_create(ground_pages(&g, 10, 3), PAGE, &back), 0);
	wherry_bitmap_mark(back, ground_pages(&g, 10, 3));
	wherry_watch_give_back(g.w, back);
	wherry_bitmap_destroy(back);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 3);
	CHECK(ground_taken(&g, 10) && ground_taken(&g, 12) && !ground_taken(&g, 13));
	ground_close(&g);
}

struct owner {
	struct wherry_span worthless;
	unsigned int calls, finals;
	uint64_t marked_on_entry;
};

static void
judge(void *ctx, bool final, struct wherry_bitmap *worthless)
{
	struct owner *o = ctx;

	o->calls++;
	o->finals += final;
	o->marked_on_entry += wherry_bitmap_count(worthless);
	wherry_bitmap_mark(worthless, o->worthless);
}

TEST_EACH(dirty_worthless_pages_stay_pending_and_are_dropped_at_final, every_source, kind)
{
	struct owner owner = { .calls = 0 };
	struct ground g;

	ground_open(&g, kind, 64);
	owner.worthless = ground_pages(&g, 4, 8);
	ground_start(&g);
	wherry_watch_set_filter(g.w, judge, &owner);
	for (uint64_t i = 0; i < 8; i++)
		poke(g.mem, i);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 4); /* 0 to 3 */
	CHECK(!ground_taken(&g, 4));
	CHECK_EQ(ground_stats(&g).pending_pages, 4);
	CHECK_EQ(ground_stats(&g).filtered_pages, 4);
	owner.worthless = ground_pages(&g, 5, 1); /* the others are of use by now */
	CHECK_EQ(ground_take(&g), 3);
	CHECK_EQ(ground_stats(&g).pending_pages, 1);
	wherry_bitmap_clear(g.taken);
	CHECK_EQ(wherry_watch_take(g.w, true, g.taken), 0);
	CHECK_EQ(wherry_bitmap_count(g.taken), 0);
	CHECK_EQ(ground_stats(&g).pending_pages, 0);
	CHECK_EQ(ground_stats(&g).filtered_pages, 0);
	CHECK_EQ(owner.calls, 3);
	CHECK_EQ(owner.finals, 1);
	CHECK_EQ(owner.marked_on_entry, 0);
	wherry_watch_set_filter(g.w, NULL, NULL);
	poke(g.mem, 5);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 1); /* nothing is worthless */
	ground_close(&g);
}

/* A page dropped at a final that came to nothing is not what the receiver has. */
TEST(dirty_hash_page_dropped_as_worthless_is_pending_again)
{
	struct owner owner = { .calls = 0 };
	struct ground g;

	ground_open(&g, "hash", 8);
	owner.worthless = ground_pages(&g, 4, 1);
	ground_start(&g);
	poke(g.mem, 4);
	ground_harvest(&g);
	wherry_watch_set_filter(g.w, judge, &owner);
	CHECK_EQ(wherry_watch_take(g.w, true, g.taken), 0);
	wherry_watch_set_filter(g.w, NULL, NULL);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 1);
	CHECK(ground_same(&g));
	ground_close(&g);
}

TEST(dirty_always_counts_at_every_harvest)
{
	struct wherry_span bad;
	struct ground g;

	ground_open(&g, "wp-async", 64);
	ground_start(&g);
	CHECK_EQ(wherry_watch_always(g.w, ground_pages(&g, 60, 4)), 0);
	CHECK_EQ(wherry_watch_always(g.w, ground_pages(&g, 62, 1)), 0);
	for (unsigned int i = 0; i < 3; i++) {
		CHECK_EQ(ground_take(&g), i == 0 ? 4 : 0); /* nothing before is known */
		ground_harvest(&g);
		CHECK_EQ(ground_take(&g), 4);
		CHECK(ground_taken(&g, 60) && ground_taken(&g, 63));
	}
	CHECK_EQ(ground_stats(&g).always_pages, 12);
	CHECK_EQ(ground_stats(&g).cpu_pages, 0);
	bad = ground_pages(&g, 60, 5);
	CHECK_EQ(wherry_watch_always(g.w, bad), -EINVAL);
	bad.len = 0;
	CHECK_EQ(wherry_watch_always(g.w, bad), -EINVAL);
	bad = ground_pages(&g, 0, 2);
	bad.iova -= PAGE;
	CHECK_EQ(wherry_watch_always(g.w, bad), -EINVAL);
	ground_close(&g);
}

TEST(dirty_forecast_starts_at_pending_and_ends_at_all)
{
	struct ground g;

	ground_open(&g, "wp-async", 1000);
	ground_start(&g);
	CHECK(wherry_watch_forecast(g.w, 10) == 0); /* nobody writes */
	for (uint64_t i = 0; i < 100; i++)
		poke(g.mem, i);
	ground_harvest(&g);
	CHECK(wherry_watch_forecast(g.w, 0) == 100);
	CHECK(wherry_watch_forecast(g.w, 0.001) > 100);
	CHECK(wherry_watch_forecast(g.w, 1e9) > 999.5 && wherry_watch_forecast(g.w, 1e9) <= 1000);
	CHECK(ground_stats(&g).cpu_rate > 0 && ground_stats(&g).iommu_rate == 0);
	ground_take(&g);
	CHECK(wherry_watch_forecast(g.w, 0) == 0);
	CHECK_EQ(wherry_watch_always(g.w, ground_pages(&g, 990, 10)), 0);
	ground_take(&g);
	CHECK(wherry_watch_forecast(g.w, 0) == 0);
	CHECK(wherry_watch_forecast(g.w, 1e-9) >= 10);
	ground_close(&g);
}

TEST(dirty_worthless_asks_the_filter_on_request)
{
	struct owner owner = { .calls = 0 };
	struct ground g;

	ground_open(&g, "none", 64);
	CHECK_EQ(wherry_watch_page(g.w), PAGE);
	wherry_watch_worthless(g.w, false, g.taken);
	CHECK_EQ(wherry_bitmap_count(g.taken), 0); /* without a filter nothing */
	owner.worthless = ground_pages(&g, 4, 8);
	wherry_watch_set_filter(g.w, judge, &owner);
	wherry_watch_worthless(g.w, true, g.taken);
	CHECK_EQ(wherry_bitmap_count(g.taken), 8);
	CHECK(owner.calls == 1 && owner.finals == 1);
	ground_close(&g);
}
