/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VT-d second-stage entries, bit for bit (VT-d specification 5.10, section 9.8, Second-Stage
 * Paging Entries):
 * R 0, W 1, PS 7 (a 2M or 1G leaf), A 8, D 9, address 12 to 51. A page is not
 * present when R and W are both 0. D stands in leaves only, A in tables as well.
 */
#include "format_priv.h"
#include "wherry_iommu.h"

#define SS_R (UINT64_C(1) << 0)
#define SS_W (UINT64_C(1) << 1)
#define SS_PS (UINT64_C(1) << 7)
#define SS_A (UINT64_C(1) << 8)
#define SS_D (UINT64_C(1) << 9)
#define SS_ADDRESS (((UINT64_C(1) << 52) - 1) & ~(PT_PAGE - 1))

static uint64_t
make_leaf(uint64_t paddr, unsigned int prot, unsigned int shift)
{
	return (paddr & SS_ADDRESS) | ((prot & WHERRY_DMA_READ) != 0 ? SS_R : 0) |
		((prot & WHERRY_DMA_WRITE) != 0 ? SS_W : 0) | (shift > PT_PAGE_SHIFT ? SS_PS : 0);
}

static bool
is_leaf(uint64_t entry)
{
	return (entry & SS_PS) != 0;
}

static unsigned int
leaf_shift(uint64_t entry, unsigned int level)
{
	(void)entry;
	return soft_level_shift(level);
}

const struct soft_format soft_format_vtdss = {
	.name = "vtdss",
	.section = "VT-d 5.10, 9.8",
	.width = 48,
	.widest = 57,
	.page_sizes = UINT64_C(1) << 12 | UINT64_C(1) << 21 | UINT64_C(1) << 30,
	.address = SS_ADDRESS,
	.present = SS_R | SS_W,
	.write_only = true,
	.table = SS_R | SS_W,
	.readable = { .mask = SS_R, .value = SS_R },
	.writable = { .mask = SS_W, .value = SS_W },
	.dirty = { .mask = SS_D, .value = SS_D },
	.accessed = SS_A,
	.table_accessed = SS_A,
	.to_dirty = { .set = SS_D },
	.to_clean = { .clear = SS_D },
	.to_fenced = { .clear = SS_W | SS_D },
	.to_writable = { .set = SS_W },
	.is_leaf = is_leaf,
	.make_leaf = make_leaf,
	.leaf_shift = leaf_shift,
};
