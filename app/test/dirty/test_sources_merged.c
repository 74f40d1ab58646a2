/* SPDX-License-Identifier: BSD-3-Clause */
/* Device writes and CPU writes in one watch, each counted where it came from. */
#include <errno.h>

#include "ground.h"
#include "iommu_priv.h" /* to play a backend that cannot tell */

static void
open_both(struct ground *g, const char *kind, uint64_t n_pages)
{
	ground_open(g, kind, n_pages);
	ground_map(g);
	CHECK_EQ(wherry_watch_add_domain(g->w, g->dom), 0);
}

static void
play(struct wherry_domain *dom, enum wherry_dirty dirty)
{
	wherry_quick_lock(&dom->lock);
	dom->caps.dirty = dirty;
	wherry_quick_unlock(&dom->lock);
}

TEST_EACH(dirty_device_writes_are_seen_by_iommu_bits_and_not_by_cpu_sources, wp_sources, kind)
{
	struct wherry_watch_stats stats;
	struct ground g;

	open_both(&g, kind, 64);
	ground_start(&g);
	for (uint64_t i = 0; i < 10; i++)
		ground_dma(&g, i);
	ground_harvest(&g);
	stats = ground_stats(&g);
	CHECK_EQ(stats.iommu_pages, 10);
	CHECK_EQ(stats.cpu_pages, 0);
	CHECK_EQ(ground_take(&g), 10);
	CHECK(ground_same(&g));
	ground_close(&g);
}

TEST_EACH(dirty_cpu_writes_are_not_seen_by_iommu_bits, wp_sources, kind)
{
	struct wherry_watch_stats stats;
	struct ground g;

	open_both(&g, kind, 64);
	ground_start(&g);
	for (uint64_t i = 0; i < 10; i++)
		poke(g.mem, i);
	ground_harvest(&g);
	stats = ground_stats(&g);
	CHECK_EQ(stats.iommu_pages, 0);
	CHECK_EQ(stats.cpu_pages, 10);
	CHECK_EQ(ground_take(&g), 10);
	ground_close(&g);
}

TEST_EACH(dirty_sources_are_merged_and_counted_apart, wp_sources, kind)
{
	struct wherry_watch_stats stats;
	struct ground g;

	open_both(&g, kind, 64);
	ground_start(&g);
	for (uint64_t i = 0; i < 20; i++)
		poke(g.mem, i);
	for (uint64_t i = 15; i < 45; i++)
		ground_dma(&g, i);
	ground_harvest(&g);
	stats = ground_stats(&g);
	CHECK_EQ(stats.harvests, 1);
	CHECK_EQ(stats.iommu_pages, 30);
	CHECK_EQ(stats.cpu_pages, 20);
	CHECK_EQ(stats.always_pages, 0);
	CHECK_EQ(stats.pending_pages, 45);
	CHECK(stats.iommu_ns > 0 && stats.cpu_ns > 0);
	CHECK(stats.iommu_rate > stats.cpu_rate && stats.cpu_rate > 0);
	CHECK_EQ(ground_take(&g), 45);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 0);
	CHECK(ground_same(&g));
	ground_close(&g);
}

TEST(dirty_cpu_source_none_reports_devices_only)
{
	struct ground g;

	open_both(&g, "none", 64);
	ground_start(&g);
	poke(g.mem, 3);
	ground_dma(&g, 4);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 1);
	CHECK(ground_taken(&g, 4));
	ground_close(&g);
}

TEST(dirty_domain_that_cannot_tell_makes_all_pages_dirty_at_every_harvest)
{
	static const enum wherry_dirty cannot[] = { WHERRY_DIRTY_NONE, WHERRY_DIRTY_PERPETUAL };

	for (unsigned int i = 0; i < 2; i++) {
		struct ground g;

		ground_open(&g, "none", 64);
		ground_map(&g);
		play(g.dom, cannot[i]);
		CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
		ground_start(&g);
		for (unsigned int n = 0; n < 3; n++) {
			ground_harvest(&g);
			CHECK(wherry_watch_forecast(g.w, 0.001) == 64);
			CHECK_EQ(ground_take(&g), 64);
		}
		CHECK_EQ(ground_stats(&g).always_pages, 3 * 64);
		CHECK_EQ(ground_stats(&g).iommu_pages, 0);
		ground_close(&g);
	}
}

