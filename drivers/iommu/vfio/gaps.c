/* SPDX-License-Identifier: BSD-3-Clause */
/* What is missing on the way to a function, and what a person can do about it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_priv.h"

#define BOTH (WHERRY_VFIO_BY_CDEV | WHERRY_VFIO_BY_GROUP)

bool
vfio_is_bound(const struct wherry_vfio_function *fn)
{
	return strstr(fn->driver, "vfio") != NULL || fn->cdev[0] != '\0';
}

/* The next gap, with its why; the caller adds the remedy. */
static __attribute__((format(printf, 4, 5))) struct wherry_vfio_gap *
add_gap(struct wherry_vfio_function *fn, unsigned int blocks, int error, const char *fmt, ...)
{
	struct wherry_vfio_gap *gap = &fn->gaps[fn->n_gaps++];
	va_list args;

	gap->blocks = blocks;
	gap->error = error;
	va_start(args, fmt);
	vsnprintf(gap->why, sizeof(gap->why), fmt, args);
	va_end(args);
	return gap;
}

static bool
exists(const char *where)
{
	char path[VFIO_PATH_MAX];

	return vfio_path(path, sizeof(path), "%s", where) && vfio_sysfs_exists(path);
}

static int
has_devices(void *ctx, const struct wherry_vfio_iommu *iommu)
{
	(void)ctx;
	return iommu->n_devices > 0;
}

/* One that translates for nobody, as the kernel's mock, does not count. */
static bool
machine_has_iommu(void)
{
	return wherry_vfio_each_iommu(has_devices, NULL) == 1;
}

static void
check_iommu(struct wherry_vfio_function *fn)
{
	struct wherry_vfio_gap *gap;

	if (fn->group[0] != '\0' && !fn->noiommu)
		return;
	gap = add_gap(fn, BOTH, fn->noiommu ? -EOPNOTSUPP : -ENODEV,
		fn->noiommu
			? "no IOMMU translates for it: in noiommu mode its DMA reaches all memory, and nothing knows what it wrote"
			: "no IOMMU translates for it");
	if (machine_has_iommu())
		snprintf(gap->remedy, sizeof(gap->remedy),
			"use another slot or function: none of the machine's IOMMUs has it in its scope");
	else
		snprintf(gap->remedy, sizeof(gap->remedy),
			"switch on the IOMMU in the firmware setup (VT-d; AMD-Vi, \"IOMMU\"; SMMU); for VT-d boot the kernel with intel_iommu=on");
}

static void
check_driver(struct wherry_vfio_function *fn)
{
	struct wherry_vfio_gap *gap;

	if (vfio_is_bound(fn))
		return;
	if (!exists("/sys/bus/pci/drivers/vfio-pci")) {
		gap = add_gap(fn, BOTH, -ENODEV, "the kernel has no driver vfio-pci");
		snprintf(gap->remedy, sizeof(gap->remedy),
			"modprobe vfio-pci; where there is no such module, a kernel with CONFIG_VFIO_PCI");
	}
	if (fn->driver[0] == '\0') {
		gap = add_gap(fn, BOTH, -ENODEV, "it is bound to no driver");
		snprintf(gap->remedy, sizeof(gap->remedy),
			"echo vfio-pci > /sys/bus/pci/devices/%s/driver_override; echo %s > /sys/bus/pci/drivers_probe",
			fn->address, fn->address);
		return;
	}
	gap = add_gap(fn, BOTH, -EBUSY, "it is bound to the kernel's driver %s", fn->driver);
	snprintf(gap->remedy, sizeof(gap->remedy),
		"echo vfio-pci > /sys/bus/pci/devices/%s/driver_override; echo %s > /sys/bus/pci/devices/%s/driver/unbind; echo %s > /sys/bus/pci/drivers_probe",
		fn->address, fn->address, fn->address, fn->address);
}

static void
check_nodes(struct wherry_vfio_function *fn)
{
	struct wherry_vfio_gap *gap;

	if (!vfio_is_bound(fn))
		return; /* the nodes come with the driver */
	if (fn->cdev[0] == '\0') {
		gap = add_gap(fn, WHERRY_VFIO_BY_CDEV, -ENODEV,
			"this kernel makes no /dev/vfio/devices/vfioN");
		snprintf(gap->remedy, sizeof(gap->remedy),
			"Linux 6.6 or newer with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV=y");
	} else if (!exists(fn->cdev)) {
		gap = add_gap(fn, WHERRY_VFIO_BY_CDEV, -ENODEV,
			"there is no %s, though the kernel has one to give", fn->cdev);
		snprintf(gap->remedy, sizeof(gap->remedy),
			"start udev, which makes it; into a container it is passed as a device");
	}
	if (fn->group[0] != '\0' && !exists(fn->group)) {
		gap = add_gap(fn, WHERRY_VFIO_BY_GROUP, -ENODEV, "there is no %s", fn->group);
		snprintf(gap->remedy, sizeof(gap->remedy),
			"a kernel with CONFIG_VFIO_GROUP=y; or use iommufd, which needs no group");
	}
}

/* Bridges do no DMA of their own that a group's owner would have to fear. */
static bool
may_share(const struct wherry_vfio_function *other)
{
	return other->driver[0] == '\0' || strstr(other->driver, "vfio") != NULL ||
		strcmp(other->driver, "pci-stub") == 0 || other->pciclass >> 8 == 0x0604;
}

struct group_walk {
	struct wherry_vfio_function *fn, other;
};

/* 1: this one is in the way. */
static int
check_member(void *ctx, const char *name)
{
	struct group_walk *walk = ctx;
	char path[VFIO_PATH_MAX], text[16];

	if (strcmp(name, walk->fn->address) == 0)
		return 0;
	memset(&walk->other, 0, sizeof(walk->other));
	snprintf(walk->other.address, sizeof(walk->other.address), "%.15s", name);
	if (!vfio_path(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", name))
		return 0;
	vfio_sysfs_link(path, walk->other.driver, sizeof(walk->other.driver));
	if (vfio_path(path, sizeof(path), "/sys/bus/pci/devices/%s/class", name)) {
		vfio_sysfs_line(path, text, sizeof(text));
		walk->other.pciclass = (unsigned int)strtoul(text, NULL, 16);
	}
	return may_share(&walk->other) ? 0 : 1;
}

static void
check_group(struct wherry_vfio_function *fn)
{
	struct group_walk walk = { .fn = fn };
	struct wherry_vfio_gap *gap;
	char path[VFIO_PATH_MAX];

	if (fn->group[0] == '\0' ||
		!vfio_path(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group/devices",
			fn->address))
		return;
	if (vfio_sysfs_each(path, check_member, &walk) != 1)
		return;
	gap = add_gap(fn, BOTH, -EBUSY, "%s, which no IOMMU tells apart from it, is bound to %s",
		walk.other.address, walk.other.driver);
	snprintf(gap->remedy, sizeof(gap->remedy),
		"bind it to vfio-pci, too, or to nothing: echo %s > /sys/bus/pci/devices/%s/driver/unbind",
		walk.other.address, walk.other.address);
}

void
vfio_find_gaps(struct wherry_vfio_function *fn)
{
	fn->n_gaps = 0;
	fn->ways = BOTH;
	check_iommu(fn);
	check_driver(fn);
	check_nodes(fn);
	check_group(fn);
	for (unsigned int i = 0; i < fn->n_gaps; i++)
		fn->ways &= ~fn->gaps[i].blocks;
}
