/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ladder: how the writes of a device are known. Each rung that is not to be had says
 * why, and the next one is tried; below the last everything is dirty.
 */
#include <stdio.h>

#include "vfio_priv.h"

const char *
wherry_vfio_writes_name(enum wherry_vfio_writes writes)
{
	static const char *const names[] = {
		[WHERRY_VFIO_WRITES_IOMMU] = "IOMMU dirty bits",
		[WHERRY_VFIO_WRITES_DEVICE] = "VFIO DMA logging",
		[WHERRY_VFIO_WRITES_DESCRIPTORS] = "descriptor log",
		[WHERRY_VFIO_WRITES_ALL] = "everything dirty",
	};

	return (unsigned int)writes < sizeof(names) / sizeof(names[0]) ? names[writes] : "";
}

enum wherry_vfio_writes
wherry_vfio_writes_known(const struct wherry_device *dev, const struct wherry_domain *dom,
	bool descriptors, char *why, size_t cap)
{
	const struct vfio_device *half = vfio_device_of(dev);
	struct wherry_domain_caps caps;

	wherry_domain_get_caps(dom, &caps);
	if (caps.dirty == WHERRY_DIRTY_TRACKED) {
		snprintf(why, cap, "%s", caps.reason);
		return WHERRY_VFIO_WRITES_IOMMU;
	}
	if (vfio_device_in_use(half) && vfio_device_can_log(half)) {
		snprintf(why, cap, "no IOMMU dirty bits (%s)", caps.reason);
		return WHERRY_VFIO_WRITES_DEVICE;
	}
	snprintf(why, cap, "no IOMMU dirty bits (%s); the device has no DMA logging%s", caps.reason,
		descriptors ? "" : "; no driver keeps a log of its descriptors");
	return descriptors ? WHERRY_VFIO_WRITES_DESCRIPTORS : WHERRY_VFIO_WRITES_ALL;
}
