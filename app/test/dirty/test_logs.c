/* SPDX-License-Identifier: BSD-3-Clause */
/* Device writes that a write log knows, in place of a domain and beside one. */
#include <errno.h>

#include "ground.h"

#define PAGES 64

/* A log that is told what was written, and keeps what it is asked and told. */
struct paper {
	struct wherry_bitmap *written, *heard; /* heard: all that domains reported */
	unsigned int starts, stops, deaf;      /* deaf: how often domains could not tell */
	int start_rc, harvest_rc;
};

static int
paper_start(void *ctx, struct wherry_span span)
{
	struct paper *p = ctx;

	if (p->start_rc != 0)
		return p->start_rc;
	p->starts++;
	wherry_bitmap_unmark(p->written, span);
	return 0;
}

static void
paper_stop(void *ctx, struct wherry_span span)
{
	struct paper *p = ctx;

	(void)span;
	p->stops++;
}

static int
paper_harvest(void *ctx, struct wherry_span span, struct wherry_bitmap *into)
{
	struct paper *p = ctx;

	(void)span;
	if (p->harvest_rc == 0)
		wherry_bitmap_take(into, p->written);
	return p->harvest_rc;
}

static void
paper_heard(void *ctx, struct wherry_span span, const struct wherry_bitmap *reported)
{
	struct paper *p = ctx;

	(void)span;
	if (reported != NULL)
		wherry_bitmap_or(p->heard, reported);
	else
		p->deaf++;
}

static struct wherry_write_log
paper_log(struct paper *p)
{
	return (struct wherry_write_log){ .name = "paper",
		.start = paper_start,
		.stop = paper_stop,
		.harvest = paper_harvest,
		.heard = paper_heard,
		.ctx = p };
}

static void
paper_open(struct ground *g, struct paper *p)
{
	*p = (struct paper){ .starts = 0 };
	ground_open(g, "none", PAGES);
	CHECK_EQ(wherry_bitmap_create(g->span, PAGE, &p->written), 0);
	CHECK_EQ(wherry_bitmap_create(g->span, PAGE, &p->heard), 0);
}

static void
paper_close(struct ground *g, struct paper *p)
{
	ground_close(g);
	wherry_bitmap_destroy(p->written);
	wherry_bitmap_destroy(p->heard);
}

/* A device writes through a domain that the watch does not know; the log does. */
static void
paper_dma(struct ground *g, struct paper *p, uint64_t page)
{
	ground_dma(g, page);
	wherry_bitmap_mark(p->written, ground_pages(g, page, 1));
}

TEST(dirty_log_stands_in_for_a_domain)
{
	struct wherry_watch_stats stats;
	struct wherry_write_log log;
	struct paper p;
	struct ground g;

	paper_open(&g, &p);
	log = paper_log(&p);
	ground_map(&g);
	CHECK_EQ(wherry_watch_add_log(g.w, &log), 0);
	wherry_bitmap_mark(p.written, g.span); /* before start: forgotten */
	ground_start(&g);
	CHECK_EQ(p.starts, 1);
	for (uint64_t i = 0; i < 10; i++)
		paper_dma(&g, &p, i * 3);
	ground_harvest(&g);
	stats = ground_stats(&g);
	CHECK_EQ(stats.log_pages, 10);
	CHECK_EQ(stats.iommu_pages, 0);
	CHECK_EQ(stats.always_pages, 0);
	CHECK(stats.iommu_rate > 0); /* devices wrote, whoever said so */
	CHECK_EQ(ground_take(&g), 10);
	CHECK(ground_same(&g));
	wherry_tracker_stop(g.tr);
	CHECK_EQ(p.stops, 1);
	paper_close(&g, &p);
}

TEST(dirty_log_that_fails_makes_all_dirty)
{
	struct wherry_write_log log;
	struct paper p;
	struct ground g;

	paper_open(&g, &p);
	log = paper_log(&p);
	CHECK_EQ(wherry_watch_add_log(g.w, &log), 0);
	ground_start(&g);
	p.harvest_rc = -EIO;
	CHECK_EQ(wherry_tracker_harvest(g.tr), -EIO);
	CHECK_EQ(ground_take(&g), PAGES);
	p.harvest_rc = 0;
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 0);
	paper_close(&g, &p);
}

TEST(dirty_log_added_while_started_makes_all_pending_once)
{
	struct wherry_write_log log;
	struct paper p;
	struct ground g;

	paper_open(&g, &p);
	log = paper_log(&p);
	ground_start(&g);
	p.start_rc = -ENODEV;
	CHECK_EQ(wherry_watch_add_log(g.w, &log), -ENODEV);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), 0);
	p.start_rc = 0;
	CHECK_EQ(wherry_watch_add_log(g.w, &log), 0);
	CHECK_EQ(p.starts, 1);
	CHECK_EQ(ground_take(&g), PAGES);
	CHECK_EQ(wherry_watch_add_log(g.w, &log), -EEXIST);
	wherry_watch_destroy(g.w); /* started: the log is stopped */
	CHECK_EQ(p.stops, 1);
	paper_close(&g, &p);
}

TEST(dirty_log_that_does_not_start_fails_the_start)
{
	struct wherry_write_log log, other;
	struct paper p, q = { .start_rc = -ENODEV };
	struct ground g;

	paper_open(&g, &p);
	log = paper_log(&p);
	other = paper_log(&q);
	CHECK_EQ(wherry_watch_add_log(g.w, &log), 0);
	CHECK_EQ(wherry_watch_add_log(g.w, &other), 0);
	CHECK_EQ(wherry_tracker_start(g.tr), -EFAULT);
	CHECK_EQ(p.starts, 1);
	CHECK_EQ(p.stops, 1);
	CHECK_EQ(wherry_tracker_harvest(g.tr), -EINVAL);
	paper_close(&g, &p);
}

TEST(dirty_log_hears_what_domains_report)
{
	struct wherry_write_log log;
	struct paper p;
	struct ground g;

	paper_open(&g, &p);
	log = paper_log(&p);
	ground_map(&g);
	CHECK_EQ(wherry_watch_add_log(g.w, &log), 0);
	ground_start(&g);
	ground_harvest(&g);
	CHECK_EQ(p.deaf, 1); /* no domain, nothing to hear */
	CHECK_EQ(wherry_watch_add_domain(g.w, g.dom), 0);
	ground_harvest(&g);
	CHECK_EQ(ground_take(&g), PAGES);
	ground_dma(&g, 5);
	paper_dma(&g, &p, 7);
	ground_harvest(&g);
	CHECK(wherry_bitmap_test(p.heard, ground_pages(&g, 5, 1).iova));
	CHECK(wherry_bitmap_test(p.heard, ground_pages(&g, 7, 1).iova));
	CHECK_EQ(wherry_bitmap_count(p.heard), 2);
	CHECK_EQ(ground_take(&g), 2);
	paper_close(&g, &p);
}

TEST(dirty_log_failure_changes_nothing)
{
	FOR_EACH_FAULT(nth) {
		struct wherry_write_log log;
		struct paper p;
		struct ground g;
		int rc;

		wherry_fault_disarm();
		paper_open(&g, &p);
		log = paper_log(&p);
		ground_start(&g);
		wherry_fault_arm(nth);
		rc = wherry_watch_add_log(g.w, &log);
		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		CHECK_EQ(p.starts, rc == 0 ? 1 : 0);
		ground_harvest(&g);
		CHECK_EQ(ground_take(&g), rc == 0 ? PAGES : 0);
		paper_close(&g, &p);
	}
}
