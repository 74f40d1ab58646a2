/* SPDX-License-Identifier: BSD-3-Clause */
/* Containers of the played kernel: type1, as vfio_iommu_type1 has it or as iommufd imitates it. */
#include <errno.h>
#include <string.h>

#include "fake_vfio_priv.h"

#define PAGE UINT64_C(4096)
#define MSI_FIRST UINT64_C(0xfee00000)
#define MSI_LAST UINT64_C(0xfeefffff)
#define TOP UINT64_C(0xffffffffffff)

int
fake_container_open(void)
{
	for (unsigned int n = 0; n < FAKE_CONTAINERS; n++) {
		if (fake_vfio.containers[n].open)
			continue;
		memset(&fake_vfio.containers[n], 0, sizeof(fake_vfio.containers[n]));
		fake_vfio.containers[n].open = true;
		fake_vfio.open_fds++;
		return FAKE_FD + (int)n;
	}
	return -EMFILE;
}

void
fake_container_close(unsigned int n)
{
	struct fake_container *c = &fake_vfio.containers[n];

	CHECK(c->open && c->groups == 0);
	CHECK_EQ(c->n_entries, 0);
	c->open = false;
}

static bool
reaches(unsigned int group, const struct fake_entry *entry)
{
	const struct vfio_iova_range *reach = &fake_vfio.groups[group].reach;

	return reach->end == 0 ||
		(entry->iova >= reach->start && entry->iova + (entry->size - 1) <= reach->end);
}

/* A newcomer gets all mappings that are there. */
int
fake_container_enter(unsigned int n, unsigned int group)
{
	struct fake_container *c = &fake_vfio.containers[n];

	CHECK(c->open);
	for (unsigned int i = 0; c->has_iommu && i < c->n_entries; i++)
		if (!reaches(group, &c->entries[i]))
			return -EINVAL;
	c->groups++;
	return 0;
}

void
fake_container_leave(unsigned int n)
{
	struct fake_container *c = &fake_vfio.containers[n];

	CHECK(c->groups > 0);
	if (--c->groups > 0)
		return;
	if (fake_vfio.compat)
		return; /* its address space stays, with all that is in it */
	c->has_iommu = c->logging = false;
	c->n_entries = 0;
}

static int
check_extension(uintptr_t what)
{
	switch (what) {
	case VFIO_TYPE1v2_IOMMU:
		return !fake_vfio.no_type1;
	case VFIO_UNMAP_ALL:
		return !fake_vfio.no_unmap_all;
	default:
		return 0;
	}
}

static int
set_iommu(struct fake_container *c, uintptr_t what)
{
	if (what != VFIO_TYPE1v2_IOMMU || c->groups == 0 || (c->has_iommu && !fake_vfio.compat))
		return -EINVAL;
	c->has_iommu = true;
	return 0;
}

/* What GET_INFO writes behind the struct. */
struct fake_caps {
	struct vfio_iommu_type1_info_cap_migration migration;
	struct vfio_iommu_type1_info_dma_avail avail;
	uint32_t gap;
	struct { /* a vfio_iommu_type1_info_cap_iova_range with its array */
		struct vfio_info_cap_header header;
		uint32_t nr_iovas, reserved;
		struct vfio_iova_range ranges[2];
	} range;
};

struct fake_info {
	struct vfio_iommu_type1_info info;
	struct fake_caps caps;
};

static uint64_t
top_of(unsigned int container)
{
	uint64_t top = TOP;

	for (unsigned int n = 0; n < FAKE_GROUPS; n++)
		if (fake_vfio.groups[n].open && fake_vfio.groups[n].container == (int)container &&
			fake_vfio.groups[n].reach.end != 0 && fake_vfio.groups[n].reach.end < top)
			top = fake_vfio.groups[n].reach.end;
	return top;
}

#define CAP_AT(member) ((uint32_t)offsetof(struct fake_info, caps.member))

