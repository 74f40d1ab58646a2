/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"
#include "vfio_priv.h"

void
machine_open(struct machine *m)
{
	snprintf(m->root, sizeof(m->root), "/tmp/wherry-machine-XXXXXX");
	CHECK(mkdtemp(m->root) != NULL);
	vfio_root = m->root;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
machine_close(struct machine *m)
{
	vfio_root = "";
	CHECK_EQ(nftw(m->root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* Folders in front of the last slash of path. */
static void
make_folders(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
		*p = '/';
	}
}

static void
place(struct machine *m, char *path, size_t cap, const char *name)
{
	snprintf(path, cap, "%s%s", m->root, name);
	make_folders(path);
}

void
machine_file(struct machine *m, const char *name, const char *content)
{
	char path[512];
	FILE *f;

	place(m, path, sizeof(path), name);
	f = fopen(path, "w");
	CHECK(f != NULL);
	fputs(content, f);
	fclose(f);
}

void
machine_link(struct machine *m, const char *name, const char *target)
{
	char path[512];

	place(m, path, sizeof(path), name);
	CHECK_EQ(symlink(target, path), 0);
}

void
machine_folder(struct machine *m, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s%s/", m->root, name);
	make_folders(path);
}

void
machine_with_iommu(struct machine *m)
{
	machine_folder(m, "/sys/bus/pci/drivers/vfio-pci");
	machine_folder(m, "/sys/bus/pci/drivers/igb");
	machine_folder(m, "/sys/class/iommu/dmar0/devices/0000:00:1f.0");
}

static __attribute__((format(printf, 4, 5))) void
link_of(struct machine *m, const struct machine_function *fn, const char *name, const char *fmt,
	...)
{
	char path[256], target[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(target, sizeof(target), fmt, args);
	va_end(args);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", fn->address, name);
	machine_link(m, path, target);
}

static void
attribute_of(
	struct machine *m, const struct machine_function *fn, const char *name, const char *content)
{
	char path[256], line[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", fn->address, name);
	snprintf(line, sizeof(line), "%s\n", content);
	machine_file(m, path, line);
}

static void
add_group(struct machine *m, const struct machine_function *fn)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices/%s", fn->group,
		fn->address);
	machine_file(m, path, "");
	snprintf(path, sizeof(path), "%s/sys/kernel/iommu_groups/%d", m->root, fn->group);
	link_of(m, fn, "iommu_group", "%s", path);
	if (fn->noiommu) {
		snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/name", fn->group);
		machine_file(m, path, "vfio-noiommu\n");
	}
	snprintf(path, sizeof(path), "/dev/vfio/%s%d", fn->noiommu ? "noiommu-" : "", fn->group);
	if (!fn->no_group_node)
		machine_file(m, path, "");
}

static void
add_cdev(struct machine *m, const struct machine_function *fn)
{
	char name[64];

	snprintf(name, sizeof(name), "vfio-dev/vfio%d/%s", fn->cdev,
		fn->no_cdev_node ? "uevent" : "dev");
	attribute_of(m, fn, name, "511:0");
	snprintf(name, sizeof(name), "/dev/vfio/devices/vfio%d", fn->cdev);
	if (!fn->no_cdev_node && !fn->cdev_node_gone)
		machine_file(m, name, "");
}

void
machine_add(struct machine *m, const struct machine_function *fn)
{
	attribute_of(m, fn, "vendor", "0x8086");
	attribute_of(m, fn, "device", "0x10d3");
	attribute_of(m, fn, "class", fn->pciclass != NULL ? fn->pciclass : "0x020000");
	attribute_of(m, fn, "numa_node", fn->node != NULL ? fn->node : "-1");
	if (fn->driver != NULL)
		link_of(m, fn, "driver", "../../../../bus/pci/drivers/%s", fn->driver);
	if (fn->iommu != NULL)
		link_of(m, fn, "iommu", "../../virtual/iommu/%s", fn->iommu);
	if (fn->group >= 0)
		add_group(m, fn);
	if (fn->cdev >= 0)
		add_cdev(m, fn);
}
