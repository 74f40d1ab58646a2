/* SPDX-License-Identifier: BSD-3-Clause */
/* The bare side of iommufd: an IOAS in leaves of 4 KiB, and a table with dirty bits. */
#include <errno.h>
#include <fcntl.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>

#include <wherry_vfio.h>

#include "beside.h"

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

static const struct bare_ops iommufd = {
	.spec = "iommufd",
	.open = bare_open,
	.map = bare_map,
	.unmap = bare_unmap,
	.get = bare_get,
};

BESIDE(iommufd_map_4K, "mapping 4 KiB", &iommufd, BESIDE_MAP, PAGE, 500, 0)
BESIDE(iommufd_map_2M, "mapping 2 MiB in entries of 4 KiB", &iommufd, BESIDE_MAP, 2 * MIB, 25, 0)
BESIDE(iommufd_map_64M, "mapping 64 MiB in entries of 4 KiB", &iommufd, BESIDE_MAP, 64 * MIB, 5, 0)
BESIDE(iommufd_map_1G, "mapping 1 GiB in entries of 4 KiB", &iommufd, BESIDE_MAP, GIB, 3, 0)
BESIDE(iommufd_unmap_4K, "unmapping 4 KiB", &iommufd, BESIDE_UNMAP, PAGE, 500, 0)
BESIDE(iommufd_unmap_2M, "unmapping 2 MiB in entries of 4 KiB", &iommufd, BESIDE_UNMAP, 2 * MIB, 25,
	0)
BESIDE(iommufd_unmap_64M, "unmapping 64 MiB in entries of 4 KiB", &iommufd, BESIDE_UNMAP, 64 * MIB,
	5, 0)
BESIDE(iommufd_unmap_1G, "unmapping 1 GiB in entries of 4 KiB", &iommufd, BESIDE_UNMAP, GIB, 3, 0)
BESIDE(iommufd_harvest_256K, "harvesting 64 clean pages", &iommufd, BESIDE_HARVEST, 64 * PAGE, 500,
	0)
BESIDE(iommufd_harvest_2M, "harvesting 2 MiB of clean pages", &iommufd, BESIDE_HARVEST, 2 * MIB,
	200, 0)
BESIDE(iommufd_harvest_64M, "harvesting 64 MiB of clean pages", &iommufd, BESIDE_HARVEST, 64 * MIB,
	25, 0)
BESIDE(iommufd_harvest_1G, "harvesting 1 GiB of clean pages", &iommufd, BESIDE_HARVEST, GIB, 9, 0)
