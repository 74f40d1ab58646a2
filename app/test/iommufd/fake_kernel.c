/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ioctls of a scripted kernel with iommufd and devices; its traps are those of the real one. Here are
 * page tables and devices; what is mapped is in fake_ioas.c, and who has which file in fake_files.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base_priv.h"
#include "fake_kernel_priv.h"
#include "iommufd_uapi_priv.h"
#include "machine.h"

struct device fake_devices[FAKE_DEVICES];
struct table fake_tables[MAX_TABLES];
struct fake_kernel fake_kernel;
static struct wherry_sys_calls calls;
static struct machine machine;

static struct table *
table_of(int fd, uint32_t id)
{
	struct table *t = id >= FIRST_TABLE && id < FIRST_TABLE + MAX_TABLES
		? &fake_tables[id - FIRST_TABLE]
		: NULL;

	return t != NULL && t->fd == fd ? t : NULL;
}

struct device *
fake_device_of(int file)
{
	for (unsigned int i = 0; i < FAKE_DEVICES; i++)
		if (fake_devices[i].fd == file)
			return &fake_devices[i];
	return NULL;
}

/* ---- HWPT ------------------------------------------------------------------ */

static unsigned int
number_of(const struct device *dev)
{
	return (unsigned int)(dev - fake_devices);
}

static int
hwpt_alloc(int fd, struct iommu_hwpt_alloc *c)
{
	unsigned int dev = c->dev_id - FIRST_DEVICE;
	bool dirty = (c->flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING) != 0;
	struct space *s = fake_space_of(fd, c->pt_id);

	if (s == NULL || dev >= FAKE_DEVICES || fake_devices[dev].iommufd != fd)
		return -ENOENT;
	if (dirty && fake_kernel.no_dirty[dev])
		return -EOPNOTSUPP;
	for (uint32_t i = 0; i < MAX_TABLES; i++) {
		struct table *t = &fake_tables[i];

		if (t->fd != 0)
			continue;
		t->fd = fd;
		t->space = s;
		t->dirty = dirty;
		t->on = false;
		t->other_kind = fake_kernel.other_kind[dev];
		t->n_dirty = t->n_once = 0;
		c->out_hwpt_id = FIRST_TABLE + i;
		return 0;
	}
	return -ENOMEM;
}

static int
hw_info(int fd, struct iommu_hw_info *c)
{
	struct iommu_hw_info_vtd vtd = { .cap_reg = VTD_CAP_LEAF_2M |
			(fake_kernel.no_drain ? 0 : VTD_CAP_DRAINS_WRITES) };
	unsigned int dev = c->dev_id - FIRST_DEVICE;

	if (dev >= FAKE_DEVICES || fake_devices[dev].iommufd != fd)
		return -ENOENT;
	memcpy((void *)(uintptr_t)c->data_uptr, &vtd,
		c->data_len < sizeof(vtd) ? c->data_len : sizeof(vtd));
	c->out_data_type = IOMMU_HW_INFO_TYPE_INTEL_VTD;
	/* with a bit that nobody has heard of */
	c->out_capabilities =
		(UINT64_C(1) << 3) | (fake_kernel.no_dirty[dev] ? 0 : IOMMU_HW_CAP_DIRTY_TRACKING);
	return 0;
}

/* Switching on clears, and does so every time. */
static int
set_tracking(int fd, const struct iommu_hwpt_set_dirty_tracking *c)
{
	struct table *t = table_of(fd, c->hwpt_id);

	if (t == NULL)
		return -ENOENT;
	if (!t->dirty)
		return -EOPNOTSUPP;
	t->on = (c->flags & IOMMU_HWPT_DIRTY_TRACKING_ENABLE) != 0;
	if (t->on) {
		t->n_dirty = 0;
		fake_kernel.enables++;
	}
	return 0;
}

/* Present, and locked, so that it stays so. */
static bool
is_locked(const void *p, size_t len)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long first, end = 0, at = (unsigned long)(uintptr_t)p;
	bool mine = false, locked = false;
	char line[512], *rest;

	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f) != NULL) {
		first = strtoul(line, &rest, 16);
		if (*rest == '-')
			end = strtoul(rest + 1, &rest, 16);
		if (*rest == ' ')
			mine = at >= first && at + len <= end;
		else if (mine && strncmp(line, "VmFlags:", 8) == 0)
			locked = strstr(line, " lo") != NULL;
	}
	(void)fclose(f);
	return locked;
}

/* Set the bits of a leaf as far as it lies in the request. */
static void
report_leaf(const struct iommu_hwpt_get_dirty_bitmap *c, const struct leaf *leaf)
{
	uint64_t *bits = (uint64_t *)(uintptr_t)c->data;

	for (uint64_t at = leaf->iova; at < leaf->iova + leaf->len; at += c->page_size)
		if (at - c->iova < c->length)
			bits[(at - c->iova) / c->page_size / 64] |= UINT64_C(1)
				<< ((at - c->iova) / c->page_size % 64);
}

