/* SPDX-License-Identifier: BSD-3-Clause */
/* The ioctls of a scripted kernel with iommufd and devices; its traps are those of the real one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base_priv.h"
#include "fake_kernel_priv.h"
#include "iommufd_uapi_priv.h"
#include "machine.h"

struct device fake_devices[FAKE_DEVICES];
struct fake_kernel fake_kernel;
static struct space spaces[MAX_SPACES];
static struct table tables[MAX_TABLES];
static struct wherry_sys_calls calls;
static struct machine machine;

/* ---- files ------------------------------------------------------------------ */

/*
 * Descriptors of a file that has several. The number of a file is that of its first one, which
 * stays open below for as long as there is any.
 */
#define MAX_COPIES 64u
static struct copy {
	int fd, of; /* 0: free */
	bool blank; /* it is one of /dev/null now */
} copies[MAX_COPIES];

static struct copy *
copy_of(int fd)
{
	for (unsigned int i = 0; i < MAX_COPIES; i++)
		if (copies[i].fd == fd)
			return &copies[i];
	return NULL;
}

/* Which file a descriptor is of, -1: none of ours. */
static int
file_of(int fd)
{
	const struct copy *c = copy_of(fd);

	return c == NULL ? fd : c->blank ? -1 : c->of;
}

static struct copy *
remember(int fd, int of)
{
	struct copy *c = copy_of(0);

	CHECK(c != NULL);
	*c = (struct copy){ fd, of, false };
	return c;
}

static bool
has_copies(int file, bool blank_ones)
{
	for (unsigned int i = 0; i < MAX_COPIES; i++)
		if (copies[i].fd != 0 && copies[i].of == file && (blank_ones || !copies[i].blank))
			return true;
	return false;
}

static int
fake_dup(int fd)
{
	int copy = wherry_sys_kernel.dup(fd);

	if (copy < 0)
		return copy;
	if (copy_of(fd) == NULL)
		remember(fd, fd);
	remember(copy, file_of(fd));
	return copy;
}

/* ---- objects ------------------------------------------------------------- */

static struct space *
space_of(int fd, uint32_t id)
{
	struct space *s = id >= 1 && id <= MAX_SPACES ? &spaces[id - 1] : NULL;

	return s != NULL && s->fd == fd ? s : NULL;
}

static struct table *
table_of(int fd, uint32_t id)
{
	struct table *t = id >= FIRST_TABLE && id < FIRST_TABLE + MAX_TABLES
		? &tables[id - FIRST_TABLE]
		: NULL;

	return t != NULL && t->fd == fd ? t : NULL;
}

static struct device *
device_by_fd(int fd)
{
	for (unsigned int i = 0; i < FAKE_DEVICES; i++)
		if (fake_devices[i].fd == fd)
			return &fake_devices[i];
	return NULL;
}

struct map *
fake_map_at(struct space *s, uint64_t iova)
{
	for (unsigned int i = 0; i < MAX_MAPS; i++)
		if (s->maps[i].flags != 0 && iova - s->maps[i].iova < s->maps[i].len)
			return &s->maps[i];
	return NULL;
}

/* ---- IOAS ------------------------------------------------------------------ */

static int
ioas_alloc(int fd, struct iommu_ioas_alloc *c)
{
	for (uint32_t i = 0; i < MAX_SPACES; i++) {
		if (spaces[i].fd != 0)
			continue;
		spaces[i] = (struct space){ .fd = fd };
		c->out_ioas_id = i + 1;
		return 0;
	}
	return -ENOMEM;
}

static int
option(int fd, const struct iommu_option *c)
{
	struct space *s = space_of(fd, c->object_id);

	if (s == NULL)
		return -ENOENT;
	s->small = c->val64 == 0;
	return 0;
}

static bool
has_tables(const struct space *s)
{
	for (unsigned int i = 0; i < MAX_TABLES; i++)
		if (tables[i].fd != 0 && tables[i].space == s)
			return true;
	return false;
}

static int
ranges(int fd, struct iommu_ioas_iova_ranges *c)
{
	const struct iommu_iova_range attached[] = { { 0, 0xfedfffff },
		{ 0xfef00000, 0xffffffffffff } },
				      free_range = { 0, UINT64_MAX };
	struct space *s = space_of(fd, c->ioas_id);
	void *to = (void *)(uintptr_t)c->allowed_iovas;

	if (s == NULL)
		return -ENOENT;
	if (c->num_iovas < 2)
		return c->num_iovas = 2, -EMSGSIZE;
	c->num_iovas = has_tables(s) ? 2 : 1;
	c->out_iova_alignment = has_tables(s) ? PAGE : 1;
	if (has_tables(s))
		memcpy(to, attached, sizeof(attached));
	else
		memcpy(to, &free_range, sizeof(free_range));
	return 0;
}

