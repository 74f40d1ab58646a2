/* SPDX-License-Identifier: BSD-3-Clause */
/* The domain contract: taking mappings away and learning what was written there. */
#include <errno.h>

#include "rig.h"

#define BASE UINT64_C(0x40000000)

/* The modes that every backend with tracking has; how many pages they may add to 2 of 8. */
static const struct {
	enum wherry_unmap_mode mode;
	unsigned int reported;
} modes[] = {
	{ WHERRY_UNMAP_SNAPSHOT, 2 },
	{ WHERRY_UNMAP_EXACT, 2 },
	{ WHERRY_UNMAP_ASSUME, 8 },
};
#define N_MODES (sizeof(modes) / sizeof(modes[0]))

TEST_EACH(domain_unmap_dirty_reports_what_was_written, backends, spec)
{
	for (size_t i = 0; i < N_MODES; i++) {
		struct wherry_bitmap *bm;
		struct wherry_span span;
		struct rig r;

		rig_open(&r, spec);
		rig_need_tracking(&r);
		CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
		span = rig_map_tracked(&r, BASE, 0, 8);
		CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
		CHECK_EQ(rig_poke(&r, 0, BASE + 3 * r.page, 1), 0);
		CHECK_EQ(rig_harvest_count(&r, span), 2);
		CHECK_EQ(rig_poke(&r, 0, BASE + 3 * r.page, 2), 0);
		CHECK_EQ(rig_poke(&r, 1, BASE + 7 * r.page, 2), 0);
		bm = rig_bitmap(&r, span);
		CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, modes[i].mode, bm), 0);
		CHECK(wherry_bitmap_test(bm, BASE + 3 * r.page));
		CHECK(wherry_bitmap_test(bm, BASE + 7 * r.page));
		CHECK_EQ(wherry_bitmap_count(bm), modes[i].reported);
		CHECK_EQ(rig_poke(&r, 0, BASE, 9), -EFAULT);
		CHECK_EQ(rig_poke(&r, 1, BASE + 7 * r.page, 9), -EFAULT);
		CHECK_EQ(wherry_domain_unmap(r.dom, span), -ENOENT);
		wherry_bitmap_destroy(bm);
		rig_close(&r);
	}
}

/* Bits that a failed harvest left pending go out with the mapping. */
TEST_EACH(domain_unmap_dirty_reports_what_a_failed_harvest_took, backends, spec)
{
	for (size_t i = 0; i < N_MODES; i++) {
		struct wherry_span span, other;
		struct wherry_bitmap *bm;
		struct rig r;
		int rc;

		rig_open(&r, spec);
		span = rig_map(&r, BASE, 0, 4);
		other = rig_map(&r, BASE + 4 * r.page, 4, 4);
		rig_need_tracking(&r);
		CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
		CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 1), 0);
		CHECK_EQ(rig_poke(&r, 0, other.iova, 1), 0);
		bm = rig_bitmap(&r, (struct wherry_span){ BASE, 8 * r.page });
		wherry_fault_arm(1);
		rc = wherry_domain_dirty_harvest(
			r.dom, (struct wherry_span){ BASE, 8 * r.page }, bm);
		wherry_fault_disarm();
		CHECK(rc != 0 || wherry_fault_fired() == NULL);
		CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, modes[i].mode, bm), 0);
		CHECK(wherry_bitmap_test(bm, BASE + r.page));
		CHECK_EQ(wherry_bitmap_test(bm, other.iova), rc == 0);
		CHECK_EQ(rig_harvest_count(&r, other), rc == 0 ? 0 : 1);
		wherry_bitmap_destroy(bm);
		rig_close(&r);
	}
}

TEST_EACH(domain_unmap_dirty_needs_tracking_unless_it_assumes, backends, spec)
{
	struct wherry_bitmap *bm;
	struct wherry_span span;
	struct rig r;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 4);
	bm = rig_bitmap(&r, span);
	CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, WHERRY_UNMAP_SNAPSHOT, bm), -EINVAL);
	CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, WHERRY_UNMAP_EXACT, bm), -EINVAL);
	CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, WHERRY_UNMAP_SEED, bm), -EINVAL);
	CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, WHERRY_UNMAP_SEED + 1, bm), -EINVAL);
	CHECK_EQ(wherry_bitmap_count(bm), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0); /* nothing was unmapped */
	CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, WHERRY_UNMAP_ASSUME, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 4);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}

