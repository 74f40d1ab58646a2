/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Soft devices: "soft:NAME" or "soft:NAME,width=32", a device that can drive only
 * so many address bits. DMA starts when unit is published and has ended when,
 * unit taken away, the device has drained: iotlb lives in between.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "soft_priv.h"

#define LOG_PREFIX "iommu/soft"

static int
parse_name(const char *name, unsigned int *ret_width)
{
	static const char prefix[] = "soft:", option[] = ",width=";
	const char *comma;
	char *end;
	unsigned long width;

	if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
		return -ENODEV;
	*ret_width = 64;
	comma = strchr(name, ',');
	if (comma == NULL)
		return 0;
	if (strncmp(comma, option, sizeof(option) - 1) != 0)
		return -ENODEV;
	width = strtoul(comma + sizeof(option) - 1, &end, 10);
	if (*end != '\0' || width <= PT_PAGE_SHIFT || width > 64)
		return -ENODEV;
	*ret_width = (unsigned int)width;
	return 0;
}

int
soft_device_open(const char *name, void **ret_dev)
{
	struct soft_device *dev;
	unsigned int width;
	int rc = parse_name(name, &width);

	if (rc != 0)
		return rc;
	dev = wherry_fault("soft.device") ? NULL : aligned_alloc(64, sizeof(*dev));
	if (dev == NULL)
		return -ENOMEM;
	memset(dev, 0, sizeof(*dev));
	dev->width = width;
	soft_fault_queue_init(&dev->faults);
	*ret_dev = dev;
	return 0;
}

void
soft_device_close(void *dev)
{
	free(dev);
}

static struct soft_unit *
least_loaded(struct soft_domain *dom)
{
	struct soft_unit *best = NULL;
	size_t best_n = SIZE_MAX;

	for (unsigned int i = 0; i < dom->n_units; i++) {
		struct soft_device *dev;
		size_t n = 0;

		LIST_FOREACH(dev, &dom->units[i].devices, link)
			n++;
		if (n < best_n) {
			best = &dom->units[i];
			best_n = n;
		}
	}
	return best;
}

int
soft_device_attach(void *be, void *device)
{
	struct soft_domain *dom = be;
	struct soft_device *dev = device;
	struct soft_unit *unit = least_loaded(dom);

	dev->iotlb = soft_iotlb_create(dom->opts.iotlb);
	if (dev->iotlb == NULL)
		return -ENOMEM;
	LIST_INSERT_HEAD(&unit->devices, dev, link);
	__atomic_store_n(&dev->unit, unit, __ATOMIC_RELEASE); /* pairs with transfer() */
	return 0;
}

void
soft_device_detach(void *be, void *device)
{
	struct soft_device *dev = device;

	(void)be;
	__atomic_store_n(&dev->unit, NULL, __ATOMIC_RELEASE);
	soft_drain(dev);
	LIST_REMOVE(dev, link);
	soft_iotlb_destroy(dev->iotlb);
	dev->iotlb = NULL;
}

static uint64_t
sum(const struct soft_device *dev, size_t counter)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < SOFT_SHARDS; i++) {
		const char *shard = (const char *)&dev->shards[i];

		n += __atomic_load_n(
			(const uint64_t *)(const void *)(shard + counter), __ATOMIC_RELAXED);
	}
	return n;
}

void
wherry_soft_get_stats(const struct wherry_device *dev, struct wherry_soft_stats *ret_stats)
{
	const struct soft_device *soft = wherry_device_driver_half(dev, &wherry_iommu_soft);
	const struct soft_unit *unit;

	memset(ret_stats, 0, sizeof(*ret_stats));
	if (soft == NULL)
		return;
	ret_stats->hits = sum(soft, offsetof(struct soft_shard, hits));
	ret_stats->walks = sum(soft, offsetof(struct soft_shard, walks));
	ret_stats->faults = sum(soft, offsetof(struct soft_shard, faults));
	ret_stats->invalidations = __atomic_load_n(&soft->invalidations, __ATOMIC_RELAXED);
	ret_stats->flushes = __atomic_load_n(&soft->flushes, __ATOMIC_RELAXED);
	unit = __atomic_load_n(&soft->unit, __ATOMIC_ACQUIRE);
	if (unit != NULL)
		ret_stats->table_bytes =
			PT_PAGE * __atomic_load_n(&unit->pt.n_tables, __ATOMIC_RELAXED);
}

bool
wherry_soft_fault_take(struct wherry_device *handle, struct wherry_soft_fault *ret_fault)
{
	struct soft_device *dev = wherry_device_driver_half(handle, &wherry_iommu_soft);

	return dev != NULL && soft_fault_queue_take(&dev->faults, ret_fault);
}