static void
be_born(const struct space *s, const struct map *map)
{
	for (unsigned int i = 0; i < MAX_TABLES && fake_kernel.born_dirty; i++)
		if (tables[i].fd != 0 && tables[i].space == s && tables[i].on)
			fake_map_is_dirty(&tables[i], map);
}

static int
add_map(struct space *s, struct map map)
{
	for (uint64_t at = 0; at < map.len; at += PAGE)
		if (fake_map_at(s, map.iova + at) != NULL)
			return -EEXIST;
	for (unsigned int i = 0; i < MAX_MAPS; i++) {
		if (s->maps[i].flags == 0) {
			s->maps[i] = map;
			be_born(s, &s->maps[i]);
			return 0;
		}
	}
	return -ENOMEM;
}

static int
ioas_map(int fd, const struct iommu_ioas_map *c)
{
	struct space *s = space_of(fd, c->ioas_id);
	void *mem = (void *)(uintptr_t)c->user_va;

	if (s == NULL)
		return -ENOENT;
	if (msync(mem, c->length, MS_ASYNC) != 0)
		return -EFAULT;
	fake_kernel.maps_by_address++;
	return add_map(s, (struct map){ c->iova, c->length, mem, c->flags, false });
}

static int
ioas_map_file(int fd, const struct iommufd_ioas_map_file *c)
{
	struct space *s = space_of(fd, c->ioas_id);
	void *mem;
	int rc;

	if (!fake_kernel.map_file)
		return -ENOTTY;
	if (s == NULL)
		return -ENOENT;
	mem = mmap(NULL, c->length, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, (off_t)c->start);
	if (mem == MAP_FAILED)
		return -EINVAL;
	fake_kernel.maps_by_file++;
	rc = add_map(s, (struct map){ c->iova, c->length, mem, c->flags, true });
	if (rc != 0)
		munmap(mem, c->length);
	return rc;
}

static int
change_process(int fd)
{
	if (fake_kernel.fail_claim)
		return -ENOMEM;
	if (!fake_kernel.map_file)
		return -ENOTTY;
	for (unsigned int i = 0; i < MAX_SPACES * MAX_MAPS; i++) {
		const struct space *s = &spaces[i / MAX_MAPS];

		if (s->fd == fd && s->maps[i % MAX_MAPS].flags != 0 && !s->maps[i % MAX_MAPS].file)
			return -EINVAL;
	}
	fake_kernel.claims++;
	return 0;
}

static int
ioas_copy(int fd, const struct iommu_ioas_copy *c)
{
	struct space *from = space_of(fd, c->src_ioas_id), *to = space_of(fd, c->dst_ioas_id);
	struct map *m = from != NULL ? fake_map_at(from, c->src_iova) : NULL;

	if (to == NULL || m == NULL)
		return -ENOENT;
	if (m->iova != c->src_iova || m->len != c->length)
		return -EINVAL;
	fake_kernel.copies++;
	return add_map(to, (struct map){ c->dst_iova, c->length, m->mem, c->flags, false });
}

static void
forget_leaves(struct leaf *leaves, size_t *n, uint64_t iova, uint64_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < *n; i++)
		if (leaves[i].iova - iova >= len)
			leaves[kept++] = leaves[i];
	*n = kept;
}

static void
drop_map(struct space *s, struct map *m)
{
	for (unsigned int i = 0; i < MAX_TABLES; i++) {
		if (tables[i].fd == 0 || tables[i].space != s)
			continue;
		forget_leaves(tables[i].is_dirty, &tables[i].n_dirty, m->iova, m->len);
		forget_leaves(tables[i].once, &tables[i].n_once, m->iova, m->len);
	}
	if (m->file)
		munmap(m->mem, m->len);
	m->flags = 0;
}

