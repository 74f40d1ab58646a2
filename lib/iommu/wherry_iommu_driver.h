/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_IOMMU_DRIVER_H
#define WHERRY_IOMMU_DRIVER_H

/*
 * What a backend of lib/iommu implements: one ops table, found through the
 * list wherry_iommu_drivers[] in drivers/iommu/table.c.
 *
 * A backend has two kinds of object of its own, of which the core knows only
 * the address: its half of a domain (be) and its half of a device (dev).
 *
 * Done by the core before a hook of a domain runs:
 *  - the domain's lock is held: hooks of one domain never overlap;
 *  - arguments are checked: spans are not empty, aligned to the smallest page,
 *    inside the usable ranges; a span to map is free, a span to unmap cuts no
 *    mapping, a span to read has no hole and cuts no dirty granule;
 *  - the list of mappings is kept (a backend that needs one reads it, see join), and the
 *    bits reported to a sink wait there until a harvest has succeeded: a hook that fails
 *    may keep what it reported;
 *  - a domain with several page tables below it: read_dirty and fence report
 *    all of them, and unmap is called only after both have succeeded.
 * DMA goes on during all of them. Hooks return 0 or -errno, if not said otherwise, and one that fails
 * has changed nothing else; void hooks undo and cannot fail.
 */

#include "wherry_iommu.h"
#include "wherry_lend.h"

/** Where a backend reports written pages; belongs to the core. */
struct wherry_dirty_sink;
/** Devices wrote to @p span; parts that are not mapped are ignored. */
void wherry_dirty_sink_mark(struct wherry_dirty_sink *sink, struct wherry_span span);
/** The same from words in the kernel's form, see wherry_bitmap_or_words(). */
void wherry_dirty_sink_words(struct wherry_dirty_sink *sink, struct wherry_span span, uint64_t page,
	const uint64_t *words);

/**
 * What is to be mapped. Memory that was given as a file is at vaddr too, in a mapping
 * that the core keeps for as long as this one; fd is there for backends that map files.
 */
struct wherry_place {
	struct wherry_span span; /**< where; iova is chosen */
	unsigned int prot;       /**< WHERRY_DMA_ bits, at least one */
	void *vaddr;             /**< aligned to the smallest page, does not wrap */
	int fd;                  /**< of the file, stays the caller's; -1: there is none */
	uint64_t offset;         /**< aligned to the smallest page, offset + len does not wrap */
};

/** A table of a domain that is lent. */
struct wherry_lent_table {
	uint32_t id;     /**< the backend's number */
	uint32_t tracks; /**< 0 or 1: it has dirty bits */
};
/** A device of such a domain. */
struct wherry_lent_device {
	char address[16]; /**< its name, ends within */
	uint32_t id;      /**< the backend's number */
	uint32_t table;   /**< index in wherry_lent_half.tables */
};
#define WHERRY_LENT_TABLES 8u /**< as many at most */
/** A backend's half of a domain as it goes to another process: no pointers, no padding. */
struct wherry_lent_half {
	uint32_t space;                                         /**< the backend's number */
	uint32_t small;                                         /**< 0 or 1: its leaves are */
	uint32_t n_tables;                                      /**< used of tables */
	uint32_t n_devices;                                     /**< used of devices */
	struct wherry_lent_table tables[WHERRY_LENT_TABLES];    /**< all of the space */
	struct wherry_lent_device devices[WHERRY_LENT_DEVICES]; /**< all that are attached */
};

/** One backend. */
struct wherry_iommu_driver {
	const char *name;      /**< in front of the colon of a spec */
	bool unmap_sees_dirty; /**< unmap can report to a sink: WHERRY_UNMAP_SEED works */

	/** A domain; @p options is what stands behind the colon, or "". */
	int (*create)(const char *options, void **ret_be);
	/** The core's half, whose mappings hooks may look at; may be NULL. Once, before any other hook of it. */
	void (*join)(void *be, const struct wherry_domain *dom);
	/** Nothing is mapped or attached any more. */
	void (*destroy)(void *be);
	/** All fields; asked for after create and after each attach. */
	void (*get_caps)(void *be, struct wherry_domain_caps *ret_caps);

