/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO DMA logging against a played device. Nothing that can be emulated has it, so no
 * guest judges this: what is checked is that we keep the kernel's rules as linux/vfio.h
 * states them.
 */
#include <errno.h>
#include <string.h>

#include "fake_vfio.h"
#include "wherry_bitmap.h"
#include "wherry_dirty.h"
#include "wherry_vfio.h"

#define PAGE UINT64_C(4096)
#define PAGES 64u
#define BASE UINT64_C(0x40000000)
#define START (VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START)
#define REPORT (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT)

static _Alignas(4096) uint8_t mem[PAGES * 4096];
static const struct wherry_span all = { BASE, PAGES *PAGE };
static struct wherry_domain *dom;
static struct wherry_device *dev[2];
static struct wherry_vfio_log *dma_log;
static struct wherry_bitmap *found;

/* Two devices that log, on one domain. */
static void
open_devices(void)
{
	struct wherry_span span = all;

	fake_vfio_open();
	CHECK_EQ(wherry_domain_create("type1", &dom), 0);
	CHECK_EQ(wherry_domain_map(dom, mem, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span), 0);
	for (unsigned int n = 0; n < 2; n++) {
		CHECK_EQ(wherry_device_open(n == 0 ? "0000:01:00.0" : "0000:02:00.0", &dev[n]), 0);
		CHECK_EQ(wherry_device_attach(dev[n], dom, NULL), 0);
		fake_vfio.groups[n + 1].log.can = true;
	}
	CHECK_EQ(wherry_bitmap_create(all, PAGE, &found), 0);
	dma_log = NULL;
}

static void
open_log(void)
{
	open_devices();
	CHECK_EQ(wherry_vfio_log_create(dev, 2, &all, 1, &dma_log), 0);
}

static void
close_log(void)
{
	wherry_vfio_log_destroy(dma_log);
	wherry_bitmap_destroy(found);
	wherry_device_close(dev[0]);
	wherry_device_close(dev[1]);
	wherry_domain_destroy(dom);
	fake_vfio_close();
}

static void
poke(unsigned int n, uint64_t page)
{
	uint8_t byte = 1;

	CHECK_EQ(fake_vfio_dma(n, BASE + page * PAGE, &byte, 1, true), 0);
}

static uint64_t
harvest(struct wherry_span span)
{
	wherry_bitmap_clear(found);
	CHECK_EQ(wherry_vfio_log_harvest(dma_log, span, found), 0);
	return wherry_bitmap_count(found);
}

TEST(vfio_log_reports_what_any_device_wrote_once)
{
	open_log();
	CHECK_EQ(wherry_vfio_log_start(dma_log, all), 0);
	CHECK_EQ(harvest(all), 0);
	poke(1, 3);
	poke(2, 7);
	poke(2, 63);
	CHECK_EQ(harvest(all), 3);
	CHECK(wherry_bitmap_test(found, BASE + 3 * PAGE) &&
		wherry_bitmap_test(found, BASE + 7 * PAGE) &&
		wherry_bitmap_test(found, BASE + 63 * PAGE));
	CHECK_EQ(harvest(all), 0);
	wherry_vfio_log_stop(dma_log, all);
	CHECK(!fake_vfio.groups[1].log.on && !fake_vfio.groups[2].log.on);
	close_log();
}

TEST(vfio_log_forgets_what_was_written_before_start)
{
	struct wherry_span a = { BASE, 8 * PAGE }, b = { BASE + 8 * PAGE, 8 * PAGE };

	open_log();
	poke(1, 1);
	CHECK_EQ(wherry_vfio_log_start(dma_log, a), 0);
	CHECK_EQ(wherry_vfio_log_start(dma_log, a), -EEXIST);
	poke(1, 2);
	poke(1, 9);
	CHECK_EQ(wherry_vfio_log_start(dma_log, b), 0);
	poke(1, 10);
	CHECK_EQ(harvest(b), 1);
	CHECK(wherry_bitmap_test(found, BASE + 10 * PAGE));
	CHECK_EQ(harvest(a), 1);
	CHECK(wherry_bitmap_test(found, BASE + 2 * PAGE));
	CHECK_EQ(fake_vfio.groups[1].log.starts, 1); /* it may be started once */
	CHECK_EQ(wherry_vfio_log_harvest(dma_log, all, found), -ENOENT);
	close_log();
}

