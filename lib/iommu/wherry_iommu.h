/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_IOMMU_H
#define WHERRY_IOMMU_H

#include <wherry_base.h> /* struct wherry_span, WHERRY_IOVA_ANY */

WHERRY_BEGIN_DECLS

/**
 * @file
 * IOMMU domains: one I/O address space, shared by every device attached to it.
 *
 * One set of calls for VFIO type1, iommufd and the software IOMMU. What a
 * backend lacks shows in its caps and as -EOPNOTSUPP, never as "0 pages dirty".
 *
 * Spans:   bytes; len > 0, iova and len multiples of the smallest page size.
 * Bitmaps: OR-ed into; cover the whole span, at any power-of-two page size.
 * Errors:  0 or -errno; a call that fails has changed nothing. -EINVAL: a rule
 *          on this page is broken. -EOVERFLOW: the span leaves the usable space.
 * Threads: all but create and destroy run concurrently, while DMA goes on. They
 *          may sleep, so none belongs in a burst loop.
 * Source:  linux/iommufd.h, linux/vfio.h; unmap modes: kernel RFC 04/19 of 2022.
 */

struct wherry_domain;
struct wherry_device;
struct wherry_bitmap; /* <wherry_bitmap.h> */

#define WHERRY_DMA_READ 0x1u  /**< devices may read the memory */
#define WHERRY_DMA_WRITE 0x2u /**< devices may write the memory */

/** Device writes are: unknown; "all that is mapped"; one hardware bit per granule. */
enum wherry_dirty { WHERRY_DIRTY_NONE, WHERRY_DIRTY_PERPETUAL, WHERRY_DIRTY_TRACKED };
/** WHERRY_UNMAP_EXACT works by write protection, by content, as ASSUME; not at all. */
enum wherry_unmap_how {
	WHERRY_UNMAP_BY_FENCE,
	WHERRY_UNMAP_BY_CONTENT,
	WHERRY_UNMAP_BY_ASSUMING,
	WHERRY_UNMAP_BY_NOTHING, /**< -EOPNOTSUPP; reason says why */
};
/** The granule can change: never; while every device is stopped. */
enum wherry_regrain { WHERRY_REGRAIN_NEVER, WHERRY_REGRAIN_STOPPED };
/** What a domain can do. Attaching a device may narrow it: ask again then. */
struct wherry_domain_caps {
	uint64_t page_sizes; /**< bit n set: 2^n bytes */
	uint64_t granule;    /**< bytes one dirty bit stands for, at most, at present */
	const struct wherry_span *usable; /**< where mappings may lie, ascending */
	size_t n_usable;                  /**< spans in usable */
	enum wherry_dirty dirty;          /**< how device writes are known */
	enum wherry_unmap_how exact_by;   /**< how an exact unmap is done */
	enum wherry_regrain regrain;      /**< when the granule may change */
	bool write_only;                  /**< false: WHERRY_DMA_WRITE may imply READ */
	bool born_dirty; /**< what is mapped under tracking is reported once though nobody wrote */
	const char *reason;    /**< why no better, for people; never NULL */
	uint64_t max_mappings; /**< how many it can hold; 0: as many as memory */
};

/** What unmapping may assume about DMA that is still in flight. */
enum wherry_unmap_mode {
	WHERRY_UNMAP_SNAPSHOT, /**< there is none: read the dirty bits, then unmap */
	WHERRY_UNMAP_EXACT,    /**< anything: no change is missed (contract: doc/unmap_dirty) */
	WHERRY_UNMAP_ASSUME,   /**< do not look: the whole span counts as dirty */
	WHERRY_UNMAP_SEED,     /**< the RFC's way, exact on some hardware only; soft backend */
};

/**
 * Open "soft:format=amdv1,iotlb=64", "iommufd", "type1", or "auto": iommufd, else
 * type1. A backend's own page in doc/ lists its options.
 *
 * @retval -ENODEV not on this machine, or no backend has this name
 * @retval -EINVAL an option of the spec is unknown or out of range
 * @retval -EACCES not ours to open
 * @retval -ENOMEM no memory
 */
int wherry_domain_create(const char *spec, struct wherry_domain **ret_dom) WHERRY_MUST_CHECK;
/** Unmap everything and free. Devices are detached already. NULL is fine. */
void wherry_domain_destroy(struct wherry_domain *dom);
/** Fill @p ret_caps; its pointers hold until the next attach or destroy. */
void wherry_domain_get_caps(const struct wherry_domain *dom, struct wherry_domain_caps *ret_caps);
/** The name of the backend, as in "soft". */
const char *wherry_domain_backend(const struct wherry_domain *dom);

/**
 * Let devices reach @p span->len bytes of memory at @p vaddr, which stays the
 * caller's and outlives the mapping. @p span->iova may be WHERRY_IOVA_ANY and
 * then holds the address chosen, which is never 0. @p prot is a set of WHERRY_DMA_ bits.
 *
 * @retval -EEXIST part of the span is mapped already
 * @retval -ENOSPC no hole of that length is left
 * @retval -ENOMEM no memory, or RLIMIT_MEMLOCK is reached
 */
int wherry_domain_map(struct wherry_domain *dom, void *vaddr, unsigned int prot,
	struct wherry_span *span) WHERRY_MUST_CHECK;
/**
 * The same for @p offset of a memfd or hugetlbfs file; the fd stays the caller's, and
 * the file is not shortened while it is mapped.
 * -EFAULT: the file does not hold that much, or cannot be mapped.
 */
int wherry_domain_map_file(struct wherry_domain *dom, int fd, uint64_t offset, unsigned int prot,
	struct wherry_span *span) WHERRY_MUST_CHECK;

