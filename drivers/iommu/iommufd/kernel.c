/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "kernel_priv.h"

#define LOG_PREFIX "iommu/iommufd"

/* What a failed ioctl means to callers of ours. */
static int
meaning(int rc)
{
	switch (rc) {
	case -ENOMEM:
	case -EBUSY:
	case -EFAULT:
	case -EEXIST:
	case -ENOENT:
	case -ENOSPC:
	case -ENODEV:
	case -EOVERFLOW:
		return rc;
	case -EADDRINUSE: /* what is mapped lies where the device cannot reach */
		return -EOVERFLOW;
	case -EACCES:
	case -EPERM:
		return -EACCES;
	default:
		return -EOPNOTSUPP;
	}
}

static int
call(int fd, unsigned long request, void *arg, const char *name)
{
	int rc = wherry_fault(name) ? -ENOMEM : wherry_sys_ioctl(fd, request, arg);

	if (rc >= 0)
		return 0;
	LOG_DEBUG("%s: %s", name, strerror(-rc));
	return meaning(rc);
}

int
kernel_open(int *ret_fd)
{
	int fd = wherry_sys->open(KERNEL_NODE, O_RDWR);

	if (fd == -ENOENT || fd == -ENODEV || fd == -ENXIO)
		return -ENODEV;
	if (fd < 0)
		return fd == -ENOMEM || fd == -EMFILE || fd == -ENFILE ? -ENOMEM : -EACCES;
	*ret_fd = fd;
	return 0;
}

int
kernel_ioas_alloc(int fd, uint32_t *ret_ioas)
{
	struct iommu_ioas_alloc c = { .size = sizeof(c) };
	int rc = call(fd, IOMMU_IOAS_ALLOC, &c, "IOAS_ALLOC");

	if (rc == 0)
		*ret_ioas = c.out_ioas_id;
	return rc;
}

int
kernel_ioas_small_pages(int fd, uint32_t ioas)
{
	struct iommu_option c = {
		.size = sizeof(c),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = ioas,
		.val64 = 0,
	};

	return call(fd, IOMMU_OPTION, &c, "OPTION(HUGE_PAGES)");
}

int
kernel_ioas_ranges(
	int fd, uint32_t ioas, struct iommu_iova_range *ranges, uint32_t *n, uint64_t *ret_align)
{
	struct iommu_ioas_iova_ranges c = {
		.size = sizeof(c),
		.ioas_id = ioas,
		.num_iovas = *n,
		.allowed_iovas = (uintptr_t)ranges,
	};
	uint32_t room = *n;
	int rc = wherry_fault("IOAS_IOVA_RANGES")
		? -ENOMEM
		: wherry_sys->ioctl(fd, IOMMU_IOAS_IOVA_RANGES, &c);

	if (rc != 0 && !(rc == -EMSGSIZE && c.num_iovas > room))
		return meaning(rc);
	*n = c.num_iovas;
	*ret_align = c.out_iova_alignment;
	return 0;
}

/* Not every IOMMU can forbid reading what may be written: the same is had on all. */
static uint32_t
map_flags(unsigned int prot)
{
	return IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
		((prot & WHERRY_DMA_WRITE) != 0 ? IOMMU_IOAS_MAP_WRITEABLE : 0u);
}

WHERRY_HOT int
kernel_ioas_map(int fd, uint32_t ioas, const struct wherry_place *place)
{
	struct iommu_ioas_map c = {
		.size = sizeof(c),
		.flags = map_flags(place->prot),
		.ioas_id = ioas,
		.user_va = (uintptr_t)place->vaddr,
		.length = place->span.len,
		.iova = place->span.iova,
	};

	return call(fd, IOMMU_IOAS_MAP, &c, "IOAS_MAP");
}

int
kernel_ioas_map_file(int fd, uint32_t ioas, const struct wherry_place *place)
{
	struct iommufd_ioas_map_file c = {
		.size = sizeof(c),
		.flags = map_flags(place->prot),
		.ioas_id = ioas,
		.fd = place->fd,
		.start = place->offset,
		.length = place->span.len,
		.iova = place->span.iova,
	};

	return call(fd, IOMMUFD_IOAS_MAP_FILE, &c, "IOAS_MAP_FILE");
}

int
kernel_change_process(int fd)
{
	struct iommufd_ioas_change_process c = { .size = sizeof(c) };
	int rc = wherry_fault("IOAS_CHANGE_PROCESS")
		? -ENOMEM
		: wherry_sys->ioctl(fd, IOMMUFD_IOAS_CHANGE_PROCESS, &c);

	return rc == -EINVAL ? -EBUSY : rc < 0 ? meaning(rc) : 0;
}

int
kernel_ioas_copy(int fd, uint32_t from, uint32_t to, struct wherry_span span, unsigned int prot)
{
	struct iommu_ioas_copy c = {
		.size = sizeof(c),
		.flags = map_flags(prot),
		.dst_ioas_id = to,
		.src_ioas_id = from,
		.length = span.len,
		.dst_iova = span.iova,
		.src_iova = span.iova,
	};

	return call(fd, IOMMU_IOAS_COPY, &c, "IOAS_COPY");
}

