/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The self-test of dirty bits on a real machine, sound or not: what it concludes is what
 * one sees without it. A machine whose IOMMU forgets (devtools/vm: vtd-naive), or whose
 * kernel does not invalidate (smmu-stale), is found out; the others are believed.
 */
#include <errno.h>

#include "bay.h"

static int
poke(void *ctx, uint64_t iova)
{
	struct bay *g = ctx;
	static uint8_t byte;

	byte++;
	return nic_write(g->nic, iova, &byte, 1);
}

/* Two writes to a page, each preceded by a read as poke does it: are both seen? */
static bool
both_seen(struct bay *g)
{
	bool seen = true;

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(poke(g, rx_iova(5)), 0);
		seen = seen && (bay_dirty(g, true) & rx_bit(5)) != 0;
	}
	return seen;
}

static void
attach_again(struct bay *g, const struct wherry_device_ops *ops)
{
	struct nic_memory mem = { .vaddr = g->small, .iova = SMALL_IOVA };

	nic_close(g->nic);
	g->nic = NULL;
	wherry_device_detach(g->dev);
	CHECK_EQ(wherry_device_attach(g->dev, g->dom, ops), 0);
	CHECK_EQ(nic_open(g->dev, mem, &g->nic), 0);
}

TEST_EACH(exact_selftest_concludes_what_is_so, tracking, spec)
{
	struct wherry_domain_caps caps;
	struct bay g;
	bool sound;

	bay_open(&g, spec);
	bay_start(&g);
	sound = both_seen(&g);
	wherry_domain_dirty_stop(g.dom);
	attach_again(&g, &(struct wherry_device_ops){ .poke = poke, .ctx = &g });
	CHECK_EQ(wherry_domain_dirty_start(g.dom), sound ? 0 : -EOPNOTSUPP);
	wherry_domain_get_caps(g.dom, &caps);
	CHECK_EQ(caps.dirty, sound ? WHERRY_DIRTY_TRACKED : WHERRY_DIRTY_NONE);
	printf("# dirty bits are %s: %s\n", sound ? "sound" : "NOT SOUND", caps.reason);
	bay_close(&g);
}