/* What a domain could not tell for a while is dirty once more, in each of its watches. */
TEST(dirty_domain_that_learns_to_tell_is_believed_one_harvest_later)
{
	struct wherry_watch_stats stats;
	struct wherry_span half;
	struct wherry_watch *w;
	struct ground g;

	ground_open(&g, "none", 64);
	ground_map(&g);
	half = ground_pages(&g, 32, 32);
	wherry_watch_destroy(g.w);
	CHECK_EQ(wherry_watch_create(g.tr, "low", ground_pages(&g, 0, 32), PAGE, &g.w), 0);
	CHECK_EQ(wherry_watch_create(g.tr, "high", half, PAGE, &w), 0);
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
	CHECK_EQ(wherry_watch_add_domain(w, g.dom), 0);
	play(g.dom, WHERRY_DIRTY_NONE);
	CHECK_EQ(wherry_tracker_start(g.tr), 0);
	ground_harvest(&g);
	CHECK_EQ(wherry_watch_take(w, false, g.taken), 0);
	play(g.dom, WHERRY_DIRTY_TRACKED); /* as when a device was detached */
	ground_dma(&g, 50);
	ground_harvest(&g);
	wherry_watch_get_stats(w, &stats);
	CHECK_EQ(stats.pending_pages, 32);
	wherry_bitmap_clear(g.taken);
	CHECK_EQ(wherry_watch_take(w, false, g.taken), 0);
	ground_dma(&g, 51);
	ground_harvest(&g);
	wherry_bitmap_clear(g.taken);
	CHECK_EQ(wherry_watch_take(w, false, g.taken), 0);
	CHECK_EQ(wherry_bitmap_count(g.taken), 1);
	CHECK(ground_taken(&g, 51));
	ground_close(&g);
}

TEST(dirty_domain_is_added_once_and_may_be_shared)
{
	struct wherry_watch *w;
	struct ground g;

	ground_open(&g, "none", 64);
	ground_map(&g);
	wherry_watch_destroy(g.w);
	CHECK_EQ(wherry_watch_create(g.tr, "a", ground_pages(&g, 0, 32), PAGE, &w), 0);
	CHECK_EQ(wherry_watch_create(g.tr, "b", ground_pages(&g, 32, 32), PAGE, &g.w), 0);
	CHECK_EQ(wherry_watch_add_domain(w, g.dom), 0);
	CHECK_EQ(wherry_watch_add_domain(w, g.dom), -EEXIST);
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
	CHECK_EQ(wherry_tracker_start(g.tr), 0);
	wherry_watch_destroy(w); /* the other one still needs tracking */
	CHECK_EQ(wherry_watch_take(g.w, false, g.taken), 0);
	ground_dma(&g, 40);
	ground_harvest(&g);
	wherry_bitmap_clear(g.taken);
	CHECK_EQ(wherry_watch_take(g.w, false, g.taken), 0);
	CHECK_EQ(wherry_bitmap_count(g.taken), 1);
	wherry_watch_destroy(g.w);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0); /* it was switched off */
	wherry_domain_dirty_stop(g.dom);
	ground_close(&g);
}

TEST(dirty_domain_added_while_started_makes_all_pending_once)
{
	struct ground g;

	ground_open(&g, "wp-async", 64);
	ground_map(&g);
	ground_start(&g);
	ground_dma(&g, 5); /* nobody tracks yet */
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
	ground_dma(&g, 6);
	CHECK_EQ(ground_take(&g), 64);
	ground_harvest(&g);
	ground_take(&g);
	CHECK(ground_taken(&g, 6));
	CHECK(ground_same(&g));
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 0);
	ground_close(&g);
}

TEST(dirty_domain_tracked_by_somebody_else_is_refused)
{
	struct ground g;

	ground_open(&g, "wp-async", 64);
	ground_map(&g);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
	CHECK_EQ(wherry_tracker_start(g.tr), -EBUSY);
	CHECK_EQ(wherry_tracker_harvest(g.tr), -EINVAL);
	wherry_watch_destroy(g.w);
	CHECK_EQ(wherry_tracker_start(g.tr), 0);
	CHECK_EQ(wherry_watch_create(g.tr, "w", g.span, PAGE, &g.w), 0);
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), -EBUSY);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), -EALREADY); /* and left as it was */
	wherry_domain_dirty_stop(g.dom);
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
	wherry_tracker_stop(g.tr);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0); /* stop has switched it off */
	ground_close(&g);
}

/* A hole in the domain is an error, and no reason not to ask the CPU source. */
TEST(dirty_harvest_asks_the_other_sources_when_one_fails)
{
	struct ground g;

	open_both(&g, "wp-async", 64);
	ground_start(&g);
	CHECK_EQ(wherry_domain_unmap(g.dom, g.span), 0);
	poke(g.mem, 9);
	CHECK_EQ(wherry_tracker_harvest(g.tr), -ENOENT);
	CHECK_EQ(ground_take(&g), 1);
	CHECK(ground_taken(&g, 9));
	ground_close(&g);
}
