/* SPDX-License-Identifier: BSD-3-Clause */
/* The soft backend from inside: entries bit for bit, the walker, tables coming and going. */
#include <pthread.h>
#include <string.h>

#include "iommu_priv.h"
#include "rig.h"
#include "soft_priv.h"

#define SIZE_2M (UINT64_C(1) << 21)
#define SIZE_1G (UINT64_C(1) << 30)
#define ALL_LEAVES (PT_PAGE | SIZE_2M | SIZE_1G)
#define RW (WHERRY_DMA_READ | WHERRY_DMA_WRITE)

static const struct soft_edit take_away = { .change = { .clear = ~UINT64_C(0) }, .prune = true };

/* The entry of iova, as a device would find it, and its level. */
static uint64_t
entry_of(const struct soft_pt *pt, uint64_t iova, unsigned int *level)
{
	uint64_t entry;

	*level = pt->levels - 1;
	entry = pt->root[soft_index(iova, *level)];
	while (soft_is_table(pt->fmt, entry, *level)) {
		(*level)--;
		entry = soft_pt_table(pt->fmt, entry)[soft_index(iova, *level)];
	}
	return entry;
}

static size_t
count_garbage(const struct soft_pt *pt, struct soft_garbage garbage)
{
	size_t n = 0;

	for (uint64_t *t = garbage.first; t != NULL; t = soft_pt_table(pt->fmt, t[0]))
		n++;
	return n;
}

TEST(soft_vtdss_entries_are_the_hardware_s)
{
	struct wherry_span span = { SIZE_1G - SIZE_2M - PT_PAGE, 0 };
	uint64_t paddr = UINT64_C(0x7f00c0000000) - SIZE_2M - PT_PAGE;
	unsigned int level;
	struct soft_pt pt;

	CHECK_EQ(soft_pt_init(&pt, &soft_format_vtdss, 48, ALL_LEAVES), 0);
	span.len = PT_PAGE + SIZE_2M + SIZE_1G + PT_PAGE; /* one leaf of each size, and one more */
	CHECK_EQ(soft_pt_map(&pt, span, paddr, RW), 0);
	CHECK_EQ(entry_of(&pt, span.iova, &level), paddr | 3);
	CHECK_EQ(level, 0);
	CHECK_EQ(entry_of(&pt, SIZE_1G - SIZE_2M, &level), UINT64_C(0x7f00bfe00000) | 3 | 1 << 7);
	CHECK_EQ(level, 1);
	CHECK_EQ(entry_of(&pt, SIZE_1G + 5, &level), UINT64_C(0x7f00c0000000) | 3 | 1 << 7);
	CHECK_EQ(level, 2);
	CHECK_EQ(entry_of(&pt, 2 * SIZE_1G, &level), UINT64_C(0x7f0100000000) | 3);
	CHECK_EQ(level, 0);
	soft_pt_fini(&pt);
}

TEST(soft_vtdss_protection_is_bits_0_and_1)
{
	unsigned int level;
	struct soft_pt pt;

	CHECK_EQ(soft_pt_init(&pt, &soft_format_vtdss, 39, ALL_LEAVES), 0);
	CHECK_EQ(pt.levels, 3);
	CHECK_EQ(soft_pt_map(&pt, (struct wherry_span){ 0, PT_PAGE }, PT_PAGE, WHERRY_DMA_READ), 0);
	CHECK_EQ(soft_pt_map(
			 &pt, (struct wherry_span){ PT_PAGE, PT_PAGE }, PT_PAGE, WHERRY_DMA_WRITE),
		0);
	CHECK_EQ(entry_of(&pt, 0, &level), PT_PAGE | 1);
	CHECK_EQ(entry_of(&pt, PT_PAGE, &level), PT_PAGE | 2);
	soft_pt_fini(&pt);
}

TEST(soft_levels_follow_the_width)
{
	static const unsigned int widths[] = { 39, 48, 57 };
	unsigned int level;

	for (unsigned int i = 0; i < 3; i++) {
		struct wherry_span top = { (UINT64_C(1) << widths[i]) - PT_PAGE, PT_PAGE };
		struct soft_pt pt;

		CHECK_EQ(soft_pt_init(&pt, &soft_format_vtdss, widths[i], PT_PAGE), 0);
		CHECK_EQ(pt.levels, 3 + i);
		CHECK_EQ(soft_pt_map(&pt, top, 7 * PT_PAGE, RW), 0);
		CHECK_EQ(entry_of(&pt, top.iova, &level), 7 * PT_PAGE | 3);
		CHECK_EQ(pt.root[511] != 0, 1);
		soft_pt_fini(&pt);
	}
}

