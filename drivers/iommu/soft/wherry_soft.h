/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_SOFT_H
#define WHERRY_SOFT_H

#include <wherry_iommu.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * The device half of the software IOMMU: what an emulated NIC calls to do DMA.
 *
 * Every access is translated by the page table of the domain the device is
 * attached to, through the device's own IOTLB, and sets A and D bits as hardware
 * does. A device is opened as "soft:NAME" with wherry_device_open().
 *
 * Order:   writes of one thread become visible in the order they were made, as
 *          posted writes on PCI Express do; a naturally aligned write of 1, 2, 4 or
 *          8 bytes is a single access. A read sees all that was visible before it.
 * Threads: any number of threads, on one device too; no lock, no syscall, no
 *          allocation. A call that is under way delays unmap until it is done.
 * Source:  VT-d specification 4.1, sections 3.6 to 3.7 (second stage), 6.2 (IOTLB).
 */

/**
 * Read @p len bytes at @p iova into @p buf.
 * -EFAULT: not mapped, not readable or not attached; a fault is recorded and the
 * bytes before the fault may have been read.
 */
int wherry_soft_dma_read(struct wherry_device *dev, uint64_t iova, void *buf, size_t len)
	WHERRY_MUST_CHECK;
/**
 * Write @p len bytes of @p buf at @p iova.
 * -EFAULT: not mapped, not writable or not attached; a fault is recorded and the
 * pages before the fault are written.
 */
int wherry_soft_dma_write(struct wherry_device *dev, uint64_t iova, const void *buf, size_t len)
	WHERRY_MUST_CHECK;

/** One access that was refused. */
struct wherry_soft_fault {
	uint64_t iova;      /**< first byte that could not be reached */
	bool write;         /**< it was a write */
	const char *reason; /**< "not mapped", "not writable" ..., for people */
};

/** The oldest fault not yet taken; false when there is none. 64 are kept per device. */
bool wherry_soft_fault_take(struct wherry_device *dev, struct wherry_soft_fault *ret_fault);

/** What a device's translations cost. */
struct wherry_soft_stats {
	uint64_t hits;          /**< translated by the IOTLB */
	uint64_t walks;         /**< translated by the page table */
	uint64_t invalidations; /**< IOTLB invalidations seen */
	uint64_t faults;        /**< accesses refused, those not kept included */
};

/** Counters since open; racy by a few while DMA goes on. */
void wherry_soft_get_stats(const struct wherry_device *dev, struct wherry_soft_stats *ret_stats);

WHERRY_END_DECLS

#endif /* WHERRY_SOFT_H */
