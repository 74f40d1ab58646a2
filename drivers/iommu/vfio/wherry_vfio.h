/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_VFIO_H
#define WHERRY_VFIO_H

#include <wherry_iommu.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * PCI devices through VFIO: finding them, and what a userspace driver does with one.
 *
 * A *function* is a PCI function as sysfs describes it; looking opens nothing. A
 * device is opened by its address, "0000:01:00.0", with wherry_device_open(); it
 * fits type1 and iommufd domains alike, and the kernel hands out its file
 * descriptor when it is attached. So all calls on a device work from attach to
 * detach, and what they handed out (fd, mapped regions, interrupts) ends with detach.
 *
 * Indexes: of regions and interrupts, as in linux/vfio.h: VFIO_PCI_BAR0_REGION_INDEX,
 *          VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX ...
 * Errors:  0 or -errno; a call that fails has changed nothing. -EINVAL: the device is
 *          not attached or no VFIO device, or a rule on this page is broken.
 * Threads: any, but not while the same device is attached, detached or closed.
 * Source:  linux/vfio.h; PCI Express Base Specification, 7.5 (configuration space).
 */

/** How a device is reached; a set. */
#define WHERRY_VFIO_BY_CDEV 0x1u  /**< /dev/vfio/devices/vfioN, for iommufd */
#define WHERRY_VFIO_BY_GROUP 0x2u /**< /dev/vfio/N, for type1 */

/** Something that is missing on the way to a device. */
struct wherry_vfio_gap {
	unsigned int blocks; /**< the WHERRY_VFIO_BY_ ways it blocks */
	int error;           /**< what opening or attaching returns because of it */
	char why[160];       /**< what is missing */
	char remedy[256];    /**< how to get it: a command, option or setting */
};
#define WHERRY_VFIO_GAPS 6u /**< as many as one function can have */

/** A PCI function, as sysfs has it. Texts are empty where there is nothing. */
struct wherry_vfio_function {
	char address[16];      /**< "0000:01:00.0" */
	char driver[32];       /**< kernel driver that holds it, as "vfio-pci" */
	char cdev[48];         /**< its node, "/dev/vfio/devices/vfio0" */
	char group[32];        /**< node of its group, "/dev/vfio/8" */
	char iommu[32];        /**< the IOMMU that translates for it, as "dmar0" */
	int node;              /**< NUMA node, or -1 */
	unsigned int vendor;   /**< PCI vendor id */
	unsigned int device;   /**< PCI device id */
	unsigned int pciclass; /**< 24 bits; 0x020000 is an Ethernet controller */
	bool noiommu;          /**< its group is one that nothing translates for */
	unsigned int ways;     /**< the WHERRY_VFIO_BY_ ways that are open */
	unsigned int n_gaps;   /**< used of gaps */
	struct wherry_vfio_gap gaps[WHERRY_VFIO_GAPS]; /**< why no more ways are open */
};

/** Look for a function. -ENODEV: there is none with this address; -EINVAL: it is no address. */
int wherry_vfio_find(const char *address, struct wherry_vfio_function *ret_fn) WHERRY_MUST_CHECK;
/**
 * Call @p visit for each PCI function in ascending order, until it returns not 0; returns
 * that. -ENODEV: this machine has no PCI bus. -ENOMEM: no memory.
 */
int wherry_vfio_each(int (*visit)(void *ctx, const struct wherry_vfio_function *fn), void *ctx);

/** An IOMMU of the machine, as sysfs has it. */
struct wherry_vfio_iommu {
	char name[32];          /**< "dmar0" */
	const char *kind;       /**< "Intel VT-d", "AMD-Vi", "Arm SMMUv3" ..., or "" */
	unsigned int n_devices; /**< that it translates for */
	bool shown;             /**< the kernel shows what it can do; false: only attaching tells */
	bool dirty;             /**< its registers say that it has dirty bits */
	bool drains;            /**< VT-d: invalidation waits for writes under way; others: true */
	char why[200];          /**< if dirty is false, what is missing; else "" */
};
/** Call @p visit for each IOMMU, in the way of wherry_vfio_each(). No IOMMU at all is 0. */
int wherry_vfio_each_iommu(
	int (*visit)(void *ctx, const struct wherry_vfio_iommu *iommu), void *ctx);

