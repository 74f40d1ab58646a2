/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI functions as sysfs describes them. Looking opens no device. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_priv.h"

#define LOG_PREFIX "iommu/vfio"

/* "0000:01:00.0", with up to six digits of domain. Anything else could be a path. */
static bool
is_address(const char *text)
{
	static const char hex[] = "0123456789abcdefABCDEF";
	size_t domain = strspn(text, hex);

	if (domain < 4 || domain > 6 || text[domain] != ':')
		return false;
	text += domain + 1;
	return strspn(text, hex) == 2 && text[2] == ':' && strspn(text + 3, hex) == 2 &&
		text[5] == '.' && text[6] >= '0' && text[6] <= '7' && text[7] == '\0';
}

static void
attribute(const struct wherry_vfio_function *fn, const char *name, char *text, size_t cap)
{
	char path[VFIO_PATH_MAX];

	text[0] = '\0';
	if (vfio_path(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", fn->address, name))
		vfio_sysfs_line(path, text, cap);
}

static unsigned int
number(const struct wherry_vfio_function *fn, const char *name)
{
	char text[32];

	attribute(fn, name, text, sizeof(text));
	return (unsigned int)strtoul(text, NULL, 0);
}

static void
link_name(const struct wherry_vfio_function *fn, const char *name, char *text, size_t cap)
{
	char path[VFIO_PATH_MAX];

	text[0] = '\0';
	if (vfio_path(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", fn->address, name))
		vfio_sysfs_link(path, text, cap);
}

/* The class device is there with every VFIO driver; its node only where the kernel makes them. */
static void
find_cdev(struct wherry_vfio_function *fn)
{
	char path[VFIO_PATH_MAX], name[24];

	if (!vfio_path(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", fn->address))
		return;
	vfio_sysfs_first(path, name, sizeof(name));
	if (name[0] == '\0' ||
		!vfio_path(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev/%s/dev",
			fn->address, name))
		return;
	if (vfio_sysfs_exists(path))
		snprintf(fn->cdev, sizeof(fn->cdev), "/dev/vfio/devices/%s", name);
}

static void
find_group(struct wherry_vfio_function *fn)
{
	char path[VFIO_PATH_MAX], number_text[12], name[32] = "";

	link_name(fn, "iommu_group", number_text, sizeof(number_text));
	if (number_text[0] == '\0')
		return;
	if (vfio_path(path, sizeof(path), "/sys/kernel/iommu_groups/%s/name", number_text))
		vfio_sysfs_line(path, name, sizeof(name));
	fn->noiommu = strcmp(name, "vfio-noiommu") == 0;
	snprintf(fn->group, sizeof(fn->group), "/dev/vfio/%s%s", fn->noiommu ? "noiommu-" : "",
		number_text);
}

static void
describe(struct wherry_vfio_function *fn)
{
	char text[16];

	link_name(fn, "driver", fn->driver, sizeof(fn->driver));
	link_name(fn, "iommu", fn->iommu, sizeof(fn->iommu));
	attribute(fn, "numa_node", text, sizeof(text));
	fn->node = text[0] != '\0' ? (int)strtol(text, NULL, 10) : -1;
	fn->vendor = number(fn, "vendor");
	fn->device = number(fn, "device");
	fn->pciclass = number(fn, "class");
	find_cdev(fn);
	find_group(fn);
	vfio_find_gaps(fn);
}

int
wherry_vfio_find(const char *address, struct wherry_vfio_function *ret_fn)
{
	struct wherry_vfio_function fn = { .node = -1 };
	char path[VFIO_PATH_MAX];

	if (!is_address(address))
		return -EINVAL;
	snprintf(fn.address, sizeof(fn.address), "%s", address);
	if (!vfio_path(path, sizeof(path), "/sys/bus/pci/devices/%s", address) ||
		!vfio_sysfs_exists(path))
		return -ENODEV;
	describe(&fn);
	*ret_fn = fn;
	return 0;
}

struct visitor {
	int (*visit)(void *ctx, const struct wherry_vfio_function *fn);
	void *ctx;
};

static int
visit_one(void *ctx, const char *name)
{
	const struct visitor *visitor = ctx;
	struct wherry_vfio_function fn;

	/* one that has gone meanwhile is none */
	return wherry_vfio_find(name, &fn) == 0 ? visitor->visit(visitor->ctx, &fn) : 0;
}

int
wherry_vfio_each(int (*visit)(void *ctx, const struct wherry_vfio_function *fn), void *ctx)
{
	struct visitor visitor = { visit, ctx };
	char path[VFIO_PATH_MAX];

	if (!vfio_path(path, sizeof(path), "/sys/bus/pci/devices") || !vfio_sysfs_exists(path))
		return -ENODEV;
	return vfio_sysfs_each(path, visit_one, &visitor);
}
