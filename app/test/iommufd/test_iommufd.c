/* SPDX-License-Identifier: BSD-3-Clause */
/* The iommufd backend by itself: creation, devices of several kinds, files, caps. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base_priv.h"
#include "fake_kernel.h"
#include "wherry_bitmap.h"
#include "wherry_iommu.h"

#define BASE UINT64_C(0x40000000)
#define PAGE UINT64_C(4096)
#define RW (WHERRY_DMA_READ | WHERRY_DMA_WRITE)

static uint8_t mem[32 * 4096] __attribute__((aligned(4096)));

static struct wherry_device *
attach(struct wherry_domain *dom, unsigned int dev)
{
	struct wherry_device *d = NULL;

	CHECK_EQ(wherry_device_open(fake_kernel_address(dev), &d), 0);
	CHECK_EQ(wherry_device_attach(d, dom, NULL), 0);
	return d;
}

static struct wherry_domain *
create(const char *spec)
{
	struct wherry_domain *dom = NULL;

	CHECK_EQ(wherry_domain_create(spec, &dom), 0);
	return dom;
}

static struct wherry_span
map_all(struct wherry_domain *dom)
{
	struct wherry_span span = { BASE, sizeof(mem) };

	CHECK_EQ(wherry_domain_map(dom, mem, RW, &span), 0);
	return span;
}

static uint64_t
harvest(struct wherry_domain *dom, struct wherry_span span)
{
	struct wherry_bitmap *bm = NULL;
	uint64_t n;

	CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
	CHECK_EQ(wherry_domain_dirty_harvest(dom, span, bm), 0);
	n = wherry_bitmap_count(bm);
	wherry_bitmap_destroy(bm);
	return n;
}

TEST(iommufd_create_says_what_stands_in_the_way)
{
	struct wherry_domain *dom = NULL;

	fake_kernel_open(&(struct fake_kernel){ .absent = true });
	CHECK_EQ(wherry_domain_create("iommufd", &dom), -ENODEV);
	fake_kernel_close();
	fake_kernel_open(&(struct fake_kernel){ .forbidden = true });
	CHECK_EQ(wherry_domain_create("iommufd", &dom), -EACCES);
	fake_kernel_close();
	fake_kernel_open(&(struct fake_kernel){ 0 });
	CHECK_EQ(wherry_domain_create("iommufd:leaf=8k", &dom), -EINVAL);
	CHECK_EQ(wherry_domain_create("iommufd:", &dom), 0);
	wherry_domain_destroy(dom);
	fake_kernel_close();
}

/* Before a device is attached nothing is known, and nothing is promised. */
TEST(iommufd_caps_come_with_the_first_device)
{
	struct wherry_domain_caps caps;
	struct wherry_domain *dom;
	struct wherry_device *dev;

	fake_kernel_open(&(struct fake_kernel){ 0 });
	dom = create("iommufd");
	wherry_domain_get_caps(dom, &caps);
	CHECK_EQ(caps.dirty, WHERRY_DIRTY_NONE);
	CHECK_EQ(caps.exact_by, WHERRY_UNMAP_BY_NOTHING);
	CHECK(strstr(caps.reason, "no device") != NULL);
	CHECK_EQ(caps.n_usable, 1);
	dev = attach(dom, 0);
	wherry_domain_get_caps(dom, &caps);
	CHECK_EQ(caps.dirty, WHERRY_DIRTY_TRACKED);
	CHECK_EQ(caps.exact_by, WHERRY_UNMAP_BY_CONTENT);
	CHECK_EQ(caps.regrain, WHERRY_REGRAIN_STOPPED);
	CHECK_EQ(caps.granule, PAGE);
	CHECK_EQ(caps.n_usable, 2); /* asked again: the MSI window is left out now */
	CHECK_EQ(caps.usable[1].iova, 0xfef00000);
	wherry_device_close(dev);
	wherry_domain_destroy(dom);
	fake_kernel_close();
}

TEST(iommufd_attach_refuses_what_the_device_cannot_reach)
{
	struct wherry_span span = { 0xfee00000, PAGE };
	struct wherry_device *dev = NULL;
	struct wherry_domain *dom;

	fake_kernel_open(&(struct fake_kernel){ 0 });
	dom = create("iommufd");
	CHECK_EQ(wherry_domain_map(dom, mem, RW, &span), 0);
	CHECK_EQ(wherry_device_open(fake_kernel_address(0), &dev), 0);
	CHECK_EQ(wherry_device_attach(dev, dom, NULL), -EOVERFLOW);
	CHECK_EQ(wherry_domain_unmap(dom, span), 0);
	CHECK_EQ(wherry_device_attach(dev, dom, NULL), 0);
	wherry_device_close(dev);
	wherry_domain_destroy(dom);
	fake_kernel_close();
}