/* 0, whatever happens. */
static int
get_dirty(int fd, const struct iommu_hwpt_get_dirty_bitmap *c)
{
	struct table *t = table_of(fd, c->hwpt_id);
	bool clear = (c->flags & IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR) == 0, absent;
	uint64_t reach = 0; /* as far as there is no hole */
	size_t kept = 0;

	if (t == NULL || !t->dirty)
		return t == NULL ? -ENOENT : -EOPNOTSUPP;
	fake_kernel.gets++;
	absent = !is_locked((const void *)(uintptr_t)c->data, c->length / c->page_size / 8);
	fake_kernel.bitmap_absent |= absent;
	while (t->on && reach < c->length && fake_map_at(t->space, c->iova + reach) != NULL)
		reach += PAGE;
	for (size_t i = 0; i < t->n_dirty; i++) {
		struct leaf leaf = t->is_dirty[i];
		bool touched = leaf.iova < c->iova + reach && leaf.iova + leaf.len > c->iova;

		if (touched && !absent)
			report_leaf(c, &leaf);
		if (!touched || !clear)
			t->is_dirty[kept++] = leaf;
	}
	t->n_dirty = kept;
	if (fake_kernel.after_get != NULL)
		fake_kernel.after_get(fake_kernel.gets);
	return fake_kernel.fail_get > 0 && --fake_kernel.fail_get == 0 ? -ENOMEM : 0;
}

static int
destroy(int fd, const struct iommu_destroy *c)
{
	struct table *t = table_of(fd, c->id);
	struct space *s = fake_space_of(fd, c->id);

	if (t != NULL) {
		for (unsigned int i = 0; i < FAKE_DEVICES; i++)
			if (fake_devices[i].table == t)
				return -EBUSY;
		t->fd = 0;
		return 0;
	}
	return s == NULL ? -ENOENT : fake_space_destroy(s);
}

/* ---- devices ---------------------------------------------------------------- */

static int
bind(struct device *dev, struct vfio_device_bind_iommufd *c)
{
	if (dev->iommufd != 0)
		return -EINVAL;
	dev->iommufd = fake_file_of(c->iommufd);
	c->out_devid = FIRST_DEVICE + number_of(dev);
	return 0;
}

static int
attach(struct device *dev, const struct vfio_device_attach_iommufd_pt *c)
{
	struct table *t = table_of(dev->iommufd, c->pt_id);

	if (fake_kernel.fail_attach > 0 && --fake_kernel.fail_attach == 0)
		return -ENOMEM;
	if (t == NULL)
		return -ENOENT;
	if (t->other_kind != fake_kernel.other_kind[number_of(dev)] ||
		(t->dirty && fake_kernel.no_dirty[number_of(dev)]))
		return -EINVAL;
	dev->table = t;
	fake_kernel.attaches++;
	return 0;
}

static int
device_ioctl(struct device *dev, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_DEVICE_BIND_IOMMUFD:
		return bind(dev, arg);
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return attach(dev, arg);
	case VFIO_DEVICE_DETACH_IOMMUFD_PT:
		dev->table = NULL;
		return 0;
	case VFIO_DEVICE_GET_INFO:
		((struct vfio_device_info *)arg)->flags = VFIO_DEVICE_FLAGS_PCI;
		return dev->iommufd != 0 ? 0 : -EINVAL;
	default:
		return 0;
	}
}

static int
fake_ioctl(int of, unsigned long request, void *arg)
{
	int fd = fake_file_of(of);
	struct device *dev = fake_device_of(fd);

	fake_kernel.ioctls++;
	if (fd < 0)
		return -ENOTTY;
	if (dev != NULL)
		return device_ioctl(dev, request, arg);
	switch (request) {
	case IOMMU_HWPT_ALLOC:
		return hwpt_alloc(fd, arg);
	case IOMMU_GET_HW_INFO:
		return hw_info(fd, arg);
	case IOMMU_HWPT_SET_DIRTY_TRACKING:
		return set_tracking(fd, arg);
	case IOMMU_HWPT_GET_DIRTY_BITMAP:
		return get_dirty(fd, arg);
	case IOMMU_DESTROY:
		return destroy(fd, arg);
	default:
		return fake_ioas_ioctl(fd, request, arg);
	}
}

void
fake_iommufd_close(int file)
{
	for (unsigned int i = 0; i < MAX_TABLES; i++)
		if (fake_tables[i].fd == file)
			fake_tables[i].fd = 0;
	fake_spaces_forget(file);
}

/* ---- the test's side --------------------------------------------------------- */

const char *
fake_kernel_address(unsigned int dev)
{
	static const char *const addresses[FAKE_DEVICES] = { "0000:01:00.0", "0000:02:00.0",
		"0000:03:00.0", "0000:04:00.0" };

	return addresses[dev];
}

void
fake_kernel_open(const struct fake_kernel *like)
{
	fake_kernel = *like;
	memset(fake_devices, 0, sizeof(fake_devices)); /* a test that failed left some */
	fake_spaces_forget(0);
	for (unsigned int i = 0; i < MAX_TABLES; i++)
		fake_tables[i].fd = 0;
	machine_open(&machine);
	machine_with_iommu(&machine);
	for (unsigned int i = 0; i < FAKE_DEVICES; i++)
		machine_add(&machine,
			&(struct machine_function){ .address = fake_kernel_address(i),
				.driver = "vfio-pci",
				.iommu = like->born_dirty ? "smmu3.0x0000000009050000" : "dmar0",
				.group = (int)i + 8,
				.cdev = (int)i });
	calls = wherry_sys_kernel;
	calls.ioctl = fake_ioctl;
	fake_files_open(&calls);
	wherry_sys = &calls;
}

void
fake_kernel_close(void)
{
	wherry_sys = &wherry_sys_kernel;
	machine_close(&machine);
	for (unsigned int i = 0; i < FAKE_DEVICES; i++)
		CHECK_EQ(fake_devices[i].fd, 0);
	for (unsigned int i = 0; i < MAX_TABLES; i++)
		CHECK_EQ(fake_tables[i].fd, 0);
	CHECK(!fake_has_spaces(0));
	fake_files_close();
	CHECK(!fake_kernel.bitmap_absent);
}