/** What sysfs said of it when it was opened; NULL if @p dev is no VFIO device. Attached or not. */
const struct wherry_vfio_function *wherry_vfio_function_of(const struct wherry_device *dev);
/** The device's file descriptor; it stays the library's and is closed by detach. Or -EINVAL. */
int wherry_vfio_fd(const struct wherry_device *dev);

/** What the kernel tells of an attached device. */
struct wherry_vfio_info {
	unsigned int n_regions; /**< region indexes below this may exist */
	unsigned int n_irqs;    /**< interrupt indexes below this may exist */
	bool can_reset;         /**< wherry_vfio_reset() works */
};
/** Fill @p ret_info. */
int wherry_vfio_get_info(const struct wherry_device *dev, struct wherry_vfio_info *ret_info)
	WHERRY_MUST_CHECK;

#define WHERRY_VFIO_REGION_READ 0x1u  /**< wherry_vfio_region_read() works */
#define WHERRY_VFIO_REGION_WRITE 0x2u /**< wherry_vfio_region_write() works */
#define WHERRY_VFIO_REGION_MAP 0x4u   /**< wherry_vfio_region_map() works */
/** A region: a BAR, the expansion ROM, configuration space. */
struct wherry_vfio_region {
	uint64_t len;       /**< bytes; 0: there is no such region */
	uint64_t offset;    /**< of its first byte in the device's file */
	unsigned int flags; /**< a set of WHERRY_VFIO_REGION_ */
};
/** Fill @p ret_region. -ENOENT: no such index. */
int wherry_vfio_get_region(const struct wherry_device *dev, unsigned int index,
	struct wherry_vfio_region *ret_region) WHERRY_MUST_CHECK;
/**
 * Map a region whole, for reading and writing. Parts that the kernel keeps for itself (an
 * MSI-X table, on some) are there and fault when touched. The second call for a region
 * gives the address of the first. The mapping ends with detach.
 *
 * @retval -ENOENT no such region, or it is empty
 * @retval -EOPNOTSUPP this region cannot be mapped
 * @retval -ENOMEM no memory
 */
int wherry_vfio_region_map(struct wherry_device *dev, unsigned int index, void **ret_p)
	WHERRY_MUST_CHECK;
/**
 * Read @p len bytes at @p at of a region through the kernel; in one access if @p len is 1, 2 or 4
 * and @p at a multiple of it. -ENOENT: no such region. -EFAULT: the region does not hold that
 * much, or the access was refused.
 */
int wherry_vfio_region_read(const struct wherry_device *dev, unsigned int index, uint64_t at,
	void *buf, size_t len) WHERRY_MUST_CHECK;
/** The other direction of wherry_vfio_region_read(). */
int wherry_vfio_region_write(const struct wherry_device *dev, unsigned int index, uint64_t at,
	const void *buf, size_t len) WHERRY_MUST_CHECK;

/** Read @p width (1, 2 or 4) bytes of configuration space, as a number of this machine. */
int wherry_vfio_config_read(const struct wherry_device *dev, unsigned int at, unsigned int width,
	uint32_t *ret_value) WHERRY_MUST_CHECK;
/** Write them. The kernel filters what would harm the machine. */
int wherry_vfio_config_write(const struct wherry_device *dev, unsigned int at, unsigned int width,
	uint32_t value) WHERRY_MUST_CHECK;

/** An interrupt index. */
struct wherry_vfio_irq {
	unsigned int count; /**< vectors; 0: the device has none of this kind */
	bool eventfd;       /**< can signal an eventfd */
	bool automasked;    /**< is masked when it fires (INTx): unmask it when handled */
};
/** Fill @p ret_irq. -ENOENT: no such index. */
int wherry_vfio_get_irq(const struct wherry_device *dev, unsigned int index,
	struct wherry_vfio_irq *ret_irq) WHERRY_MUST_CHECK;
#define WHERRY_VFIO_VECTORS 2048u /**< MSI-X has no more */
/**
 * From now on vectors 0 to @p n - 1 of the index signal @p eventfds, which stay the caller's;
 * -1 for a vector that signals nobody. An @p n of 0 switches the whole index off.
 *
 * @retval -ENOENT no such index, or it has fewer vectors
 * @retval -EBUSY another index is in use: switch that off
 * @retval -ENOSPC the machine has not so many vectors left
 * @retval -ENOMEM no memory
 */
int wherry_vfio_irq_set(struct wherry_device *dev, unsigned int index, unsigned int n,
	const int *eventfds) WHERRY_MUST_CHECK;
