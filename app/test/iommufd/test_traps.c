/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One test for each way in which the kernel's GET_DIRTY_BITMAP says "clean" and means
 * "I do not know" (drivers/iommu/iommufd/harvest.c): each shows that the trap is there,
 * with the bare ioctl, and that the library does not step into it. Here the kernel is
 * the fake one; test_traps_real.c asks a real one.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base_priv.h"
#include "fake_kernel.h"
#include "iommufd_uapi_priv.h"
#include "wherry_bitmap.h"
#include "wherry_iommu.h"

#define BASE UINT64_C(0x40000000)
#define PAGE UINT64_C(4096)
#define HUGE_PAGE (UINT64_C(2) << 20)
#define RW (WHERRY_DMA_READ | WHERRY_DMA_WRITE)

struct trap {
	struct wherry_domain *dom;
	struct wherry_device *dev;
	uint8_t *mem; /* 4M, aligned to 2M */
	void *reserved;
};

static void
open_trap(struct trap *t, const struct fake_kernel *like, const char *spec)
{
	fake_kernel_open(like);
	t->reserved = mmap(
		NULL, 3 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(t->reserved != MAP_FAILED);
	t->mem = (uint8_t *)(uintptr_t)round_up((uint64_t)(uintptr_t)t->reserved, HUGE_PAGE);
	CHECK_EQ(wherry_domain_create(spec, &t->dom), 0);
	CHECK_EQ(wherry_device_open(fake_kernel_address(0), &t->dev), 0);
	CHECK_EQ(wherry_device_attach(t->dev, t->dom, NULL), 0);
}

static void
close_trap(struct trap *t)
{
	wherry_device_close(t->dev);
	wherry_domain_destroy(t->dom);
	munmap(t->reserved, 3 * HUGE_PAGE);
	fake_kernel_close();
}

static struct wherry_span
map_at(struct trap *t, uint64_t iova, uint64_t len)
{
	struct wherry_span span = { iova, len };

	CHECK_EQ(wherry_domain_map(t->dom, t->mem + (iova - BASE), RW, &span), 0);
	return span;
}

static void
write_at(uint64_t iova)
{
	CHECK_EQ(fake_dma_write(0, iova, "w", 1), 0);
}

/* Pages that a harvest reports, or its error. */
static int64_t
harvest(struct trap *t, struct wherry_span span)
{
	struct wherry_bitmap *bm = NULL;
	int64_t n;

	CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
	n = wherry_domain_dirty_harvest(t->dom, span, bm);
	if (n == 0)
		n = (int64_t)wherry_bitmap_count(bm);
	wherry_bitmap_destroy(bm);
	return n;
}

/* The kernel stops at a hole, says 0, and the rest looks clean. */
TEST(iommufd_trap_a_hole_hides_what_is_behind_it)
{
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd");
	map_at(&t, BASE, 4 * PAGE);
	map_at(&t, BASE + 8 * PAGE, 4 * PAGE);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	write_at(BASE + PAGE);
	write_at(BASE + 9 * PAGE);
	CHECK_EQ(harvest(&t, (struct wherry_span){ BASE, 12 * PAGE }), -ENOENT);
	CHECK_EQ(fake_kernel.gets, 0); /* and nothing was taken */
	CHECK_EQ(harvest(&t, (struct wherry_span){ BASE, 4 * PAGE }), 1);
	CHECK_EQ(harvest(&t, (struct wherry_span){ BASE + 8 * PAGE, 4 * PAGE }), 1);
	close_trap(&t);
}

/* What is not mapped reads as clean. */
TEST(iommufd_trap_what_is_not_mapped_is_not_clean)
{
	struct wherry_span span;
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd");
	span = map_at(&t, BASE, 4 * PAGE);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	CHECK_EQ(wherry_domain_unmap(t.dom, span), 0);
	CHECK_EQ(harvest(&t, span), -ENOENT);
	CHECK_EQ(harvest(&t, (struct wherry_span){ BASE + HUGE_PAGE, PAGE }), -ENOENT);
	CHECK_EQ(fake_kernel.gets, 0);
	close_trap(&t);
}

/* Half of a large leaf: the kernel reports the half and cleans the whole. */
TEST(iommufd_trap_half_of_a_large_leaf_cleans_the_whole)
{
	struct wherry_span all, half;
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd:leaf=max");
	all = map_at(&t, BASE, 2 * HUGE_PAGE);
	half = (struct wherry_span){ BASE, HUGE_PAGE / 2 };
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	write_at(BASE + 300 * PAGE); /* in the second half of the first leaf */
	CHECK_EQ(harvest(&t, half), 256);
	half.iova += half.len;
	CHECK_EQ(harvest(&t, half), 256);
	CHECK_EQ(harvest(&t, all), 0);
	close_trap(&t);
}

/* With small leaves a write is one page, whatever memory is like. */
TEST(iommufd_small_leaves_tell_pages_apart)
{
	struct wherry_span all;
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd");
	all = map_at(&t, BASE, 2 * HUGE_PAGE);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	write_at(BASE + 300 * PAGE);
	CHECK_EQ(harvest(&t, all), 1);
	close_trap(&t);
}

/* Bits for an absent page of the bitmap are dropped: it is locked memory, large ones too. */
TEST(iommufd_trap_the_bitmap_is_locked_memory)
{
	struct wherry_span span;
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd");
	span = map_at(&t, BASE, 2 * HUGE_PAGE);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	write_at(BASE + HUGE_PAGE);
	CHECK_EQ(harvest(&t, span), 1);
	CHECK(fake_kernel.gets > 0 && !fake_kernel.bitmap_absent);
	close_trap(&t);
}

/* No locked memory to be had: an error before anything is read, and nothing is lost. */
TEST(iommufd_trap_no_bitmap_no_harvest)
{
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd");
	map_at(&t, BASE, 4 * PAGE);
	wherry_fault_arm(2); /* the first is the room for pending bits */
	CHECK_EQ(wherry_domain_dirty_start(t.dom), -ENOMEM);
	wherry_fault_disarm();
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	close_trap(&t);
}

/* A second ENABLE clears what is dirty: nobody makes one. */
TEST(iommufd_trap_a_second_enable_loses_bits)
{
	struct wherry_device *second = NULL;
	struct wherry_span span;
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd");
	span = map_at(&t, BASE, 4 * PAGE);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	write_at(BASE + PAGE);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), -EALREADY);
	CHECK_EQ(wherry_device_open(fake_kernel_address(1), &second), 0);
	CHECK_EQ(wherry_device_attach(second, t.dom, NULL), 0);
	CHECK_EQ(fake_kernel.enables, 1);
	CHECK_EQ(harvest(&t, span), 1);
	wherry_device_close(second);
	close_trap(&t);
}

