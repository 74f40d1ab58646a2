/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The traps of test_traps.c on a real kernel and a real NIC. Each test first steps into
 * the trap with the bare ioctl, which shows that it is there (and will say so when a kernel
 * has mended it), and then shows that the library does not.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "bay.h"
#include "iommu_priv.h"
#include "iommufd_priv.h"

#define MORE_IOVA UINT64_C(0x180000000)

/* The bare ioctl, on the domain's only table. */
static int
bare_get(struct bay *g, struct wherry_span span, bool clear, void *bits)
{
	struct iommufd_domain *be = g->dom->be;
	struct iommu_hwpt_get_dirty_bitmap c = { .size = sizeof(c),
		.hwpt_id = LIST_FIRST(&be->now->tables)->hwpt,
		.flags = clear ? 0 : IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
		.iova = span.iova,
		.length = span.len,
		.page_size = NIC_PAGE,
		.data = (uintptr_t)bits };

	return wherry_sys_kernel.ioctl(be->fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &c);
}

static int
bare_enable(struct bay *g, bool on)
{
	struct iommufd_domain *be = g->dom->be;
	struct iommu_hwpt_set_dirty_tracking c = { .size = sizeof(c),
		.hwpt_id = LIST_FIRST(&be->now->tables)->hwpt,
		.flags = on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0 };

	return wherry_sys_kernel.ioctl(be->fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &c);
}

static void
write_page(struct bay *g, uint64_t iova, uint32_t seed)
{
	bay_receive(g, &iova, 1, 1000, 0, seed);
}

static int
harvest(struct bay *g, struct wherry_span span, uint64_t *ret_n)
{
	struct wherry_bitmap *bm = NULL;
	int rc;

	CHECK_EQ(wherry_bitmap_create(span, NIC_PAGE, &bm), 0);
	rc = wherry_domain_dirty_harvest(g->dom, span, bm);
	*ret_n = wherry_bitmap_count(bm);
	wherry_bitmap_destroy(bm);
	return rc;
}

static void
map_rx(struct bay *g, unsigned int page, uint64_t iova)
{
	struct wherry_span span = { iova, NIC_PAGE };

	CHECK_EQ(wherry_domain_map(
			 g->dom, rx_vaddr(g, page), WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
		0);
}

TEST_EACH(exact_trap_a_hole_hides_what_is_behind_it, tracking, spec)
{
	struct wherry_span both = { MORE_IOVA, 3 * NIC_PAGE },
			   second = { MORE_IOVA + 2 * NIC_PAGE, NIC_PAGE };
	uint64_t bits = 0, n;
	struct bay g;

	bay_open(&g, spec);
	map_rx(&g, 0, MORE_IOVA);
	map_rx(&g, 1, MORE_IOVA + 2 * NIC_PAGE);
	bay_start(&g);
	write_page(&g, MORE_IOVA, 1);
	write_page(&g, MORE_IOVA + 2 * NIC_PAGE, 2);
	CHECK_EQ(bare_get(&g, both, false, &bits), 0);
	CHECK_EQ(bits & 4, 0); /* the trap: it says 0, and no bit */
	CHECK_EQ(harvest(&g, both, &n), -ENOENT);
	CHECK_EQ(harvest(&g, second, &n), 0);
	CHECK_EQ(n, 1);
	bay_close(&g);
}

TEST_EACH(exact_trap_what_is_not_mapped_is_not_clean, tracking, spec)
{
	struct wherry_span span = { MORE_IOVA, NIC_PAGE };
	uint64_t bits = 0, n;
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	CHECK_EQ(bare_get(&g, span, true, &bits), 0); /* the trap */
	CHECK_EQ(harvest(&g, span, &n), -ENOENT);
	bay_close(&g);
}

TEST_EACH(exact_trap_a_second_enable_loses_bits, tracking, spec)
{
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	write_page(&g, rx_iova(3), 1);
	CHECK_EQ(bare_enable(&g, true), 0);
	CHECK_EQ(bay_dirty(&g, true), 0); /* the trap */
	write_page(&g, rx_iova(3), 2);
	CHECK_EQ(wherry_domain_dirty_start(g.dom), -EALREADY);
	CHECK((bay_dirty(&g, true) & rx_bit(3)) != 0);
	bay_close(&g);
}

TEST_EACH(exact_trap_off_is_not_clean, tracking, spec)
{
	struct wherry_span span = { SMALL_IOVA, SMALL_PAGES * NIC_PAGE };
	uint64_t bits = 0, n;
	struct bay g;

	bay_open(&g, spec);
	bay_start(&g);
	wherry_domain_dirty_stop(g.dom);
	write_page(&g, rx_iova(3), 1);
	CHECK_EQ(bare_get(&g, span, true, &bits), 0); /* the trap: bits may be none */
	CHECK_EQ(harvest(&g, span, &n), -EINVAL);
	bay_close(&g);
}

TEST_EACH(exact_trap_bits_for_an_absent_page_are_dropped, tracking, spec)
{
	struct wherry_span span = { SMALL_IOVA, SMALL_PAGES * NIC_PAGE };
	void *absent = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iommufd_domain *be;
	struct bay g;

	CHECK(absent != MAP_FAILED);
	bay_open(&g, spec);
	bay_start(&g);
	write_page(&g, rx_iova(3), 1);
	CHECK_EQ(bare_get(&g, span, true, absent), 0);
	CHECK_EQ(bay_dirty(&g, true) & rx_bit(3), 0); /* the trap: gone */
	write_page(&g, rx_iova(3), 2);
	CHECK((bay_dirty(&g, true) & rx_bit(3)) != 0);
	be = g.dom->be; /* the library's own is locked: it cannot be locked twice, but unlocked */
	CHECK_EQ(munlock(be->bits.words, be->bits.len), 0);
	munmap(absent, 4096);
	bay_close(&g);
}

static const char *const large_leaves[] = { "iommufd:leaf=max", NULL };

TEST_EACH(exact_trap_half_of_a_large_leaf_cleans_the_whole, large_leaves, spec)
{
	struct wherry_span half = { LARGE_IOVA, LARGE_PAGE / 2 },
			   other = { LARGE_IOVA + LARGE_PAGE / 2, LARGE_PAGE / 2 };
	static uint64_t bits[8];
	struct bay g;
	uint64_t n;

	bay_open(&g, spec);
	bay_need_large(&g);
	bay_start(&g);
	write_page(&g, other.iova, 1);
	CHECK_EQ(bare_get(&g, half, true, bits), 0);
	CHECK_EQ(bare_get(&g, other, true, memset(bits, 0, sizeof(bits))), 0);
	CHECK_EQ(bits[0], 0); /* the trap: where the write was there is no bit */
	write_page(&g, other.iova, 2);
	CHECK_EQ(harvest(&g, half, &n), 0);
	CHECK_EQ(n, 256);
	CHECK_EQ(harvest(&g, other, &n), 0);
	CHECK_EQ(n, 256);
	bay_close(&g);
}