/** Let an automasked interrupt fire again. */
int wherry_vfio_irq_unmask(struct wherry_device *dev, unsigned int index) WHERRY_MUST_CHECK;

/** Reset the function. -EOPNOTSUPP: it cannot be; -EBUSY: it refused, perhaps for now. */
int wherry_vfio_reset(struct wherry_device *dev) WHERRY_MUST_CHECK;
/**
 * Let the device do DMA, or no more. Off: what it had begun has landed in memory on return,
 * as reading the setting back pushes posted writes before it and outstanding reads are
 * waited for. -ETIMEDOUT: they did not end within 100 ms; it is off all the same.
 */
int wherry_vfio_bus_master(struct wherry_device *dev, bool on) WHERRY_MUST_CHECK;
/**
 * The same, in the shape of struct wherry_device_ops, whose ctx is then the device itself:
 * `{ wherry_vfio_stop, wherry_vfio_resume, dev }`. It is for devices that go on after they
 * were without bus mastering for a while, and whose driver lets them alone meanwhile.
 */
int wherry_vfio_stop(void *dev);
/** Undo wherry_vfio_stop(). */
void wherry_vfio_resume(void *dev);

/**
 * What devices wrote, as they log it themselves (VFIO DMA logging: Linux 6.1, ConnectX-6 and
 * later functions of mlx5, pds, hisilicon). The last three calls have the shape that a write log
 * of a tracker has, wherry_watch_add_log(): their ctx is the log. Not for more than one thread.
 */
struct wherry_vfio_log;
#define WHERRY_VFIO_LOG_RANGES 256u /**< what every kernel takes */
/**
 * A log of all the @p n_devs attached @p devs together, which stay attached until it is
 * destroyed. What is logged lies in the @p n_spans ascending @p spans of I/O addresses; where
 * there are more than 256, neighbours are logged as one.
 *
 * @retval -EINVAL a device is not attached, the spans are not ascending, or there are none
 * @retval -EOPNOTSUPP a device cannot log; which one is logged
 * @retval -ENOMEM no memory
 */
int wherry_vfio_log_create(struct wherry_device *const *devs, unsigned int n_devs,
	const struct wherry_span *spans, size_t n_spans, struct wherry_vfio_log **ret_log)
	WHERRY_MUST_CHECK;
/** Stop, and free. NULL is fine. */
void wherry_vfio_log_destroy(struct wherry_vfio_log *log);
/**
 * Note writes to @p span, whole pages of 4 KiB, from now on. Outside of what the log was made for
 * all counts as dirty, always.
 *
 * @retval -EEXIST it is noted already
 * @retval -EOVERFLOW a device cannot log so much
 * @retval -ENOMEM no memory
 */
int wherry_vfio_log_start(void *ctx, struct wherry_span span) WHERRY_MUST_CHECK;
/** Note them no longer. */
void wherry_vfio_log_stop(void *ctx, struct wherry_span span);
/**
 * Mark what was written to a span that was started, and forget it. A device that reports an error
 * has lost count: all is dirty, and logging starts anew. -ENOENT: the span was not started.
 */
int wherry_vfio_log_harvest(void *ctx, struct wherry_span span, struct wherry_bitmap *into)
	WHERRY_MUST_CHECK;

/** How the writes of a device are known, best first. */
enum wherry_vfio_writes {
	WHERRY_VFIO_WRITES_IOMMU,       /**< by dirty bits of the IOMMU */
	WHERRY_VFIO_WRITES_DEVICE,      /**< by the device's own log */
	WHERRY_VFIO_WRITES_DESCRIPTORS, /**< by what its driver knows of completed buffers */
	WHERRY_VFIO_WRITES_ALL,         /**< not at all: everything counts as dirty */
};
/** "IOMMU dirty bits", "VFIO DMA logging", "descriptor log", "everything dirty". */
const char *wherry_vfio_writes_name(enum wherry_vfio_writes writes);
/**
 * The best way for @p dev, which is attached to @p dom; @p descriptors: its driver keeps a log of
 * descriptors. Writes to @p why, which has room for @p cap bytes, why it is no better one.
 */
enum wherry_vfio_writes wherry_vfio_writes_known(const struct wherry_device *dev,
	const struct wherry_domain *dom, bool descriptors, char *why, size_t cap);

WHERRY_END_DECLS

#endif /* WHERRY_VFIO_H */
