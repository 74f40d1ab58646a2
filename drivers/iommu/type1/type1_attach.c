/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Groups enter the container and leave it; devices come out of groups. A group enters
 * with its first device and leaves with its last one, and the first group brings the
 * container to life.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "type1_priv.h"

#define LOG_PREFIX "iommu/type1"

static int
check_viable(const struct type1_group *group)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	int rc = wherry_sys->ioctl(group->fd, VFIO_GROUP_GET_STATUS, &status);

	if (rc != 0)
		return -ENODEV;
	if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) != 0)
		return 0;
	LOG_ERR("%s: a kernel driver holds another device of the group: wherry info says which",
		group->node);
	return -EBUSY;
}

static int
set_container(const struct type1_domain *dom, const struct type1_group *group)
{
	int fd = dom->container;
	int rc = wherry_sys->ioctl(group->fd, VFIO_GROUP_SET_CONTAINER, &fd);

	if (rc == 0 || rc == -ENOMEM)
		return rc;
	if (rc == -EBUSY)
		return rc;
	LOG_ERR("%s does not enter the container: %s", group->node, strerror(-rc));
	/* the kernel maps all there is for the newcomer, and that it may not reach */
	return dom->live && rc == -EINVAL ? -EOVERFLOW : -ENODEV;
}

static void
unset_container(const struct type1_group *group)
{
	int rc = wherry_sys->ioctl(group->fd, VFIO_GROUP_UNSET_CONTAINER, NULL);

	if (rc != 0)
		LOG_ERR("%s does not leave the container: %s", group->node, strerror(-rc));
}

static int
set_iommu(const struct type1_domain *dom)
{
	int rc = wherry_sys->ioctl(
		dom->container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU);

	if (rc == 0 || rc == -ENOMEM)
		return rc;
	if (rc == -EPERM) {
		LOG_ERR("the IOMMU does not remap interrupts: switch that on (firmware: x2APIC, interrupt remapping), or load vfio_iommu_type1 with allow_unsafe_interrupts=1 and trust the device");
		return -EACCES;
	}
	LOG_ERR("the container gets no IOMMU: %s", strerror(-rc));
	return -ENODEV;
}

static int
refresh_info(struct type1_domain *dom)
{
	struct type1_info info;
	int rc = type1_read_info(dom->container, &info);

	if (rc != 0)
		return rc;
	free(dom->info.usable);
	dom->info = info;
	return 0;
}

/* The first group is in: everything that was only noted becomes so. */
static int
go_live(struct type1_domain *dom)
{
	int rc = set_iommu(dom);

	if (rc == 0)
		rc = refresh_info(dom);
	if (rc != 0)
		return rc;
	dom->max_entries = dom->info.entries_left;
	dom->warned = false;
	rc = type1_map_all(dom);
	if (rc != 0)
		return rc;
	dom->live = true;
	if (dom->tracking && type1_track(dom, true) != 0)
		LOG_WARN("no memory for dirty bitmaps; all counts as dirty");
	return 0;
}

static void
go_dead(struct type1_domain *dom)
{
	type1_unmap_all(dom);
	dom->live = dom->logging = false;
}

/* An open group into the container. */
static int
enter(struct type1_domain *dom, struct type1_group *group)
{
	int rc = check_viable(group);

	if (rc == 0)
		rc = set_container(dom, group);
	if (rc != 0 || dom->live)
		return rc;
	rc = go_live(dom);
	if (rc != 0)
		unset_container(group);
	return rc;
}

static struct type1_group *
find_group(struct type1_domain *dom, const char *node)
{
	struct type1_group *group;

	LIST_FOREACH(group, &dom->groups, link)
		if (strcmp(group->node, node) == 0)
			return group;
	return NULL;
}

static int
get_group(struct type1_domain *dom, const char *node, struct type1_group **ret_group)
{
	struct type1_group *group = find_group(dom, node);
	int rc;

	if (group != NULL) {
		group->users++;
		*ret_group = group;
		return 0;
	}
	group = wherry_fault("type1.group") ? NULL : calloc(1, sizeof(*group));
	if (group == NULL)
		return -ENOMEM;
	snprintf(group->node, sizeof(group->node), "%s", node);
	group->users = 1;
	group->fd = vfio_open_node(node);
	if (group->fd < 0) {
		rc = group->fd;
		goto free_group;
	}
	rc = enter(dom, group);
	if (rc != 0)
		goto close_group;
	LIST_INSERT_HEAD(&dom->groups, group, link);
	*ret_group = group;
	return 0;
close_group:
	wherry_sys->close(group->fd);
free_group:
	free(group);
	return rc;
}

static void
put_group(struct type1_domain *dom, struct type1_group *group)
{
	if (--group->users > 0)
		return;
	LIST_REMOVE(group, link);
	if (LIST_EMPTY(&dom->groups))
		go_dead(dom);
	unset_container(group);
	wherry_sys->close(group->fd);
	free(group);
}

static int
open_device(const struct type1_group *group, const struct vfio_device *dev)
{
	char address[sizeof(dev->place.address)];
	int fd;

	memcpy(address, dev->place.address, sizeof(address));
	fd = wherry_fault("type1.device")
		? -ENOMEM
		: wherry_sys->ioctl(group->fd, VFIO_GROUP_GET_DEVICE_FD, address);
	if (fd >= 0 || fd == -ENOMEM)
		return fd;
	LOG_ERR("%s does not come out of its group: %s", address, strerror(-fd));
	switch (fd) {
	case -EBUSY:
		return -EBUSY;
	case -EPERM:
	case -EACCES:
		return -EACCES;
	case -EADDRINUSE: /* iommufd's imitation: a reserved range is mapped */
		return -EOVERFLOW;
	default:
		return -ENODEV;
	}
}

int
type1_attach(void *be, void *device)
{
	struct type1_domain *dom = be;
	struct vfio_device *dev = device;
	struct type1_group *group;
	int rc = vfio_device_check_way(dev, WHERRY_VFIO_BY_GROUP), fd;

	if (rc == 0)
		rc = get_group(dom, dev->place.group, &group);
	if (rc != 0)
		return rc;
	fd = open_device(group, dev);
	if (fd < 0) {
		rc = fd;
		goto put_group;
	}
	rc = vfio_device_use(dev, fd);
	if (rc != 0)
		goto close_fd;
	rc = refresh_info(dom); /* each device may narrow it */
	if (rc != 0)
		goto unuse;
	dev->backend = group;
	return 0;
unuse:
	vfio_device_unuse(dev); /* closes fd */
	goto put_group;
close_fd:
	wherry_sys->close(fd);
put_group:
	put_group(dom, group);
	return rc;
}

void
type1_detach(void *be, void *device)
{
	struct vfio_device *dev = device;

	vfio_device_unuse(dev);
	put_group(be, dev->backend);
	dev->backend = NULL;
}