static void
fill_caps(unsigned int n, struct fake_caps *caps)
{
	const struct fake_container *c = &fake_vfio.containers[n];

	caps->migration.header = (struct vfio_info_cap_header){
		.id = VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, .version = 1, .next = CAP_AT(avail)
	};
	caps->migration.pgsize_bitmap = PAGE;
	caps->migration.max_dirty_bitmap_size = 0x10000000;
	caps->avail.header = (struct vfio_info_cap_header){
		.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, .version = 1, .next = CAP_AT(range)
	};
	caps->avail.avail = fake_vfio.compat ? UINT32_MAX : fake_vfio.max_entries - c->n_entries;
	caps->range.header =
		(struct vfio_info_cap_header){ .id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
			.version = 1 };
	caps->range.nr_iovas = top_of(n) > MSI_LAST ? 2 : 1;
	caps->range.ranges[0] = (struct vfio_iova_range){ 0, MSI_FIRST - 1 };
	caps->range.ranges[1] = (struct vfio_iova_range){ MSI_LAST + 1, top_of(n) };
	if (caps->range.nr_iovas == 1)
		caps->range.ranges[0].end = top_of(n);
}

static int
get_info(unsigned int n, struct vfio_iommu_type1_info *info)
{
	struct fake_info all = { .info = *info };

	if (!fake_vfio.containers[n].has_iommu)
		return -EINVAL;
	all.info.flags = VFIO_IOMMU_INFO_PGSIZES;
	all.info.iova_pgsizes = 0x40201000;
	if (!fake_vfio.no_caps) {
		all.info.flags |= VFIO_IOMMU_INFO_CAPS;
		fill_caps(n, &all.caps);
		if (info->argsz >= sizeof(all))
			all.info.cap_offset = fake_vfio.compat ? CAP_AT(avail) : CAP_AT(migration);
		all.info.argsz = sizeof(all);
	}
	memcpy(info, &all, info->argsz < sizeof(all) ? info->argsz : sizeof(all));
	return 0;
}

static bool
overlap(const struct fake_entry *a, uint64_t iova, uint64_t size)
{
	return a->iova <= iova + (size - 1) && iova <= a->iova + (a->size - 1);
}

/* Does the range cut an entry? */
static bool
cuts(const struct fake_container *c, uint64_t iova, uint64_t size)
{
	for (unsigned int i = 0; i < c->n_entries; i++) {
		const struct fake_entry *e = &c->entries[i];

		if (overlap(e, iova, size) &&
			(e->iova < iova || e->iova + (e->size - 1) > iova + (size - 1)))
			return true;
	}
	return false;
}

static int
map_dma(unsigned int n, const struct vfio_iommu_type1_dma_map *map)
{
	struct fake_container *c = &fake_vfio.containers[n];
	uint64_t last = map->iova + (map->size - 1);

	fake_vfio.calls_map++;
	if (!c->has_iommu || map->size == 0 || (map->iova | map->size | map->vaddr) % PAGE != 0 ||
		last > top_of(n) || (map->iova <= MSI_LAST && last >= MSI_FIRST))
		return -EINVAL;
	for (unsigned int i = 0; i < c->n_entries; i++)
		if (overlap(&c->entries[i], map->iova, map->size))
			return -EEXIST;
	if (msync((void *)(uintptr_t)map->vaddr, map->size, MS_ASYNC) != 0)
		return -EFAULT;
	if (c->n_entries == FAKE_ENTRIES ||
		(!fake_vfio.compat && c->n_entries >= fake_vfio.max_entries))
		return -ENOSPC;
	c->entries[c->n_entries++] =
		(struct fake_entry){ map->iova, map->size, map->vaddr, map->flags };
	return 0;
}

static bool
is_dirty(const struct fake_container *c, uint64_t iova)
{
	for (unsigned int i = 0; i < c->n_entries; i++)
		if (overlap(&c->entries[i], iova, 1))
			return !fake_vfio.knows_better || c->entries[i].iova == iova;
	return false;
}

