/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO_IOMMU_GET_INFO: a struct with a chain of capabilities behind it. An old kernel
 * has none of them, iommufd's imitation some.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "type1_priv.h"

#define LOG_PREFIX "iommu/type1"

/*
 * Nothing is known before a group is in the container, so this is what all IOMMUs of
 * today have: 48 bits, without the windows of message-signalled interrupts of x86 and
 * of arm64. Mappings that turn out to be out of reach are refused at attach.
 */
static const struct wherry_span guess[] = {
	{ 0, UINT64_C(0x8000000) },
	{ UINT64_C(0x8100000), UINT64_C(0xfee00000) - UINT64_C(0x8100000) },
	{ UINT64_C(0xfef00000), (UINT64_C(1) << 48) - UINT64_C(0xfef00000) },
};

static uint64_t
host_page(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int
copy_spans(const struct wherry_span *from, size_t n, struct type1_info *info)
{
	info->usable = wherry_fault("type1.usable") ? NULL : calloc(n, sizeof(*from));
	if (info->usable == NULL)
		return -ENOMEM;
	memcpy(info->usable, from, n * sizeof(*from));
	info->n_usable = n;
	return 0;
}

int
type1_guess_info(struct type1_info *ret_info)
{
	struct type1_info info = {
		.page_sizes = host_page(),
		.bitmap_page = host_page(),
	};
	int rc = copy_spans(guess, sizeof(guess) / sizeof(guess[0]), &info);

	if (rc == 0)
		*ret_info = info;
	return rc;
}

/* NULL: no such capability of that size. */
static const void *
find_cap(const struct vfio_iommu_type1_info *info, uint16_t id, size_t min)
{
	bool any = (info->flags & VFIO_IOMMU_INFO_CAPS) != 0;

	return vfio_find_cap(info, any ? info->cap_offset : 0, id, min);
}

static int
ask(int container, struct vfio_iommu_type1_info **ret_raw)
{
	const struct vfio_iommu_type1_info question = { .argsz = 0 };
	void *answer;
	int rc = vfio_ask(container, VFIO_IOMMU_GET_INFO, &question, sizeof(question), &answer);

	if (rc != 0) {
		LOG_ERR("the container does not describe its IOMMU: %s", strerror(-rc));
		return rc == -ENOMEM ? rc : -ENODEV;
	}
	*ret_raw = answer;
	return 0;
}

static int
read_ranges(const struct vfio_iommu_type1_info *raw, struct type1_info *info)
{
	const struct vfio_iommu_type1_info_cap_iova_range *cap =
		find_cap(raw, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, sizeof(*cap));
	size_t room, n = 0;

	if (cap == NULL)
		return copy_spans(guess, sizeof(guess) / sizeof(guess[0]), info);
	room = (raw->argsz - (size_t)((const char *)cap - (const char *)raw) - sizeof(*cap)) /
		sizeof(cap->iova_ranges[0]);
	if (room > cap->nr_iovas)
		room = cap->nr_iovas;
	info->usable =
		wherry_fault("type1.ranges") ? NULL : calloc(room + 1, sizeof(*info->usable));
	if (info->usable == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < room; i++) {
		uint64_t first = cap->iova_ranges[i].start, last = cap->iova_ranges[i].end;

		if (last < first)
			continue;
		if (last - first == UINT64_MAX)
			last--; /* a length that fits */
		info->usable[n++] = (struct wherry_span){ first, last - first + 1 };
	}
	info->n_usable = n;
	return 0;
}

static void
read_migration(const struct vfio_iommu_type1_info *raw, struct type1_info *info)
{
	const struct vfio_iommu_type1_info_cap_migration *cap =
		find_cap(raw, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, sizeof(*cap));

	if (cap == NULL || cap->pgsize_bitmap == 0)
		return;
	info->migration = true;
	info->bitmap_page = cap->pgsize_bitmap & -cap->pgsize_bitmap;
	info->max_bitmap = cap->max_dirty_bitmap_size;
}

int
type1_read_info(int container, struct type1_info *ret_info)
{
	const struct vfio_iommu_type1_info_dma_avail *avail;
	struct vfio_iommu_type1_info *raw;
	struct type1_info info = { .page_sizes = host_page(), .bitmap_page = host_page() };
	int rc = ask(container, &raw);

	if (rc != 0)
		return rc;
	if ((raw->flags & VFIO_IOMMU_INFO_PGSIZES) != 0 && raw->iova_pgsizes != 0)
		info.page_sizes = raw->iova_pgsizes;
	read_migration(raw, &info);
	avail = find_cap(raw, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof(*avail));
	info.entries_left = avail == NULL || avail->avail == UINT32_MAX ? 0 : avail->avail;
	rc = read_ranges(raw, &info);
	free(raw);
	if (rc == 0)
		*ret_info = info;
	return rc;
}
