/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SYS_PRIV_H
#define SYS_PRIV_H

/*
 * The syscall seam: the calls whose answers tests must be able to script, so
 * that a kernel or a device that is not here can be played back. Product code
 * says wherry_sys->ioctl(fd, ...). Results are as the kernel gives them: a value >= 0 or
 * -errno, never errno itself; mmap returns MAP_FAILED through -errno too:
 *
 *	void *p;
 *	int rc = wherry_sys->mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0, &p);
 *
 * A file descriptor that came through the seam goes back through it: close.
 */

/*
 * What every mapping, unmapping and harvest runs through lies together: on few pages, which a
 * CPU that comes back from the kernel has to find again. Each begins a cache line: fewer of them, and
 * in an emulated machine, whose memory of jumps has a place per line of a page, fewer in each other's place.
 */
#define WHERRY_HOT __attribute__((hot, aligned(64)))

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

struct wherry_sys_calls {
	int (*open)(const char *path, int flags);
	int (*ioctl)(int fd, unsigned long request, void *arg);
	int (*mmap)(void *at, size_t len, int prot, int flags, int fd, off_t offset, void **ret_p);
	int (*munmap)(void *p, size_t len);
	int (*memfd_create)(const char *name, unsigned int flags);
	int (*userfaultfd)(int flags);
	void (*close)(int fd);
	ssize_t (*pread)(int fd, void *buf, size_t len, off_t offset);
	ssize_t (*pwrite)(int fd, const void *buf, size_t len, off_t offset);
	int (*dup)(int fd);   /* another descriptor of the same file */
	int (*blank)(int fd); /* from now on it is that of /dev/null; 0 or -errno */
	bool (*is_node)(int fd, const char *path); /* a file of that device node */
};

/* The kernel's, unless a test has put its own table here. Visible: plugins use it too. */
extern const struct wherry_sys_calls *wherry_sys __attribute__((visibility("default")));
extern const struct wherry_sys_calls wherry_sys_kernel;

/*
 * wherry_sys->ioctl() for what mappings, unmappings and harvests consist of: the kernel is called from
 * where one stands, without the detour through the table.
 */
static inline int
wherry_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int rc;

	if (wherry_sys != &wherry_sys_kernel)
		return wherry_sys->ioctl(fd, request, arg);
	rc = ioctl(fd, request, arg);
	return rc < 0 ? -errno : rc;
}

#endif /* SYS_PRIV_H */
