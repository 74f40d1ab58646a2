/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A real NIC and memory that was taken away from it: its DMA to the span is refused, nothing
 * else suffers, and the process lives on. The NIC believes that it has written: a frame that
 * the IOMMU refuses looks to it as if it had arrived.
 */
#include <errno.h>
#include <string.h>

#include "bay.h"

#define GONE 5u
#define STILL_THERE 6u

static const char *const real[] = { "type1", "iommufd", "iommufd:leaf=max", NULL };

static bool
is(const uint8_t *page, uint8_t byte)
{
	for (unsigned int i = 0; i < NIC_PAGE; i++)
		if (page[i] != byte)
			return false;
	return true;
}

/* One frame into each of the two pages. */
static void
aim_at_both(struct bay *g, uint32_t seed)
{
	const uint64_t rx[] = { rx_iova(GONE), rx_iova(STILL_THERE) };

	bay_receive(g, rx, 2, 1000, 0, seed);
}

static bool
arrived(const struct bay *g, unsigned int page, unsigned int frame)
{
	return memcmp(rx_vaddr(g, page), nic_sent(g->nic, frame), 1000) == 0;
}

TEST_EACH(unmapped_memory_is_refused_to_a_real_device, real, spec)
{
	struct wherry_span span = { .iova = rx_iova(GONE), .len = NIC_PAGE };
	struct bay g;

	bay_open(&g, spec);
	aim_at_both(&g, 1);
	CHECK(arrived(&g, GONE, 0) && arrived(&g, STILL_THERE, 1));
	CHECK_EQ(wherry_domain_unmap(g.dom, span), 0);
	memset(rx_vaddr(&g, GONE), 0xee, NIC_PAGE);
	for (uint32_t round = 0; round < 100; round++) {
		aim_at_both(&g, 2 + round);
		CHECK(is(rx_vaddr(&g, GONE), 0xee));
		CHECK(arrived(&g, STILL_THERE, 1));
	}
	CHECK_EQ(wherry_domain_map(
			 g.dom, rx_vaddr(&g, GONE), WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
		0);
	aim_at_both(&g, 200);
	CHECK(arrived(&g, GONE, 0) && arrived(&g, STILL_THERE, 1));
	bay_close(&g);
}

/* The same in the modes that tell what was written; type1 knows nothing, and says all. */
TEST_EACH(unmapped_memory_is_refused_in_every_mode, real, spec)
{
	static const enum wherry_unmap_mode modes[] = { WHERRY_UNMAP_SNAPSHOT, WHERRY_UNMAP_EXACT,
		WHERRY_UNMAP_ASSUME };
	struct wherry_span span = { .iova = rx_iova(GONE), .len = NIC_PAGE };
	struct wherry_bitmap *bm;
	struct bay g;

	bay_open(&g, spec);
	CHECK_EQ(wherry_bitmap_create(span, NIC_PAGE, &bm), 0);
	if (g.caps.dirty != WHERRY_DIRTY_NONE)
		CHECK_EQ(wherry_domain_dirty_start(g.dom), 0);
	for (unsigned int i = 0; i < 3; i++) {
		if (g.caps.dirty == WHERRY_DIRTY_NONE && modes[i] != WHERRY_UNMAP_ASSUME)
			continue;
		aim_at_both(&g, 1 + i);
		CHECK(arrived(&g, GONE, 0));
		wherry_bitmap_clear(bm);
		CHECK_EQ(wherry_domain_unmap_dirty(g.dom, span, modes[i], bm), 0);
		CHECK_EQ(wherry_bitmap_count(bm), 1);
		memset(rx_vaddr(&g, GONE), 0xee, NIC_PAGE);
		aim_at_both(&g, 10 + i);
		CHECK(is(rx_vaddr(&g, GONE), 0xee) && arrived(&g, STILL_THERE, 1));
		CHECK_EQ(wherry_domain_map(g.dom, rx_vaddr(&g, GONE),
				 WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
			0);
	}
	wherry_bitmap_destroy(bm);
	bay_close(&g);
}

/* The device lets go of everything, and what is still mapped is there when it comes back. */
TEST_EACH(unmapped_by_detach_is_back_after_attach, real, spec)
{
	struct nic_memory mem = { .iova = SMALL_IOVA };
	struct bay g;

	bay_open(&g, spec);
	aim_at_both(&g, 1);
	nic_close(g.nic);
	g.nic = NULL;
	wherry_device_detach(g.dev);
	CHECK_EQ(wherry_device_attach(g.dev, g.dom, NULL), 0);
	mem.vaddr = g.small;
	CHECK_EQ(nic_open(g.dev, mem, &g.nic), 0);
	aim_at_both(&g, 2);
	CHECK(arrived(&g, GONE, 0) && arrived(&g, STILL_THERE, 1));
	bay_close(&g);
}
