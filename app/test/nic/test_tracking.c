/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device writes are noted by real hardware, or by what QEMU makes of it: after each thing the
 * NIC did, exactly the pages it wrote are dirty. A page missing is a lost write, a page too many
 * is a tracker that guesses. Some of these fail on an IOMMU that caches a translation filled by
 * a read and forgets to set D at the first write through it (devtools/vm, machine vtd-naive).
 */
#include <string.h>

#include "bay.h"

/* 64 bits with a sign make poor messages. */
#define CHECK_PAGES(got, want)                                                         \
	do {                                                                           \
		uint64_t got_ = (got), want_ = (want);                                 \
		if (got_ != want_)                                                     \
			FAIL("dirty pages %#llx, not %#llx", (unsigned long long)got_, \
				(unsigned long long)want_);                            \
	} while (0)

static const unsigned int three[] = { 3, 7, 20 };
#define THREE_WANTED (RINGS | rx_bit(3) | rx_bit(7) | rx_bit(20))

static void
receive_three(struct bay *g, uint32_t seed)
{
	const uint64_t rx[] = { rx_iova(three[0]), rx_iova(three[1]), rx_iova(three[2]) };

	bay_receive(g, rx, 3, 1000, NIC_WRITE_BACK, seed);
}

TEST_EACH(tracking_dma_works_before_it_is_on, tracking, spec)
{
	const uint64_t rx = rx_iova(0);
	struct bay g;

	bay_open(&g, spec);
	bay_receive(&g, &rx, 1, 1000, NIC_WRITE_BACK, 1);
	CHECK_EQ(memcmp(rx_vaddr(&g, 0), nic_sent(g.nic, 0), 1000), 0);
	bay_close(&g);
}

TEST_EACH(tracking_starts_clean_whatever_was_written_before, tracking, spec)
{
	const uint64_t rx = rx_iova(0);
	struct bay g;

	bay_open(&g, spec);
	bay_receive(&g, &rx, 1, 1000, NIC_WRITE_BACK, 1);
	bay_start(&g);
	CHECK_PAGES(bay_dirty(&g, true), 0);
	bay_close(&g);
}

TEST_EACH(tracking_read_leaves_exactly_what_was_written, tracking, spec)
{
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	receive_three(&g, 2);
	CHECK_PAGES(bay_dirty(&g, false), THREE_WANTED);
	CHECK_PAGES(bay_dirty(&g, false), THREE_WANTED);
	CHECK_PAGES(bay_dirty(&g, true), THREE_WANTED);
	CHECK_PAGES(bay_dirty(&g, true), 0);
	bay_close(&g);
}

/* The translations are cached as dirty by now: harvest has to take that back. */
TEST_EACH(tracking_sees_the_same_pages_written_again, tracking, spec)
{
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	for (uint32_t round = 0; round < 4; round++) {
		receive_three(&g, 3 + round);
		CHECK_PAGES(bay_dirty(&g, true), THREE_WANTED);
		CHECK_PAGES(bay_dirty(&g, true), 0);
	}
	bay_close(&g);
}

TEST_EACH(tracking_ignores_what_devices_read, tracking, spec)
{
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	CHECK_EQ(nic_read_only(g.nic, 0), 0);
	CHECK_PAGES(bay_dirty(&g, true), 0);
	bay_close(&g);
}

/* The descriptor is read, and with it its page gets into the IOTLB, before it is written. */
TEST_EACH(tracking_sees_a_write_behind_a_cached_read, tracking, spec)
{
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	CHECK_EQ(nic_read_only(g.nic, 0), 0);
	CHECK_EQ(nic_read_only(g.nic, NIC_WRITE_BACK), 0);
	CHECK_PAGES(bay_dirty(&g, true), BIT64(NIC_PAGE_TX_RING));
	bay_close(&g);
}