/* Two kinds of IOMMU: a table for each, and the bits of both are one answer. */
TEST(iommufd_devices_of_two_kinds_share_a_domain)
{
	struct wherry_device *dev[3];
	struct wherry_domain *dom;
	struct wherry_span span;

	fake_kernel_open(&(struct fake_kernel){ .other_kind = { [1] = true } });
	dom = create("iommufd");
	for (unsigned int i = 0; i < 2; i++)
		dev[i] = attach(dom, i);
	span = map_all(dom);
	CHECK_EQ(wherry_domain_dirty_start(dom), 0);
	CHECK_EQ(fake_kernel.enables, 2);
	dev[2] = attach(dom, 2); /* shares the table of the first: not enabled again */
	CHECK_EQ(fake_kernel.enables, 2);
	CHECK_EQ(fake_dma_write(0, BASE, "a", 1), 0);
	CHECK_EQ(fake_dma_write(1, BASE + 2 * PAGE, "b", 1), 0);
	CHECK_EQ(fake_dma_write(2, BASE + 4 * PAGE, "c", 1), 0);
	CHECK_EQ(harvest(dom, span), 3);
	CHECK_EQ(harvest(dom, span), 0);
	for (unsigned int i = 0; i < 3; i++)
		wherry_device_close(dev[i]);
	wherry_domain_destroy(dom);
	fake_kernel_close();
}

/* What a device wrote before it left is not forgotten. */
TEST(iommufd_bits_of_a_device_that_has_left_are_read)
{
	struct wherry_device *dev;
	struct wherry_domain *dom;
	struct wherry_span span;

	fake_kernel_open(&(struct fake_kernel){ 0 });
	dom = create("iommufd");
	dev = attach(dom, 0);
	span = map_all(dom);
	CHECK_EQ(wherry_domain_dirty_start(dom), 0);
	CHECK_EQ(fake_dma_write(0, BASE, "a", 1), 0);
	wherry_device_detach(dev);
	CHECK_EQ(harvest(dom, span), 1);
	wherry_device_close(dev);
	wherry_domain_destroy(dom);
	fake_kernel_close();
}

/* One device without dirty bits is enough: its writes are unknown, so all is dirty. */
TEST(iommufd_a_device_without_dirty_bits_makes_everything_dirty)
{
	struct wherry_domain_caps caps;
	struct wherry_device *dev[2];
	struct wherry_domain *dom;
	struct wherry_span span;

	fake_kernel_open(&(struct fake_kernel){ .no_dirty = { [1] = true } });
	dom = create("iommufd");
	dev[0] = attach(dom, 0);
	span = map_all(dom);
	CHECK_EQ(wherry_domain_dirty_start(dom), 0);
	CHECK_EQ(harvest(dom, span), 0);
	dev[1] = attach(dom, 1);
	wherry_domain_get_caps(dom, &caps);
	CHECK_EQ(caps.dirty, WHERRY_DIRTY_NONE);
	CHECK(strstr(caps.reason, "SSADS") != NULL);
	CHECK_EQ(harvest(dom, span), sizeof(mem) / PAGE);
	wherry_domain_dirty_stop(dom);
	CHECK_EQ(wherry_domain_dirty_start(dom), -EOPNOTSUPP);
	for (unsigned int i = 0; i < 2; i++)
		wherry_device_close(dev[i]);
	wherry_domain_destroy(dom);
	fake_kernel_close();
}

TEST(iommufd_exact_unmap_needs_write_draining)
{
	struct wherry_bitmap *bm = NULL;
	struct wherry_domain_caps caps;
	struct wherry_device *dev;
	struct wherry_domain *dom;
	struct wherry_span span;

	fake_kernel_open(&(struct fake_kernel){ .no_drain = true });
	dom = create("iommufd");
	dev = attach(dom, 0);
	span = map_all(dom);
	wherry_domain_get_caps(dom, &caps);
	CHECK_EQ(caps.dirty, WHERRY_DIRTY_TRACKED);
	CHECK_EQ(caps.exact_by, WHERRY_UNMAP_BY_NOTHING);
	CHECK(strstr(caps.reason, "draining") != NULL);
	CHECK_EQ(wherry_domain_dirty_start(dom), 0);
	CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
	CHECK_EQ(wherry_domain_unmap_dirty(dom, span, WHERRY_UNMAP_EXACT, bm), -EOPNOTSUPP);
	CHECK_EQ(fake_dma_write(0, BASE, "a", 1), 0);
	wherry_bitmap_destroy(bm);
	wherry_device_close(dev);
	wherry_domain_destroy(dom);
	fake_kernel_close();
}

