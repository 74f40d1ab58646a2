/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices in a domain: bound to its file, and attached to the first table that fits or
 * to a new one. A new table has dirty bits whenever the device's IOMMU offers them,
 * because a table cannot get them later and devices cannot change tables under traffic.
 */
#include <errno.h>
#include <stdlib.h>

#include "iommufd_priv.h"
#include "wherry_vfio_driver.h"

#define LOG_PREFIX "iommu/iommufd"

/* -EOPNOTSUPP from the kernel: this table is of another kind. */
static int
attach_existing(struct iommufd_domain *dom, int fd, struct iommufd_device *dev)
{
	int rc = -EOPNOTSUPP;

	LIST_FOREACH(dev->table, &dom->now->tables, link) {
		rc = kernel_device_attach(fd, dev->table->hwpt);
		if (rc != -EOPNOTSUPP)
			break;
	}
	return rc;
}

static int
attach_new(struct iommufd_domain *dom, int fd, struct iommufd_device *dev)
{
	bool dirty = dev->hw.tracks;
	int rc = iommufd_table_create(dom, dom->now, dev->dev_id, dirty, &dev->table);

	if (rc == -EOPNOTSUPP && dirty)
		rc = iommufd_table_create(dom, dom->now, dev->dev_id, false, &dev->table);
	if (rc != 0)
		return rc;
	rc = kernel_device_attach(fd, dev->table->hwpt);
	if (rc != 0)
		iommufd_table_destroy(dom, dev->table);
	return rc;
}

static int
attach_to_table(struct iommufd_domain *dom, int fd, struct iommufd_device *dev)
{
	int rc = kernel_device_hw(dom->fd, dev->dev_id, &dev->hw);

	if (rc == 0)
		rc = attach_existing(dom, fd, dev);
	if (rc == -EOPNOTSUPP)
		rc = attach_new(dom, fd, dev);
	return rc == 0 ? iommufd_twin_for(dom, dev) : rc;
}

/* The file is ours until it is used; closing it undoes binding and attaching. */
static int
bring_up(struct iommufd_domain *dom, struct iommufd_device *dev)
{
	int fd, rc = vfio_device_open_cdev(dev->vfio, &fd);

	if (rc != 0)
		return rc;
	rc = kernel_device_bind(fd, dom->fd, &dev->dev_id);
	if (rc == 0)
		rc = attach_to_table(dom, fd, dev);
	if (rc == 0)
		rc = vfio_device_use(dev->vfio, fd);
	if (rc != 0)
		wherry_sys->close(fd);
	return rc;
}

/* It is attached already, and stays the domain's until it is used. */
static int
take_heirloom(
	struct iommufd_domain *dom, struct iommufd_device *dev, struct iommufd_heirloom *heirloom)
{
	int rc = kernel_device_hw(dom->fd, heirloom->dev_id, &dev->hw);

	dev->dev_id = heirloom->dev_id;
	dev->table = heirloom->table;
	if (rc == 0)
		rc = iommufd_twin_for(dom, dev);
	if (rc == 0)
		rc = vfio_device_use(dev->vfio, heirloom->fd);
	if (rc == 0)
		iommufd_heirloom_free(heirloom);
	return rc;
}

static int
bring_here(struct iommufd_domain *dom, struct iommufd_device *dev)
{
	struct iommufd_heirloom *heirloom = iommufd_heirloom_of(dom, dev->vfio->place.address);

	return heirloom != NULL ? take_heirloom(dom, dev, heirloom) : bring_up(dom, dev);
}

int
iommufd_attach(void *be, void *device)
{
	struct iommufd_domain *dom = be;
	struct vfio_device *vfio = device;
	struct iommufd_device *dev =
		wherry_fault("iommufd.device") ? NULL : calloc(1, sizeof(*dev));
	int rc;

	if (dev == NULL)
		return -ENOMEM;
	dev->vfio = vfio;
	rc = bring_here(dom, dev);
	if (rc != 0)
		goto free_device;
	LIST_INSERT_HEAD(&dom->devices, dev, link);
	rc = iommufd_ask_ranges(dom);
	if (rc != 0)
		goto leave;
	vfio->backend = dev;
	LOG_INFO("%s: attached, dirty bits: %s", vfio->place.address,
		dev->table->tracks ? "yes" : "no");
	return 0;
leave:
	LIST_REMOVE(dev, link);
	vfio_device_unuse(vfio);
free_device:
	free(dev);
	return rc;
}

static void
forget(struct vfio_device *vfio)
{
	struct iommufd_device *dev = vfio->backend;

	LIST_REMOVE(dev, link);
	vfio->backend = NULL;
	free(dev);
}

void
iommufd_detach(void *be, void *device)
{
	struct vfio_device *vfio = device;

	(void)be;
	kernel_device_detach(vfio->fd);
	vfio_device_unuse(vfio);
	forget(vfio);
}

void
iommufd_leave(void *be, void *device)
{
	(void)be;
	vfio_device_leave(device);
	forget(device);
}