/* One bit per page of entries in the range; all that is pinned is dirty, if it does not know better. */
static int
fill_bitmap(const struct fake_container *c, uint64_t iova, uint64_t size,
	const struct vfio_bitmap *bitmap)
{
	uint64_t pages = size / PAGE;

	fake_vfio.calls_bitmap++;
	if (!c->logging || bitmap->pgsize != PAGE || bitmap->size < (pages + 63) / 64 * 8 ||
		(uintptr_t)bitmap->data % 8 != 0)
		return -EINVAL;
	for (uint64_t p = 0; p < pages; p++)
		if (is_dirty(c, iova + p * PAGE))
			((uint64_t *)(void *)bitmap->data)[p / 64] |= UINT64_C(1) << p % 64;
	return 0;
}

static void
remove_entries(struct fake_container *c, uint64_t iova, uint64_t size, uint64_t *ret_size)
{
	unsigned int kept = 0;

	*ret_size = 0;
	for (unsigned int i = 0; i < c->n_entries; i++) {
		if (overlap(&c->entries[i], iova, size))
			*ret_size += c->entries[i].size;
		else
			c->entries[kept++] = c->entries[i];
	}
	c->n_entries = kept;
}

static int
unmap_dma(struct fake_container *c, struct vfio_iommu_type1_dma_unmap *unmap)
{
	uint64_t iova = unmap->iova, size = unmap->size, done;
	struct vfio_bitmap bitmap;
	int rc;

	fake_vfio.calls_unmap++;
	if ((unmap->flags & VFIO_DMA_UNMAP_FLAG_ALL) != 0) {
		if (fake_vfio.no_unmap_all || iova != 0 || size != 0)
			return -EINVAL;
		size = UINT64_MAX;
	}
	if (!c->has_iommu || size == 0 || cuts(c, iova, size))
		return -EINVAL;
	if ((unmap->flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) != 0) {
		if (fake_vfio.compat || unmap->argsz < sizeof(*unmap) + sizeof(bitmap))
			return -EINVAL;
		memcpy(&bitmap, unmap->data, sizeof(bitmap));
		rc = fill_bitmap(c, iova, size, &bitmap);
		if (rc != 0)
			return rc;
	}
	remove_entries(c, iova, size, &done);
	unmap->size = done;
	return 0;
}

static int
dirty_pages(struct fake_container *c, const struct vfio_iommu_type1_dirty_bitmap *arg)
{
	struct vfio_iommu_type1_dirty_bitmap_get get;

	if (fake_vfio.compat || fake_vfio.no_caps)
		return -ENOTTY;
	if (!c->has_iommu)
		return -EINVAL;
	if (arg->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_START)
		c->logging = true;
	else if (arg->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP)
		c->logging = false;
	else if (arg->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP &&
		arg->argsz >= sizeof(*arg) + sizeof(get)) {
		memcpy(&get, arg->data, sizeof(get));
		return cuts(c, get.iova, get.size)
			? -EINVAL
			: fill_bitmap(c, get.iova, get.size, &get.bitmap);
	} else
		return -EINVAL;
	return 0;
}

int
fake_container_ioctl(unsigned int n, unsigned long request, void *arg)
{
	struct fake_container *c = &fake_vfio.containers[n];

	CHECK(n < FAKE_CONTAINERS && c->open);
	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return check_extension((uintptr_t)arg);
	case VFIO_SET_IOMMU:
		return set_iommu(c, (uintptr_t)arg);
	case VFIO_IOMMU_GET_INFO:
		return get_info(n, arg);
	case VFIO_IOMMU_MAP_DMA:
		return map_dma(n, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_dma(c, arg);
	case VFIO_IOMMU_DIRTY_PAGES:
		return dirty_pages(c, arg);
	default:
		return -ENOTTY;
	}
}
