/* SPDX-License-Identifier: BSD-3-Clause */
/* Changing the granule: prepare with traffic on, commit with devices stopped, cancel. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base_priv.h"
#include "fake_kernel.h"
#include "wherry_bitmap.h"
#include "wherry_iommu.h"

#define BASE UINT64_C(0x40000000)
#define PAGE UINT64_C(4096)
#define HUGE_PAGE (UINT64_C(2) << 20)
#define RW (WHERRY_DMA_READ | WHERRY_DMA_WRITE)
#define DEVICES 2u

/* Devices say whether they are stopped; the first may refuse, or write once more all the same. */
struct regrain {
	struct wherry_domain *dom;
	struct wherry_device *dev[DEVICES];
	struct wherry_span span;
	uint8_t *mem; /* 4M, aligned to 2M */
	void *reserved;
	unsigned int stops, resumes;
	bool refuses, strays;
};

static int
stop(void *ctx)
{
	struct regrain *g = ctx;

	g->stops++;
	return g->refuses && g->stops == 2 ? -EIO : 0;
}

static void
resume(void *ctx)
{
	((struct regrain *)ctx)->resumes++;
}

static void
open_regrain(struct regrain *g, const struct fake_kernel *like, bool with_ops)
{
	struct wherry_device_ops ops = { .stop = stop, .resume = resume, .ctx = g };

	memset(g, 0, sizeof(*g));
	fake_kernel_open(like);
	g->reserved = mmap(
		NULL, 3 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(g->reserved != MAP_FAILED);
	g->mem = (uint8_t *)(uintptr_t)round_up((uint64_t)(uintptr_t)g->reserved, HUGE_PAGE);
	CHECK_EQ(wherry_domain_create("iommufd:leaf=max", &g->dom), 0);
	for (unsigned int i = 0; i < DEVICES; i++) {
		CHECK_EQ(wherry_device_open(fake_kernel_address(i), &g->dev[i]), 0);
		CHECK_EQ(wherry_device_attach(g->dev[i], g->dom, with_ops ? &ops : NULL), 0);
	}
	g->span = (struct wherry_span){ BASE, 2 * HUGE_PAGE };
	CHECK_EQ(wherry_domain_map(g->dom, g->mem, RW, &g->span), 0);
}

static void
close_regrain(struct regrain *g)
{
	for (unsigned int i = 0; i < DEVICES; i++)
		wherry_device_close(g->dev[i]);
	wherry_domain_destroy(g->dom);
	munmap(g->reserved, 3 * HUGE_PAGE);
	fake_kernel_close();
}

static void
write_at(unsigned int dev, uint64_t iova)
{
	CHECK_EQ(fake_dma_write(dev, iova, "w", 1), 0);
}

static uint64_t
harvest(struct regrain *g, struct wherry_span span)
{
	struct wherry_bitmap *bm = NULL;
	uint64_t n;

	CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
	CHECK_EQ(wherry_domain_dirty_harvest(g->dom, span, bm), 0);
	n = wherry_bitmap_count(bm);
	wherry_bitmap_destroy(bm);
	return n;
}

static uint64_t
granule(struct regrain *g)
{
	struct wherry_domain_caps caps;

	wherry_domain_get_caps(g->dom, &caps);
	return caps.granule;
}

TEST(iommufd_granule_changes_and_changes_back)
{
	struct regrain g;

	open_regrain(&g, &(struct fake_kernel){ 0 }, true);
	CHECK_EQ(granule(&g), HUGE_PAGE);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
	write_at(0, BASE);
	CHECK_EQ(harvest(&g, g.span), 512);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), 0);
	CHECK_EQ(granule(&g), HUGE_PAGE); /* devices are where they were */
	CHECK_EQ(wherry_domain_granule_commit(g.dom), 0);
	CHECK_EQ(g.stops, DEVICES);
	CHECK_EQ(g.resumes, DEVICES);
	CHECK_EQ(granule(&g), PAGE);
	CHECK_EQ(harvest(&g, g.span), 0);
	write_at(0, BASE);
	write_at(1, BASE + 600 * PAGE);
	CHECK_EQ(harvest(&g, g.span), 2);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, HUGE_PAGE), 0);
	CHECK_EQ(wherry_domain_granule_commit(g.dom), 0);
	write_at(0, BASE);
	CHECK_EQ(harvest(&g, g.span), 512);
	close_regrain(&g);
}

/* Writes before the move come with the next harvest, at the old granule. */
TEST(iommufd_granule_commit_loses_no_known_write)
{
	struct regrain g;

	open_regrain(&g, &(struct fake_kernel){ 0 }, true);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), 0);
	write_at(1, BASE + 700 * PAGE);
	CHECK_EQ(wherry_domain_granule_commit(g.dom), 0);
	write_at(0, BASE + 3 * PAGE);
	CHECK_EQ(harvest(&g, g.span), 513);
	close_regrain(&g);
}

/* SMMUv3: the twin's entries are dirty from the start. Mapped before it, and while it is there. */
TEST(iommufd_granule_twins_are_born_dirty)
{
	struct wherry_span late = { BASE + 4 * HUGE_PAGE, 4 * PAGE };
	struct regrain g;

	open_regrain(&g, &(struct fake_kernel){ .born_dirty = true }, true);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), 0);
	CHECK_EQ(wherry_domain_map(g.dom, g.mem, RW, &late), 0);
	write_at(1, BASE + 700 * PAGE);
	CHECK_EQ(wherry_domain_granule_commit(g.dom), 0);
	write_at(0, BASE + 3 * PAGE);
	CHECK_EQ(harvest(&g, g.span), 513);
	CHECK_EQ(harvest(&g, late), 4); /* born in the old space as well */
	close_regrain(&g);
}

