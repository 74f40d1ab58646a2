/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FAKE_VFIO_H
#define FAKE_VFIO_H

/*
 * A kernel with VFIO, played through the syscall seam: containers, groups and devices,
 * with the rules that the real one has (and what it does when they are broken). Machines
 * for sysfs are made beside it (machine.h): group N holds one device, "0000:0N:00.0".
 *
 * What is set in fake_vfio before a call decides what that call meets. The real kernel
 * is the judge of all this: the same backend runs in guests.
 */

#include <linux/vfio.h>

#include "base_priv.h"
#include "machine.h"

#define FAKE_GROUPS 4u
#define FAKE_CONTAINERS 4u
#define FAKE_ENTRIES 64u
#define FAKE_CONFIG 256u

struct fake_entry {
	uint64_t iova, size, vaddr;
	uint32_t flags;
};

struct fake_container {
	bool open, has_iommu, logging;
	unsigned int groups;
	struct fake_entry entries[FAKE_ENTRIES];
	unsigned int n_entries;
};

/* What a device logs of its writes: pages of its own size. */
struct fake_log {
	bool can, on;
	uint64_t page; /* that it chooses; 0: 4096 */
	struct vfio_device_feature_dma_logging_range ranges[256];
	uint32_t n_ranges;
	uint64_t dirty[64]; /* addresses */
	unsigned int n_dirty, starts;
};

/* A group with its device. */
struct fake_group {
	bool open, device_open;
	int container; /* -1: in none */
	bool not_viable;
	struct vfio_iova_range reach; /* the device's; end 0: everywhere */
	uint8_t config[FAKE_CONFIG];
	int32_t eventfds[8]; /* of MSI-X */
	int irq_index;       /* that is on; -1: none */
	unsigned int resets, pending_reads;
	struct fake_log log;
};

struct fake_vfio {
	struct machine machine;
	struct fake_container containers[FAKE_CONTAINERS];
	struct fake_group groups[FAKE_GROUPS]; /* group N is groups[N] */

	bool compat;         /* iommufd's imitation of a container */
	bool no_type1;       /* vfio_iommu_type1 is not loaded */
	bool no_caps;        /* an old kernel: no capabilities behind GET_INFO */
	bool no_unmap_all;   /* and no UNMAP_ALL */
	bool knows_better;   /* only the first page of an entry is dirty, not all that is pinned */
	bool sparse;         /* BAR 0 can be mapped in two parts only */
	bool deaf_to_master; /* the device ignores the bus master bit */
	uint32_t max_entries;
	int open_error; /* open() of a node below /dev/vfio gives that */
	/* the ioctl of this request fails so, the nth time from now (1: the next) */
	unsigned long fail_request; /* or a feature: its flags */
	unsigned int fail_nth;
	int fail_error;

	unsigned int calls_map, calls_unmap, calls_bitmap;
	unsigned int open_fds; /* at the moment */
};

extern struct fake_vfio fake_vfio;

/* A machine with functions 0000:01:00.0 to 0000:03:00.0 in groups 1 to 3, ready for use. */
void fake_vfio_open(void);
/* Back to the kernel that is there; everything has been closed. */
void fake_vfio_close(void);
/* Fail that request, the nth time from now. */
void fake_vfio_fail(unsigned long request, unsigned int nth, int error);

/* DMA by the device of group n: 0 or -EFAULT. */
int fake_vfio_dma(unsigned int n, uint64_t iova, void *buf, size_t len, bool write);

#endif /* FAKE_VFIO_H */
