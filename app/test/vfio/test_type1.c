/* SPDX-License-Identifier: BSD-3-Clause */
/* The type1 backend against a played kernel; the real one is asked in guests. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "fake_vfio.h"
#include "wherry_bitmap.h"
#include "wherry_iommu.h"

#define PAGE UINT64_C(4096)
#define PAGES 64u
#define BASE UINT64_C(0x40000000)
#define CONTAINER (&fake_vfio.containers[0])
#define RW (WHERRY_DMA_READ | WHERRY_DMA_WRITE)

static uint8_t *mem;
static struct wherry_domain *dom;
static struct wherry_device *dev[FAKE_GROUPS];

static void
open_domain(void)
{
	void *p;

	fake_vfio_open();
	CHECK_EQ(wherry_sys_kernel.mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p),
		0);
	mem = p;
	CHECK_EQ(wherry_domain_create("type1", &dom), 0);
	memset(dev, 0, sizeof(dev));
}

static void
attach(unsigned int n)
{
	char address[16];

	snprintf(address, sizeof(address), "0000:0%u:00.0", n);
	CHECK_EQ(wherry_device_open(address, &dev[n]), 0);
	CHECK_EQ(wherry_device_attach(dev[n], dom, NULL), 0);
}

static void
close_domain(void)
{
	for (unsigned int n = 0; n < FAKE_GROUPS; n++)
		wherry_device_close(dev[n]);
	wherry_domain_destroy(dom);
	munmap(mem, PAGES * PAGE);
	fake_vfio_close();
}

static struct wherry_span
map(uint64_t iova, uint64_t page, uint64_t n)
{
	struct wherry_span span = { iova, n * PAGE };

	CHECK_EQ(wherry_domain_map(dom, mem + page * PAGE, RW, &span), 0);
	return span;
}

static int
poke(unsigned int n, uint64_t iova, uint8_t byte)
{
	return fake_vfio_dma(n, iova, &byte, 1, true);
}

TEST(type1_mappings_made_before_attach_are_reachable_after_it)
{
	open_domain();
	map(BASE, 0, 4);
	map(BASE + 16 * PAGE, 4, 1);
	CHECK_EQ(CONTAINER->n_entries, 0);
	attach(1);
	CHECK_EQ(CONTAINER->n_entries, 2);
	CHECK_EQ(poke(1, BASE + 3 * PAGE, 9), 0);
	CHECK_EQ(mem[3 * PAGE], 9);
	map(BASE + 32 * PAGE, 5, 1);
	CHECK_EQ(poke(1, BASE + 32 * PAGE, 8), 0);
	CHECK_EQ(poke(1, BASE + 33 * PAGE, 8), -EFAULT);
	close_domain();
}

TEST(type1_unmapped_memory_is_out_of_reach)
{
	struct wherry_span span;

	open_domain();
	attach(1);
	span = map(BASE, 0, 4);
	map(BASE + span.len, 4, 4);
	CHECK_EQ(poke(1, BASE, 1), 0);
	CHECK_EQ(wherry_domain_unmap(dom, span), 0);
	CHECK_EQ(poke(1, BASE, 2), -EFAULT);
	CHECK_EQ(mem[0], 1);
	CHECK_EQ(poke(1, BASE + span.len, 2), 0);
	close_domain();
}

TEST(type1_unmap_of_many_mappings_is_one_call)
{
	open_domain();
	attach(1);
	for (uint64_t i = 0; i < 16; i++)
		map(BASE + i * PAGE, i, 1);
	fake_vfio.calls_unmap = 0;
	CHECK_EQ(wherry_domain_unmap(dom, (struct wherry_span){ BASE, 16 * PAGE }), 0);
	CHECK_EQ(fake_vfio.calls_unmap, 1);
	CHECK_EQ(CONTAINER->n_entries, 0);
	close_domain();
}

/* A container without groups has no IOMMU: what it held has to be mapped anew. */
TEST(type1_mappings_survive_the_last_device_leaving)
{
	open_domain();
	attach(1);
	map(BASE, 0, 4);
	wherry_device_detach(dev[1]);
	CHECK_EQ(poke(1, BASE, 1), -EFAULT);
	map(BASE + 8 * PAGE, 4, 1);
	CHECK_EQ(wherry_domain_unmap(dom, (struct wherry_span){ BASE, 4 * PAGE }), 0);
	CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), 0);
	CHECK_EQ(poke(1, BASE, 1), -EFAULT);
	CHECK_EQ(poke(1, BASE + 8 * PAGE, 1), 0);
	close_domain();
}

