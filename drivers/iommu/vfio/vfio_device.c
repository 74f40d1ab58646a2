/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device from open to close, and in between its file, which whoever attaches it
 * brings and whoever detaches it takes away.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_priv.h"
#include "wherry_iommu_driver.h"

#define LOG_PREFIX "iommu/vfio"

/* The first gap that blocks all of these ways, or NULL. */
static const struct wherry_vfio_gap *
first_gap(const struct wherry_vfio_function *fn, unsigned int ways)
{
	for (unsigned int i = 0; i < fn->n_gaps; i++)
		if ((fn->gaps[i].blocks & ways) == ways)
			return &fn->gaps[i];
	for (unsigned int i = 0; i < fn->n_gaps; i++)
		if ((fn->gaps[i].blocks & ways) != 0)
			return &fn->gaps[i];
	return NULL;
}

static int
check_ways(const struct wherry_vfio_function *fn, unsigned int ways)
{
	const struct wherry_vfio_gap *gap;

	if ((fn->ways & ways) != 0)
		return 0;
	gap = first_gap(fn, ways);
	if (gap == NULL) /* ways and gaps are made together */
		return -ENODEV;
	LOG_ERR("%s: %s: %s", fn->address, gap->why, gap->remedy);
	return gap->error;
}

int
vfio_device_open(const char *name, void **ret_dev)
{
	struct vfio_device *dev = wherry_fault("vfio.device") ? NULL : calloc(1, sizeof(*dev));
	int rc;

	if (dev == NULL)
		return -ENOMEM;
	dev->fd = -1;
	LIST_INIT(&dev->regions);
	rc = wherry_vfio_find(name, &dev->place);
	if (rc == -EINVAL)
		rc = -ENODEV; /* no address, so none of ours */
	if (rc == 0)
		rc = check_ways(&dev->place, WHERRY_VFIO_BY_CDEV | WHERRY_VFIO_BY_GROUP);
	if (rc != 0)
		goto free_device;
	wherry_mutex_init(&dev->lock);
	*ret_dev = dev;
	return 0;
free_device:
	free(dev);
	return rc;
}

void
vfio_device_close(void *device)
{
	struct vfio_device *dev = device;

	vfio_device_unuse(dev);
	wherry_mutex_fini(&dev->lock);
	free(dev);
}

/* Drivers are bound while devices are open: what counts is how it is now. */
int
vfio_device_check_way(const struct vfio_device *dev, unsigned int way)
{
	struct wherry_vfio_function now;
	int rc = wherry_vfio_find(dev->place.address, &now);

	return rc != 0 ? -ENODEV : check_ways(&now, way);
}

int
vfio_device_open_cdev(const struct vfio_device *dev, int *ret_fd)
{
	int fd = vfio_device_check_way(dev, WHERRY_VFIO_BY_CDEV);

	if (fd == 0)
		fd = vfio_open_node(dev->place.cdev);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

int
vfio_open_node(const char *node)
{
	int fd = wherry_sys->open(node, O_RDWR);

	switch (fd) {
	case -EACCES:
	case -EPERM:
		LOG_ERR("%s: not ours to open: run as root, or chown it to the user", node);
		return -EACCES;
	case -EBUSY:
		LOG_ERR("%s: another process has it open", node);
		return -EBUSY;
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		LOG_ERR("%s: it is not there", node);
		return -ENODEV;
	default:
		if (fd < 0)
			LOG_ERR("%s: cannot be opened: %s", node, strerror(-fd));
		return fd >= 0 || fd == -ENOMEM ? fd : -ENODEV;
	}
}

int
vfio_device_use(struct vfio_device *dev, int fd)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int rc = wherry_fault("vfio.info") ? -ENOMEM
					   : wherry_sys->ioctl(fd, VFIO_DEVICE_GET_INFO, &info);

	if (rc == 0 && (info.flags & VFIO_DEVICE_FLAGS_PCI) == 0)
		rc = -ENODEV;
	if (rc != 0) {
		LOG_ERR("%s: the kernel does not describe it: %s", dev->place.address,
			strerror(-rc));
		return rc == -ENOMEM ? rc : -ENODEV;
	}
	dev->info.n_regions = info.num_regions;
	dev->info.n_irqs = info.num_irqs;
	dev->info.can_reset = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
	dev->fd = fd;
	return 0;
}

bool
vfio_device_is_cdev(const char *address, int fd)
{
	struct wherry_vfio_function fn;
	char path[VFIO_PATH_MAX];

	return wherry_vfio_find(address, &fn) == 0 && fn.cdev[0] != '\0' &&
		vfio_path(path, sizeof(path), "%s", fn.cdev) && wherry_sys->is_node(fd, path);
}

int
vfio_device_let_go(struct vfio_device *dev)
{
	int rc = vfio_blind_regions(dev);
	int blank = wherry_fault("vfio.blank") ? -ENOMEM : wherry_sys->blank(dev->fd);

	return rc != 0 || blank != 0 ? -ENOMEM : 0;
}

void
vfio_device_unuse(struct vfio_device *dev)
{
	if (!vfio_device_in_use(dev))
		return;
	vfio_irqs_off(dev);
	vfio_device_leave(dev);
}

void
vfio_device_leave(struct vfio_device *dev)
{
	vfio_unmap_regions(dev);
	wherry_sys->close(dev->fd);
	dev->fd = -1;
}

struct vfio_device *
vfio_device_of(const struct wherry_device *dev)
{
	void *half;

	for (size_t i = 0; wherry_iommu_drivers[i] != NULL; i++) {
		if (wherry_iommu_drivers[i]->device_open != vfio_device_open)
			continue;
		half = wherry_device_driver_half(dev, wherry_iommu_drivers[i]);
		if (half != NULL)
			return half;
	}
	return NULL;
}

const struct wherry_vfio_function *
wherry_vfio_function_of(const struct wherry_device *dev)
{
	const struct vfio_device *half = vfio_device_of(dev);

	return half != NULL ? &half->place : NULL;
}

int
wherry_vfio_fd(const struct wherry_device *dev)
{
	const struct vfio_device *half = vfio_device_of(dev);

	return vfio_device_in_use(half) ? half->fd : -EINVAL;
}

int
wherry_vfio_get_info(const struct wherry_device *dev, struct wherry_vfio_info *ret_info)
{
	const struct vfio_device *half = vfio_device_of(dev);

	if (!vfio_device_in_use(half))
		return -EINVAL;
	*ret_info = half->info;
	return 0;
}
