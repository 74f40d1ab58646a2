/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The functions DPDK calls, in front of EAL's own. Results are as DPDK has them: 0, -1,
 * and 1 for a device that VFIO does not manage; rte_errno where DPDK sets it.
 */
#include <errno.h>
#include <string.h>

#include <rte_errno.h>

#include "shim_priv.h"

#define LOG_PREFIX "vfio-shim"
#define EXPORT __attribute__((visibility("default")))

/* DPDK's prototypes, see shim_priv.h. */
EXPORT int rte_vfio_setup_device(const char *sysfs_base, const char *dev_addr, int *vfio_dev_fd,
	struct vfio_device_info *device_info);
EXPORT int rte_vfio_get_device_info(const char *sysfs_base, const char *dev_addr, int *vfio_dev_fd,
	struct vfio_device_info *device_info);
EXPORT int rte_vfio_release_device(const char *sysfs_base, const char *dev_addr, int fd);
EXPORT int rte_vfio_is_enabled(const char *modname);
EXPORT int rte_vfio_container_dma_map(
	int container_fd, uint64_t vaddr, uint64_t iova, uint64_t len);
EXPORT int rte_vfio_container_dma_unmap(
	int container_fd, uint64_t vaddr, uint64_t iova, uint64_t len);

#define DEFAULT_CONTAINER (-1) /* RTE_VFIO_DEFAULT_CONTAINER_FD */

/* Other buses have other devices: none of them is ours. */
static bool
is_pci(const char *sysfs_base)
{
	return strstr(sysfs_base, "/bus/pci/") != NULL;
}

static int
setup_theirs(const char *sysfs_base, const char *dev_addr, int *vfio_dev_fd,
	struct vfio_device_info *device_info)
{
	int rc = shim_original()->setup_device(sysfs_base, dev_addr, vfio_dev_fd, device_info);

	if (rc == 0)
		shim_count_theirs(1);
	return rc;
}

int
rte_vfio_setup_device(const char *sysfs_base, const char *dev_addr, int *vfio_dev_fd,
	struct vfio_device_info *device_info)
{
	if (!shim_active() || !is_pci(sysfs_base))
		return shim_original()->setup_device(
			sysfs_base, dev_addr, vfio_dev_fd, device_info);
	switch (shim_take(dev_addr, vfio_dev_fd, device_info)) {
	case SHIM_OURS:
		return 0;
	case SHIM_THEIRS:
		return setup_theirs(sysfs_base, dev_addr, vfio_dev_fd, device_info);
	case SHIM_REFUSED:
	default:
		return -1;
	}
}

/* Since 23.11: describe a device; one without a descriptor yet is set up first. */
int
rte_vfio_get_device_info(const char *sysfs_base, const char *dev_addr, int *vfio_dev_fd,
	struct vfio_device_info *device_info)
{
	if (*vfio_dev_fd == -1)
		return rte_vfio_setup_device(sysfs_base, dev_addr, vfio_dev_fd, device_info);
	return shim_hw_info(*vfio_dev_fd, device_info) == 0 ? 0 : -1;
}

int
rte_vfio_release_device(const char *sysfs_base, const char *dev_addr, int fd)
{
	int rc;

	if (is_pci(sysfs_base) && shim_release(dev_addr))
		return 0;
	rc = shim_original()->release_device(sysfs_base, dev_addr, fd);
	if (rc == 0 && is_pci(sysfs_base))
		shim_count_theirs(-1);
	return rc;
}

/* Without EAL's container node VFIO can be there all the same. */
int
rte_vfio_is_enabled(const char *modname)
{
	if (shim_active() && strncmp(modname, "vfio", 4) == 0 && shim_hw_any())
		return 1;
	return shim_original()->is_enabled(modname);
}

static int
as_dpdk(int rc)
{
	if (rc == 0)
		return 0;
	rte_errno = -rc;
	return -1;
}

int
rte_vfio_container_dma_map(int container_fd, uint64_t vaddr, uint64_t iova, uint64_t len)
{
	struct wherry_span span = { .iova = iova, .len = len };
	int rc = 0;

	if (container_fd != DEFAULT_CONTAINER)
		return shim_original()->container_dma_map(container_fd, vaddr, iova, len);
	if (shim_map(vaddr, span, &rc) || rc != 0)
		return as_dpdk(rc);
	rc = shim_original()->container_dma_map(container_fd, vaddr, iova, len);
	if (rc != 0) {
		int saved = rte_errno, ignored;

		(void)shim_unmap(span, &ignored);
		rte_errno = saved;
	}
	return rc;
}

int
rte_vfio_container_dma_unmap(int container_fd, uint64_t vaddr, uint64_t iova, uint64_t len)
{
	struct wherry_span span = { .iova = iova, .len = len };
	int rc = 0;

	if (container_fd != DEFAULT_CONTAINER)
		return shim_original()->container_dma_unmap(container_fd, vaddr, iova, len);
	if (shim_unmap(span, &rc))
		return as_dpdk(rc);
	return shim_original()->container_dma_unmap(container_fd, vaddr, iova, len);
}
