/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Spaces and the tables in them. Tracking belongs to a table: it is switched on once
 * for each, because the kernel clears bits whenever it is told to switch on, even if
 * it is on already.
 */
#include <errno.h>
#include <stdlib.h>

#include "iommufd_priv.h"

#define LOG_PREFIX "iommu/iommufd"

int
iommufd_space_create(int fd, bool small, struct iommufd_space **ret_space)
{
	struct iommufd_space *space =
		wherry_fault("iommufd.space") ? NULL : calloc(1, sizeof(*space));
	int rc;

	if (space == NULL)
		return -ENOMEM;
	LIST_INIT(&space->tables);
	space->small = small;
	rc = kernel_ioas_alloc(fd, &space->ioas);
	if (rc != 0)
		goto free_space;
	if (small)
		rc = kernel_ioas_small_pages(fd, space->ioas);
	if (rc != 0)
		goto destroy_ioas;
	*ret_space = space;
	return 0;
destroy_ioas:
	kernel_destroy(fd, space->ioas);
free_space:
	free(space);
	return rc;
}

void
iommufd_space_destroy(int fd, struct iommufd_space *space)
{
	struct iommufd_table *table, *next;

	for (table = LIST_FIRST(&space->tables); table != NULL; table = next) {
		next = LIST_NEXT(table, link);
		kernel_destroy(fd, table->hwpt);
		free(table);
	}
	kernel_destroy(fd, space->ioas);
	free(space);
}

int
iommufd_table_create(struct iommufd_domain *dom, struct iommufd_space *space, uint32_t dev_id,
	bool dirty, struct iommufd_table **ret_table)
{
	struct iommufd_table *table =
		wherry_fault("iommufd.table") ? NULL : calloc(1, sizeof(*table));
	int rc;

	if (table == NULL)
		return -ENOMEM;
	table->tracks = dirty;
	rc = kernel_hwpt_alloc(dom->fd, dev_id, space->ioas, dirty, &table->hwpt);
	if (rc != 0)
		goto free_table;
	if (dirty && dom->tracking)
		rc = kernel_hwpt_track(dom->fd, table->hwpt, true);
	if (rc != 0)
		goto destroy_hwpt;
	LIST_INSERT_HEAD(&space->tables, table, link);
	*ret_table = table;
	return 0;
destroy_hwpt:
	kernel_destroy(dom->fd, table->hwpt);
free_table:
	free(table);
	return rc;
}

void
iommufd_table_destroy(struct iommufd_domain *dom, struct iommufd_table *table)
{
	kernel_destroy(dom->fd, table->hwpt);
	LIST_REMOVE(table, link);
	free(table);
}

static int
track_space(struct iommufd_domain *dom, struct iommufd_space *space, bool on)
{
	struct iommufd_table *table;
	int rc = 0;

	if (space == NULL)
		return 0;
	LIST_FOREACH(table, &space->tables, link)
		if (rc == 0 && table->tracks)
			rc = kernel_hwpt_track(dom->fd, table->hwpt, on);
	return rc;
}

int
iommufd_track(struct iommufd_domain *dom, bool on)
{
	int rc = on ? iommufd_bits_reserve(dom, UINT64_C(1) << 30) : 0;

	if (rc == 0)
		rc = track_space(dom, dom->now, on);
	if (rc == 0)
		rc = track_space(dom, dom->other, on);
	if (rc != 0) { /* only switching on can fail */
		(void)track_space(dom, dom->now, false);
		(void)track_space(dom, dom->other, false);
		return rc;
	}
	dom->tracking = on;
	return 0;
}

static bool
space_tracks(const struct iommufd_space *space)
{
	const struct iommufd_table *table;

	LIST_FOREACH(table, &space->tables, link)
		if (!table->tracks)
			return false;
	return !LIST_EMPTY(&space->tables);
}

WHERRY_HOT bool
iommufd_all_track(const struct iommufd_domain *dom)
{
	return space_tracks(dom->now) && (!dom->swapped || space_tracks(dom->other));
}
