/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_VFIO_DRIVER_H
#define WHERRY_VFIO_DRIVER_H

/*
 * VFIO devices, for the backends that attach them: type1 by group, iommufd by cdev.
 *
 * Both put vfio_device_open and vfio_device_close into their ops table; the core
 * lets a device be attached to any backend with the same device_open. Opening looks
 * at sysfs only. Attaching is where the ways part:
 *
 *	type1    group into container, VFIO_GROUP_GET_DEVICE_FD, vfio_device_use()
 *	iommufd  vfio_device_open_cdev(), BIND, ATTACH, vfio_device_use()
 *
 * and detaching is vfio_device_unuse() first, then the rest in reverse.
 */

#include <sys/queue.h>
#include <sys/types.h>

#include "lock_priv.h"
#include "wherry_vfio.h"

/** A region of the device that is mapped; ends with vfio_device_unuse(). */
struct vfio_mapped_region {
	LIST_ENTRY(vfio_mapped_region) link; /**< of vfio_device.regions */
	unsigned int index;                  /**< which region */
	void *p;                             /**< where */
	size_t len;                          /**< bytes */
};

/** A device half: fd and info are set between vfio_device_use() and vfio_device_unuse(). */
struct vfio_device {
	struct wherry_vfio_function place;       /**< as sysfs had it at open */
	int fd;                                  /**< -1: not in use */
	struct wherry_vfio_info info;            /**< valid with fd */
	struct wherry_mutex lock;                /**< a leaf */
	LIST_HEAD(, vfio_mapped_region) regions; /**< under lock */
	void *backend;                           /**< for whoever attached it */
};

/** The hook. -ENODEV: no address, not there, or nothing translates; -EBUSY: a kernel driver has it. */
int vfio_device_open(const char *name, void **ret_dev);
/** The hook. */
void vfio_device_close(void *dev);

/** 0 if the way is open now; else the error of the gap that blocks it, which is logged. */
int vfio_device_check_way(const struct vfio_device *dev, unsigned int way);
/** Open a node for reading and writing. -ENODEV, -EACCES, -EBUSY, -ENOMEM, logged with why. */
int vfio_open_node(const char *node);
/** Open the cdev; the file is the caller's and not bound yet. Errors as of the two above. */
int vfio_device_open_cdev(const struct vfio_device *dev, int *ret_fd);
/**
 * A device file, bound if it is a cdev, becomes the device's, which closes it in unuse. On
 * failure, -ENODEV or -ENOMEM, it stays the caller's.
 */
int vfio_device_use(struct vfio_device *dev, int fd);
/** Is this a file of the device's cdev? Whoever handed it over says so. */
bool vfio_device_is_cdev(const char *address, int fd);
/**
 * In use, and another process's from now on: registers that are mapped here become memory of no
 * meaning, the file one of /dev/null. -ENOMEM: not all of that could be had.
 */
int vfio_device_let_go(struct vfio_device *dev);
/** Interrupts off, regions unmapped, fd closed. Harmless when not in use. */
void vfio_device_unuse(struct vfio_device *dev);
/** In use, and another process's, perhaps: regions unmapped, fd closed, and the device is asked nothing. */
void vfio_device_leave(struct vfio_device *dev);

/**
 * Ask with a VFIO struct of @p size bytes that begins with argsz, which is seen to here. The
 * answer is as long as its argsz says; the caller frees it. Errors: -ENOMEM, or as the kernel's.
 */
int vfio_ask(int fd, unsigned long request, const void *question, uint32_t size, void **ret_answer);
/**
 * The capability of that id and at least @p min bytes in such an answer, or NULL. @p first is where
 * the chain begins, 0: there is none. Chains lead forward; what leads elsewhere ends.
 */
const void *vfio_find_cap(const void *answer, uint32_t first, uint16_t id, size_t min);

/** The device half behind a handle of any VFIO backend, or NULL. */
struct vfio_device *vfio_device_of(const struct wherry_device *dev);

#endif /* WHERRY_VFIO_DRIVER_H */
