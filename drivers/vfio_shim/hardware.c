/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One device through Wherry: in the domain of the process, which holds EAL's memory from
 * the first device on. WHERRY_IOMMU names the domain; "iommufd" if it does not.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim_priv.h"
#include "wherry_dpdk.h"
#include "wherry_iommu.h"
#include "wherry_vfio.h"

#define LOG_PREFIX "vfio-shim"

static const char *
domain_spec(void)
{
	const char *spec = getenv("WHERRY_IOMMU");

	return spec != NULL && *spec != '\0' ? spec : "iommufd";
}

/* The first thing that is missing on the way to a character device. */
static void
explain_gap(const struct wherry_vfio_function *fn, char why[SHIM_WHY])
{
	for (unsigned int i = 0; i < fn->n_gaps; i++) {
		const struct wherry_vfio_gap *gap = &fn->gaps[i];

		if ((gap->blocks & WHERRY_VFIO_BY_CDEV) != 0) {
			snprintf(why, SHIM_WHY, "%.120s; %.120s", gap->why, gap->remedy);
			return;
		}
	}
	snprintf(why, SHIM_WHY, "no character device");
}

static void
explain_domain(const struct wherry_domain *dom, const char *cdev, char why[SHIM_WHY])
{
	static const char *const dirty[] = { "unknown", "all that is mapped", "tracked" };
	struct wherry_domain_caps caps;

	wherry_domain_get_caps(dom, &caps);
	snprintf(why, SHIM_WHY, "%s (%s), device writes: %s%s%.120s", wherry_domain_backend(dom),
		cdev, dirty[caps.dirty], *caps.reason != '\0' ? ": " : "", caps.reason);
}

/* Memory that cannot be mapped would not be mapped by EAL either, but for these two. */
static enum shim_way
without_domain(int rc, char why[SHIM_WHY])
{
	snprintf(why, SHIM_WHY, "no domain \"%s\": %s", domain_spec(), strerror(-rc));
	return rc == -EOVERFLOW || rc == -EINVAL ? SHIM_REFUSED : SHIM_THEIRS;
}

static int
open_and_attach(const char *address, struct shim_hw *hw)
{
	int rc = wherry_device_open(address, &hw->dev);

	if (rc != 0)
		return rc;
	rc = wherry_device_attach(hw->dev, hw->dom, NULL);
	if (rc == 0) {
		hw->fd = wherry_vfio_fd(hw->dev);
		rc = hw->fd < 0 ? hw->fd : 0;
	}
	if (rc != 0)
		wherry_device_close(hw->dev);
	return rc;
}

enum shim_way
shim_hw_open(const char *address, struct shim_hw *ret_hw, char why[SHIM_WHY])
{
	struct wherry_vfio_function fn;
	struct shim_hw hw;
	int rc = wherry_vfio_find(address, &fn);

	if (rc != 0) {
		snprintf(why, SHIM_WHY, "no such device: %s", strerror(-rc));
		return SHIM_THEIRS;
	}
	if ((fn.ways & WHERRY_VFIO_BY_CDEV) == 0) {
		explain_gap(&fn, why);
		return SHIM_THEIRS;
	}
	rc = wherry_dpdk_domain_get(domain_spec(), &hw.dom);
	if (rc != 0)
		return without_domain(rc, why);
	rc = open_and_attach(address, &hw);
	if (rc != 0) {
		wherry_dpdk_domain_put(hw.dom);
		snprintf(why, SHIM_WHY, "it cannot be attached: %s", strerror(-rc));
		return rc == -EOVERFLOW ? SHIM_REFUSED : SHIM_THEIRS;
	}
	explain_domain(hw.dom, fn.cdev, why);
	*ret_hw = hw;
	return SHIM_OURS;
}

void
shim_hw_close(struct shim_hw *hw)
{
	wherry_device_close(hw->dev);
	wherry_dpdk_domain_put(hw->dom);
}

int
shim_hw_info(int fd, struct vfio_device_info *info)
{
	int rc = wherry_sys->ioctl(fd, VFIO_DEVICE_GET_INFO, info);

	return rc < 0 ? rc : 0;
}

static int
stop_at_cdev(void *ctx, const struct wherry_vfio_function *fn)
{
	(void)ctx;
	return (fn->ways & WHERRY_VFIO_BY_CDEV) != 0;
}

bool
shim_hw_any(void)
{
	return wherry_vfio_each(stop_at_cdev, NULL) > 0;
}