/* The same with a payload: a page is sent from, then received into. */
TEST_EACH(tracking_sees_a_write_to_what_was_sent, tracking, spec)
{
	struct nic_frame there = { .tx = rx_iova(5), .rx = rx_iova(6), .len = 1000 };
	struct nic_frame back = { .tx = 0, .rx = rx_iova(5), .len = 900 };
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	CHECK_EQ(nic_send(g.nic, &there, 1, 0, 4), 0);
	CHECK_PAGES(bay_dirty(&g, true), BIT64(NIC_PAGE_RX_RING) | rx_bit(6));
	CHECK_EQ(nic_send(g.nic, &there, 1, 0, 4), 0);
	CHECK_EQ(nic_send(g.nic, &back, 1, 0, 5), 0);
	CHECK_PAGES(bay_dirty(&g, true), BIT64(NIC_PAGE_RX_RING) | rx_bit(5) | rx_bit(6));
	bay_close(&g);
}

TEST_EACH(tracking_marks_both_pages_of_a_frame_across, tracking, spec)
{
	const uint64_t rx = rx_iova(30) + NIC_PAGE - 500;
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	bay_receive(&g, &rx, 1, 1000, 0, 5);
	CHECK_PAGES(bay_dirty(&g, true), BIT64(NIC_PAGE_RX_RING) | rx_bit(30) | rx_bit(31));
	bay_close(&g);
}

TEST_EACH(tracking_sees_every_page_of_a_sweep, tracking, spec)
{
	uint64_t rx[RX_PAGES], want = BIT64(NIC_PAGE_RX_RING);
	struct bay g;

	for (unsigned int i = 0; i < RX_PAGES; i++) {
		rx[i] = rx_iova(i);
		want |= rx_bit(i);
	}
	bay_open(&g, spec);
	bay_start(&g);
	bay_receive(&g, rx, RX_PAGES, 600, 0, 6);
	CHECK_PAGES(bay_dirty(&g, true), want);
	bay_close(&g);
}

TEST_EACH(tracking_forgets_when_it_is_off, tracking, spec)
{
	const uint64_t rx = rx_iova(1);
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	receive_three(&g, 8);
	wherry_domain_dirty_stop(g.dom);
	bay_receive(&g, &rx, 1, 1000, NIC_WRITE_BACK, 9);
	bay_start(&g);
	CHECK_PAGES(bay_dirty(&g, true), 0);
	receive_three(&g, 10);
	CHECK_PAGES(bay_dirty(&g, true), THREE_WANTED);
	bay_close(&g);
}

/* Which hugepages have a dirty page, one bit each. */
static uint64_t
dirty_hugepages(struct bay *g, bool clear)
{
	struct wherry_bitmap *bm = bay_dirty_large(g, clear);
	uint64_t cursor = LARGE_IOVA, word = 0;
	struct wherry_span run;

	while (wherry_bitmap_next_run(bm, &cursor, &run))
		for (uint64_t at = run.iova; at < run.iova + run.len; at += NIC_PAGE)
			word |= BIT64((at - LARGE_IOVA) / LARGE_PAGE);
	wherry_bitmap_destroy(bm);
	return word;
}

/* One bit may stand for the hugepage, or for 4 KiB of it, but for nothing beyond it. */
TEST_EACH(tracking_of_a_hugepage_stays_in_it, tracking, spec)
{
	const uint64_t one = LARGE_IOVA + LARGE_PAGE + 5 * NIC_PAGE;
	const uint64_t two[] = { LARGE_IOVA, LARGE_IOVA + 3 * LARGE_PAGE };
	struct wherry_bitmap *bm;
	struct bay g;

	bay_open(&g, spec);
	bay_need_large(&g);
	bay_start(&g);
	CHECK_PAGES(dirty_hugepages(&g, true), 0);
	bay_receive(&g, &one, 1, 1000, 0, 7);
	CHECK_EQ(memcmp(g.large + (one - LARGE_IOVA), nic_sent(g.nic, 0), 1000), 0);
	bm = bay_dirty_large(&g, false);
	CHECK(wherry_bitmap_test(bm, one));
	CHECK(wherry_bitmap_count(bm) == 1 || wherry_bitmap_count(bm) == LARGE_PAGE / NIC_PAGE);
	wherry_bitmap_destroy(bm);
	CHECK_PAGES(dirty_hugepages(&g, true), 0x2);
	CHECK_PAGES(dirty_hugepages(&g, true), 0);
	bay_receive(&g, two, 2, 1000, 0, 8);
	CHECK_PAGES(dirty_hugepages(&g, true), 0x9);
	bay_close(&g);
}