/* A in every entry used, D in the leaf and by a write only. */
TEST(soft_walker_sets_accessed_and_dirty)
{
	struct soft_device dev = { .width = 64 };
	struct soft_unit unit = { .tracking = false };
	unsigned int level;
	uint64_t page;

	CHECK_EQ(soft_pt_init(&unit.pt, &soft_format_vtdss, 48, PT_PAGE), 0);
	CHECK_EQ(soft_pt_map(&unit.pt, (struct wherry_span){ 0, PT_PAGE }, PT_PAGE, RW), 0);
	CHECK(soft_walk(&unit, &dev, 8, true, &page) == NULL);
	CHECK_EQ(page, PT_PAGE | IOTLB_READ | IOTLB_WRITE | IOTLB_DIRTY);
	CHECK_EQ(entry_of(&unit.pt, 0, &level), PT_PAGE | 3); /* tracking is off */
	unit.tracking = true;
	CHECK(soft_walk(&unit, &dev, 8, false, &page) == NULL);
	CHECK_EQ(page, PT_PAGE | IOTLB_READ | IOTLB_WRITE);
	CHECK_EQ(entry_of(&unit.pt, 0, &level), PT_PAGE | 3 | 1 << 8);
	CHECK_EQ(unit.pt.root[0] & 0xfff, 3 | 1 << 8);
	CHECK(soft_walk(&unit, &dev, 8, true, &page) == NULL);
	CHECK_EQ(page, PT_PAGE | IOTLB_READ | IOTLB_WRITE | IOTLB_DIRTY);
	CHECK_EQ(entry_of(&unit.pt, 0, &level), PT_PAGE | 3 | 1 << 8 | 1 << 9);
	CHECK_EQ(unit.pt.root[0] & 0xfff, 3 | 1 << 8);
	soft_pt_fini(&unit.pt);
}

TEST(soft_walker_says_why_it_refuses)
{
	struct soft_device dev = { .width = 32 };
	struct soft_unit unit = { .tracking = true };
	unsigned int level;
	uint64_t page;

	CHECK_EQ(soft_pt_init(&unit.pt, &soft_format_vtdss, 48, PT_PAGE), 0);
	CHECK_EQ(
		soft_pt_map(&unit.pt, (struct wherry_span){ 0, PT_PAGE }, PT_PAGE, WHERRY_DMA_READ),
		0);
	CHECK_EQ(soft_pt_map(&unit.pt, (struct wherry_span){ PT_PAGE, PT_PAGE }, PT_PAGE,
			 WHERRY_DMA_WRITE),
		0);
#define WHY(iova, write) soft_walk(&unit, &dev, iova, write, &page)
	CHECK(strcmp(WHY(0, true), "not writable") == 0);
	CHECK(strcmp(WHY(PT_PAGE, false), "not readable") == 0);
	CHECK(strcmp(WHY(2 * PT_PAGE, false), "not mapped") == 0);
	CHECK(strcmp(WHY(UINT64_C(1) << 32, false), "beyond the device's address width") == 0);
	CHECK(strcmp(WHY(UINT64_C(1) << 48, false), "beyond the I/O address width") == 0);
	CHECK(strcmp(WHY(UINT64_MAX, false), "beyond the I/O address width") == 0);
#undef WHY
	CHECK_EQ(entry_of(&unit.pt, 0, &level), PT_PAGE | 1); /* refused: not used, not dirty */
	soft_pt_fini(&unit.pt);
}

TEST(soft_tables_left_empty_are_given_back)
{
	struct wherry_span low = { 0, 3 * PT_PAGE };
	struct wherry_span far = { SIZE_1G - PT_PAGE, 2 * PT_PAGE };
	struct soft_edited edited;
	struct soft_pt pt;

	CHECK_EQ(soft_pt_init(&pt, &soft_format_vtdss, 48, PT_PAGE), 0);
	CHECK_EQ(soft_pt_map(&pt, low, PT_PAGE, RW), 0);
	CHECK_EQ(soft_pt_map(&pt, far, PT_PAGE, RW), 0);
	edited = soft_pt_edit(&pt, far, &take_away, NULL);
	CHECK(edited.changed);
	CHECK_EQ(count_garbage(&pt, edited.garbage), 3); /* two of level 0, one of level 1 */
	soft_pt_free_garbage(&pt, edited.garbage);
	edited = soft_pt_edit(&pt, low, &take_away, NULL);
	CHECK_EQ(count_garbage(&pt, edited.garbage), 3); /* levels 0, 1 and 2 */
	soft_pt_free_garbage(&pt, edited.garbage);
	CHECK_EQ(pt.root[0], 0);
	edited = soft_pt_edit(&pt, low, &take_away, NULL);
	CHECK(!edited.changed && edited.garbage.first == NULL);
	soft_pt_fini(&pt);
}

/* A leaf that was small may become large, because nothing is left in its way. */
TEST(soft_large_leaf_takes_the_place_of_small_ones)
{
	struct wherry_span span = { SIZE_2M, SIZE_2M };
	struct soft_edited edited;
	unsigned int level;
	struct soft_pt pt;

	CHECK_EQ(soft_pt_init(&pt, &soft_format_vtdss, 48, ALL_LEAVES), 0);
	CHECK_EQ(soft_pt_map(&pt, span, PT_PAGE, RW), 0); /* not aligned alike: 4K leaves */
	(void)entry_of(&pt, SIZE_2M, &level);
	CHECK_EQ(level, 0);
	edited = soft_pt_edit(&pt, span, &take_away, NULL);
	soft_pt_free_garbage(&pt, edited.garbage);
	CHECK_EQ(soft_pt_map(&pt, span, SIZE_1G, RW), 0);
	CHECK_EQ(entry_of(&pt, SIZE_2M, &level), SIZE_1G | 3 | 1 << 7);
	soft_pt_fini(&pt);
}

