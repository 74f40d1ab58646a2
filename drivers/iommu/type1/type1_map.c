/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings. While the container is not live they are only noted, and the next device
 * to attach maps them all.
 *
 * One mapping is one entry, also where two adjacent ones could be one: the kernel takes
 * entries away whole, so that unmapping one half would make the other unreachable for a
 * moment, under DMA. Merged is what is safe to merge: unmapping and reading a span of
 * several mappings is one call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "type1_priv.h"
#include "wherry_iova.h"

#define LOG_PREFIX "iommu/type1"

/* What the kernel says of a mapping it refuses, in words of ours. */
static int
explain(struct wherry_span span, int rc)
{
	switch (rc) {
	case -ENOMEM:
		LOG_ERR("no memory to pin %llu bytes: raise RLIMIT_MEMLOCK (ulimit -l; systemd: LimitMEMLOCK=)",
			(unsigned long long)span.len);
		return -ENOMEM;
	case -ENOSPC:
		LOG_ERR("no entry is left in the container: map larger spans, or load vfio_iommu_type1 with dma_entry_limit=N");
		return -ENOSPC;
	case -EEXIST:
		return -EEXIST;
	case -EINVAL:
		LOG_ERR("%llu bytes at %#llx: out of the IOMMU's reach",
			(unsigned long long)span.len, (unsigned long long)span.iova);
		return -EOVERFLOW;
	default:
		return -EFAULT; /* no memory, or read-only */
	}
}

static int
kernel_map(const struct type1_domain *dom, const struct wherry_place *place)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof(arg),
		/* writing implies reading, on every IOMMU: some cannot forbid it */
		.flags = VFIO_DMA_MAP_FLAG_READ |
			((place->prot & WHERRY_DMA_WRITE) != 0 ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uint64_t)(uintptr_t)place->vaddr,
		.iova = place->span.iova,
		.size = place->span.len,
	};
	int rc = wherry_sys_ioctl(dom->container, VFIO_IOMMU_MAP_DMA, &arg);

	return rc == 0 ? 0 : explain(place->span, rc);
}

static void
warn_once(struct type1_domain *dom, uint64_t left)
{
	if (dom->warned)
		return;
	dom->warned = true;
	LOG_WARN(
		"%llu of %llu mappings are left: map larger spans, or load vfio_iommu_type1 with dma_entry_limit=N",
		(unsigned long long)left, (unsigned long long)dom->max_entries);
}

/* Is there an entry for each mapping of the domain? Each further one takes one, and so it is known for how long. */
static int
check_entries(struct type1_domain *dom)
{
	uint64_t n = wherry_domain_driver_count(dom->core), max = dom->max_entries;
	uint64_t few = max - max / 16;

	dom->credit = max == 0 ? UINT64_MAX : 0;
	if (max == 0)
		return 0;
	if (n > max) {
		LOG_ERR("%llu mappings, and the container holds %llu: map larger spans, or load vfio_iommu_type1 with dma_entry_limit=N",
			(unsigned long long)n, (unsigned long long)max);
		return -ENOSPC;
	}
	if (n >= few)
		warn_once(dom, max - n);
	dom->credit = dom->warned ? max - n : few - 1 - n;
	return 0;
}

static int
take_entry(struct type1_domain *dom)
{
	if (dom->credit == 0)
		return check_entries(dom);
	dom->credit--;
	return 0;
}

/* The kernel looks at the memory only when it pins it. */
static int
check_memory(const struct wherry_place *place)
{
	return msync(place->vaddr, place->span.len, MS_ASYNC) == 0 ? 0 : -EFAULT;
}

WHERRY_HOT int
type1_map(void *be, const struct wherry_place *place)
{
	struct type1_domain *dom = be;
	int rc = type1_bits_hold(dom, place->span.len) ? 0
						       : type1_reserve_bits(dom, place->span.len);

	if (rc != 0)
		return rc;
	if (!dom->live)
		return check_memory(place);
	rc = take_entry(dom);
	return rc != 0 ? rc : kernel_map(dom, place);
}

/* Each mapping in turn, until one fails. */
static int
for_each(struct type1_domain *dom,
	int (*visit)(const struct type1_domain *dom, const struct wherry_place *place))
{
	struct wherry_place place;
	uint64_t at = 0;
	int rc = 0;

	while (rc == 0 && wherry_domain_driver_next(dom->core, at, &place)) {
		rc = visit(dom, &place);
		if (wherry_span_last(place.span) == UINT64_MAX)
			break;
		at = wherry_span_last(place.span) + 1;
	}
	return rc;
}

static int
check_reach(const struct type1_domain *dom, const struct wherry_place *place)
{
	return wherry_iova_usable(dom->info.usable, dom->info.n_usable, place->span) ? 0
										     : -EOVERFLOW;
}

static int
map_again(const struct type1_domain *dom, const struct wherry_place *place)
{
	return wherry_fault("type1.map_all") ? -ENOMEM : kernel_map(dom, place);
}

int
type1_map_all(struct type1_domain *dom)
{
	int rc = check_entries(dom);

	if (rc == 0)
		rc = for_each(dom, check_reach); /* asked before the first is mapped */
	if (rc != 0)
		return rc;
	rc = for_each(dom, map_again);
	if (rc != 0)
		type1_unmap_all(dom);
	return rc;
}

static void
unmap_one(const struct type1_domain *dom, struct wherry_span span, uint32_t flags)
{
	struct vfio_iommu_type1_dma_unmap arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.iova = span.iova,
		.size = span.len,
	};
	int rc = wherry_sys_ioctl(dom->container, VFIO_IOMMU_UNMAP_DMA, &arg);

	if (rc != 0)
		LOG_ERR("unmap: %s", strerror(-rc));
}

void
type1_kernel_unmap(const struct type1_domain *dom, struct wherry_span span)
{
	unmap_one(dom, span, 0);
}

WHERRY_HOT void
type1_unmap(void *be, struct wherry_span span, struct wherry_dirty_sink *sink)
{
	const struct type1_domain *dom = be;

	if (sink != NULL)
		type1_unmap_with_bits(dom, span, sink);
	else if (dom->live)
		unmap_one(dom, span, 0);
}

static int
unmap_again(const struct type1_domain *dom, const struct wherry_place *place)
{
	type1_kernel_unmap(dom, place->span);
	return 0;
}

/* No device is in the container any more: what it holds would only be in the way later. */
void
type1_unmap_all(struct type1_domain *dom)
{
	if (dom->has_unmap_all)
		unmap_one(dom, (struct wherry_span){ 0, 0 }, VFIO_DMA_UNMAP_FLAG_ALL);
	else
		(void)for_each(dom, unmap_again);
}