/* By file where the kernel can, by address where it cannot: the same comes of it. */
TEST(iommufd_map_file_falls_back_to_the_address)
{
	for (int newer = 0; newer < 2; newer++) {
		struct wherry_span span = { BASE, 2 * PAGE };
		struct wherry_device *dev;
		struct wherry_domain *dom;
		char byte = 0;
		int fd;

		fake_kernel_open(&(struct fake_kernel){ .map_file = newer == 1 });
		fd = memfd_create("iommufd", MFD_CLOEXEC);
		CHECK(fd >= 0 && ftruncate(fd, (off_t)(4 * PAGE)) == 0);
		dom = create("iommufd");
		dev = attach(dom, 0);
		CHECK_EQ(wherry_domain_map_file(dom, fd, PAGE, RW, &span), 0);
		CHECK_EQ(fake_kernel.maps_by_file, newer);
		CHECK_EQ(fake_kernel.maps_by_address, 1 - newer);
		CHECK_EQ(fake_dma_write(0, BASE + 7, "x", 1), 0);
		CHECK_EQ(pread(fd, &byte, 1, (off_t)PAGE + 7), 1);
		CHECK_EQ(byte, 'x');
		close(fd);
		wherry_device_close(dev);
		wherry_domain_destroy(dom);
		fake_kernel_close();
	}
}

TEST(iommufd_claim_wants_files_only)
{
	struct wherry_span file = { BASE, PAGE }, address = { BASE + PAGE, PAGE };
	struct wherry_domain *dom;
	int fd = memfd_create("iommufd", MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)PAGE) == 0);
	fake_kernel_open(&(struct fake_kernel){ .map_file = true });
	dom = create("iommufd");
	CHECK_EQ(wherry_domain_map_file(dom, fd, 0, RW, &file), 0);
	CHECK_EQ(wherry_domain_map(dom, mem, RW, &address), 0);
	CHECK_EQ(wherry_domain_claim(dom), -EBUSY);
	CHECK_EQ(fake_kernel.claims, 0);
	CHECK_EQ(wherry_domain_unmap(dom, address), 0);
	CHECK_EQ(wherry_domain_claim(dom), 0);
	CHECK_EQ(fake_kernel.claims, 1);
	wherry_fault_arm(1);
	CHECK_EQ(wherry_domain_claim(dom), -ENOMEM);
	wherry_fault_disarm();
	CHECK_EQ(fake_kernel.claims, 1);
	close(fd);
	wherry_domain_destroy(dom);
	fake_kernel_close();
}

/* An older kernel, and a backend whose mappings are always the process's own. */
TEST(iommufd_claim_is_refused_where_it_cannot_be)
{
	struct wherry_domain *dom;

	fake_kernel_open(&(struct fake_kernel){ .map_file = false });
	dom = create("iommufd");
	CHECK_EQ(wherry_domain_claim(dom), -EOPNOTSUPP);
	wherry_domain_destroy(dom);
	fake_kernel_close();
	dom = create("soft");
	CHECK_EQ(wherry_domain_claim(dom), -EOPNOTSUPP);
	wherry_domain_destroy(dom);
}

static struct {
	unsigned int at; /* the reading of the bits after which the device writes */
	uint64_t iova;
} late;

static void
write_late(unsigned int nth)
{
	uint8_t byte = (uint8_t)(nth + 100);

	if (nth == late.at)
		CHECK_EQ(fake_dma_write(0, late.iova, &byte, 1), 0);
}

/*
 * A write between any two steps of the check by content: before the look it has a bit
 * in the second reading, after that it shows in the bytes. A small span, and a large one.
 */
TEST(iommufd_exact_unmap_sees_a_write_at_any_moment)
{
	for (unsigned int i = 0; i < 6; i++) {
		struct wherry_span span = { BASE, (i % 2 == 0 ? 4 : 32) * PAGE };
		struct wherry_bitmap *bm = NULL;
		struct wherry_device *dev;
		struct wherry_domain *dom;

		memset(mem, 0, sizeof(mem));
		fake_kernel_open(&(struct fake_kernel){ .after_get = write_late });
		late.at = i / 2;
		late.iova = BASE + 3 * PAGE + 77;
		dom = create("iommufd");
		dev = attach(dom, 0);
		CHECK_EQ(wherry_domain_map(dom, mem, RW, &span), 0);
		CHECK_EQ(wherry_domain_dirty_start(dom), 0);
		CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
		CHECK_EQ(wherry_domain_unmap_dirty(dom, span, WHERRY_UNMAP_EXACT, bm), 0);
		CHECK_EQ(wherry_bitmap_count(bm), late.at == 0 ? 0 : 1);
		CHECK_EQ(wherry_bitmap_test(bm, late.iova), late.at != 0);
		CHECK_EQ(mem[3 * PAGE + 77], late.at == 0 ? 0 : late.at + 100);
		wherry_bitmap_destroy(bm);
		wherry_device_close(dev);
		wherry_domain_destroy(dom);
		fake_kernel_close();
	}
}
