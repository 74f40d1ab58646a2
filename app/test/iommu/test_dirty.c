/* SPDX-License-Identifier: BSD-3-Clause */
/* The domain contract: which pages devices wrote, and what harvest does with that. */
#include <errno.h>

#include "rig.h"

#define BASE UINT64_C(0x40000000)

static void
start(struct rig *r)
{
	rig_need_tracking(r);
	CHECK_EQ(wherry_domain_dirty_start(r->dom), 0);
}

TEST_EACH(domain_dirty_start_finds_all_clean, backends, spec)
{
	struct wherry_span span;
	struct rig r;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 8);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	start(&r);
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE, 2), 0);
	wherry_domain_dirty_stop(r.dom);
	start(&r); /* what was not harvested is forgotten */
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	rig_close(&r);
}

TEST_EACH(domain_dirty_start_says_when_it_is_on, backends, spec)
{
	struct rig r;

	rig_open(&r, spec);
	wherry_domain_dirty_stop(r.dom); /* harmless */
	start(&r);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), -EALREADY);
	rig_close(&r);
}

/* Each device had the page cached, without D, before it was asked to note writes. */
TEST_EACH(domain_dirty_notes_writes_of_every_device, backends, spec)
{
	struct wherry_span span;
	struct wherry_bitmap *bm;
	struct rig r;
	uint8_t byte;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 8);
	for (unsigned int dev = 0; dev < RIG_DEVICES; dev++)
		CHECK_EQ(rig_poke(&r, dev, BASE + (2 + dev) * r.page, 1), 0);
	start(&r);
	bm = rig_bitmap(&r, span);
	for (unsigned int dev = 0; dev < RIG_DEVICES; dev++) {
		CHECK_EQ(rig_read(&r, dev, BASE + (2 + dev) * r.page, &byte, 1), 0);
		CHECK_EQ(rig_poke(&r, dev, BASE + (2 + dev) * r.page, 2), 0);
	}
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, span, bm), 0);
	CHECK(wherry_bitmap_test(bm, BASE + 2 * r.page));
	CHECK(wherry_bitmap_test(bm, BASE + 3 * r.page));
	CHECK_EQ(wherry_bitmap_count(bm), 2);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}

TEST_EACH(domain_dirty_reads_by_devices_do_not_count, backends, spec)
{
	struct wherry_span span;
	struct rig r;
	uint8_t byte;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 8);
	start(&r);
	CHECK_EQ(rig_read(&r, 0, BASE + r.page, &byte, 1), 0);
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	rig_close(&r);
}

TEST_EACH(domain_dirty_harvest_clears_and_the_next_write_shows_again, backends, spec)
{
	struct wherry_span span;
	struct rig r;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 8);
	start(&r);
	for (uint8_t round = 0; round < 3; round++) {
		CHECK_EQ(rig_poke(&r, 0, BASE + 5 * r.page, round), 0);
		CHECK_EQ(rig_poke(&r, 0, BASE + 5 * r.page, round), 0);
		CHECK_EQ(rig_harvest_count(&r, span), 1);
		CHECK_EQ(rig_harvest_count(&r, span), 0);
	}
	rig_close(&r);
}

/* Of more pages than a word has bits, beginning and ending inside of words. */
TEST_EACH(domain_dirty_harvest_of_several_mappings_tells_them_apart, backends, spec)
{
	const uint64_t n_pages[] = { 100, 70, 200 }, written[] = { 7, 133, 300 };
	struct wherry_span span = { .iova = BASE };
	struct wherry_bitmap *bm;
	uint64_t at = 0;
	struct rig r;

	rig_open(&r, spec);
	for (unsigned int i = 0; i < 3; at += n_pages[i++])
		(void)rig_map(&r, BASE + at * r.page, at, n_pages[i]);
	span.len = at * r.page;
	start(&r);
	for (unsigned int i = 0; i < 3; i++)
		CHECK_EQ(rig_poke(&r, 0, BASE + written[i] * r.page, 1), 0);
	bm = rig_bitmap(&r, span);
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, span, bm), 0);
	for (unsigned int i = 0; i < 3; i++)
		CHECK(wherry_bitmap_test(bm, BASE + written[i] * r.page));
	CHECK(!wherry_bitmap_test(bm, BASE + 107 * r.page)); /* as far in as another one is */
	CHECK(!wherry_bitmap_test(bm, BASE + 177 * r.page));
	if (r.caps.granule == r.page)
		CHECK_EQ(wherry_bitmap_count(bm), 3);
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}

