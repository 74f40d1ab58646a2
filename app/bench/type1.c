/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bare side of type1: a container with one group. Its leaves are as large as memory
 * allows, its dirty bits say "all that is pinned", and a harvest may not cut a mapping: so
 * what is harvested is one mapping of that size.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <wherry_vfio.h>

#include "beside.h"

static int
open_group(struct bare *b, const struct wherry_vfio_function *fn)
{
	int rc;

	b->fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	b->group = open(fn->group, O_RDWR | O_CLOEXEC);
	if (b->fd < 0 || b->group < 0)
		return -ENODEV;
	rc = bare_ioctl(b->group, VFIO_GROUP_SET_CONTAINER, &b->fd);
	if (rc == 0)
		rc = bare_ioctl(b->fd, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU);
	return rc;
}

static int
bare_open(struct bare *b, const char *name)
{
	struct vfio_iommu_type1_dirty_bitmap start = { .argsz = sizeof(start),
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START };
	struct wherry_vfio_function fn;
	int rc = wherry_vfio_find(name, &fn);

	if (rc == 0)
		rc = open_group(b, &fn);
	if (rc != 0)
		return rc;
	b->device = ioctl(b->group, VFIO_GROUP_GET_DEVICE_FD, fn.address);
	if (b->device < 0)
		return -errno;
	return bare_ioctl(b->fd, VFIO_IOMMU_DIRTY_PAGES, &start);
}

static int
bare_map(const struct bare *b, const void *p, struct wherry_span span)
{
	struct vfio_iommu_type1_dma_map c = { .argsz = sizeof(c),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)p,
		.iova = span.iova,
		.size = span.len };

	return bare_ioctl(b->fd, VFIO_IOMMU_MAP_DMA, &c);
}

static int
bare_unmap(const struct bare *b, struct wherry_span span)
{
	struct vfio_iommu_type1_dma_unmap c = {
		.argsz = sizeof(c), .iova = span.iova, .size = span.len
	};

	return bare_ioctl(b->fd, VFIO_IOMMU_UNMAP_DMA, &c);
}

static int
bare_get(const struct bare *b, struct wherry_span span, uint64_t *bits)
{
	struct vfio_iommu_type1_dirty_bitmap_get get = { .iova = span.iova,
		.size = span.len,
		.bitmap = { .pgsize = PAGE, .size = span.len / PAGE / 8, .data = (void *)bits } };
	union { /* a dirty_bitmap ends with its data */
		struct vfio_iommu_type1_dirty_bitmap head;
		char room[sizeof(struct vfio_iommu_type1_dirty_bitmap) + sizeof(get)];
	} c = { .head = { .argsz = sizeof(c), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP } };

	memcpy(c.head.data, &get, sizeof(get));
	return bare_ioctl(b->fd, VFIO_IOMMU_DIRTY_PAGES, &c);
}

static const struct bare_ops type1 = {
	.spec = "type1",
	.open = bare_open,
	.map = bare_map,
	.unmap = bare_unmap,
	.get = bare_get,
};

BESIDE(type1_map_4K, "mapping 4 KiB", &type1, BESIDE_MAP, PAGE, 500, PAGE)
BESIDE(type1_map_2M, "mapping 2 MiB", &type1, BESIDE_MAP, 2 * MIB, 25, PAGE)
BESIDE(type1_map_64M, "mapping 64 MiB", &type1, BESIDE_MAP, 64 * MIB, 5, PAGE)
BESIDE(type1_unmap_4K, "unmapping 4 KiB", &type1, BESIDE_UNMAP, PAGE, 500, PAGE)
BESIDE(type1_unmap_2M, "unmapping 2 MiB", &type1, BESIDE_UNMAP, 2 * MIB, 25, PAGE)
BESIDE(type1_unmap_64M, "unmapping 64 MiB", &type1, BESIDE_UNMAP, 64 * MIB, 5, PAGE)
BESIDE(type1_harvest_256K, "harvesting 64 pages", &type1, BESIDE_HARVEST, 64 * PAGE, 500, 64 * PAGE)
BESIDE(type1_harvest_2M, "harvesting 2 MiB of pages", &type1, BESIDE_HARVEST, 2 * MIB, 200, 2 * MIB)
BESIDE(type1_harvest_64M, "harvesting 64 MiB of pages", &type1, BESIDE_HARVEST, 64 * MIB, 25,
	64 * MIB)
