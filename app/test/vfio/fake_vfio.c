/* SPDX-License-Identifier: BSD-3-Clause */
/* The seam's end of the played kernel: which file a call is for. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fake_vfio_priv.h"

struct fake_vfio fake_vfio;
static struct wherry_sys_calls table;

static int
fake_open(const char *path, int flags)
{
	unsigned long n;
	char *end;

	if (strncmp(path, "/dev/vfio/", 10) != 0)
		return wherry_sys_kernel.open(path, flags);
	CHECK_EQ(flags & O_ACCMODE, O_RDWR);
	if (fake_vfio.open_error != 0)
		return fake_vfio.open_error;
	if (strcmp(path, "/dev/vfio/vfio") == 0)
		return fake_container_open();
	n = strtoul(path + 10, &end, 10);
	return end > path + 10 && *end == '\0' && n < FAKE_GROUPS ? fake_group_open((unsigned int)n)
								  : -ENOENT;
}

/* What the call asks for: a feature is told by its flags. The number alone means another
 * thing on a container. */
static unsigned long
name_of(int fd, unsigned long request, const void *arg)
{
	return fd >= FAKE_DEVICE && request == VFIO_DEVICE_FEATURE
		? ((const struct vfio_device_feature *)arg)->flags
		: request;
}

static int
fake_ioctl(int fd, unsigned long request, void *arg)
{
	if (fd < FAKE_FD)
		return wherry_sys_kernel.ioctl(fd, request, arg);
	if (name_of(fd, request, arg) == fake_vfio.fail_request && fake_vfio.fail_nth > 0 &&
		--fake_vfio.fail_nth == 0)
		return fake_vfio.fail_error;
	if (fd >= FAKE_DEVICE)
		return fake_device_ioctl((unsigned int)(fd - FAKE_DEVICE), request, arg);
	if (fd >= FAKE_GROUP)
		return fake_group_ioctl((unsigned int)(fd - FAKE_GROUP), request, arg);
	return fake_container_ioctl((unsigned int)(fd - FAKE_FD), request, arg);
}

static void
fake_close(int fd)
{
	if (fd < FAKE_FD) {
		wherry_sys_kernel.close(fd);
		return;
	}
	CHECK(fake_vfio.open_fds > 0);
	fake_vfio.open_fds--;
	if (fd >= FAKE_DEVICE)
		fake_device_close((unsigned int)(fd - FAKE_DEVICE));
	else if (fd >= FAKE_GROUP)
		fake_group_close((unsigned int)(fd - FAKE_GROUP));
	else
		fake_container_close((unsigned int)(fd - FAKE_FD));
}

static ssize_t
fake_pread(int fd, void *buf, size_t len, off_t offset)
{
	return fd < FAKE_DEVICE
		? wherry_sys_kernel.pread(fd, buf, len, offset)
		: fake_device_read((unsigned int)(fd - FAKE_DEVICE), buf, len, (uint64_t)offset);
}

static ssize_t
fake_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	return fd < FAKE_DEVICE
		? wherry_sys_kernel.pwrite(fd, buf, len, offset)
		: fake_device_write((unsigned int)(fd - FAKE_DEVICE), buf, len, (uint64_t)offset);
}

/* A BAR is memory like any other. */
static int /* mmap(2) has as many: NOLINTNEXTLINE(readability-function-size) */
fake_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset, void **ret_p)
{
	if (fd < FAKE_DEVICE)
		return wherry_sys_kernel.mmap(at, len, prot, flags, fd, offset, ret_p);
	if (!fake_device_may_map((uint64_t)offset, len))
		return -EINVAL;
	return wherry_sys_kernel.mmap(
		at, len, prot, (flags & ~MAP_SHARED) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, ret_p);
}

void
fake_vfio_open(void)
{
	struct machine_function fn = { .driver = "vfio-pci", .iommu = "dmar0" };
	char address[16];

	memset(&fake_vfio, 0, sizeof(fake_vfio));
	fake_vfio.max_entries = 65535;
	machine_open(&fake_vfio.machine);
	machine_with_iommu(&fake_vfio.machine);
	for (unsigned int n = 1; n < FAKE_GROUPS; n++) {
		snprintf(address, sizeof(address), "0000:0%u:00.0", n);
		fn.address = address;
		fn.group = fn.cdev = (int)n;
		machine_add(&fake_vfio.machine, &fn);
		fake_device_init(n);
	}
	table = wherry_sys_kernel;
	table.open = fake_open;
	table.ioctl = fake_ioctl;
	table.close = fake_close;
	table.pread = fake_pread;
	table.pwrite = fake_pwrite;
	table.mmap = fake_mmap;
	wherry_sys = &table;
}

void
fake_vfio_close(void)
{
	wherry_sys = &wherry_sys_kernel;
	machine_close(&fake_vfio.machine);
	CHECK_EQ(fake_vfio.open_fds, 0);
}

void
fake_vfio_fail(unsigned long request, unsigned int nth, int error)
{
	fake_vfio.fail_request = request;
	fake_vfio.fail_nth = nth;
	fake_vfio.fail_error = error;
}