/* The device cleans a whole page of its own when half of it is asked for. */
TEST(vfio_log_of_large_pages_loses_no_half)
{
	struct wherry_span a = { BASE, 8 * PAGE }, b = { BASE + 8 * PAGE, 8 * PAGE };

	open_devices();
	fake_vfio.groups[1].log.page = 16 * PAGE;
	CHECK_EQ(wherry_vfio_log_create(dev, 2, &all, 1, &dma_log), 0);
	CHECK_EQ(wherry_vfio_log_start(dma_log, a), 0);
	CHECK_EQ(wherry_vfio_log_start(dma_log, b), 0);
	CHECK(harvest(a) + harvest(b) == 0);
	poke(1, 9);
	CHECK_EQ(harvest(a), 8);
	CHECK_EQ(harvest(b), 8);
	CHECK(harvest(a) + harvest(b) == 0);
	close_log();
}

TEST(vfio_log_error_makes_all_dirty_and_starts_anew)
{
	struct wherry_span a = { BASE, 8 * PAGE }, b = { BASE + 8 * PAGE, 8 * PAGE };

	open_log();
	CHECK_EQ(wherry_vfio_log_start(dma_log, a), 0);
	CHECK_EQ(wherry_vfio_log_start(dma_log, b), 0);
	fake_vfio_fail(REPORT, 2, -EIO); /* the second device's */
	CHECK_EQ(harvest(a), 8);
	CHECK_EQ(harvest(b), 8); /* what the first had reported is not all */
	CHECK_EQ(fake_vfio.groups[1].log.starts, 2);
	poke(2, 4);
	CHECK_EQ(harvest(a), 1);
	CHECK_EQ(harvest(b), 0);
	close_log();
}

TEST(vfio_log_that_does_not_start_again_leaves_all_dirty)
{
	open_log();
	CHECK_EQ(wherry_vfio_log_start(dma_log, all), 0);
	fake_vfio.groups[2].log.on = false; /* the device was reset under us: REPORT fails */
	fake_vfio_fail(START, 1, -ENODEV);
	CHECK_EQ(harvest(all), PAGES);
	CHECK(!fake_vfio.groups[1].log.on);
	fake_vfio_fail(START, 2, -ENODEV);
	CHECK_EQ(harvest(all), PAGES);
	CHECK_EQ(harvest(all), PAGES); /* this time it starts */
	poke(2, 5);
	CHECK_EQ(harvest(all), 1);
	close_log();
}

TEST(vfio_log_starts_on_all_devices_or_none)
{
	open_log();
	fake_vfio_fail(START, 2, -EINVAL);
	CHECK_EQ(wherry_vfio_log_start(dma_log, all), -EOVERFLOW);
	CHECK(!fake_vfio.groups[1].log.on && !fake_vfio.groups[2].log.on);
	CHECK_EQ(wherry_vfio_log_harvest(dma_log, all, found), -ENOENT);
	fake_vfio.groups[2].log.page = UINT64_C(1) << 31; /* more than we read at once */
	CHECK_EQ(wherry_vfio_log_start(dma_log, all), -EOVERFLOW);
	CHECK(!fake_vfio.groups[1].log.on && !fake_vfio.groups[2].log.on);
	close_log();
}

TEST(vfio_log_outside_its_ranges_counts_as_dirty)
{
	struct wherry_span half = { BASE, 8 * PAGE }, beyond = { BASE + 4 * PAGE, 8 * PAGE };

	open_devices();
	CHECK_EQ(wherry_vfio_log_create(dev, 1, &half, 1, &dma_log), 0);
	CHECK_EQ(wherry_vfio_log_start(dma_log, beyond), 0);
	CHECK_EQ(harvest(beyond), 8);
	CHECK_EQ(harvest(beyond), 8);
	close_log();
}

TEST(vfio_log_of_many_ranges_joins_neighbours)
{
	static struct wherry_span spans[300];
	struct fake_log *log = &fake_vfio.groups[1].log;

	for (uint64_t i = 0; i < 300; i++)
		spans[i] = (struct wherry_span){ BASE + i * 16 * PAGE, 2 * PAGE };
	open_devices();
	CHECK_EQ(wherry_vfio_log_create(dev, 1, spans, 300, &dma_log), 0);
	CHECK_EQ(wherry_vfio_log_start(dma_log, spans[0]), 0);
	CHECK_EQ(log->n_ranges, 150);
	CHECK_EQ(log->ranges[149].iova, spans[298].iova);
	CHECK_EQ(log->ranges[149].length, 18 * PAGE);
	poke(1, 17);
	CHECK_EQ(wherry_vfio_log_start(dma_log, spans[1]), 0);
	poke(1, 16);
	CHECK_EQ(harvest(spans[1]), 1);
	close_log();
}