/* iommufd's imitation keeps an address space, and refuses what is in it already. */
TEST(type1_imitation_of_a_container_is_emptied_when_the_last_device_leaves)
{
	for (unsigned int old = 0; old < 2; old++) {
		open_domain();
		fake_vfio.compat = true;
		wherry_domain_destroy(dom);
		fake_vfio.no_unmap_all = old == 1;
		CHECK_EQ(wherry_domain_create("type1", &dom), 0);
		attach(1);
		map(BASE, 0, 4);
		map(BASE + 4 * PAGE, 4, 4);
		wherry_device_detach(dev[1]);
		CHECK_EQ(CONTAINER->n_entries, 0);
		CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), 0);
		CHECK_EQ(poke(1, BASE, 1), 0);
		close_domain();
	}
}

TEST(type1_devices_of_two_groups_share_the_domain)
{
	open_domain();
	attach(1);
	map(BASE, 0, 4);
	attach(2);
	CHECK_EQ(poke(1, BASE, 1), 0);
	CHECK_EQ(poke(2, BASE + PAGE, 1), 0);
	wherry_device_detach(dev[1]);
	CHECK_EQ(poke(1, BASE, 1), -EFAULT);
	CHECK_EQ(poke(2, BASE, 2), 0);
	close_domain();
}

TEST(type1_group_is_in_one_domain_at_a_time)
{
	struct wherry_domain *other;
	struct wherry_device *same;

	open_domain();
	attach(1);
	CHECK_EQ(wherry_domain_create("type1", &other), 0);
	CHECK_EQ(wherry_device_open("0000:01:00.0", &same), 0);
	CHECK_EQ(wherry_device_attach(same, other, NULL), -EBUSY);
	wherry_device_detach(dev[1]);
	CHECK_EQ(wherry_device_attach(same, other, NULL), 0);
	wherry_device_close(same);
	wherry_domain_destroy(other);
	close_domain();
}

TEST(type1_caps_are_the_kernel_s_after_attach)
{
	struct wherry_domain_caps caps;

	open_domain();
	wherry_domain_get_caps(dom, &caps);
	CHECK_EQ(caps.dirty, WHERRY_DIRTY_PERPETUAL);
	CHECK_EQ(caps.max_mappings, 0);
	CHECK(strstr(caps.reason, "guess") != NULL);
	attach(1);
	wherry_domain_get_caps(dom, &caps);
	CHECK_EQ(caps.page_sizes, 0x40201000);
	CHECK_EQ(caps.dirty, WHERRY_DIRTY_PERPETUAL);
	CHECK_EQ(caps.exact_by, WHERRY_UNMAP_BY_ASSUMING);
	CHECK_EQ(caps.max_mappings, 65535);
	CHECK_EQ(caps.n_usable, 2);
	CHECK_EQ(caps.usable[0].len, 0xfee00000);
	CHECK_EQ(wherry_span_last(caps.usable[1]), UINT64_C(0xffffffffffff));
	close_domain();
	open_domain();
	fake_vfio.no_caps = true; /* an old kernel: the guess has to do */
	attach(1);
	wherry_domain_get_caps(dom, &caps);
	CHECK(caps.n_usable >= 2 && caps.max_mappings == 0);
	CHECK_EQ(caps.page_sizes, 0x40201000);
	close_domain();
}

TEST(type1_device_that_cannot_reach_what_is_mapped_is_refused)
{
	struct wherry_span high = { UINT64_C(1) << 40, PAGE };

	open_domain();
	CHECK_EQ(wherry_domain_map(dom, mem, RW, &high), 0);
	fake_vfio.groups[1].reach = (struct vfio_iova_range){ 0, UINT64_C(0x7fffffffff) };
	CHECK_EQ(wherry_device_open("0000:01:00.0", &dev[1]), 0);
	CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), -EOVERFLOW);
	CHECK_EQ(fake_vfio.open_fds, 1);
	attach(2);
	CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), -EOVERFLOW); /* beside another */
	CHECK_EQ(poke(2, high.iova, 1), 0);
	close_domain();
}

