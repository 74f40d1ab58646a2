/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the library adds to the kernel: mapping, unmapping and harvesting through a domain,
 * beside the bare ioctls on an IOAS of the same making. Each has a NIC of its own, bound to
 * vfio-pci and named in WHERRY_TEST_DEVICES; the two take turns, round by round, so that
 * both see the same machine. The baseline is the ioctl.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <wherry_bitmap.h>
#include <wherry_vfio.h>

#include "bench.h"

#define IOVA GIB
#define HARVEST_IOVA (16 * GIB)

/* The bare side. */
struct bare {
	int fd, device;
	uint32_t ioas, hwpt;
};

struct beside {
	struct bare bare;
	struct wherry_domain *dom;
	struct wherry_device *dev;
	struct wherry_bitmap *found;
	char *memory;
	size_t len; /* bytes of it */
	uint64_t *bits;
};

static int
bare_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

/* The n-th word of WHERRY_TEST_DEVICES. */
static bool
device_name(unsigned int n, char name[32])
{
	const char *at = getenv("WHERRY_TEST_DEVICES");
	int len = 0;

	if (at == NULL)
		return false;
	for (unsigned int i = 0; i <= n; i++, at += len)
		if (sscanf(at, " %31s%n", name, &len) != 1)
			return false;
	return true;
}

static int
bare_table(struct bare *b, uint32_t dev_id)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_option small = { .size = sizeof(small),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET };
	struct iommu_hwpt_alloc hwpt = {
		.size = sizeof(hwpt), .flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING, .dev_id = dev_id
	};
	int rc = bare_ioctl(b->fd, IOMMU_IOAS_ALLOC, &ioas);

	if (rc != 0)
		return rc;
	b->ioas = small.object_id = hwpt.pt_id = ioas.out_ioas_id;
	rc = bare_ioctl(b->fd, IOMMU_OPTION, &small);
	if (rc == 0)
		rc = bare_ioctl(b->fd, IOMMU_HWPT_ALLOC, &hwpt);
	b->hwpt = hwpt.out_hwpt_id;
	return rc;
}