void
kernel_unmap_failed(struct wherry_span span, int rc)
{
	LOG_ERR("the kernel does not unmap %#llx, %#llx bytes: %s; devices reach it still",
		(unsigned long long)span.iova, (unsigned long long)span.len, strerror(-rc));
}

void
kernel_ioas_clear(int fd, uint32_t ioas, struct wherry_span span)
{
	struct iommu_ioas_unmap c = {
		.size = sizeof(c),
		.ioas_id = ioas,
		.iova = span.iova,
		.length = span.len,
	};
	int rc = wherry_sys->ioctl(fd, IOMMU_IOAS_UNMAP, &c);

	if (rc < 0 && rc != -ENOENT)
		LOG_ERR("%#llx to %#llx may hold mappings of who had it before: %s",
			(unsigned long long)span.iova, (unsigned long long)wherry_span_last(span),
			strerror(-rc));
}

int
kernel_hwpt_alloc(int fd, uint32_t dev_id, uint32_t ioas, bool dirty, uint32_t *ret_hwpt)
{
	struct iommu_hwpt_alloc c = {
		.size = sizeof(c),
		.flags = dirty ? IOMMU_HWPT_ALLOC_DIRTY_TRACKING : 0u,
		.dev_id = dev_id,
		.pt_id = ioas,
	};
	int rc =
		call(fd, IOMMU_HWPT_ALLOC, &c, dirty ? "HWPT_ALLOC(DIRTY_TRACKING)" : "HWPT_ALLOC");

	if (rc == 0)
		*ret_hwpt = c.out_hwpt_id;
	return rc;
}

int
kernel_hwpt_track(int fd, uint32_t hwpt, bool on)
{
	struct iommu_hwpt_set_dirty_tracking c = {
		.size = sizeof(c),
		.flags = on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0u,
		.hwpt_id = hwpt,
	};

	if (!on) {
		(void)wherry_sys->ioctl(fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &c);
		return 0;
	}
	return call(fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &c, "SET_DIRTY_TRACKING");
}

WHERRY_HOT int /* the ioctl has as many: NOLINTNEXTLINE(readability-function-size) */
kernel_hwpt_get_dirty(
	int fd, uint32_t hwpt, struct wherry_span span, uint64_t page, bool clear, uint64_t *bits)
{
	struct iommu_hwpt_get_dirty_bitmap c = {
		.size = sizeof(c),
		.hwpt_id = hwpt,
		.flags = clear ? 0u : IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
		.iova = span.iova,
		.length = span.len,
		.page_size = page,
		.data = (uintptr_t)bits,
	};

	int rc = wherry_sys_ioctl(fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &c);

	if (rc < 0)
		LOG_ERR("GET_DIRTY_BITMAP: %s", strerror(-rc));
	return rc < 0 ? meaning(rc) : 0;
}

void
kernel_destroy(int fd, uint32_t id)
{
	struct iommu_destroy c = { .size = sizeof(c), .id = id };
	int rc = wherry_sys->ioctl(fd, IOMMU_DESTROY, &c);

	if (rc < 0)
		LOG_ERR("iommufd object %u stays: %s", id, strerror(-rc));
}

int
kernel_device_bind(int device_fd, int fd, uint32_t *ret_dev_id)
{
	struct vfio_device_bind_iommufd c = { .argsz = sizeof(c), .iommufd = fd };
	int rc = call(device_fd, VFIO_DEVICE_BIND_IOMMUFD, &c, "BIND_IOMMUFD");

	if (rc == 0)
		*ret_dev_id = c.out_devid;
	return rc;
}

int
kernel_device_attach(int device_fd, uint32_t hwpt)
{
	struct vfio_device_attach_iommufd_pt c = { .argsz = sizeof(c), .pt_id = hwpt };

	return call(device_fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &c, "ATTACH_IOMMUFD_PT");
}

void
kernel_device_detach(int device_fd)
{
	struct vfio_device_detach_iommufd_pt c = { .argsz = sizeof(c) };

	(void)wherry_sys->ioctl(device_fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &c);
}

int
kernel_device_hw(int fd, uint32_t dev_id, struct kernel_hw *ret_hw)
{
	struct iommu_hw_info_vtd vtd = { .flags = 0 };
	struct iommu_hw_info c = {
		.size = sizeof(c),
		.dev_id = dev_id,
		.data_len = sizeof(vtd),
		.data_uptr = (uintptr_t)&vtd,
	};
	int rc = call(fd, IOMMU_GET_HW_INFO, &c, "GET_HW_INFO");

	if (rc != 0)
		return rc;
	*ret_hw = (struct kernel_hw){
		.tracks = (c.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING) != 0,
		.vtd = c.out_data_type == IOMMU_HW_INFO_TYPE_INTEL_VTD,
		.cap = vtd.cap_reg,
	};
	return 0;
}
