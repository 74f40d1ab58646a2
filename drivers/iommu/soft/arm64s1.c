/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ARM64 stage 1 descriptors, 4K granule, bit for bit (Arm ARM DDI 0487, issues whose
 * D8.3 is "Translation table descriptor formats" and D8.5.2 "The dirty state"; SMMUv3
 * IHI 0070, section 3.13.3, direct permissions): valid 0, table or page 1,
 * AP[1] 6, AP[2] 7, SH 8 and 9, AF 10, nG 11, address 12 to 47, DBM 51,
 * contiguous 52. Bit 1 is set in a page (level 0 here) and clear in a block.
 *
 * AP[2] set is read-only and DBM makes that a clean page: writable-clean is DBM
 * with AP[2], writable-dirty is DBM without, and the hardware makes one of the
 * other by clearing AP[2]. Cleaning keeps DBM, and with it the permission. A
 * fence takes both away in one step: a page without DBM never becomes dirty.
 * Hardware updates (CD.HA, CD.HD) stay on while nobody tracks: without them a
 * clean page would be read-only. Tracking is switched in the entries: one that is
 * writable-dirty has nothing to note, one made writable-clean is tracked.
 *
 * No device can be kept from reading what it may write: WHERRY_DMA_WRITE alone
 * maps like both. 16 entries with the contiguous hint are one leaf: hardware may
 * note a write to any page of it in any of them.
 */
#include "format_priv.h"
#include "wherry_iommu.h"

#define S1_VALID (UINT64_C(1) << 0)
#define S1_TABLE (UINT64_C(1) << 1)
#define S1_PAGE S1_TABLE
#define S1_AP_UNPRIVILEGED (UINT64_C(1) << 6) /* AP[1] */
#define S1_AP_READ_ONLY (UINT64_C(1) << 7)    /* AP[2] */
#define S1_INNER_SHAREABLE (UINT64_C(3) << 8)
#define S1_AF (UINT64_C(1) << 10)
#define S1_NG (UINT64_C(1) << 11)
#define S1_ADDRESS (((UINT64_C(1) << 48) - 1) & ~(PT_PAGE - 1))
#define S1_DBM (UINT64_C(1) << 51)
#define S1_CONTIGUOUS (UINT64_C(1) << 52)
#define S1_CONTIGUOUS_BITS 4u

#define S1_BLOCKS (UINT64_C(1) << 12 | UINT64_C(1) << 21 | UINT64_C(1) << 30)

static bool
is_leaf(uint64_t entry)
{
	return (entry & S1_TABLE) == 0;
}

static uint64_t
make_leaf(uint64_t paddr, unsigned int prot, unsigned int shift)
{
	uint64_t entry = S1_VALID | S1_AP_UNPRIVILEGED | S1_AP_READ_ONLY | S1_INNER_SHAREABLE |
		S1_NG | (paddr & S1_ADDRESS);

	if ((prot & WHERRY_DMA_WRITE) != 0)
		entry |= S1_DBM;
	if (shift < PT_PAGE_SHIFT + PT_INDEX_BITS)
		entry |= S1_PAGE;
	return (S1_BLOCKS >> shift & 1) != 0 ? entry : entry | S1_CONTIGUOUS;
}

static unsigned int
leaf_shift(uint64_t entry, unsigned int level)
{
	return soft_level_shift(level) + ((entry & S1_CONTIGUOUS) != 0 ? S1_CONTIGUOUS_BITS : 0);
}

const struct soft_format soft_format_arm64s1 = {
	.name = "arm64s1",
	.section = "SMMUv3 IHI 0070, 3.13",
	.width = 48,
	.widest = 48, /* more only with descriptors of another form (FEAT_LPA2) */
	.page_sizes = S1_BLOCKS | S1_BLOCKS << S1_CONTIGUOUS_BITS,
	.address = S1_ADDRESS,
	.present = S1_VALID,
	.no_late = "SMMUv3 IHI 0070, 3.13.3: a write needs the page writable-dirty first",
	.marks_always = true,
	.table = S1_VALID | S1_TABLE,
	.readable = { .mask = S1_VALID, .value = S1_VALID },
	.writable = { .mask = S1_DBM, .value = S1_DBM },
	.dirty = { .mask = S1_DBM | S1_AP_READ_ONLY, .value = S1_DBM },
	.accessed = S1_AF,
	.to_dirty = { .clear = S1_AP_READ_ONLY },
	.to_clean = { .set = S1_AP_READ_ONLY },
	.to_untracked = { .clear = S1_AP_READ_ONLY },
	.to_fenced = { .clear = S1_DBM, .set = S1_AP_READ_ONLY },
	.to_writable = { .set = S1_DBM },
	.is_leaf = is_leaf,
	.make_leaf = make_leaf,
	.leaf_shift = leaf_shift,
};
