/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a domain can do, which depends on who is attached: usable ranges and the
 * alignment are those of the kernel, asked after each attach, since before there is no
 * IOMMU that could narrow them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "iommufd_priv.h"
#include "wherry_vfio_driver.h"

#define LOG_PREFIX "iommu/iommufd"

#define LEAF_2M (UINT64_C(1) << 21)
#define LEAF_1G (UINT64_C(1) << 30)
/* AMD-Vi (48882, 2.2.3) has a leaf for every power of two; the kernel uses them up to this. */
#define LEAF_MOST (UINT64_C(1) << 38)

static void
take_ranges(struct iommufd_domain *dom, const struct iommu_iova_range *ranges, uint32_t n,
	struct wherry_span *usable)
{
	size_t used = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t first = round_up(ranges[i].start, dom->page);
		uint64_t last = ranges[i].last; /* the last page of 2^64 is never used: see len */

		if (last == UINT64_MAX)
			last -= dom->page;
		if (first > last || first < ranges[i].start || last - first + 1 < dom->page)
			continue;
		usable[used++] = (struct wherry_span){ .iova = first,
			.len = round_down(last - first + 1, dom->page) };
	}
	free(dom->usable);
	dom->usable = usable;
	dom->n_usable = used;
}

int
iommufd_ask_ranges(struct iommufd_domain *dom)
{
	struct iommu_iova_range *ranges;
	struct wherry_span *usable;
	uint32_t room = 64, n = room;
	uint64_t align = 1;
	int rc;

	ranges = wherry_fault("iommufd.ranges") ? NULL : calloc(room, sizeof(*ranges));
	if (ranges == NULL)
		return -ENOMEM;
	usable = wherry_fault("iommufd.usable") ? NULL : calloc(room, sizeof(*usable));
	if (usable == NULL) {
		rc = -ENOMEM;
		goto free_ranges;
	}
	rc = kernel_ioas_ranges(dom->fd, dom->now->ioas, ranges, &n, &align);
	if (rc == 0 && n > room)
		rc = -EOPNOTSUPP; /* no machine is known with more than five */
	if (rc != 0)
		goto free_usable;
	/* nothing is attached: it will be the CPU's page, or less */
	dom->page = align > 1 ? align : (uint64_t)sysconf(_SC_PAGESIZE);
	take_ranges(dom, ranges, n, usable);
	free(ranges);
	return 0;
free_usable:
	free(usable);
free_ranges:
	free(ranges);
	return rc;
}

/* Leaves beyond the smallest that a table of this domain may have. */
static uint64_t
larger_leaves(const struct iommufd_domain *dom)
{
	const struct iommufd_device *dev = LIST_FIRST(&dom->devices);
	uint64_t leaves = 0;

	if (dev == NULL || !dev->hw.vtd)
		return LEAF_2M | LEAF_1G;
	LIST_FOREACH(dev, &dom->devices, link) {
		leaves |= (dev->hw.cap & VTD_CAP_LEAF_2M) != 0 ? LEAF_2M : 0;
		leaves |= (dev->hw.cap & VTD_CAP_LEAF_1G) != 0 ? LEAF_1G : 0;
	}
	return leaves;
}

/* One dirty bit stands for at most this. */
static uint64_t
granule(const struct iommufd_domain *dom)
{
	const struct iommufd_device *dev;
	uint64_t most = dom->page;

	if (dom->now->small)
		return dom->page;
	LIST_FOREACH(dev, &dom->devices, link)
		if (!dev->hw.vtd)
			return LEAF_MOST;
	most |= larger_leaves(dom);
	return UINT64_C(1) << (63 - __builtin_clzll(most));
}

/* VT-d alone says whether an invalidation waits for writes; the others always do. */
static bool
drains_writes(const struct iommufd_domain *dom)
{
	const struct iommufd_device *dev;

	LIST_FOREACH(dev, &dom->devices, link)
		if (dev->hw.vtd && (dev->hw.cap & VTD_CAP_DRAINS_WRITES) == 0)
			return false;
	return true;
}

/* The format of SMMUv3 has one bit for "read-only" and "clean": what is new is dirty. */
static bool
born_dirty(const struct iommufd_domain *dom)
{
	const struct iommufd_device *dev;

	LIST_FOREACH(dev, &dom->devices, link)
		if (strncmp(dev->vfio->place.iommu, "smmu3", 5) == 0)
			return true;
	return false;
}

static const char *
explain(struct iommufd_domain *dom, bool tracks, bool drains)
{
	if (LIST_EMPTY(&dom->devices) && !tracks)
		return "no device is attached yet, so its IOMMU is not known";
	if (!tracks)
		return "an attached device's IOMMU has no dirty bits that the kernel can use "
		       "(VT-d: scalable mode and SSADS; AMD-Vi: HDSup; SMMUv3: HTTU)";
	if (!drains)
		return "VT-d without write draining: a write may land after its unmap";
	(void)snprintf(dom->reason, sizeof(dom->reason),
		"the kernel has no call that takes write permission away: an exact unmap looks "
		"at contents%s",
		dom->now->small ? "" : "; leaves are as large as memory allows (leaf=max)");
	return dom->reason;
}

void
iommufd_get_caps(void *be, struct wherry_domain_caps *ret_caps)
{
	struct iommufd_domain *dom = be;
	bool tracks = iommufd_all_track(dom), drains = drains_writes(dom);

	*ret_caps = (struct wherry_domain_caps){
		.page_sizes = dom->page | larger_leaves(dom),
		.granule = granule(dom),
		.usable = dom->usable,
		.n_usable = dom->n_usable,
		.dirty = tracks ? WHERRY_DIRTY_TRACKED : WHERRY_DIRTY_NONE,
		.exact_by = tracks && drains ? WHERRY_UNMAP_BY_CONTENT : WHERRY_UNMAP_BY_NOTHING,
		.regrain =
			LIST_EMPTY(&dom->devices) ? WHERRY_REGRAIN_NEVER : WHERRY_REGRAIN_STOPPED,
		.write_only = false,
		.born_dirty = born_dirty(dom),
		.reason = explain(dom, tracks, drains),
	};
}
