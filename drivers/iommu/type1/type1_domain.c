/* SPDX-License-Identifier: BSD-3-Clause */
/* VFIO type1 as a backend: a container, from create to destroy, and what it can do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "type1_priv.h"

#define LOG_PREFIX "iommu/type1"

#define CONTAINER "/dev/vfio/vfio"

/* The container speaks our language, or why not. */
static int
check_container(int fd)
{
	if (wherry_sys->ioctl(fd, VFIO_GET_API_VERSION, NULL) != VFIO_API_VERSION) {
		LOG_ERR(CONTAINER ": another API version than ours");
		return -ENODEV;
	}
	if (wherry_sys->ioctl(fd, VFIO_CHECK_EXTENSION, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) > 0)
		return 0;
	LOG_ERR(CONTAINER ": no type1 IOMMU: modprobe vfio_iommu_type1");
	return -ENODEV;
}

static int
open_container(int *ret_fd)
{
	int fd = vfio_open_node(CONTAINER), rc;

	if (fd < 0) {
		if (fd == -ENODEV)
			LOG_ERR("no VFIO containers: modprobe vfio_iommu_type1; where there is no such module, a kernel with CONFIG_VFIO_CONTAINER or CONFIG_IOMMUFD_VFIO_CONTAINER");
		return fd;
	}
	rc = check_container(fd);
	if (rc != 0) {
		wherry_sys->close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

static int
create(const char *options, void **ret_be)
{
	struct type1_domain *dom;
	int rc;

	if (options[0] != '\0') {
		LOG_ERR("type1 has no options: \"%s\"", options);
		return -EINVAL;
	}
	dom = wherry_fault("type1.domain") ? NULL : calloc(1, sizeof(*dom));
	if (dom == NULL)
		return -ENOMEM;
	LIST_INIT(&dom->groups);
	rc = type1_guess_info(&dom->info);
	if (rc != 0)
		goto free_domain;
	rc = open_container(&dom->container);
	if (rc != 0)
		goto free_info;
	dom->has_unmap_all = wherry_sys->ioctl(dom->container, VFIO_CHECK_EXTENSION,
				     (void *)(uintptr_t)VFIO_UNMAP_ALL) > 0;
	*ret_be = dom;
	return 0;
free_info:
	free(dom->info.usable);
free_domain:
	free(dom);
	return rc;
}

static void
join(void *be, const struct wherry_domain *core)
{
	struct type1_domain *dom = be;

	dom->core = core;
}

static void
destroy(void *be)
{
	struct type1_domain *dom = be;

	wherry_sys->close(dom->container);
	free(dom->info.usable);
	free(dom->bits);
	free(dom);
}

static const char *
reason(const struct type1_domain *dom)
{
	if (!dom->live)
		return "no device is attached yet: sizes and ranges are a guess; type1 counts all that is mapped as dirty";
	return dom->info.migration
		? "type1 counts all that is mapped as dirty; iommufd knows better where the IOMMU has dirty bits"
		: "this container is iommufd's imitation, without dirty bitmaps: all that is mapped counts as dirty";
}

static void
get_caps(void *be, struct wherry_domain_caps *ret_caps)
{
	const struct type1_domain *dom = be;

	*ret_caps = (struct wherry_domain_caps){
		.page_sizes = dom->info.page_sizes,
		.granule = dom->info.bitmap_page,
		.usable = dom->info.usable,
		.n_usable = dom->info.n_usable,
		.dirty = WHERRY_DIRTY_PERPETUAL,
		.exact_by = WHERRY_UNMAP_BY_ASSUMING,
		.regrain = WHERRY_REGRAIN_NEVER,
		.write_only = false,
		.reason = reason(dom),
		.max_mappings = dom->max_entries,
	};
}

const struct wherry_iommu_driver wherry_iommu_type1 = {
	.name = "type1",
	.unmap_sees_dirty = true,
	.create = create,
	.join = join,
	.destroy = destroy,
	.get_caps = get_caps,
	.map = type1_map,
	.unmap = type1_unmap,
	.track = type1_track,
	.read_dirty = type1_read_dirty,
	.device_open = vfio_device_open,
	.device_close = vfio_device_close,
	.attach = type1_attach,
	.detach = type1_detach,
};