/**
 * Take whole mappings away. On return no device reaches the span, and writes not
 * harvested are forgotten. -ENOENT: nothing is there, or a mapping would be cut.
 */
int wherry_domain_unmap(struct wherry_domain *dom, struct wherry_span span);
/**
 * The same, and mark in @p into the pages devices wrote since the last harvest.
 * The span has no holes (-ENOENT). ASSUME works on every backend; the other modes
 * need tracking to be on.
 *
 * @retval -EINVAL tracking is off; nothing was unmapped
 * @retval -EOPNOTSUPP this backend cannot do that mode
 */
int wherry_domain_unmap_dirty(struct wherry_domain *dom, struct wherry_span span,
	enum wherry_unmap_mode mode, struct wherry_bitmap *into) WHERRY_MUST_CHECK;

/**
 * Mappings of files belong to the calling process from now on, which is another one than
 * made them: the child of a fork() that goes on alone. The one that made them may end, while
 * devices keep reaching the memory. Linux 6.13 and iommufd.
 *
 * @retval -EBUSY a mapping is that of an address; nothing has changed
 * @retval -EOPNOTSUPP this backend or this kernel cannot
 * @retval -ENOMEM the memory is beyond what this process may lock
 */
int wherry_domain_claim(struct wherry_domain *dom) WHERRY_MUST_CHECK;

/**
 * Note device writes from now on, in later mappings too; all is clean (caps: but what is born_dirty).
 * -EALREADY: it is on. -EOPNOTSUPP: the caps say dirty is NONE, or do so now, because
 * a device that was told to write (wherry_device_ops) did so unseen.
 */
int wherry_domain_dirty_start(struct wherry_domain *dom) WHERRY_MUST_CHECK;
/** Stop, and forget what was not harvested. Harmless when off. */
void wherry_domain_dirty_stop(struct wherry_domain *dom);
/** Mark the pages written since the last harvest. -ENOENT: a hole. -EINVAL: tracking is off. */
int wherry_domain_dirty_read(struct wherry_domain *dom, struct wherry_span span,
	struct wherry_bitmap *into) WHERRY_MUST_CHECK;
/** Read and clear: a write racing with it shows now or next time, never not at all. */
int wherry_domain_dirty_harvest(struct wherry_domain *dom, struct wherry_span span,
	struct wherry_bitmap *into) WHERRY_MUST_CHECK;

/**
 * Build tables that track in units of @p page bytes, one of caps.page_sizes, beside the
 * present ones, with traffic on; devices stay where they are. May take seconds per GiB.
 *
 * @retval -EOPNOTSUPP this backend never changes its granule, or not to that
 * @retval -EALREADY one is being built, or that is the granule already
 * @retval -EINVAL it is none of caps.page_sizes
 * @retval -ECANCELED by granule_cancel, meanwhile
 * @retval -ENOMEM no memory
 */
int wherry_domain_granule_prepare(struct wherry_domain *dom, uint64_t page) WHERRY_MUST_CHECK;
/**
 * Stop every device, move it over, and let it go on; all of them or none. No known
 * write is lost.
 *
 * @retval -EINVAL nothing was prepared
 * @retval -EBUSY a device cannot be stopped, or it is still being prepared
 * @retval -ENOMEM no memory
 */
int wherry_domain_granule_commit(struct wherry_domain *dom) WHERRY_MUST_CHECK;
/** Drop what was prepared. Harmless when nothing was. */
void wherry_domain_granule_cancel(struct wherry_domain *dom);

/**
 * What only the driver of a device can do. Each may be NULL. They are called with the
 * domain locked, so they make no calls about it.
 */
struct wherry_device_ops {
	int (*stop)(void *ctx);    /**< no DMA after return; -errno: it goes on */
	void (*resume)(void *ctx); /**< undo stop */
	void *ctx;                 /**< handed to all */
	/**
	 * Let the device write at least one byte at @p iova, within 64 bytes; it has landed on
	 * return. -errno: it has not. With it, dirty bits are tested when they are first used.
	 */
	int (*poke)(void *ctx, uint64_t iova);
};

/**
 * Open "0000:01:00.0", or "soft:NAME" for a device whose DMA is made by
 * wherry_soft_dma_write(). NAME is for people; "soft:NAME,width=32" drives 32 bits.
 *
 * @retval -ENODEV no such device, or nothing that translates for it
 * @retval -EBUSY a kernel driver holds it, or its group
 * @retval -ENOMEM no memory
 */
int wherry_device_open(const char *name, struct wherry_device **ret_dev) WHERRY_MUST_CHECK;
/**
 * From now on the device's DMA goes through @p dom. @p ops may be NULL.
 *
 * @retval -EBUSY it is attached to a domain already, or somebody else uses it
 * @retval -ENODEV this backend has no way to it on this machine
 * @retval -EACCES not ours to open
 * @retval -EINVAL the device belongs to another backend
 * @retval -EOVERFLOW it cannot reach all that is mapped already
 * @retval -ENOMEM no memory
 */
int wherry_device_attach(struct wherry_device *dev, struct wherry_domain *dom,
	const struct wherry_device_ops *ops) WHERRY_MUST_CHECK;
/** Its DMA reaches nothing after return. Harmless when not attached. */
void wherry_device_detach(struct wherry_device *dev);
/** Detach and free. NULL is fine. */
void wherry_device_close(struct wherry_device *dev);
/** The name it was opened with. */
const char *wherry_device_name(const struct wherry_device *dev);

WHERRY_END_DECLS

#endif /* WHERRY_IOMMU_H */
