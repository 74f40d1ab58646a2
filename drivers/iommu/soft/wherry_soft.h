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
 * Source:  VT-d specification 5.10, 3.7 (second stage), 6.2.4 (IOTLB), 6.5.4 (draining);
 *          AMD 48882, 2.2.3; SMMUv3 IHI 0070, 3.13.
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
	uint64_t invalidations; /**< IOTLB invalidations seen, flushes included */
	uint64_t flushes;       /**< of these, of all translations */
	uint64_t faults;        /**< accesses refused, those not kept included */
	uint64_t table_bytes;   /**< page tables it is translated by, now; 0: not attached */
};

/** Counters since open, and memory; racy by a few while DMA goes on. Not while it is detached. */
void wherry_soft_get_stats(const struct wherry_device *dev, struct wherry_soft_stats *ret_stats);

/**
 * Moments of an unmap or a harvest at which a device may do something, so that a
 * schedule of one's choice can be played, in one thread.
 */
enum wherry_soft_event {
	WHERRY_SOFT_UNMAPPING, /**< bits have been read; entries are about to be cleared */
	WHERRY_SOFT_WAITING,   /**< entries were changed; now all DMA under way has to end */
};
/** Called at each of them, by the thread that unmaps; makes no calls about the domain. */
typedef void (*wherry_soft_event_fn)(void *ctx, enum wherry_soft_event event);
/** Ask to be called, or not any more (NULL). Not while the domain is being used. */
void wherry_soft_on_event(struct wherry_device *dev, wherry_soft_event_fn fn, void *ctx);

/** What a step of a write was. */
enum wherry_soft_step {
	WHERRY_SOFT_HIT,     /**< translated by the IOTLB */
	WHERRY_SOFT_WALK,    /**< translated by the page table, D untouched as yet */
	WHERRY_SOFT_DIRTIED, /**< D stands in the entry */
	WHERRY_SOFT_UNNOTED, /**< D was to be set, and stands nowhere: no entry is left for it */
	WHERRY_SOFT_LANDED,  /**< the data is in memory */
	WHERRY_SOFT_REFUSED, /**< a fault is recorded, nothing was written */
	WHERRY_SOFT_OVER,    /**< nothing was left to do */
};
/** A write that is made step by step. Until it is over, unmapping waits for it. */
struct wherry_soft_write;
/**
 * Begin to write @p len bytes of @p buf, which stays in place, at @p iova. In which
 * order the steps come is the domain's option dbit.
 *
 * @retval -EINVAL the bytes are none or in more than one page of 4 KiB
 * @retval -EFAULT the device is not a soft one
 * @retval -ENOMEM no memory
 */
int wherry_soft_write_begin(struct wherry_device *dev, uint64_t iova, const void *buf, size_t len,
	struct wherry_soft_write **ret_write) WHERRY_MUST_CHECK;
/** Make one step, and say which. */
enum wherry_soft_step wherry_soft_write_step(struct wherry_soft_write *write);
/** Make all that are left, and free it. NULL is fine. */
void wherry_soft_write_end(struct wherry_soft_write *write);

WHERRY_END_DECLS

#endif /* WHERRY_SOFT_H */