/* The domain's tracking, on or off, is the device's when it comes. */
TEST(type1_all_that_is_mapped_is_dirty_again_and_again)
{
	struct wherry_span span, hole = { BASE, 8 * PAGE };
	struct wherry_bitmap *bm;

	open_domain();
	CHECK_EQ(wherry_domain_dirty_start(dom), 0);
	span = map(BASE, 0, 4);
	CHECK_EQ(wherry_bitmap_create(hole, PAGE, &bm), 0);
	for (unsigned int round = 0; round < 3; round++) {
		wherry_bitmap_clear(bm);
		CHECK_EQ(wherry_domain_dirty_harvest(dom, span, bm), 0);
		CHECK_EQ(wherry_bitmap_count(bm), 4);
		if (round == 0)
			attach(1);
	}
	CHECK(CONTAINER->logging);
	CHECK_EQ(fake_vfio.calls_bitmap, 1); /* it has said "all", and is not asked again */
	CHECK_EQ(wherry_domain_dirty_harvest(dom, hole, bm), -ENOENT);
	/* part of an entry, which the kernel would refuse */
	wherry_bitmap_clear(bm);
	span = (struct wherry_span){ BASE + PAGE, PAGE };
	CHECK_EQ(wherry_domain_dirty_harvest(dom, span, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 1);
	wherry_domain_dirty_stop(dom);
	CHECK(!CONTAINER->logging);
	wherry_bitmap_destroy(bm);
	close_domain();
}

/* So it is believed, and asked each time. Part of an entry it would refuse. */
TEST(type1_kernel_that_knows_better_is_asked_each_time)
{
	struct wherry_span span, part = { BASE + PAGE, PAGE };
	struct wherry_bitmap *bm;

	open_domain();
	fake_vfio.knows_better = true;
	attach(1);
	span = map(BASE, 0, 4);
	CHECK_EQ(wherry_domain_dirty_start(dom), 0);
	CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
	for (unsigned int round = 0; round < 3; round++) {
		wherry_bitmap_clear(bm);
		CHECK_EQ(wherry_domain_dirty_harvest(dom, span, bm), 0);
		CHECK_EQ(wherry_bitmap_count(bm), 1);
		CHECK(wherry_bitmap_test(bm, BASE));
	}
	CHECK_EQ(fake_vfio.calls_bitmap, 3);
	wherry_bitmap_clear(bm);
	CHECK_EQ(wherry_domain_dirty_harvest(dom, part, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 0);
	wherry_bitmap_destroy(bm);
	close_domain();
}

/* What it said while tracking was on before is forgotten. */
TEST(type1_kernel_is_asked_anew_when_tracking_starts_anew)
{
	struct wherry_bitmap *bm;
	struct wherry_span span;

	open_domain();
	attach(1);
	span = map(BASE, 0, 4);
	CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
	for (unsigned int round = 0; round < 2; round++) {
		CHECK_EQ(wherry_domain_dirty_start(dom), 0);
		wherry_bitmap_clear(bm);
		CHECK_EQ(wherry_domain_dirty_harvest(dom, span, bm), 0);
		CHECK_EQ(wherry_bitmap_count(bm), round == 0 ? 4 : 1);
		wherry_domain_dirty_stop(dom);
		fake_vfio.knows_better = true;
	}
	wherry_bitmap_destroy(bm);
	close_domain();
}

TEST(type1_adjacent_mappings_are_read_in_one_call)
{
	struct wherry_span all = { BASE, 32 * PAGE };
	struct wherry_bitmap *bm;

	open_domain();
	attach(1);
	for (uint64_t i = 0; i < 32; i++)
		map(BASE + i * PAGE, i, 1);
	CHECK_EQ(wherry_domain_dirty_start(dom), 0);
	CHECK_EQ(wherry_bitmap_create(all, PAGE, &bm), 0);
	fake_vfio.calls_bitmap = 0;
	CHECK_EQ(wherry_domain_dirty_harvest(dom, all, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 32);
	CHECK_EQ(fake_vfio.calls_bitmap, 1);
	wherry_bitmap_destroy(bm);
	close_domain();
}

TEST(type1_failed_bitmap_fails_the_harvest)
{
	struct wherry_bitmap *bm;
	struct wherry_span span;

	open_domain();
	attach(1);
	span = map(BASE, 0, 4);
	CHECK_EQ(wherry_domain_dirty_start(dom), 0);
	CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
	fake_vfio_fail(VFIO_IOMMU_DIRTY_PAGES, 1, -ENOMEM);
	CHECK_EQ(wherry_domain_dirty_harvest(dom, span, bm), -ENOMEM);
	CHECK_EQ(wherry_bitmap_count(bm), 0);
	CHECK_EQ(wherry_domain_dirty_harvest(dom, span, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 4);
	wherry_bitmap_destroy(bm);
	close_domain();
}

/* Every mode but plain unmap reports all, also where the kernel has no dirty ioctls. */
TEST(type1_unmap_dirty_reports_all_in_every_mode)
{
	static const enum wherry_unmap_mode modes[] = { WHERRY_UNMAP_SNAPSHOT, WHERRY_UNMAP_EXACT,
		WHERRY_UNMAP_ASSUME, WHERRY_UNMAP_SEED };

	for (unsigned int i = 0; i < 8; i++) {
		struct wherry_span span = { BASE, 8 * PAGE };
		struct wherry_bitmap *bm;

		open_domain();
		fake_vfio.compat = i >= 4;
		attach(1);
		map(BASE, 0, 4);
		map(BASE + 4 * PAGE, 4, 4);
		CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
		if (modes[i % 4] != WHERRY_UNMAP_ASSUME)
			CHECK_EQ(wherry_domain_unmap_dirty(dom, span, modes[i % 4], bm), -EINVAL);
		CHECK_EQ(poke(1, BASE, 1), 0); /* nothing was unmapped */
		CHECK_EQ(wherry_domain_dirty_start(dom), 0);
		CHECK_EQ(wherry_domain_unmap_dirty(dom, span, modes[i % 4], bm), 0);
		CHECK_EQ(wherry_bitmap_count(bm), 8);
		CHECK_EQ(poke(1, BASE, 1), -EFAULT);
		wherry_bitmap_destroy(bm);
		close_domain();
	}
}

TEST(type1_unmap_without_its_bitmap_still_unmaps_and_all_is_dirty)
{
	struct wherry_bitmap *bm;
	struct wherry_span span;

	open_domain();
	attach(1);
	span = map(BASE, 0, 4);
	CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
	CHECK_EQ(wherry_domain_dirty_start(dom), 0);
	fake_vfio_fail(VFIO_IOMMU_UNMAP_DMA, 1, -ENOMEM);
	CHECK_EQ(wherry_domain_unmap_dirty(dom, span, WHERRY_UNMAP_SEED, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 4);
	CHECK_EQ(CONTAINER->n_entries, 0);
	wherry_bitmap_destroy(bm);
	close_domain();
}

static void
hear_limit(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	(void)area;
	if (level == WHERRY_LOG_WARN && strstr(line, "mappings are left") != NULL)
		++*(unsigned int *)ctx;
}

TEST(type1_limit_of_entries_is_announced_and_then_said)
{
	struct wherry_span one_more = { BASE + 60 * PAGE, PAGE };
	unsigned int heard = 0;

	open_domain();
	fake_vfio.max_entries = 32;
	attach(1);
	wherry_log_set(hear_limit, &heard, WHERRY_LOG_WARN);
	for (uint64_t i = 0; i < 29; i++)
		map(BASE + i * PAGE, i, 1);
	CHECK_EQ(heard, 0);
	for (uint64_t i = 29; i < 32; i++)
		map(BASE + i * PAGE, i, 1);
	wherry_log_set(NULL, NULL, WHERRY_LOG_ERR);
	CHECK_EQ(heard, 1);
	fake_vfio.calls_map = 0;
	CHECK_EQ(wherry_domain_map(dom, mem, RW, &one_more), -ENOSPC);
	CHECK_EQ(fake_vfio.calls_map, 0); /* known without asking */
	CHECK_EQ(wherry_domain_unmap(dom, (struct wherry_span){ BASE, 2 * PAGE }), 0);
	CHECK_EQ(wherry_domain_map(dom, mem, RW, &one_more), 0);
	close_domain();
}

TEST(type1_more_mappings_than_entries_refuse_the_attach)
{
	open_domain();
	fake_vfio.max_entries = 2;
	for (uint64_t i = 0; i < 3; i++)
		map(BASE + i * PAGE, i, 1);
	CHECK_EQ(wherry_device_open("0000:01:00.0", &dev[1]), 0);
	CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), -ENOSPC);
	CHECK_EQ(fake_vfio.calls_map, 0);
	CHECK_EQ(wherry_domain_unmap(dom, (struct wherry_span){ BASE, PAGE }), 0);
	CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), 0);
	close_domain();
}

TEST(type1_refusals_of_the_kernel_have_one_meaning_each)
{
	static const struct {
		int kernel, ours;
	} answers[] = { { -ENOMEM, -ENOMEM }, { -ENOSPC, -ENOSPC }, { -EINVAL, -EOVERFLOW },
		{ -EFAULT, -EFAULT }, { -EEXIST, -EEXIST } };
	struct wherry_span span = { BASE, PAGE };

	open_domain();
	CHECK_EQ(
		wherry_domain_map(dom, (void *)(uintptr_t)PAGE, RW, &span), -EFAULT); /* nobody's */
	attach(1);
	CHECK_EQ(wherry_domain_map(dom, (void *)(uintptr_t)PAGE, RW, &span), -EFAULT);
	for (unsigned int i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		fake_vfio_fail(VFIO_IOMMU_MAP_DMA, 1, answers[i].kernel);
		CHECK_EQ(wherry_domain_map(dom, mem, RW, &span), answers[i].ours);
		CHECK_EQ(wherry_domain_unmap(dom, span), -ENOENT);
	}
	close_domain();
}

TEST(type1_attach_says_why_not)
{
	static const struct {
		unsigned long request;
		int kernel, ours;
	} answers[] = { { VFIO_SET_IOMMU, -EPERM, -EACCES }, { VFIO_SET_IOMMU, -ENODEV, -ENODEV },
		{ VFIO_GROUP_SET_CONTAINER, -EBUSY, -EBUSY },
		{ VFIO_GROUP_GET_STATUS, -EIO, -ENODEV }, { VFIO_IOMMU_GET_INFO, -EIO, -ENODEV },
		{ VFIO_GROUP_GET_DEVICE_FD, -EPERM, -EACCES },
		{ VFIO_GROUP_GET_DEVICE_FD, -EBUSY, -EBUSY },
		{ VFIO_GROUP_GET_DEVICE_FD, -EADDRINUSE, -EOVERFLOW },
		{ VFIO_DEVICE_GET_INFO, -EIO, -ENODEV }, { VFIO_IOMMU_MAP_DMA, -ENOMEM, -ENOMEM } };

	open_domain();
	map(BASE, 0, 1);
	map(BASE + PAGE, 1, 1);
	CHECK_EQ(wherry_device_open("0000:01:00.0", &dev[1]), 0);
	for (unsigned int i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		fake_vfio_fail(answers[i].request, 1, answers[i].kernel);
		CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), answers[i].ours);
		CHECK_EQ(fake_vfio.open_fds, 1);
	}
	fake_vfio.groups[1].not_viable = true;
	CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), -EBUSY);
	fake_vfio.groups[1].not_viable = false;
	fake_vfio.open_error = -EACCES;
	CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), -EACCES);
	fake_vfio.open_error = 0;
	CHECK_EQ(wherry_device_attach(dev[1], dom, NULL), 0);
	CHECK_EQ(poke(1, BASE + PAGE, 1), 0);
	close_domain();
}

