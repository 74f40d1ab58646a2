/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices: opened by name, attached to one domain at a time. The device's lock
 * says to which; the domain's lock, taken inside, protects the list there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommu_priv.h"

#define LOG_PREFIX "iommu"

/* Backends with one way of opening devices share them. */
static bool
asked_before(size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (wherry_iommu_drivers[j]->device_open == wherry_iommu_drivers[i]->device_open)
			return true;
	return false;
}

static int
open_by_any(const char *name, const struct wherry_iommu_driver **ret_drv, void **ret_be)
{
	int rc;

	for (size_t i = 0; wherry_iommu_drivers[i] != NULL; i++) {
		if (asked_before(i))
			continue;
		rc = wherry_iommu_drivers[i]->device_open(name, ret_be);
		if (rc == 0)
			*ret_drv = wherry_iommu_drivers[i];
		if (rc != -ENODEV)
			return rc;
	}
	LOG_ERR("no backend knows a device \"%s\"", name);
	return -ENODEV;
}

int
wherry_device_open(const char *name, struct wherry_device **ret_dev)
{
	struct wherry_device *dev;
	int rc;

	dev = wherry_fault("device.alloc") ? NULL : calloc(1, sizeof(*dev));
	if (dev == NULL)
		return -ENOMEM;
	dev->name = wherry_fault("device.name") ? NULL : strdup(name);
	if (dev->name == NULL) {
		rc = -ENOMEM;
		goto free_device;
	}
	rc = open_by_any(name, &dev->drv, &dev->be);
	if (rc != 0)
		goto free_name;
	wherry_mutex_init(&dev->lock);
	*ret_dev = dev;
	return 0;
free_name:
	free(dev->name);
free_device:
	free(dev);
	return rc;
}

static int
attach_locked(struct wherry_device *dev, struct wherry_domain *dom,
	const struct wherry_device_ops *ops) WHERRY_REQUIRES(&dom->lock)
{
	int rc = dom->foreign ? -EPERM : dom->drv->attach(dom->be, dev->be);

	if (rc != 0)
		return rc;
	rc = domain_refresh_caps_locked(dom);
	if (rc != 0)
		goto detach;
	dev->ops = ops != NULL ? *ops : (struct wherry_device_ops){ .stop = NULL };
	dev->tested = false;
	LIST_INSERT_HEAD(&dom->devices, dev, link);
	if (dom->tracking)
		selftest_locked(dom);
	return 0;
detach:
	if (rc == -EOVERFLOW)
		LOG_ERR("%s cannot reach all that is mapped already", dev->name);
	dom->drv->detach(dom->be, dev->be);
	return rc;
}

int
wherry_device_attach(
	struct wherry_device *dev, struct wherry_domain *dom, const struct wherry_device_ops *ops)
{
	int rc;

	if (dev->drv->device_open != dom->drv->device_open)
		return -EINVAL;
	wherry_mutex_lock(&dev->lock);
	if (dev->dom != NULL) {
		rc = -EBUSY;
		goto unlock;
	}
	wherry_quick_lock(&dom->lock);
	rc = attach_locked(dev, dom, ops);
	wherry_quick_unlock(&dom->lock);
	if (rc != 0)
		goto unlock;
	dev->dom = dom;
unlock:
	wherry_mutex_unlock(&dev->lock);
	return rc;
}

void
wherry_device_detach(struct wherry_device *dev)
{
	struct wherry_domain *dom;

	wherry_mutex_lock(&dev->lock);
	dom = dev->dom;
	if (dom != NULL) {
		wherry_quick_lock(&dom->lock);
		if (domain_hands_off_locked(dom))
			dom->drv->leave(dom->be, dev->be);
		else
			dom->drv->detach(dom->be, dev->be);
		LIST_REMOVE(dev, link);
		wherry_quick_unlock(&dom->lock);
		dev->dom = NULL;
	}
	wherry_mutex_unlock(&dev->lock);
}

void
wherry_device_close(struct wherry_device *dev)
{
	if (dev == NULL)
		return;
	wherry_device_detach(dev);
	dev->drv->device_close(dev->be);
	wherry_mutex_fini(&dev->lock);
	free(dev->name);
	free(dev);
}

const char *
wherry_device_name(const struct wherry_device *dev)
{
	return dev->name;
}

void *
wherry_device_driver_half(const struct wherry_device *dev, const struct wherry_iommu_driver *driver)
{
	return dev->drv == driver ? dev->be : NULL;
}
