/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files of the scripted kernel. A file has several descriptors when it was handed over. The number
 * of a file is that of its first descriptor, which stays open below for as long as there is any; with
 * the last one that was not made blank go the device, or the iommufd and all that is in it.
 */
#include <errno.h>
#include <string.h>

#include "base_priv.h"
#include "fake_kernel_priv.h"

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

int
fake_file_of(int fd)
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
	remember(copy, fake_file_of(fd));
	return copy;
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

static void
close_file(int file)
{
	struct device *dev = fake_device_of(file);

	if (dev != NULL)
		*dev = (struct device){ .fd = 0 };
	else
		fake_iommufd_close(file);
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
	int file = fake_file_of(fd);

	if (node != NULL)
		return fake_device_of(file) ==
			&fake_devices[node[strlen("/dev/vfio/devices/vfio")] - '0'];
	return fake_has_spaces(file);
}

void
fake_files_open(struct wherry_sys_calls *calls)
{
	memset(copies, 0, sizeof(copies)); /* a test that failed left some */
	calls->open = fake_open;
	calls->close = fake_close;
	calls->dup = fake_dup;
	calls->blank = fake_blank;
	calls->is_node = fake_is_node;
}

void
fake_files_close(void)
{
	for (unsigned int i = 0; i < MAX_COPIES; i++)
		CHECK_EQ(copies[i].fd, 0);
}
