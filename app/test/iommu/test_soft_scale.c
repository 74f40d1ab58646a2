/* SPDX-License-Identifier: BSD-3-Clause */
/* The soft backend where there is more than one of something: windows, tables, invalidations. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "rig.h"
#include "soft_priv.h"

#define BASE UINT64_C(0x40000000)
#define GIB (UINT64_C(1) << 30)
#define LEAF (UINT64_C(2) << 20)
#define LARGE (3 * GIB)

static struct wherry_soft_stats
stats_of(const struct rig *r, unsigned int dev)
{
	struct wherry_soft_stats stats;

	wherry_soft_get_stats(r->dev[dev], &stats);
	return stats;
}

/* Addresses without memory but where a test touches them; aligned to a leaf. */
static uint8_t *
reserve(void **ret_all)
{
	uint8_t *p = mmap(NULL, LARGE + LEAF, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		SKIP("no 3 GiB of addresses: ulimit -v unlimited");
	*ret_all = p;
	return (uint8_t *)(uintptr_t)round_up((uint64_t)(uintptr_t)p, LEAF);
}

/* One device has written one page of each GiB. */
static struct wherry_span
open_large(struct rig *r, uint8_t *mem)
{
	struct wherry_span span = { 8 * GIB, LARGE };

	rig_open(r, "soft:leaf=2m");
	wherry_device_detach(r->dev[1]);
	CHECK_EQ(wherry_domain_map(r->dom, mem, WHERRY_DMA_WRITE, &span), 0);
	CHECK_EQ(wherry_domain_dirty_start(r->dom), 0);
	for (uint64_t at = GIB / 2; at < LARGE; at += GIB)
		CHECK_EQ(rig_poke(r, 0, span.iova + at, 1), 0);
	return span;
}

TEST(soft_harvest_of_a_large_span_goes_by_windows)
{
	struct wherry_soft_stats before;
	struct wherry_span span;
	struct rig r;
	void *all;

	span = open_large(&r, reserve(&all));
	before = stats_of(&r, 0);
	CHECK_EQ(rig_harvest_count(&r, span), LARGE / GIB * (LEAF / r.page));
	CHECK_EQ(stats_of(&r, 0).invalidations, before.invalidations + LARGE / GIB);
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	CHECK_EQ(stats_of(&r, 0).invalidations, before.invalidations + LARGE / GIB);
	rig_close(&r);
	munmap(all, LARGE + LEAF);
}

/* What its first windows took waits for the next harvest. */
TEST(soft_harvest_that_fails_halfway_loses_nothing)
{
	void *all;
	uint8_t *mem = reserve(&all);

	FOR_EACH_FAULT(nth) {
		struct wherry_bitmap *bm;
		struct wherry_span span;
		uint64_t pages;
		struct rig r;
		int rc;

		wherry_fault_disarm();
		span = open_large(&r, mem);
		pages = LARGE / GIB * (LEAF / r.page);
		bm = rig_bitmap(&r, span);
		wherry_fault_arm(nth);
		rc = wherry_domain_dirty_harvest(r.dom, span, bm);
		wherry_fault_disarm();
		CHECK_EQ(wherry_bitmap_count(bm), rc == 0 ? pages : 0);
		CHECK_EQ(rig_harvest_count(&r, span), rc == 0 ? 0 : pages);
		wherry_bitmap_destroy(bm);
		rig_close(&r);
	}
	munmap(all, LARGE + LEAF);
}

/* Device i of the rig translates by a table of its own. */
struct peek {
	struct rig rig;
	int wrote[RIG_DEVICES], read[RIG_DEVICES];
	bool peeked;
};

static void
peek_before_clearing(void *ctx, enum wherry_soft_event event)
{
	struct peek *p = ctx;

	if (event != WHERRY_SOFT_UNMAPPING || p->peeked)
		return;
	p->peeked = true;
	for (unsigned int i = 0; i < RIG_DEVICES; i++) {
		uint8_t byte;

		p->read[i] = rig_read(&p->rig, i, BASE, &byte, 1);
		p->wrote[i] = rig_poke(&p->rig, i, BASE + (4 + i) * p->rig.page, 9);
	}
}

static const char *const tables[] = { "soft:units=2", "soft:format=amdv1,units=2,leaf=16k",
	"soft:format=arm64s1,units=2", NULL };

/*
 * At the moment before the first entry is cleared both tables still translate, and both
 * have been read: SNAPSHOT misses what either device writes now, EXACT has fenced both.
 */
TEST_EACH(soft_tables_are_all_read_before_any_is_torn_down, tables, spec)
{
	static const enum wherry_unmap_mode modes[] = { WHERRY_UNMAP_SNAPSHOT, WHERRY_UNMAP_EXACT };

	for (size_t m = 0; m < 2; m++) {
		struct peek p = { .peeked = false };
		struct wherry_bitmap *bm;
		struct wherry_span span;

		rig_open(&p.rig, spec);
		span = rig_map(&p.rig, BASE, 0, 12);
		bm = rig_bitmap(&p.rig, span);
		CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), 0);
		CHECK_EQ(rig_poke(&p.rig, 0, BASE, 1), 0);
		CHECK_EQ(rig_poke(&p.rig, 1, BASE + 8 * p.rig.page, 1), 0);
		wherry_soft_on_event(p.rig.dev[0], peek_before_clearing, &p);
		CHECK_EQ(wherry_domain_unmap_dirty(p.rig.dom, span, modes[m], bm), 0);
		CHECK(p.peeked);
		for (unsigned int i = 0; i < RIG_DEVICES; i++) {
			CHECK_EQ(p.read[i], 0);
			CHECK_EQ(p.wrote[i], modes[m] == WHERRY_UNMAP_EXACT ? -EFAULT : 0);
			CHECK_EQ(rig_poke(&p.rig, i, BASE, 9), -EFAULT);
		}
		CHECK(wherry_bitmap_test(bm, BASE));
		CHECK(wherry_bitmap_test(bm, BASE + 8 * p.rig.page));
		CHECK(!wherry_bitmap_test(bm, BASE + 4 * p.rig.page));
		wherry_bitmap_destroy(bm);
		rig_close(&p.rig);
	}
}

