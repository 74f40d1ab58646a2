/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of a device: asked for, mapped, read and written; configuration space is one of them. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vfio_priv.h"

#define LOG_PREFIX "iommu/vfio"

/* What the kernel says of a region; freed by the caller. -ENOENT: no such region. */
static int
ask_region(const struct vfio_device *dev, unsigned int index, struct vfio_region_info **ret_info)
{
	const struct vfio_region_info question = { .index = index };
	void *answer;
	int rc;

	if (index >= dev->info.n_regions)
		return -ENOENT;
	rc = vfio_ask(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &question, sizeof(question), &answer);
	if (rc != 0)
		return rc == -ENOMEM ? rc : -ENOENT;
	*ret_info = answer;
	return 0;
}

static void
describe(const struct vfio_region_info *info, struct wherry_vfio_region *ret_region)
{
	ret_region->len = info->size;
	ret_region->offset = info->offset;
	ret_region->flags =
		((info->flags & VFIO_REGION_INFO_FLAG_READ) != 0 ? WHERRY_VFIO_REGION_READ : 0) |
		((info->flags & VFIO_REGION_INFO_FLAG_WRITE) != 0 ? WHERRY_VFIO_REGION_WRITE : 0) |
		((info->flags & VFIO_REGION_INFO_FLAG_MMAP) != 0 ? WHERRY_VFIO_REGION_MAP : 0);
}

static int
get_region(const struct vfio_device *dev, unsigned int index, struct wherry_vfio_region *ret_region)
{
	struct vfio_region_info *info;
	int rc = ask_region(dev, index, &info);

	if (rc != 0)
		return rc;
	describe(info, ret_region);
	free(info);
	return 0;
}

int
wherry_vfio_get_region(
	const struct wherry_device *dev, unsigned int index, struct wherry_vfio_region *ret_region)
{
	const struct vfio_device *half = vfio_device_of(dev);

	return vfio_device_in_use(half) ? get_region(half, index, ret_region) : -EINVAL;
}

static int
protection(const struct vfio_region_info *info)
{
	return ((info->flags & VFIO_REGION_INFO_FLAG_READ) != 0 ? PROT_READ : 0) |
		((info->flags & VFIO_REGION_INFO_FLAG_WRITE) != 0 ? PROT_WRITE : 0);
}

/* Only some parts can be had: they are laid over addresses that fault. */
static int
map_parts(const struct vfio_device *dev, const struct vfio_region_info *info,
	const struct vfio_region_info_cap_sparse_mmap *parts, void **ret_p)
{
	size_t head = (size_t)((const char *)parts - (const char *)info) + sizeof(*parts);
	uint32_t fit = (uint32_t)((info->argsz - head) / sizeof(parts->areas[0]));
	void *base, *p;
	int rc;

	rc = wherry_sys->mmap(NULL, info->size, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &base);
	for (uint32_t i = 0; rc == 0 && i < parts->nr_areas && i < fit; i++) {
		const struct vfio_region_sparse_mmap_area *area = &parts->areas[i];

		if (area->size == 0 || area->offset > info->size ||
			area->size > info->size - area->offset)
			continue;
		rc = wherry_sys->mmap((char *)base + area->offset, area->size, protection(info),
			MAP_SHARED | MAP_FIXED, dev->fd, (off_t)(info->offset + area->offset), &p);
		if (rc != 0)
			wherry_sys->munmap(base, info->size);
	}
	if (rc == 0)
		*ret_p = base;
	return rc;
}

static int
map_region(const struct vfio_device *dev, const struct vfio_region_info *info, void **ret_p)
{
	const struct vfio_region_info_cap_sparse_mmap *parts = vfio_find_cap(info,
		(info->flags & VFIO_REGION_INFO_FLAG_CAPS) != 0 ? info->cap_offset : 0,
		VFIO_REGION_INFO_CAP_SPARSE_MMAP, sizeof(*parts));
	int rc;

	if (info->size == 0)
		return -ENOENT;
	if ((info->flags & VFIO_REGION_INFO_FLAG_MMAP) == 0)
		return -EOPNOTSUPP;
	if (wherry_fault("vfio.mmap"))
		return -ENOMEM;
	if (parts != NULL)
		rc = map_parts(dev, info, parts, ret_p);
	else
		rc = wherry_sys->mmap(NULL, info->size, protection(info), MAP_SHARED, dev->fd,
			(off_t)info->offset, ret_p);
	return rc == 0 || rc == -ENOMEM ? rc : -EOPNOTSUPP;
}