/* Mapped while it was being prepared: reachable before and after, and gone from both. */
TEST(iommufd_granule_later_maps_go_to_both)
{
	struct wherry_span late = { BASE + 4 * HUGE_PAGE, 4 * PAGE };
	struct regrain g;

	open_regrain(&g, &(struct fake_kernel){ 0 }, true);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), 0);
	CHECK_EQ(wherry_domain_map(g.dom, g.mem, RW, &late), 0);
	write_at(0, late.iova);
	CHECK_EQ(wherry_domain_unmap(g.dom, g.span), 0);
	CHECK_EQ(wherry_domain_granule_commit(g.dom), 0);
	write_at(1, late.iova + PAGE);
	CHECK_EQ(fake_dma_write(0, BASE, "x", 1), -EFAULT);
	CHECK_EQ(harvest(&g, late), 2);
	CHECK_EQ(wherry_domain_unmap(g.dom, late), 0);
	CHECK_EQ(fake_dma_write(0, late.iova, "x", 1), -EFAULT);
	close_regrain(&g);
}

/* A device that comes while it is being prepared moves with the others. */
TEST(iommufd_granule_moves_devices_that_came_late)
{
	struct regrain g;

	open_regrain(&g, &(struct fake_kernel){ .other_kind = { [1] = true } }, true);
	wherry_device_detach(g.dev[1]);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), 0);
	CHECK_EQ(wherry_device_attach(
			 g.dev[1], g.dom, &(struct wherry_device_ops){ stop, resume, &g }),
		0);
	CHECK_EQ(wherry_domain_granule_commit(g.dom), 0);
	write_at(0, BASE);
	write_at(1, BASE + PAGE);
	CHECK_EQ(harvest(&g, g.span), 2);
	close_regrain(&g);
}

TEST(iommufd_granule_refuses_what_breaks_a_rule)
{
	struct regrain g;

	open_regrain(&g, &(struct fake_kernel){ 0 }, true);
	wherry_domain_granule_cancel(g.dom); /* harmless */
	CHECK_EQ(wherry_domain_granule_commit(g.dom), -EINVAL);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, 3 * PAGE), -EINVAL);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, 2 * PAGE), -EINVAL);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, HUGE_PAGE), -EALREADY);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), 0);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), -EALREADY);
	wherry_domain_granule_cancel(g.dom);
	CHECK_EQ(wherry_domain_granule_commit(g.dom), -EINVAL);
	CHECK_EQ(granule(&g), HUGE_PAGE);
	CHECK_EQ(g.stops, 0);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), 0); /* and destroyed so */
	close_regrain(&g);
}

/* One that cannot be stopped: the others go on, and all is as before. */
TEST(iommufd_granule_commit_needs_every_device_stopped)
{
	struct regrain g;

	for (int no_ops = 0; no_ops < 2; no_ops++) {
		open_regrain(&g, &(struct fake_kernel){ 0 }, no_ops == 0);
		g.refuses = true;
		CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
		CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), 0);
		CHECK_EQ(wherry_domain_granule_commit(g.dom), -EBUSY);
		CHECK_EQ(g.resumes, no_ops == 0 ? 1 : 0);
		CHECK_EQ(fake_kernel.attaches, DEVICES);
		write_at(0, BASE);
		CHECK_EQ(harvest(&g, g.span), 512);
		close_regrain(&g);
	}
}

/* The second device cannot be moved: the first is put back, nothing is lost. */
TEST(iommufd_granule_commit_moves_all_or_none)
{
	struct regrain g;

	open_regrain(&g, &(struct fake_kernel){ 0 }, true);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, PAGE), 0);
	write_at(0, BASE);
	fake_kernel.fail_attach = 2;
	CHECK_EQ(wherry_domain_granule_commit(g.dom), -ENOMEM);
	CHECK_EQ(g.resumes, DEVICES);
	CHECK_EQ(granule(&g), HUGE_PAGE);
	CHECK_EQ(harvest(&g, g.span), 512);
	for (unsigned int i = 0; i < DEVICES; i++) {
		write_at(i, BASE + i * HUGE_PAGE);
		CHECK_EQ(harvest(&g, g.span), 512);
	}
	CHECK_EQ(wherry_domain_granule_commit(g.dom), 0); /* it is still there to be had */
	CHECK_EQ(granule(&g), PAGE);
	close_regrain(&g);
}

/* Any step of either call may fail: all is as before, and it works when nothing fails. */
TEST(iommufd_granule_failure_changes_nothing)
{
	struct regrain g;
	int rc;

	FOR_EACH_FAULT(nth) {
		wherry_fault_disarm();
		open_regrain(&g, &(struct fake_kernel){ 0 }, true);
		CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
		write_at(0, BASE);
		wherry_fault_arm(nth);
		rc = wherry_domain_granule_prepare(g.dom, PAGE);
		if (rc == 0)
			rc = wherry_domain_granule_commit(g.dom);
		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		CHECK_EQ(g.stops, g.resumes);
		if (rc != 0)
			CHECK_EQ(granule(&g), HUGE_PAGE);
		wherry_domain_granule_cancel(g.dom);
		write_at(1, BASE + HUGE_PAGE);
		CHECK(harvest(&g, g.span) >= 513);
		close_regrain(&g);
	}
}