	/** Reachable, clean and, while tracking, tracked on return. */
	int (*map)(void *be, const struct wherry_place *place);
	/**
	 * On return no DMA reaches the span and none is in flight. With a sink:
	 * report what was dirty in the same atomic step that cleared each entry.
	 */
	void (*unmap)(void *be, struct wherry_span span, struct wherry_dirty_sink *sink);

	/** What is mapped becomes the calling process's; see wherry_domain_claim(). NULL: it cannot. */
	int (*claim)(void *be);

	/*
	 * Handing over (wherry_lend.h); all NULL: it cannot. What is in a half that is borrowed
	 * has been checked as far as the core knows it: counts, indexes, ends of texts.
	 */
	/** Fill @p half, zeroed, and fds: the domain's file and those of devices. They stay the backend's. */
	int (*lend)(void *be, struct wherry_lent_half *half, int *ret_fds);
	/** A domain of these files, of which it makes copies. Only looks. -EPROTO: a file is not what it should be. */
	int (*borrow)(const struct wherry_lent_half *half, const int *fds, void **ret_be);
	/** It is ours: what is mapped in @p span, between mappings that stay, goes. */
	void (*clear)(void *be, struct wherry_span span);
	/** In place of detach where the domain is another's or may be: frees and closes, and that is all. */
	void (*leave)(void *be, void *dev);
	/** Devices and domain are out of this process's reach on return. -ENOMEM: not all of them. */
	int (*let_go)(void *be);
	/** In place of destroy, likewise. */
	void (*abandon)(void *be);

	/** On: all is clean on return, and writes are noted from then on. Off never fails. */
	int (*track)(void *be, bool on);
	/**
	 * Report; with @p clear in one atomic step with cleaning, invalidated on return. 1: all of the
	 * span is dirty, and will be whenever one asks, so nothing was reported.
	 */
	int (*read_dirty)(
		void *be, struct wherry_span span, bool clear, struct wherry_dirty_sink *sink);
	/**
	 * Make the span read-only and report what was dirty in the same atomic step; on
	 * return no write is in flight. Only where caps say exact_by is BY_FENCE.
	 */
	int (*fence)(void *be, struct wherry_span span, struct wherry_dirty_sink *sink);
	/** Undo it on the whole of one mapping that is writable by its prot. */
	void (*unfence)(void *be, struct wherry_span span);

	/**
	 * Only where caps say regrain: a second set of tables, the twin, whose leaves are
	 * of @p page bytes. Empty at first; from now on map and unmap work on both sets.
	 */
	int (*twin_create)(void *be, uint64_t page);
	/** Map there what was mapped before. */
	int (*twin_fill)(void *be, struct wherry_span span, unsigned int prot);
	/** No device does DMA: move all of them to the twin, or none. read_dirty reports both sets. */
	int (*twin_swap)(void *be);
	/** Drop the set that devices are not attached to. */
	void (*twin_destroy)(void *be);

	/**
	 * -ENODEV: the name is not one of ours. No lock is held. Backends with the same
	 * device_open have the same devices, which then attach to domains of each of them.
	 */
	int (*device_open)(const char *name, void **ret_dev);
	void (*device_close)(void *dev); /**< not attached any more */
	/** May narrow the caps of the domain, as long as the device is attached. */
	int (*attach)(void *be, void *dev);
	void (*detach)(void *be, void *dev); /**< its DMA reaches nothing on return */
};

/** All there are, ends with NULL. An explicit list, so that static linking finds them. */
extern const struct wherry_iommu_driver *const wherry_iommu_drivers[];

/**
 * How many mappings a domain has. For its backend, in a hook: what map() is to map counts already,
 * what unmap() takes away without a sink may count no more.
 */
size_t wherry_domain_driver_count(const struct wherry_domain *dom);
/** The first of them whose last byte is at @p iova or behind it; fd is -1. False: there is none. */
bool wherry_domain_driver_next(
	const struct wherry_domain *dom, uint64_t iova, struct wherry_place *ret_place);

/** A device that @p driver opened, seen from the backend's own public calls; NULL if not. */
void *wherry_device_driver_half(
	const struct wherry_device *dev, const struct wherry_iommu_driver *driver);

#endif /* WHERRY_IOMMU_DRIVER_H */
