/* SPDX-License-Identifier: BSD-3-Clause */
/* Groups and containers of the played kernel: who is in what, and what is mapped. */
#include <errno.h>
#include <string.h>

#include "fake_vfio_priv.h"

int
fake_group_open(unsigned int n)
{
	struct fake_group *group = &fake_vfio.groups[n];

	if (group->open)
		return -EBUSY;
	group->open = true;
	group->container = -1;
	fake_vfio.open_fds++;
	return FAKE_GROUP + (int)n;
}

void
fake_group_close(unsigned int n)
{
	struct fake_group *group = &fake_vfio.groups[n];

	CHECK(group->open && group->container < 0); /* in order: a real one would linger */
	group->open = false;
}

static int
set_container(unsigned int n, const int *fd)
{
	struct fake_group *group = &fake_vfio.groups[n];
	int rc;

	if (group->container >= 0 || *fd < FAKE_FD || *fd >= FAKE_GROUP)
		return -EINVAL;
	rc = fake_container_enter((unsigned int)(*fd - FAKE_FD), n);
	if (rc == 0)
		group->container = *fd - FAKE_FD;
	return rc;
}

static int
unset_container(struct fake_group *group)
{
	if (group->container < 0)
		return -EINVAL;
	if (group->device_open)
		return -EBUSY;
	fake_container_leave((unsigned int)group->container);
	group->container = -1;
	return 0;
}

static int
get_device(unsigned int n, const char *name)
{
	struct fake_group *group = &fake_vfio.groups[n];
	char address[16];

	snprintf(address, sizeof(address), "0000:0%u:00.0", n);
	if (strcmp(name, address) != 0)
		return -ENODEV;
	if (group->container < 0 || !fake_vfio.containers[group->container].has_iommu)
		return -EINVAL;
	CHECK(!group->device_open);
	group->device_open = true;
	fake_vfio.open_fds++;
	return FAKE_DEVICE + (int)n;
}

int
fake_group_ioctl(unsigned int n, unsigned long request, void *arg)
{
	struct fake_group *group = &fake_vfio.groups[n];
	struct vfio_group_status *status = arg;

	CHECK(group->open);
	switch (request) {
	case VFIO_GROUP_GET_STATUS:
		if (status->argsz < sizeof(*status))
			return -EINVAL;
		status->flags = (group->not_viable ? 0 : VFIO_GROUP_FLAGS_VIABLE) |
			(group->container >= 0 ? VFIO_GROUP_FLAGS_CONTAINER_SET : 0);
		return 0;
	case VFIO_GROUP_SET_CONTAINER:
		return group->not_viable ? -EPERM : set_container(n, arg);
	case VFIO_GROUP_UNSET_CONTAINER:
		return unset_container(group);
	case VFIO_GROUP_GET_DEVICE_FD:
		return get_device(n, arg);
	default:
		return -ENOTTY;
	}
}

static const struct fake_entry *
find_entry(const struct fake_container *c, uint64_t iova)
{
	for (unsigned int i = 0; i < c->n_entries; i++)
		if (iova >= c->entries[i].iova && iova - c->entries[i].iova < c->entries[i].size)
			return &c->entries[i];
	return NULL;
}

int
fake_vfio_dma(unsigned int n, uint64_t iova, void *buf, size_t len, bool write)
{
	struct fake_group *group = &fake_vfio.groups[n];
	const struct fake_entry *entry;
	uint8_t *at;

	if (!group->device_open || group->container < 0)
		return -EFAULT;
	entry = find_entry(&fake_vfio.containers[group->container], iova);
	if (entry == NULL || iova - entry->iova + len > entry->size)
		return -EFAULT;
	if ((entry->flags & (write ? VFIO_DMA_MAP_FLAG_WRITE : VFIO_DMA_MAP_FLAG_READ)) == 0)
		return -EFAULT;
	at = (uint8_t *)(uintptr_t)(entry->vaddr + (iova - entry->iova));
	memcpy(write ? at : buf, write ? buf : at, len);
	if (write)
		fake_log_write(&group->log, iova);
	return 0;
}