TEST(type1_create_says_what_is_missing)
{
	struct wherry_domain *none = NULL;

	fake_vfio_open();
	fake_vfio.open_error = -ENOENT;
	CHECK_EQ(wherry_domain_create("type1", &none), -ENODEV);
	fake_vfio.open_error = -EACCES;
	CHECK_EQ(wherry_domain_create("type1", &none), -EACCES);
	fake_vfio.open_error = 0;
	fake_vfio.no_type1 = true;
	CHECK_EQ(wherry_domain_create("type1", &none), -ENODEV);
	fake_vfio.no_type1 = false;
	CHECK_EQ(wherry_domain_create("type1:leaf=4k", &none), -EINVAL);
	CHECK(none == NULL);
	fake_vfio_close();
}

static void *
memory(void)
{
	static _Alignas(4096) uint8_t pages[4 * 4096];

	return pages;
}

/* Whatever step fails, nothing stays open, mapped or allocated. */
TEST(type1_failure_at_any_step_leaves_no_trace)
{
	FOR_EACH_FAULT(nth) {
		struct wherry_span span = { BASE, 4 * PAGE };
		struct wherry_domain *d = NULL;
		struct wherry_device *v = NULL;
		void *bar;
		int rc;

		fake_vfio_open();
		rc = wherry_domain_create("type1", &d);
		if (rc == 0)
			rc = wherry_device_open("0000:01:00.0", &v);
		if (rc == 0)
			rc = wherry_domain_map(d, memory(), RW, &span);
		if (rc == 0)
			rc = wherry_device_attach(v, d, NULL);
		if (rc == 0)
			rc = wherry_domain_dirty_start(d);
		if (rc == 0)
			rc = wherry_vfio_region_map(v, 0, &bar);
		if (rc == 0)
			rc = wherry_domain_unmap(d, span);
		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		wherry_device_close(v);
		wherry_domain_destroy(d);
		fake_vfio_close();
	}
}
