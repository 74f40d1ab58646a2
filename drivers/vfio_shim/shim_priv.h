/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SHIM_PRIV_H
#define SHIM_PRIV_H

/*
 * EAL opens VFIO devices through a handful of rte_vfio_* functions and knows type1 only.
 * The shim stands in front of them: a device with a character device of its own
 * (/dev/vfio/devices/vfioN) is opened through Wherry and attached to the domain of the
 * process; every other one takes EAL's own path, and a line says why.
 *
 *	exports.c	the functions as DPDK calls them
 *	original.c	EAL's own ones behind them, and what release of DPDK this is
 *	devices.c	which devices are ours; user memory of rte_dev_dma_map()
 *	hardware.c	one device: found, attached, its descriptor (tests have another one)
 *	secondary.c	secondary processes get the primary's descriptors
 *
 * Everything else - BARs, MSI-X, configuration space, hotplug - is EAL's own code, which
 * works on the descriptor that it is given.
 *
 * One object serves two ways: preloaded into foreign binaries (LD_PRELOAD), or linked
 * before DPDK's libraries into ours. Both make the dynamic linker meet it first.
 *
 * Prototypes are declared here and not taken from rte_vfio.h: that one changes what it
 * includes and defines from release to release, while the functions have kept theirs
 * from 22.11 to 26.07. original.c says which releases are known.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_priv.h"
#include "wherry_base.h"

struct vfio_device_info; /* linux/vfio.h: the caller's, with argsz set */
struct wherry_device;
struct wherry_domain;

#define SHIM_ADDRESS 16u /* "0000:01:00.0" and its end */
#define SHIM_WHY 256u

/* ---- original.c ---- */

/* EAL's own; members are NULL where this release has no such function. */
struct shim_original {
	int (*setup_device)(const char *sysfs_base, const char *dev_addr, int *vfio_dev_fd,
		struct vfio_device_info *device_info);
	int (*release_device)(const char *sysfs_base, const char *dev_addr, int fd);
	int (*is_enabled)(const char *modname);
	int (*get_device_info)(const char *sysfs_base, const char *dev_addr, int *vfio_dev_fd,
		struct vfio_device_info *device_info);
	int (*container_dma_map)(int container_fd, uint64_t vaddr, uint64_t iova, uint64_t len);
	int (*container_dma_unmap)(int container_fd, uint64_t vaddr, uint64_t iova, uint64_t len);
};
const struct shim_original *shim_original(void);
/* Is the shim in its place? False: everything is EAL's, the reason has been printed once. */
bool shim_active(void);
/* NULL, or why prototypes of this rte_version() are not the ones declared here. */
const char *shim_unknown_release(const char *version);

/* ---- devices.c ---- */

enum shim_way {
	SHIM_OURS,    /* through Wherry */
	SHIM_THEIRS,  /* EAL's own path; the reason has been printed */
	SHIM_REFUSED, /* neither may have it; the reason has been printed */
};
/* Take a device, with its descriptor and the kernel's description of it. */
enum shim_way shim_take(const char *address, int *ret_fd, struct vfio_device_info *info);
/* Give it back. False: it is none of ours. */
bool shim_release(const char *address);
/* The descriptor of a device taken in this process, or -1. */
int shim_fd_of(const char *address);
/* A device went EAL's way: memory goes to EAL's container, too. */
void shim_count_theirs(int change);

/*
 * Memory of the application. False: not a matter of ours alone, EAL's container has to
 * have it, too (or instead); *ret_rc is 0 or -errno of our part.
 */
bool shim_map(uint64_t vaddr, struct wherry_span span, int *ret_rc);
bool shim_unmap(struct wherry_span span, int *ret_rc);

/* ---- hardware.c ---- */

struct shim_hw {
	struct wherry_domain *dom; /* the process's */
	struct wherry_device *dev;
	int fd; /* the device's, closed by shim_hw_close() */
};
/*
 * Open and attach. SHIM_OURS: *ret_hw. In all cases a text for people in why: how the
 * device is driven, or why not.
 */
enum shim_way shim_hw_open(const char *address, struct shim_hw *ret_hw, char why[SHIM_WHY]);
void shim_hw_close(struct shim_hw *hw);
/* VFIO_DEVICE_GET_INFO. 0 or -errno. */
int shim_hw_info(int fd, struct vfio_device_info *info);
/* Is there a device that could be ours? */
bool shim_hw_any(void);

/* ---- secondary.c ---- */

/* Primary: answer secondaries from now on; without shared memory there are none. */
void shim_serve_secondaries(void);
/* Secondary: ask the primary. Same results as shim_hw_open(); *ret_fd is this process's. */
enum shim_way shim_ask_primary(const char *address, int *ret_fd, char why[SHIM_WHY]);

#endif /* SHIM_PRIV_H */