TEST_EACH(domain_dirty_read_leaves_the_bits, backends, spec)
{
	struct wherry_span span;
	struct wherry_bitmap *bm;
	struct rig r;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 8);
	start(&r);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	bm = rig_bitmap(&r, span);
	for (unsigned int i = 0; i < 2; i++) {
		wherry_bitmap_clear(bm);
		CHECK_EQ(wherry_domain_dirty_read(r.dom, span, bm), 0);
		CHECK_EQ(wherry_bitmap_count(bm), 1);
	}
	CHECK_EQ(rig_harvest_count(&r, span), 1);
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}

TEST_EACH(domain_dirty_bitmap_is_marked_and_never_cleared, backends, spec)
{
	struct wherry_span span;
	struct wherry_bitmap *bm;
	struct rig r;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 8);
	start(&r);
	bm = rig_bitmap(&r, span);
	wherry_bitmap_mark(bm, (struct wherry_span){ BASE, 1 });
	CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 1), 0);
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, span, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 2);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}

TEST_EACH(domain_dirty_tracks_mappings_made_while_it_is_on, backends, spec)
{
	struct wherry_span first, second;
	struct rig r;

	rig_open(&r, spec);
	start(&r);
	first = rig_map_tracked(&r, BASE, 0, 4);
	CHECK_EQ(rig_harvest_count(&r, first), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	CHECK_EQ(wherry_domain_unmap(r.dom, first), 0);
	second = rig_map_tracked(&r, BASE, 4, 4); /* the same place: nothing is left of the first */
	CHECK_EQ(rig_harvest_count(&r, second), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 1), 0);
	CHECK_EQ(rig_harvest_count(&r, second), 1);
	rig_close(&r);
}

TEST_EACH(domain_dirty_harvest_is_about_its_span_alone, backends, spec)
{
	struct wherry_span span, part;
	struct wherry_bitmap *bm;
	struct rig r;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 8);
	part = (struct wherry_span){ BASE + 2 * r.page, 2 * r.page };
	start(&r);
	for (unsigned int i = 1; i < 6; i++)
		CHECK_EQ(rig_poke(&r, 0, BASE + i * r.page, 1), 0);
	bm = rig_bitmap(&r, span);
	wherry_fault_arm(1); /* so that the bits wait in the domain, not in the hardware */
	if (wherry_domain_dirty_harvest(r.dom, span, bm) == 0)
		wherry_bitmap_clear(bm); /* a backend that has no way to fail */
	wherry_fault_disarm();
	for (unsigned int i = 1; i < 6; i++)
		CHECK_EQ(rig_poke(&r, 1, BASE + i * r.page, 2), 0);
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, part, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 2);
	CHECK(wherry_bitmap_test(bm, BASE + 2 * r.page));
	CHECK(wherry_bitmap_test(bm, BASE + 3 * r.page));
	CHECK_EQ(rig_harvest_count(&r, span), 3);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}

TEST_EACH(domain_dirty_harvest_follows_adjacent_mappings, backends, spec)
{
	struct wherry_span both;
	struct rig r;
	char bytes[4] = "abc";

	rig_open(&r, spec);
	rig_map(&r, BASE, 0, 4);
	rig_map(&r, BASE + 4 * r.page, 9, 4);
	both = (struct wherry_span){ BASE, 8 * r.page };
	start(&r);
	CHECK_EQ(rig_write(&r, 0, BASE + 4 * r.page - 2, bytes, 4), 0);
	CHECK_EQ(rig_harvest_count(&r, both), 2);
	rig_close(&r);
}

TEST_EACH(domain_dirty_harvest_never_crosses_a_hole, backends, spec)
{
	struct wherry_span span, off;
	struct wherry_bitmap *bm, *small;
	struct rig r;

	rig_open(&r, spec);
	rig_map(&r, BASE, 0, 2);
	rig_map(&r, BASE + 3 * r.page, 3, 2);
	span = (struct wherry_span){ BASE, 5 * r.page };
	off = (struct wherry_span){ BASE + 1, r.page };
	bm = rig_bitmap(&r, span);
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, span, bm), -ENOENT);
	span.len = 2 * r.page;
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, span, bm), -EINVAL); /* off */
	CHECK_EQ(wherry_domain_dirty_read(r.dom, span, bm), -EINVAL);
	start(&r);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	span.len = 5 * r.page;
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, span, bm), -ENOENT);
	CHECK_EQ(wherry_domain_dirty_read(r.dom, span, bm), -ENOENT);
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, off, bm), -EINVAL);
	span.len = 2 * r.page;
	small = rig_bitmap(&r, (struct wherry_span){ BASE, r.page });
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, span, small), -EINVAL);
	CHECK_EQ(wherry_bitmap_count(bm) + wherry_bitmap_count(small), 0);
	CHECK_EQ(rig_harvest_count(&r, span), 1); /* none of them took it */
	wherry_bitmap_destroy(bm);
	wherry_bitmap_destroy(small);
	rig_close(&r);
}

