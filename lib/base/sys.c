/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel's side of the syscall seam: errno becomes a result at once. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys_priv.h"

static int
kernel_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static WHERRY_HOT int
kernel_ioctl(int fd, unsigned long request, void *arg)
{
	int rc = ioctl(fd, request, arg);

	return rc < 0 ? -errno : rc;
}

static int /* mmap(2) has as many: NOLINTNEXTLINE(readability-function-size) */
kernel_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset, void **ret_p)
{
	void *p = mmap(at, len, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return -errno;
	*ret_p = p;
	return 0;
}

static int
kernel_munmap(void *p, size_t len)
{
	return munmap(p, len) < 0 ? -errno : 0;
}

static int
kernel_memfd_create(const char *name, unsigned int flags)
{
	int fd = memfd_create(name, flags);

	return fd < 0 ? -errno : fd;
}

static int
kernel_userfaultfd(int flags)
{
	long fd = syscall(SYS_userfaultfd, flags);

	return fd < 0 ? -errno : (int)fd;
}

static void
kernel_close(int fd)
{
	close(fd);
}

static ssize_t
kernel_pread(int fd, void *buf, size_t len, off_t offset)
{
	ssize_t n = pread(fd, buf, len, offset);

	return n < 0 ? -errno : n;
}

static ssize_t
kernel_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	ssize_t n = pwrite(fd, buf, len, offset);

	return n < 0 ? -errno : n;
}

static int
kernel_dup(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

static int
kernel_blank(int fd)
{
	int null = kernel_open("/dev/null", O_RDWR), rc;

	if (null < 0)
		return null;
	rc = dup3(null, fd, O_CLOEXEC) < 0 ? -errno : 0;
	close(null);
	return rc;
}

static bool
kernel_is_node(int fd, const char *path)
{
	struct stat file, node;

	return fstat(fd, &file) == 0 && stat(path, &node) == 0 && S_ISCHR(file.st_mode) &&
		S_ISCHR(node.st_mode) && file.st_rdev == node.st_rdev;
}

const struct wherry_sys_calls wherry_sys_kernel = {
	.open = kernel_open,
	.ioctl = kernel_ioctl,
	.mmap = kernel_mmap,
	.munmap = kernel_munmap,
	.memfd_create = kernel_memfd_create,
	.userfaultfd = kernel_userfaultfd,
	.close = kernel_close,
	.pread = kernel_pread,
	.pwrite = kernel_pwrite,
	.dup = kernel_dup,
	.blank = kernel_blank,
	.is_node = kernel_is_node,
};

const struct wherry_sys_calls *wherry_sys = &wherry_sys_kernel;
