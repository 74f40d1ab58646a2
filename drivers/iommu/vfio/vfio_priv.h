/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VFIO_PRIV_H
#define VFIO_PRIV_H

/*
 * The files of this folder: sysfs.c reads attributes, function.c puts them together,
 * gaps.c judges what is missing; vfio_device.c opens and closes, region.c, irq.c and
 * control.c are the calls on an open device, answer.c what they hear; dma_log.c and ladder.c are about what it wrote.
 */

#include <linux/vfio.h>

#include "base_priv.h"
#include "wherry_vfio_driver.h"

/* What stands in front of /sys and /dev: "", or a folder with a machine that a test made up. */
extern const char *vfio_root;

/* The path of a printf format below vfio_root; false if it does not fit. */
bool vfio_path(char *path, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define VFIO_PATH_MAX 256

/* The first line of a file without its end, or "". */
void vfio_sysfs_line(const char *path, char *text, size_t cap);
/* The last part of what a link points to, or "". */
void vfio_sysfs_link(const char *path, char *text, size_t cap);
/* The first entry of a folder, in alphabetical order, or "". */
void vfio_sysfs_first(const char *path, char *text, size_t cap);
bool vfio_sysfs_exists(const char *path);
/* Call fn for each entry of a folder in order until it returns not 0; -ENOENT: no such folder. */
int vfio_sysfs_each(const char *path, int (*fn)(void *ctx, const char *name), void *ctx);

/* Is it bound to a driver of the VFIO kind? */
bool vfio_is_bound(const struct wherry_vfio_function *fn);
/* Fill gaps and ways from all the other fields. */
void vfio_find_gaps(struct wherry_vfio_function *fn);

/* Is the device attached, that is, can it be asked anything? */
static inline bool
vfio_device_in_use(const struct vfio_device *dev)
{
	return dev != NULL && dev->fd >= 0;
}

/* Has the device a log of what it writes? */
bool vfio_device_can_log(const struct vfio_device *dev);

void vfio_unmap_regions(struct vfio_device *dev);
/* Accesses to regions that are mapped reach memory of this process from now on. */
int vfio_blind_regions(struct vfio_device *dev);
void vfio_irqs_off(struct vfio_device *dev);

#endif /* VFIO_PRIV_H */
