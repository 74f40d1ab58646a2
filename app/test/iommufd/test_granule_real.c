/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another granule on a real IOMMU: the NIC writes until it is stopped, moves, and goes
 * on. The memory is hugepages, so that a bit stands for 2 MiB before and 4 KiB after.
 */
#include <errno.h>

#include "bay.h"
#include "wherry_vfio.h"

#define LAST_PAGE (LARGE_IOVA + LARGE_PAGES * LARGE_PAGE - NIC_PAGE)

static const char *const large_leaves[] = { "iommufd:leaf=max", NULL };

static void
write_page(struct bay *g, uint64_t iova, uint32_t seed)
{
	bay_receive(g, &iova, 1, 1000, 0, seed);
}

static uint64_t
count_large(struct bay *g)
{
	struct wherry_bitmap *bm = bay_dirty_large(g, true);
	uint64_t n = wherry_bitmap_count(bm);

	wherry_bitmap_destroy(bm);
	return n;
}

/* The device was attached without ops: again, with them. */
static void
attach_with_ops(struct bay *g)
{
	struct wherry_device_ops ops = {
		.stop = wherry_vfio_stop, .resume = wherry_vfio_resume, .ctx = g->dev
	};
	struct nic_memory mem = { .vaddr = g->small, .iova = SMALL_IOVA };

	nic_close(g->nic);
	g->nic = NULL;
	wherry_device_detach(g->dev);
	CHECK_EQ(wherry_device_attach(g->dev, g->dom, &ops), 0);
	CHECK_EQ(nic_open(g->dev, mem, &g->nic), 0);
}

/* A move under a NIC that was stopped by its bus mastering alone: it goes on afterwards. */
TEST_EACH(exact_granule_changes_under_a_stopped_nic, large_leaves, spec)
{
	struct wherry_domain_caps caps;
	struct bay g;

	bay_open(&g, spec);
	bay_need_large(&g);
	attach_with_ops(&g);
	bay_start(&g);
	write_page(&g, LARGE_IOVA, 1);
	CHECK_EQ(count_large(&g), LARGE_PAGE / NIC_PAGE);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, NIC_PAGE), 0);
	write_page(&g, LARGE_IOVA + LARGE_PAGE, 2); /* traffic is on */
	CHECK_EQ(wherry_domain_granule_commit(g.dom), 0);
	wherry_domain_get_caps(g.dom, &caps);
	CHECK_EQ(caps.granule, NIC_PAGE);
	write_page(&g, LAST_PAGE, 3);
	/* known before the move at 2 MiB, after it at 4 KiB */
	CHECK_EQ(count_large(&g), LARGE_PAGE / NIC_PAGE + 1);
	write_page(&g, LARGE_IOVA + 5 * NIC_PAGE, 4);
	CHECK_EQ(count_large(&g), 1);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, caps.page_sizes & (UINT64_C(1) << 30)), 0);
	CHECK_EQ(wherry_domain_granule_commit(g.dom), 0);
	write_page(&g, LARGE_IOVA + 5 * NIC_PAGE, 5);
	CHECK_EQ(count_large(&g), LARGE_PAGE / NIC_PAGE);
	bay_close(&g);
}

/* Nobody can stop it: refused, and nothing has moved. */
TEST_EACH(exact_granule_needs_a_way_to_stop_the_nic, large_leaves, spec)
{
	struct bay g;

	bay_open(&g, spec);
	bay_need_large(&g);
	bay_start(&g);
	CHECK_EQ(wherry_domain_granule_prepare(g.dom, NIC_PAGE), 0);
	CHECK_EQ(wherry_domain_granule_commit(g.dom), -EBUSY);
	write_page(&g, LARGE_IOVA, 1);
	CHECK_EQ(count_large(&g), LARGE_PAGE / NIC_PAGE);
	wherry_domain_granule_cancel(g.dom);
	write_page(&g, LARGE_IOVA, 2);
	CHECK_EQ(count_large(&g), LARGE_PAGE / NIC_PAGE);
	bay_close(&g);
}
