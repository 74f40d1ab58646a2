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
kernel_map(const struct type1_domain *dom, struct wherry_span span, const struct type1_map *m)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof(arg),
		/* writing implies reading, on every IOMMU: some cannot forbid it */
		.flags = VFIO_DMA_MAP_FLAG_READ |
			((m->prot & WHERRY_DMA_WRITE) != 0 ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uint64_t)(uintptr_t)m->vaddr,
		.iova = span.iova,
		.size = span.len,
	};
	int rc = wherry_sys_ioctl(dom->container, VFIO_IOMMU_MAP_DMA, &arg);

	return rc == 0 ? 0 : explain(span, rc);
}

static void
count_entry(struct type1_domain *dom)
{
	if (dom->info.entries_left == UINT64_MAX)
		return;
	dom->info.entries_left--;
	if (dom->warned || dom->info.entries_left > dom->max_entries / 16)
		return;
	dom->warned = true;
	LOG_WARN(
		"%llu of %llu mappings are left: map larger spans, or load vfio_iommu_type1 with dma_entry_limit=N",
		(unsigned long long)dom->info.entries_left, (unsigned long long)dom->max_entries);
}

/* The kernel looks at the memory only when it pins it. */
static int
check_memory(const struct wherry_place *place)
{
	return msync(place->vaddr, place->span.len, MS_ASYNC) == 0 ? 0 : -EFAULT;
}

static int
note(struct type1_domain *dom, const struct wherry_place *place, struct type1_map **ret_m)
{
	void *room;
	int rc = wherry_iova_insert_room(dom->maps, place->span, sizeof(**ret_m), &room);

	if (rc != 0)
		return rc;
	*ret_m = room;
	**ret_m = (struct type1_map){ .vaddr = place->vaddr, .prot = place->prot };
	return 0;
}

WHERRY_HOT int
type1_map(void *be, const struct wherry_place *place)
{
	struct type1_domain *dom = be;
	struct type1_map *m;
	int rc = type1_reserve_bits(dom, place->span.len);

	if (rc == 0 && !dom->live)
		rc = check_memory(place);
	if (rc == 0 && dom->live && dom->info.entries_left == 0)
		rc = explain(place->span, -ENOSPC);
	if (rc == 0)
		rc = note(dom, place, &m);
	if (rc != 0 || !dom->live)
		return rc;
	rc = kernel_map(dom, place->span, m);
	if (rc == 0)
		count_entry(dom);
	else
		(void)type1_forget(dom, place->span);
	return rc;
}

WHERRY_HOT size_t
type1_forget(struct type1_domain *dom, struct wherry_span span)
{
	struct wherry_iova_entry e;
	size_t n = 0;
	void *m;

	/* most often it is one mapping, and then one search is enough */
	if (wherry_iova_remove(dom->maps, span, &m) == 0)
		return 1;
	while (wherry_iova_next(dom->maps, span.iova, &e) &&
		e.span.iova <= wherry_span_last(span)) {
		wherry_iova_remove_room(dom->maps, e.value);
		n++;
	}
	return n;
}

/* Is there room, and is all of it in reach? Asked before the first is mapped. */
static int
check_all(const struct type1_domain *dom)
{
	struct wherry_iova_entry e = { .span = { 0, 0 } };
	uint64_t n = wherry_iova_count(dom->maps), at = 0;

	if (n > dom->info.entries_left) {
		LOG_ERR("%llu mappings, and the container holds %llu: map larger spans, or load vfio_iommu_type1 with dma_entry_limit=N",
			(unsigned long long)n, (unsigned long long)dom->info.entries_left);
		return -ENOSPC;
	}
	while (wherry_iova_next(dom->maps, at, &e)) {
		if (!wherry_iova_usable(dom->info.usable, dom->info.n_usable, e.span))
			return -EOVERFLOW;
		if (wherry_span_last(e.span) == UINT64_MAX)
			break;
		at = wherry_span_last(e.span) + 1;
	}
	return 0;
}

int
type1_map_all(struct type1_domain *dom)
{
	struct wherry_iova_entry e;
	uint64_t at = 0;
	int rc = check_all(dom);

	if (rc != 0)
		return rc;
	while (wherry_iova_next(dom->maps, at, &e)) {
		rc = wherry_fault("type1.map_all") ? -ENOMEM : kernel_map(dom, e.span, e.value);
		if (rc != 0)
			break;
		count_entry(dom);
		if (wherry_span_last(e.span) == UINT64_MAX)
			break;
		at = wherry_span_last(e.span) + 1;
	}
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

WHERRY_HOT void
type1_kernel_unmap(const struct type1_domain *dom, struct wherry_span span)
{
	unmap_one(dom, span, 0);
}

/* No device is in the container any more: what it holds would only be in the way later. */
void
type1_unmap_all(struct type1_domain *dom)
{
	struct wherry_iova_entry e;
	uint64_t at = 0;

	if (dom->has_unmap_all) {
		unmap_one(dom, (struct wherry_span){ 0, 0 }, VFIO_DMA_UNMAP_FLAG_ALL);
		return;
	}
	while (wherry_iova_next(dom->maps, at, &e)) {
		type1_kernel_unmap(dom, e.span);
		if (wherry_span_last(e.span) == UINT64_MAX)
			break;
		at = wherry_span_last(e.span) + 1;
	}
}