static int
ioas_unmap(int fd, struct iommu_ioas_unmap *c)
{
	struct space *s = space_of(fd, c->ioas_id);
	uint64_t n = 0;

	if (s == NULL)
		return -ENOENT;
	for (unsigned int i = 0; i < MAX_MAPS; i++) {
		struct map *m = &s->maps[i];

		if (m->flags == 0 || m->iova - c->iova >= c->length)
			continue;
		if (m->iova - c->iova + m->len > c->length)
			return -ENOENT;
		n += m->len;
		drop_map(s, m);
	}
	c->length = n;
	return n > 0 ? 0 : -ENOENT;
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
	struct space *s = space_of(fd, c->pt_id);

	if (s == NULL || dev >= FAKE_DEVICES || fake_devices[dev].iommufd != fd)
		return -ENOENT;
	if (dirty && fake_kernel.no_dirty[dev])
		return -EOPNOTSUPP;
	for (uint32_t i = 0; i < MAX_TABLES; i++) {
		struct table *t = &tables[i];

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
	struct space *s = space_of(fd, c->id);

	if (t != NULL) {
		for (unsigned int i = 0; i < FAKE_DEVICES; i++)
			if (fake_devices[i].table == t)
				return -EBUSY;
		t->fd = 0;
		return 0;
	}
	if (s == NULL)
		return -ENOENT;
	if (has_tables(s))
		return -EBUSY;
	for (unsigned int i = 0; i < MAX_MAPS; i++)
		if (s->maps[i].flags != 0)
			drop_map(s, &s->maps[i]);
	s->fd = 0;
	return 0;
}

/* ---- devices ---------------------------------------------------------------- */

static int
bind(struct device *dev, struct vfio_device_bind_iommufd *c)
{
	if (dev->iommufd != 0)
		return -EINVAL;
	dev->iommufd = file_of(c->iommufd);
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
	int fd = file_of(of);
	struct device *dev = device_by_fd(fd);

	fake_kernel.ioctls++;
	if (fd < 0)
		return -ENOTTY;
	if (dev != NULL)
		return device_ioctl(dev, request, arg);
	switch (request) {
	case IOMMU_IOAS_ALLOC:
		return ioas_alloc(fd, arg);
	case IOMMU_OPTION:
		return option(fd, arg);
	case IOMMU_IOAS_IOVA_RANGES:
		return ranges(fd, arg);
	case IOMMU_IOAS_MAP:
		return ioas_map(fd, arg);
	case IOMMUFD_IOAS_MAP_FILE:
		return ioas_map_file(fd, arg);
	case IOMMUFD_IOAS_CHANGE_PROCESS:
		return change_process(fd);
	case IOMMU_IOAS_COPY:
		return ioas_copy(fd, arg);
	case IOMMU_IOAS_UNMAP:
		return ioas_unmap(fd, arg);
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
		return -ENOTTY;
	}
}

static int
fake_open(const char *path, int flags)
{
	const char *node = strstr(path, "/dev/vfio/devices/vfio");
	struct device *dev =
		node != NULL ? &fake_devices[node[strlen("/dev/vfio/devices/vfio")] - '0'] : NULL;
	int fd;

	if (strcmp(path, "/dev/iommu") == 0 && (fake_kernel.absent || fake_kernel.forbidden))
		return fake_kernel.absent ? -ENOENT : -EACCES;
	if (dev != NULL && dev->fd != 0)
		return -EBUSY;
	fd = wherry_sys_kernel.open(
		dev != NULL || strcmp(path, "/dev/iommu") == 0 ? "/dev/null" : path, flags);
	if (fd >= 0 && dev != NULL)
		dev->fd = fd;
	return fd;
}

/* An iommufd takes all it holds with it, once its devices have gone. */
static void
close_iommufd(int fd)
{
	for (unsigned int i = 0; i < MAX_TABLES; i++)
		if (tables[i].fd == fd)
			tables[i].fd = 0;
	for (unsigned int i = 0; i < MAX_SPACES; i++)
		if (spaces[i].fd == fd)
			spaces[i].fd = 0;
}

static void
close_file(int file)
{
	struct device *dev = device_by_fd(file);

	if (dev != NULL)
		*dev = (struct device){ .fd = 0 };
	else
		close_iommufd(file);
}

static int
fake_blank(int fd)
{
	struct copy *c = copy_of(fd) != NULL ? copy_of(fd) : remember(fd, fd);

	c->blank = true;
	if (!has_copies(c->of, false))
		close_file(c->of);
	return 0;
}

static void
fake_close(int fd)
{
	struct copy *c = copy_of(fd), was = { fd, fd, false };

	if (c != NULL) {
		was = *c;
		c->fd = 0;
	}
	if (!was.blank && !has_copies(was.of, false))
		close_file(was.of);
	if (fd != was.of)
		wherry_sys_kernel.close(fd);
	if (!has_copies(was.of, true))
		wherry_sys_kernel.close(was.of);
}

static bool
fake_is_node(int fd, const char *path)
{
	const char *node = strstr(path, "/dev/vfio/devices/vfio");
	int file = file_of(fd);

	if (node != NULL)
		return device_by_fd(file) ==
			&fake_devices[node[strlen("/dev/vfio/devices/vfio")] - '0'];
	for (unsigned int i = 0; i < MAX_SPACES; i++)
		if (file > 0 && spaces[i].fd == file)
			return true;
	return false;
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
	memset(spaces, 0, sizeof(spaces));
	memset(copies, 0, sizeof(copies));
	for (unsigned int i = 0; i < MAX_TABLES; i++)
		tables[i].fd = 0;
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
	calls.open = fake_open;
	calls.ioctl = fake_ioctl;
	calls.close = fake_close;
	calls.dup = fake_dup;
	calls.blank = fake_blank;
	calls.is_node = fake_is_node;
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
		CHECK_EQ(tables[i].fd, 0);
	for (unsigned int i = 0; i < MAX_SPACES; i++)
		CHECK_EQ(spaces[i].fd, 0);
	for (unsigned int i = 0; i < MAX_COPIES; i++)
		CHECK_EQ(copies[i].fd, 0);
	CHECK(!fake_kernel.bitmap_absent);
}