/* Off, never switched on: the kernel says clean. */
TEST(iommufd_trap_off_is_not_clean)
{
	struct wherry_span span;
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd");
	span = map_at(&t, BASE, 4 * PAGE);
	write_at(BASE);
	CHECK_EQ(harvest(&t, span), -EINVAL);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	wherry_domain_dirty_stop(t.dom);
	write_at(BASE);
	CHECK_EQ(harvest(&t, span), -EINVAL);
	CHECK_EQ(fake_kernel.gets, 0);
	close_trap(&t);
}

/* Bits are OR-ed into the buffer: what an earlier harvest left there does not come again. */
TEST(iommufd_trap_old_bits_stay_in_the_buffer)
{
	struct wherry_span span;
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd");
	span = map_at(&t, BASE, 128 * PAGE);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	for (uint64_t i = 0; i < 128; i++)
		write_at(BASE + i * PAGE);
	CHECK_EQ(harvest(&t, span), 128);
	write_at(BASE + 63 * PAGE);
	write_at(BASE + 64 * PAGE);
	write_at(BASE + 127 * PAGE);
	CHECK_EQ(harvest(&t, span), 3);
	close_trap(&t);
}

/* An error after the bits were cleared: what is not known is dirty. */
TEST(iommufd_trap_a_failed_call_may_have_cleared)
{
	struct wherry_span span;
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ 0 }, "iommufd");
	span = map_at(&t, BASE, 4 * PAGE);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	write_at(BASE + 2 * PAGE);
	fake_kernel.fail_get = 1;
	CHECK_EQ(harvest(&t, span), -ENOMEM);
	CHECK_EQ(harvest(&t, span), 4);
	CHECK_EQ(harvest(&t, span), 0);
	close_trap(&t);
}

/* SMMUv3: an entry that can be written is dirty from the start, once, and then as others. */
TEST(iommufd_trap_new_mappings_are_born_dirty)
{
	struct wherry_domain_caps caps;
	struct wherry_span first, second;
	struct trap t;

	open_trap(&t, &(struct fake_kernel){ .born_dirty = true }, "iommufd");
	wherry_domain_get_caps(t.dom, &caps);
	CHECK(caps.born_dirty);
	CHECK_EQ(wherry_domain_dirty_start(t.dom), 0);
	first = map_at(&t, BASE, 100 * PAGE);
	second = map_at(&t, BASE + 100 * PAGE, 28 * PAGE);
	write_at(BASE + PAGE); /* by a device that knew the address before: not lost among them */
	CHECK_EQ(harvest(&t, first), 100);
	CHECK_EQ(harvest(&t, first), 0);
	CHECK_EQ(harvest(&t, second), 28);
	write_at(BASE + 101 * PAGE);
	CHECK_EQ(harvest(&t, second), 1);
	close_trap(&t);
}