static int
map_and_keep(struct vfio_device *dev, unsigned int index, void **ret_p)
{
	struct vfio_mapped_region *m = wherry_fault("vfio.map") ? NULL : malloc(sizeof(*m));
	struct vfio_region_info *info;
	int rc;

	if (m == NULL)
		return -ENOMEM;
	rc = ask_region(dev, index, &info);
	if (rc != 0)
		goto free_m;
	rc = map_region(dev, info, &m->p);
	m->len = info->size;
	free(info);
	if (rc != 0)
		goto free_m;
	m->index = index;
	LIST_INSERT_HEAD(&dev->regions, m, link);
	*ret_p = m->p;
	return 0;
free_m:
	free(m);
	return rc;
}

int
wherry_vfio_region_map(struct wherry_device *dev, unsigned int index, void **ret_p)
{
	struct vfio_device *half = vfio_device_of(dev);
	struct vfio_mapped_region *m;
	int rc = 0;

	if (!vfio_device_in_use(half))
		return -EINVAL;
	wherry_mutex_lock(&half->lock);
	LIST_FOREACH(m, &half->regions, link)
		if (m->index == index)
			break;
	if (m != NULL)
		*ret_p = m->p;
	else
		rc = map_and_keep(half, index, ret_p);
	wherry_mutex_unlock(&half->lock);
	return rc;
}

void
vfio_unmap_regions(struct vfio_device *dev)
{
	struct vfio_mapped_region *m;

	while ((m = LIST_FIRST(&dev->regions)) != NULL) {
		LIST_REMOVE(m, link);
		wherry_sys->munmap(m->p, m->len);
		free(m);
	}
}

int
vfio_blind_regions(struct vfio_device *dev)
{
	struct vfio_mapped_region *m;
	void *p;
	int rc = 0;

	wherry_mutex_lock(&dev->lock);
	LIST_FOREACH(m, &dev->regions, link)
		if (wherry_sys->mmap(m->p, m->len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0, &p) != 0)
			rc = -ENOMEM;
	wherry_mutex_unlock(&dev->lock);
	return rc;
}

/* Where in the device's file the bytes lie that are asked for. */
static int
locate(const struct wherry_device *dev, unsigned int index, uint64_t at, size_t len,
	off_t *ret_offset)
{
	struct wherry_vfio_region region;
	int rc = wherry_vfio_get_region(dev, index, &region);

	if (rc == 0 && (at > region.len || len > region.len - at))
		rc = -EFAULT;
	if (rc == 0)
		*ret_offset = (off_t)(region.offset + at);
	return rc;
}

int
wherry_vfio_region_read(
	const struct wherry_device *dev, unsigned int index, uint64_t at, void *buf, size_t len)
{
	off_t offset;
	int rc = locate(dev, index, at, len, &offset);

	if (rc != 0)
		return rc;
	return wherry_sys->pread(wherry_vfio_fd(dev), buf, len, offset) == (ssize_t)len ? 0
											: -EFAULT;
}

int
wherry_vfio_region_write(const struct wherry_device *dev, unsigned int index, uint64_t at,
	const void *buf, size_t len)
{
	off_t offset;
	int rc = locate(dev, index, at, len, &offset);

	if (rc != 0)
		return rc;
	return wherry_sys->pwrite(wherry_vfio_fd(dev), buf, len, offset) == (ssize_t)len ? 0
											 : -EFAULT;
}

static bool
is_width(unsigned int width)
{
	return width == 1 || width == 2 || width == 4;
}

int
wherry_vfio_config_read(
	const struct wherry_device *dev, unsigned int at, unsigned int width, uint32_t *ret_value)
{
	uint32_t raw = 0; /* PCI is little-endian, and so are the bytes read */
	int rc = is_width(width)
		? wherry_vfio_region_read(dev, VFIO_PCI_CONFIG_REGION_INDEX, at, &raw, width)
		: -EINVAL;

	if (rc == 0)
		*ret_value = le32toh(raw);
	return rc;
}

int
wherry_vfio_config_write(
	const struct wherry_device *dev, unsigned int at, unsigned int width, uint32_t value)
{
	uint32_t raw = htole32(value);

	return is_width(width)
		? wherry_vfio_region_write(dev, VFIO_PCI_CONFIG_REGION_INDEX, at, &raw, width)
		: -EINVAL;
}
