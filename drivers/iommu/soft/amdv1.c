/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AMD-Vi host page-table entries, bit for bit (AMD I/O Virtualization Technology
 * specification 48882, section 2.2.3, I/O Page Tables for Host Translations): PR 0, A 5, D 6, next level 9 to 11,
 * address 12 to 51, IR 61, IW 62.
 *
 * Next level 1 to 6 names a table of that level, counted from 1. 0 is a leaf of
 * the size that the level stands for. 7 is a leaf of any other size, written to
 * all entries it spans, and the lowest clear address bit tells the size: bits 12
 * to n-2 set and bit n-1 clear are 2^n bytes. D of any replica is the leaf's.
 * Sizes end below 512 GiB, which no driver uses because of an erratum.
 */
#include "format_priv.h"
#include "wherry_iommu.h"

#define V1_PR (UINT64_C(1) << 0)
#define V1_A (UINT64_C(1) << 5)
#define V1_D (UINT64_C(1) << 6)
#define V1_NEXT_SHIFT 9u
#define V1_NEXT_ANY_SIZE (UINT64_C(7) << V1_NEXT_SHIFT)
#define V1_IR (UINT64_C(1) << 61)
#define V1_IW (UINT64_C(1) << 62)
#define V1_ADDRESS (((UINT64_C(1) << 52) - 1) & ~(PT_PAGE - 1))
#define V1_SIZES ((UINT64_C(1) << 39) - PT_PAGE)

static uint64_t
next_level(uint64_t entry)
{
	return entry & V1_NEXT_ANY_SIZE;
}

static bool
is_leaf(uint64_t entry)
{
	return next_level(entry) == 0 || next_level(entry) == V1_NEXT_ANY_SIZE;
}

static uint64_t
make_leaf(uint64_t paddr, unsigned int prot, unsigned int shift)
{
	uint64_t size = UINT64_C(1) << shift;
	uint64_t entry = V1_PR | ((prot & WHERRY_DMA_READ) != 0 ? V1_IR : 0) |
		((prot & WHERRY_DMA_WRITE) != 0 ? V1_IW : 0);

	if ((shift - PT_PAGE_SHIFT) % PT_INDEX_BITS == 0)
		return entry | (paddr & V1_ADDRESS);
	return entry | V1_NEXT_ANY_SIZE | (((paddr | (size - 1)) & ~(size >> 1)) & V1_ADDRESS);
}

static unsigned int
leaf_shift(uint64_t entry, unsigned int level)
{
	if (next_level(entry) != V1_NEXT_ANY_SIZE)
		return soft_level_shift(level);
	return (unsigned int)__builtin_ctzll(~(entry | (PT_PAGE - 1))) + 1;
}

const struct soft_format soft_format_amdv1 = {
	.name = "amdv1",
	.section = "AMD 48882, 2.2.3",
	.width = 48,
	.widest = 57,
	.page_sizes = V1_SIZES,
	.address = V1_ADDRESS,
	.present = V1_PR,
	.write_only = true,
	.table = V1_PR | V1_IR | V1_IW,
	.table_level = UINT64_C(1) << V1_NEXT_SHIFT,
	.readable = { .mask = V1_IR, .value = V1_IR },
	.writable = { .mask = V1_IW, .value = V1_IW },
	.dirty = { .mask = V1_D, .value = V1_D },
	.accessed = V1_A,
	.table_accessed = V1_A,
	.to_dirty = { .set = V1_D },
	.to_clean = { .clear = V1_D },
	.to_fenced = { .clear = V1_IW | V1_D },
	.to_writable = { .set = V1_IW },
	.is_leaf = is_leaf,
	.make_leaf = make_leaf,
	.leaf_shift = leaf_shift,
};