TEST(vfio_log_create_refuses_what_it_cannot_do)
{
	struct wherry_span two[] = { { BASE, 2 * PAGE }, { BASE + PAGE, PAGE } };

	open_devices();
	CHECK_EQ(wherry_vfio_log_create(dev, 2, two, 2, &dma_log), -EINVAL);
	CHECK_EQ(wherry_vfio_log_create(dev, 2, two, 0, &dma_log), -EINVAL);
	CHECK_EQ(wherry_vfio_log_create(dev, 0, two, 1, &dma_log), -EINVAL);
	fake_vfio.groups[2].log.can = false;
	CHECK_EQ(wherry_vfio_log_create(dev, 2, two, 1, &dma_log), -EOPNOTSUPP);
	wherry_device_detach(dev[1]);
	CHECK_EQ(wherry_vfio_log_create(dev, 2, two, 1, &dma_log), -EINVAL);
	CHECK(dma_log == NULL);
	close_log();
}

static uint64_t
take(struct wherry_tracker *tr, struct wherry_watch *w, struct wherry_bitmap *into)
{
	CHECK_EQ(wherry_tracker_harvest(tr), 0);
	wherry_bitmap_clear(into);
	CHECK_EQ(wherry_watch_take(w, false, into), 0);
	return wherry_bitmap_count(into);
}

/* The domain, which cannot tell, is not asked: with it every page would be dirty each time. */
TEST(vfio_log_takes_the_place_of_dirty_bits_in_a_tracker)
{
	const struct wherry_tracker_opts opts = { .cpu = WHERRY_CPU_NONE };
	struct wherry_span own = { (uint64_t)(uintptr_t)mem, PAGES * PAGE };
	struct wherry_write_log source = { .name = "VFIO DMA logging",
		.start = wherry_vfio_log_start,
		.stop = wherry_vfio_log_stop,
		.harvest = wherry_vfio_log_harvest };
	struct wherry_bitmap *taken;
	struct wherry_tracker *tr;
	struct wherry_watch *w;
	uint8_t byte = 1;

	open_devices();
	CHECK_EQ(wherry_domain_map(dom, mem, WHERRY_DMA_WRITE, &own), 0);
	CHECK_EQ(wherry_vfio_log_create(dev, 2, &own, 1, &dma_log), 0);
	source.ctx = dma_log;
	CHECK_EQ(wherry_tracker_create(&opts, &tr), 0);
	CHECK_EQ(wherry_watch_create(tr, "m", own, PAGE, &w), 0);
	CHECK_EQ(wherry_bitmap_create(own, PAGE, &taken), 0);
	CHECK_EQ(wherry_watch_add_log(w, &source), 0);
	CHECK_EQ(wherry_tracker_start(tr), 0);
	CHECK_EQ(take(tr, w, taken), PAGES); /* all that is there at the start */
	CHECK_EQ(take(tr, w, taken), 0);
	CHECK_EQ(fake_vfio_dma(1, own.iova + 5 * PAGE, &byte, 1, true), 0);
	CHECK_EQ(fake_vfio_dma(2, own.iova + 6 * PAGE, &byte, 1, true), 0);
	CHECK_EQ(take(tr, w, taken), 2);
	fake_vfio_fail(REPORT, 1, -EIO);
	CHECK_EQ(take(tr, w, taken), PAGES);
	CHECK_EQ(take(tr, w, taken), 0);
	wherry_tracker_destroy(tr);
	CHECK(!fake_vfio.groups[1].log.on);
	wherry_bitmap_destroy(taken);
	close_log();
}

TEST(vfio_ladder_takes_the_first_rung_there_is_and_says_why)
{
	char why[512];

	open_devices();
	CHECK_EQ(wherry_vfio_writes_known(dev[0], dom, true, why, sizeof(why)),
		WHERRY_VFIO_WRITES_DEVICE);
	CHECK(strstr(why, "no IOMMU dirty bits") != NULL);
	fake_vfio.groups[1].log.can = false;
	CHECK_EQ(wherry_vfio_writes_known(dev[0], dom, true, why, sizeof(why)),
		WHERRY_VFIO_WRITES_DESCRIPTORS);
	CHECK(strstr(why, "no DMA logging") != NULL);
	CHECK_EQ(wherry_vfio_writes_known(dev[0], dom, false, why, sizeof(why)),
		WHERRY_VFIO_WRITES_ALL);
	CHECK(strstr(why, "descriptors") != NULL);
	CHECK(strcmp(wherry_vfio_writes_name(WHERRY_VFIO_WRITES_DEVICE), "VFIO DMA logging") == 0);
	close_log();
}