TEST_EACH(domain_dirty_bitmap_may_have_any_page, backends, spec)
{
	struct wherry_span span, all = { BASE, UINT64_C(2) << 20 };
	struct rig r;

	rig_open(&r, spec);
	span = rig_map(&r, BASE + 4 * r.page, 0, 8);
	start(&r);
	for (uint64_t page = 2048; page <= all.len; page <<= 1) {
		struct wherry_bitmap *bm = NULL;

		CHECK_EQ(wherry_bitmap_create(all, page, &bm), 0);
		CHECK_EQ(rig_poke(&r, 1, BASE + 5 * r.page + 7, 1), 0);
		CHECK_EQ(wherry_domain_dirty_harvest(r.dom, span, bm), 0);
		CHECK_EQ(wherry_bitmap_count(bm), page < r.page ? r.page / page : 1);
		CHECK(wherry_bitmap_test(bm, BASE + 5 * r.page + 7));
		wherry_bitmap_destroy(bm);
	}
	rig_close(&r);
}

static const char *const grains[] = { "soft", "soft:leaf=2m", "soft:leaf=1g,units=2",
	"soft:format=amdv1,leaf=8k", "soft:format=amdv1,leaf=1m", "soft:format=amdv1,leaf=256g",
	"soft:format=arm64s1,leaf=2m", "soft:format=arm64s1,leaf=16g,units=2", NULL };

/* All of the rig's memory, so that the largest leaves are used. */
TEST_EACH(domain_dirty_bit_stands_for_a_granule_at_most, grains, spec)
{
	struct wherry_span span, part;
	struct wherry_bitmap *bm;
	uint64_t written;
	struct rig r;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, RIG_MEM / r.page);
	start(&r);
	written = BASE + span.len / 2 + 3 * r.page;
	CHECK_EQ(rig_poke(&r, 0, written, 1), 0);
	part = (struct wherry_span){ written - r.page, r.page }; /* beside it, in its granule */
	bm = rig_bitmap(&r, span);
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, part, bm), 0);
	CHECK_EQ(wherry_domain_dirty_harvest(r.dom, span, bm), 0);
	CHECK(wherry_bitmap_test(bm, written));
	for (uint64_t iova = BASE; iova <= wherry_span_last(span); iova += r.page)
		if (wherry_bitmap_test(bm, iova))
			CHECK_EQ(round_down(iova, r.caps.granule),
				round_down(written, r.caps.granule));
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}

/* Whatever fails, and however often: each write shows in the first harvest that succeeds. */
TEST_EACH(domain_dirty_failed_harvest_loses_nothing, backends, spec)
{
	FOR_EACH_FAULT(nth) {
		struct wherry_bitmap *bm;
		struct wherry_span span;
		struct rig r;
		int rc;

		wherry_fault_disarm();
		rig_open(&r, spec);
		span = rig_map(&r, BASE, 0, 8);
		start(&r);
		CHECK_EQ(rig_poke(&r, 0, BASE + 6 * r.page, 1), 0);
		bm = rig_bitmap(&r, span);
		wherry_fault_arm(nth);
		rc = wherry_domain_dirty_harvest(r.dom, span, bm);
		wherry_fault_disarm();
		CHECK_EQ(wherry_bitmap_count(bm), rc == 0 ? 1 : 0);
		wherry_bitmap_clear(bm);
		CHECK_EQ(wherry_domain_dirty_read(r.dom, span, bm), 0); /* leaves these, too */
		CHECK_EQ(wherry_bitmap_count(bm), rc == 0 ? 0 : 1);
		CHECK_EQ(rig_harvest_count(&r, span), rc == 0 ? 0 : 1);
		wherry_bitmap_destroy(bm);
		rig_close(&r);
	}
}

TEST_EACH(domain_dirty_start_that_fails_leaves_it_off, backends, spec)
{
	FOR_EACH_FAULT(nth) {
		struct wherry_bitmap *bm;
		struct wherry_span span;
		struct rig r;
		int rc;

		wherry_fault_disarm();
		rig_open(&r, spec);
		rig_need_tracking(&r);
		span = rig_map(&r, BASE, 0, 8);
		rig_map(&r, BASE + 8 * r.page, 8, 8);
		bm = rig_bitmap(&r, span);
		wherry_fault_arm(nth);
		rc = wherry_domain_dirty_start(r.dom);
		wherry_fault_disarm();
		CHECK_EQ(wherry_domain_dirty_read(r.dom, span, bm), rc == 0 ? 0 : -EINVAL);
		CHECK_EQ(wherry_domain_dirty_start(r.dom), rc == 0 ? -EALREADY : 0);
		wherry_bitmap_destroy(bm);
		rig_close(&r);
	}
}