/* Also where the fence left neither R nor W: the entry is still there. */
TEST(soft_fence_takes_write_and_dirty_away_and_gives_write_back)
{
	const struct soft_format *fmt = &soft_format_vtdss;
	struct soft_edit fence = { .state = fmt->writable, .change = fmt->to_fenced };
	struct soft_edit unfence = { .change = fmt->to_writable };
	struct wherry_span span = { 0, PT_PAGE };
	struct soft_edited edited;
	unsigned int level;
	struct soft_pt pt;

	CHECK_EQ(soft_pt_init(&pt, fmt, 48, PT_PAGE), 0);
	CHECK_EQ(soft_pt_map(&pt, span, PT_PAGE, WHERRY_DMA_WRITE), 0);
	soft_pt_table(fmt, entry_of(&pt, 0, &level)); /* level 0 */
	CHECK(soft_pt_edit(&pt, span, &fence, NULL).changed);
	CHECK_EQ(entry_of(&pt, 0, &level), PT_PAGE);
	CHECK(!soft_pt_edit(&pt, span, &fence, NULL).changed);
	CHECK(soft_pt_edit(&pt, span, &unfence, NULL).changed);
	CHECK_EQ(entry_of(&pt, 0, &level), PT_PAGE | 2);
	CHECK(soft_pt_edit(&pt, span, &fence, NULL).changed);
	edited = soft_pt_edit(&pt, span, &take_away, NULL);
	CHECK_EQ(count_garbage(&pt, edited.garbage), 3);
	soft_pt_free_garbage(&pt, edited.garbage);
	soft_pt_fini(&pt);
}

#define BASE UINT64_C(0x40000000)
#define FENCES 400000u

struct dirtying {
	uint64_t *slot;
	bool stop;     /* atomic */
	uint64_t sets; /* of D */
};

/* A device that does nothing but what a walker does: D, where W is and D is not. */
static void *
keep_dirtying(void *arg)
{
	const struct soft_format *fmt = &soft_format_vtdss;
	struct dirtying *d = arg;

	while (!__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
		uint64_t entry = soft_pt_load(d->slot);

		if (soft_is(fmt->writable, entry) && !soft_is(fmt->dirty, entry))
			d->sets += __atomic_compare_exchange_n(d->slot, &entry,
				soft_changed(fmt->to_dirty, entry), false, __ATOMIC_ACQ_REL,
				__ATOMIC_RELAXED);
	}
	return NULL;
}

/* Fence, and take what it has reported. */
static bool
fence_reports(struct rig *r, struct soft_pt *pt, struct wherry_span span, struct wherry_bitmap *bm)
{
	struct soft_edit fence = { .state = pt->fmt->writable, .change = pt->fmt->to_fenced };
	bool reported;

	(void)soft_pt_edit(pt, span, &fence, &r->dom->sink);
	CHECK_EQ(wherry_domain_dirty_harvest(r->dom, span, bm), 0);
	reported = wherry_bitmap_count(bm) > 0;
	wherry_bitmap_clear(bm);
	return reported;
}

/* No D is set between what the fence has read and what it has written. */
TEST(soft_fence_takes_dirty_in_the_step_that_takes_write)
{
	struct soft_edit unfence = { .change = soft_format_vtdss.to_writable };
	struct dirtying d = { .stop = false };
	struct wherry_bitmap *bm;
	struct wherry_span span;
	struct soft_leaf leaf;
	struct soft_unit *unit;
	uint64_t reports = 0;
	pthread_t device;
	struct rig r;

	rig_open(&r, "soft");
	span = rig_map(&r, BASE, 0, 1);
	bm = rig_bitmap(&r, span);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	unit = &((struct soft_domain *)r.dom->be)->units[0];
	CHECK(soft_walk_find(unit, &(struct soft_device){ .width = 64 }, BASE, true, &leaf) ==
		NULL);
	d.slot = leaf.slot;
	CHECK_EQ(pthread_create(&device, NULL, keep_dirtying, &d), 0);
	for (unsigned int i = 0; i < FENCES; i++) {
		(void)soft_pt_edit(&unit->pt, span, &unfence, NULL);
		for (unsigned int n = 0; n < i % 512;
			n++) /* as long as the other takes to see it */
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
		reports += fence_reports(&r, &unit->pt, span, bm);
	}
	__atomic_store_n(&d.stop, true, __ATOMIC_RELAXED);
	pthread_join(device, NULL);
	reports += fence_reports(&r, &unit->pt, span, bm);
	CHECK_EQ(reports, d.sets);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}
