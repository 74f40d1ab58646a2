/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another granule: a second space with the same mappings, whose tables are made of
 * leaves of the other kind. The kernel knows two kinds, small pages only or as large as
 * memory allows. Pinned memory is shared by both spaces; devices change tables by
 * attaching once more, which the kernel takes as a replacement.
 */
#include <errno.h>

#include "iommufd_priv.h"
#include "wherry_vfio_driver.h"

#define LOG_PREFIX "iommu/iommufd"

int
iommufd_twin_for(struct iommufd_domain *dom, struct iommufd_device *dev)
{
	if (dom->other == NULL || dev->table->twin != NULL)
		return 0;
	return iommufd_table_create(
		dom, dom->other, dev->dev_id, dev->table->tracks, &dev->table->twin);
}

void
iommufd_twin_destroy(void *be)
{
	struct iommufd_domain *dom = be;
	struct iommufd_table *table;

	LIST_FOREACH(table, &dom->now->tables, link)
		table->twin = NULL;
	iommufd_space_destroy(dom->fd, dom->other);
	dom->other = NULL;
	dom->swapped = false;
}

int
iommufd_twin_create(void *be, uint64_t page)
{
	struct iommufd_domain *dom = be;
	struct iommufd_device *dev;
	bool small = page == dom->page;
	int rc;

	if (small == dom->now->small) {
		LOG_ERR("the kernel makes leaves of %llu bytes, or as large as it can; none between",
			(unsigned long long)dom->page);
		return -EOPNOTSUPP;
	}
	rc = iommufd_space_create(dom->fd, small, &dom->other);
	if (rc != 0)
		return rc;
	LIST_FOREACH(dev, &dom->devices, link) {
		rc = iommufd_twin_for(dom, dev);
		if (rc != 0)
			goto destroy_twin;
	}
	return 0;
destroy_twin:
	iommufd_twin_destroy(dom);
	return rc;
}

int
iommufd_twin_fill(void *be, struct wherry_span span, unsigned int prot)
{
	struct iommufd_domain *dom = be;
	int rc = kernel_ioas_copy(dom->fd, dom->now->ioas, dom->other->ioas, span, prot);

	if (rc == 0 && dom->tracking)
		iommufd_make_clean(dom, dom->other, span);
	return rc;
}

/* Devices before @p end in the list have moved: back with them. */
static void
put_back(struct iommufd_domain *dom, const struct iommufd_device *end)
{
	struct iommufd_device *dev;

	LIST_FOREACH(dev, &dom->devices, link) {
		if (dev == end)
			break;
		if (kernel_device_attach(dev->vfio->fd, dev->table->hwpt) == 0)
			continue;
		LOG_ERR("%s cannot go back to its table: its DMA is off until it is attached again",
			dev->vfio->place.address);
		kernel_device_detach(dev->vfio->fd);
	}
}

int
iommufd_twin_swap(void *be)
{
	struct iommufd_domain *dom = be;
	struct iommufd_space *old = dom->now;
	struct iommufd_device *dev;
	int rc;

	LIST_FOREACH(dev, &dom->devices, link) {
		rc = kernel_device_attach(dev->vfio->fd, dev->table->twin->hwpt);
		if (rc == 0)
			continue;
		put_back(dom, dev);
		return rc;
	}
	LIST_FOREACH(dev, &dom->devices, link)
		dev->table = dev->table->twin;
	dom->now = dom->other;
	dom->other = old;
	dom->swapped = true;
	return 0;
}