/* Unsupported never looks like "0 pages dirty": it is said, and all is as before. */
TEST_EACH(domain_unmap_dirty_is_done_or_refused, backends, spec)
{
	for (int mode = WHERRY_UNMAP_SNAPSHOT; mode <= WHERRY_UNMAP_SEED; mode++) {
		struct wherry_bitmap *bm;
		struct wherry_span span;
		struct rig r;
		int rc;

		rig_open(&r, spec);
		rig_need_tracking(&r);
		CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
		span = rig_map_tracked(&r, BASE, 0, 4);
		bm = rig_bitmap(&r, span);
		CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 1), 0);
		rc = wherry_domain_unmap_dirty(r.dom, span, (enum wherry_unmap_mode)mode, bm);
		CHECK(rc == 0 || rc == -EOPNOTSUPP);
		CHECK_EQ(wherry_bitmap_test(bm, BASE + r.page), rc == 0);
		CHECK_EQ(rig_poke(&r, 0, BASE + 2 * r.page, 1), rc == 0 ? -EFAULT : 0);
		if (rc != 0) {
			CHECK_EQ(wherry_bitmap_count(bm), 0);
			CHECK_EQ(rig_harvest_count(&r, span), 2);
		}
		wherry_bitmap_destroy(bm);
		rig_close(&r);
	}
}

TEST_EACH(domain_unmap_dirty_takes_whole_mappings_without_holes, backends, spec)
{
	struct wherry_span span, cut, holed;
	struct wherry_bitmap *bm, *small;
	struct rig r;

	rig_open(&r, spec);
	rig_need_tracking(&r);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	rig_map_tracked(&r, BASE, 0, 4);
	rig_map_tracked(&r, BASE + 4 * r.page, 4, 2);
	rig_map_tracked(&r, BASE + 8 * r.page, 8, 2);
	span = (struct wherry_span){ BASE, 6 * r.page };
	cut = (struct wherry_span){ BASE, 5 * r.page };
	holed = (struct wherry_span){ BASE, 10 * r.page };
	bm = rig_bitmap(&r, holed);
	small = rig_bitmap(&r, cut);
	for (size_t i = 0; i < N_MODES; i++) {
		CHECK_EQ(wherry_domain_unmap_dirty(r.dom, cut, modes[i].mode, bm), -ENOENT);
		CHECK_EQ(wherry_domain_unmap_dirty(r.dom, holed, modes[i].mode, bm), -ENOENT);
		CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, modes[i].mode, small), -EINVAL);
	}
	CHECK_EQ(rig_poke(&r, 0, BASE + 4 * r.page, 1), 0);
	CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, WHERRY_UNMAP_EXACT, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 1);
	CHECK_EQ(rig_poke(&r, 0, BASE + 4 * r.page, 1), -EFAULT);
	CHECK_EQ(rig_poke(&r, 0, BASE + 8 * r.page, 1), 0);
	wherry_bitmap_destroy(bm);
	wherry_bitmap_destroy(small);
	rig_close(&r);
}

/* A failing unmap: all is mapped and writable as before, and no bit is gone. */
TEST_EACH(domain_unmap_dirty_failure_changes_nothing, backends, spec)
{
	for (size_t i = 0; i < N_MODES; i++) {
		FOR_EACH_FAULT(nth) {
			struct wherry_span span, fixed;
			struct wherry_bitmap *bm;
			struct rig r;
			int rc;

			wherry_fault_disarm();
			rig_open(&r, spec);
			rig_need_tracking(&r);
			CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
			rig_map_tracked(&r, BASE, 0, 8);
			fixed = (struct wherry_span){ BASE + 8 * r.page, r.page };
			CHECK_EQ(wherry_domain_map(r.dom, r.mem, WHERRY_DMA_READ, &fixed), 0);
			span = (struct wherry_span){ BASE, 9 * r.page };
			bm = rig_bitmap(&r, span);
			CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
			wherry_fault_arm(nth);
			rc = wherry_domain_unmap_dirty(r.dom, span, modes[i].mode, bm);
			wherry_fault_disarm();
			if (rc != 0) {
				CHECK_EQ(wherry_bitmap_count(bm), 0);
				CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 2), 0);
				CHECK_EQ(rig_poke(&r, 0, fixed.iova, 2), -EFAULT);
				CHECK_EQ(rig_harvest_count(&r, span), 2);
			}
			wherry_bitmap_destroy(bm);
			rig_close(&r);
		}
	}
}