TEST(soft_invalidation_is_of_pages_or_of_all)
{
	struct wherry_soft_stats before, after;
	struct wherry_span span;
	struct rig r;

	rig_open(&r, "soft:units=2");
	span = rig_map(&r, BASE, 0, 8);
	before = stats_of(&r, 1);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	for (unsigned int i = 0; i < RIG_DEVICES; i++)
		CHECK_EQ(stats_of(&r, i).flushes, before.flushes + 1);
	CHECK_EQ(wherry_domain_unmap(r.dom, span), 0);
	after = stats_of(&r, 1);
	CHECK_EQ(after.flushes, before.flushes + 1);
	CHECK_EQ(after.invalidations, before.invalidations + 2);
	rig_close(&r);
}

/* Four tables: the root, and three on the way to a page. */
TEST(soft_tables_are_counted_and_limited)
{
	struct wherry_span near, far = { UINT64_C(1) << 40, 4096 };
	struct rig r;

	rig_open(&r, "soft:tables=4");
	CHECK_EQ(stats_of(&r, 0).table_bytes, 4096);
	near = rig_map(&r, BASE, 0, 8);
	CHECK_EQ(stats_of(&r, 0).table_bytes, 4 * 4096);
	CHECK_EQ(wherry_domain_map(r.dom, r.mem, WHERRY_DMA_READ, &far), -ENOMEM);
	CHECK_EQ(wherry_domain_unmap(r.dom, far), -ENOENT);
	CHECK_EQ(stats_of(&r, 0).table_bytes, 4 * 4096);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	CHECK_EQ(wherry_domain_unmap(r.dom, near), 0);
	CHECK_EQ(stats_of(&r, 0).table_bytes, 4096);
	CHECK_EQ(wherry_domain_map(r.dom, r.mem, WHERRY_DMA_READ, &far), 0);
	wherry_device_detach(r.dev[0]);
	CHECK_EQ(stats_of(&r, 0).table_bytes, 0);
	rig_close(&r);
}

static const struct soft_format *const formats[] = { &soft_format_vtdss, &soft_format_amdv1,
	&soft_format_arm64s1 };

/* How many of 8 pages have D standing. */
static unsigned int
n_dirty(struct soft_unit *unit)
{
	const struct soft_device dev = { .width = 64 };
	unsigned int n = 0;

	for (uint64_t at = 0; at < 8 * PT_PAGE; at += PT_PAGE) {
		struct soft_leaf leaf;

		CHECK(soft_walk_find(unit, &dev, BASE + at, true, &leaf) == NULL);
		n += soft_is(unit->pt.fmt->dirty, leaf.entry);
	}
	return n;
}

/* Formats that have tracking in their entries have it for a part; the others for all or none. */
TEST(soft_tracking_is_switched_for_a_range)
{
	struct wherry_span all = { BASE, 8 * PT_PAGE }, part = { BASE + 2 * PT_PAGE, 3 * PT_PAGE };

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct soft_unit unit = { .tracking = true };
		struct soft_device dev = { .width = 64 };
		bool in_entries = formats[i]->to_untracked.clear != 0;
		uint64_t page;

		CHECK_EQ(soft_pt_init(&unit.pt, formats[i], 48, PT_PAGE), 0);
		CHECK_EQ(soft_pt_map(&unit.pt, all, 64 * PT_PAGE, WHERRY_DMA_WRITE), 0);
		CHECK_EQ(n_dirty(&unit), 0);
		CHECK_EQ(soft_pt_track(&unit.pt, part, false), in_entries);
		CHECK_EQ(n_dirty(&unit), in_entries ? 3 : 0); /* nothing left to note */
		for (uint64_t at = 0; at < 8 * PT_PAGE; at += PT_PAGE)
			CHECK(soft_walk(&unit, &dev, BASE + at, true, &page) == NULL);
		CHECK_EQ(n_dirty(&unit), 8);
		CHECK(soft_pt_track(&unit.pt, part, true)); /* stale bits go */
		CHECK_EQ(n_dirty(&unit), 5);
		CHECK(soft_walk(&unit, &dev, part.iova, true, &page) == NULL);
		CHECK_EQ(n_dirty(&unit), 6);
		soft_pt_fini(&unit.pt);
	}
}