static int
bare_open(struct bare *b, const char *name)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct iommu_hwpt_set_dirty_tracking track = { .size = sizeof(track),
		.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE };
	struct wherry_vfio_function fn;
	int rc = wherry_vfio_find(name, &fn);

	if (rc != 0)
		return rc;
	b->fd = bind.iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	b->device = open(fn.cdev, O_RDWR | O_CLOEXEC);
	if (b->fd < 0 || b->device < 0)
		return -ENODEV;
	rc = bare_ioctl(b->device, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (rc == 0)
		rc = bare_table(b, bind.out_devid);
	attach.pt_id = track.hwpt_id = b->hwpt;
	if (rc == 0)
		rc = bare_ioctl(b->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
	if (rc == 0)
		rc = bare_ioctl(b->fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &track);
	return rc;
}

static int
bare_map(const struct bare *b, const void *p, struct wherry_span span)
{
	struct iommu_ioas_map c = { .size = sizeof(c),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = b->ioas,
		.user_va = (uintptr_t)p,
		.length = span.len,
		.iova = span.iova };

	return bare_ioctl(b->fd, IOMMU_IOAS_MAP, &c);
}

static int
bare_unmap(const struct bare *b, struct wherry_span span)
{
	struct iommu_ioas_unmap c = {
		.size = sizeof(c), .ioas_id = b->ioas, .iova = span.iova, .length = span.len
	};

	return bare_ioctl(b->fd, IOMMU_IOAS_UNMAP, &c);
}

static int
bare_get(const struct bare *b, struct wherry_span span, uint64_t *bits)
{
	struct iommu_hwpt_get_dirty_bitmap c = { .size = sizeof(c),
		.hwpt_id = b->hwpt,
		.iova = span.iova,
		.length = span.len,
		.page_size = PAGE,
		.data = (uintptr_t)bits };

	return bare_ioctl(b->fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &c);
}

static void
beside_teardown(void *ctx)
{
	struct beside *s = ctx;

	wherry_device_close(s->dev);
	wherry_domain_destroy(s->dom);
	wherry_bitmap_destroy(s->found);
	if (s->bare.device >= 0)
		close(s->bare.device);
	if (s->bare.fd >= 0)
		close(s->bare.fd);
	bench_memory_free(s->memory, s->len);
	free(s->bits);
	free(s);
}

static int
open_domain(struct beside *s, const char *name)
{
	int rc = wherry_domain_create("iommufd", &s->dom);

	if (rc == 0)
		rc = wherry_device_open(name, &s->dev);
	if (rc == 0)
		rc = wherry_device_attach(s->dev, s->dom, NULL);
	if (rc == 0)
		rc = wherry_domain_dirty_start(s->dom);
	return rc;
}

/* What a harvest is about is mapped on both sides all the time. */
static int
get_memory(struct beside *s)
{
	struct wherry_span span = { HARVEST_IOVA, s->len };
	int rc;

	s->memory = bench_memory(s->len, 2 * MIB);
	s->bits = calloc(s->len / PAGE / 64, sizeof(*s->bits));
	if (s->memory == NULL || s->bits == NULL)
		return -ENOMEM;
	memset(s->memory, 1, s->len);
	rc = wherry_bitmap_create(span, PAGE, &s->found);
	if (rc == 0)
		rc = bare_map(&s->bare, s->memory, span);
	if (rc == 0)
		rc = wherry_domain_map(
			s->dom, s->memory, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span);
	return rc;
}

static int
setup_with(size_t len, void **ret_ctx)
{
	struct beside *s = calloc(1, sizeof(*s));
	char ours[32], bare[32];
	int rc;

	if (s == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	s->len = len;
	s->bare.fd = s->bare.device = -1;
	if (!device_name(0, ours) || !device_name(1, bare)) {
		free(s);
		return bench_cannot(
			-ENODEV, "needs two NICs: devtools/vm/run vtd-ad --nic e1000e-pair -- ...");
	}
	rc = bare_open(&s->bare, bare);
	if (rc == 0)
		rc = open_domain(s, ours);
	if (rc == 0)
		rc = get_memory(s);
	if (rc != 0) {
		beside_teardown(s);
		return bench_cannot(rc, "no iommufd with dirty bits: %s", strerror(-rc));
	}
	*ret_ctx = s;
	return 0;
}

static int
beside_setup(void **ret_ctx)
{
	return setup_with(64 * MIB, ret_ctx);
}

/* Minutes in an emulated machine. */
static int
beside_setup_long(void **ret_ctx)
{
	return bench_long ? setup_with(GIB, ret_ctx)
			  : bench_cannot(-EOPNOTSUPP, "takes minutes: --long -n 1");
}

#define MOST_ROUNDS 500u

/* Nanoseconds of each call. */
struct calls {
	unsigned int n;
	uint64_t ns[MOST_ROUNDS];
};
enum { BARE, OURS, SIDES };
static struct costs {
	struct calls map[SIDES], unmap[SIDES], harvest[SIDES];
} costs;

static void
note(struct calls *calls, uint64_t since)
{
	calls->ns[calls->n++] = bench_now_ns() - since;
}

static int
map_and_unmap(struct beside *s, int side, struct wherry_span span)
{
	uint64_t start = bench_now_ns();
	int rc = side == BARE
		? bare_map(&s->bare, s->memory, span)
		: wherry_domain_map(s->dom, s->memory, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span);

	note(&costs.map[side], start);
	if (rc != 0)
		return rc;
	start = bench_now_ns();
	rc = side == BARE ? bare_unmap(&s->bare, span) : wherry_domain_unmap(s->dom, span);
	note(&costs.unmap[side], start);
	return rc;
}

static int
harvest(struct beside *s, int side, uint64_t len)
{
	struct wherry_span span = { HARVEST_IOVA, len };
	uint64_t start = bench_now_ns();
	int rc = side == BARE ? bare_get(&s->bare, span, s->bits)
			      : wherry_domain_dirty_harvest(s->dom, span, s->found);

	note(&costs.harvest[side], start);
	return rc;
}

/* Who is first changes from round to round, as the second finds caches warm. */
static int
rounds(struct beside *s, const struct calls *what, uint64_t len, unsigned int n)
{
	struct wherry_span span = { IOVA, len };
	int rc = 0;

	memset(&costs, 0, sizeof(costs));
	for (unsigned int i = 0; i < 2 * n && rc == 0; i++) {
		int side = (i / 2 + i) % 2 == 0 ? BARE : OURS;

		rc = what == costs.harvest ? harvest(s, side, len) : map_and_unmap(s, side, span);
	}
	return rc == 0 ? 0 : bench_cannot(rc, "a call failed: %s", strerror(-rc));
}

static int
compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The median call: one that was interrupted says nothing about either side. */
static double
median_us(struct calls *calls)
{
	unsigned int middle = calls->n / 2;

	qsort(calls->ns, calls->n, sizeof(calls->ns[0]), compare_ns);
	return (double)calls->ns[middle] / 1000;
}

static void
record(struct bench_result *result, struct calls calls[SIDES])
{
	bench_record(result, "ioctl", "us", median_us(&calls[BARE]));
	bench_record(result, "wherry", "us", median_us(&calls[OURS]));
}

/* A bench of one call and size; kind: of setup. */
#define BESIDE(id, call, bytes, n, kind, text)                          \
	static int id##_run(void *ctx, struct bench_result *result)     \
	{                                                               \
		int rc = rounds(ctx, costs.call, bytes, n);             \
                                                                        \
		if (rc == 0)                                            \
			record(result, costs.call);                     \
		return rc;                                              \
	}                                                               \
	static struct bench id = { .name = #id,                         \
		.what = text " through iommufd, beside the bare ioctl", \
		.setup = kind,                                          \
		.run = id##_run,                                        \
		.teardown = beside_teardown };                          \
	BENCH(id)

BESIDE(iommufd_map_4K, map, PAGE, 500, beside_setup, "mapping 4 KiB")
BESIDE(iommufd_map_2M, map, 2 * MIB, 25, beside_setup, "mapping 2 MiB in entries of 4 KiB")
BESIDE(iommufd_map_64M, map, 64 * MIB, 5, beside_setup, "mapping 64 MiB in entries of 4 KiB")
BESIDE(iommufd_map_1G, map, GIB, 3, beside_setup_long, "mapping 1 GiB in entries of 4 KiB")
BESIDE(iommufd_unmap_4K, unmap, PAGE, 500, beside_setup, "unmapping 4 KiB")
BESIDE(iommufd_unmap_2M, unmap, 2 * MIB, 25, beside_setup, "unmapping 2 MiB in entries of 4 KiB")
BESIDE(iommufd_unmap_64M, unmap, 64 * MIB, 5, beside_setup, "unmapping 64 MiB in entries of 4 KiB")
BESIDE(iommufd_unmap_1G, unmap, GIB, 3, beside_setup_long, "unmapping 1 GiB in entries of 4 KiB")
BESIDE(iommufd_harvest_256K, harvest, 64 * PAGE, 500, beside_setup, "harvesting 64 clean pages")
BESIDE(iommufd_harvest_2M, harvest, 2 * MIB, 200, beside_setup, "harvesting 2 MiB of clean pages")
BESIDE(iommufd_harvest_64M, harvest, 64 * MIB, 25, beside_setup, "harvesting 64 MiB of clean pages")
BESIDE(iommufd_harvest_1G, harvest, GIB, 9, beside_setup_long, "harvesting 1 GiB of clean pages")
