/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef IOMMUFD_PRIV_H
#define IOMMUFD_PRIV_H

/*
 * A domain is an iommufd file of its own. Vocabulary:
 *
 *  space   an IOAS with its tables
 *  table   a HWPT: most domains have one; one more for each kind of IOMMU
 *  now     the space devices are attached to
 *  other   while the granule changes: the twin that is being filled, or the old
 *          space that devices have left and whose last bits are to be read
 */

#include <sys/queue.h>

#include "base_priv.h"
#include "kernel_priv.h"
#include "wherry_iommu_driver.h"

/* What stands behind the colon of "iommufd:". */
struct iommufd_options {
	bool small; /* leaf=4k */
};

/*
 * It lives as long as its space, with or without devices: bits of a device that has
 * left are still read. twin is the table for the same devices in the other space.
 */
struct iommufd_table {
	LIST_ENTRY(iommufd_table) link;
	uint32_t hwpt;
	bool tracks; /* made with dirty tracking */
	struct iommufd_table *twin;
};

struct iommufd_space {
	uint32_t ioas;
	bool small; /* the kernel combines no pages to larger leaves */
	LIST_HEAD(, iommufd_table) tables;
};

/* What the kernel writes dirty bits to: populated and locked (harvest.c). */
struct iommufd_bits {
	uint64_t *words;
	size_t len; /* bytes */
};

/* An attached device; vfio_device.backend points here. */
struct iommufd_device {
	LIST_ENTRY(iommufd_device) link;
	struct vfio_device *vfio;
	uint32_t dev_id; /* its number in the domain's file */
	struct iommufd_table *table;
	struct kernel_hw hw;
};

/* A device of a domain that was borrowed, attached by who lent it, until it is attached here. */
struct iommufd_heirloom {
	LIST_ENTRY(iommufd_heirloom) link;
	char address[16];
	int fd;
	uint32_t dev_id;
	struct iommufd_table *table;
};

/* The backend's half of a domain. All hooks run under the core's lock. */
struct iommufd_domain {
	int fd;
	struct iommufd_space *now;
	struct iommufd_space *other; /* NULL: there is none */
	bool swapped;                /* other is the old space, not the twin */
	bool tracking;
	struct iommufd_bits bits;
	uint64_t page; /* smallest, in bytes */
	struct wherry_span *usable;
	size_t n_usable;
	LIST_HEAD(, iommufd_device) devices;
	LIST_HEAD(, iommufd_heirloom) heirlooms;
	char reason[256]; /* for the caps */
};

int iommufd_options_parse(const char *text, struct iommufd_options *ret_opts);

/* space.c: spaces and their tables. */
int iommufd_space_create(int fd, bool small, struct iommufd_space **ret_space);
void iommufd_space_destroy(int fd, struct iommufd_space *space);
/* A new table for the device, tracking from now on if the domain does. */
int iommufd_table_create(struct iommufd_domain *dom, struct iommufd_space *space, uint32_t dev_id,
	bool dirty, struct iommufd_table **ret_table);
/* No device is attached to it. */
void iommufd_table_destroy(struct iommufd_domain *dom, struct iommufd_table *table);
/* On: all tables of both spaces track, or none. Off cannot fail. */
int iommufd_track(struct iommufd_domain *dom, bool on);
/* Every table that devices write through, or wrote through, knows its dirty bits. */
bool iommufd_all_track(const struct iommufd_domain *dom);

/* harvest.c */
int iommufd_bits_reserve(struct iommufd_domain *dom, uint64_t len);
void iommufd_bits_free(struct iommufd_domain *dom);
int iommufd_read_dirty(
	void *be, struct wherry_span span, bool clear, struct wherry_dirty_sink *sink);
/* What was mapped just now in a space that no device is attached to is clean from here on. */
void iommufd_make_clean(
	struct iommufd_domain *dom, const struct iommufd_space *space, struct wherry_span span);

/* iommufd_domain.c: without a kernel's object, fd is -1. NULL: no memory. */
struct iommufd_domain *iommufd_domain_alloc(void);

/* caps.c */
int iommufd_ask_ranges(struct iommufd_domain *dom);
void iommufd_get_caps(void *be, struct wherry_domain_caps *ret_caps);

/* twin.c: hooks, and a table in the twin, if there is one, for a device that has come */
int iommufd_twin_create(void *be, uint64_t page);
int iommufd_twin_fill(void *be, struct wherry_span span, unsigned int prot);
int iommufd_twin_swap(void *be);
void iommufd_twin_destroy(void *be);
int iommufd_twin_for(struct iommufd_domain *dom, struct iommufd_device *dev);

/* handed.c: hooks of a domain that changes hands */
int iommufd_lend(void *be, struct wherry_lent_half *half, int *ret_fds);
int iommufd_borrow(const struct wherry_lent_half *half, const int *fds, void **ret_be);
void iommufd_clear(void *be, struct wherry_span span);
void iommufd_leave(void *be, void *device);
int iommufd_let_go(void *be);
void iommufd_abandon(void *be);
/* The device of that address, if the domain came with it. */
struct iommufd_heirloom *iommufd_heirloom_of(struct iommufd_domain *dom, const char *address);
void iommufd_heirloom_free(struct iommufd_heirloom *h);
/* Close the files of those that nobody has attached. */
void iommufd_heirlooms_close(struct iommufd_domain *dom);

/* iommufd_device.c: hooks */
int iommufd_attach(void *be, void *dev);
void iommufd_detach(void *be, void *dev);

#endif /* IOMMUFD_PRIV_H */
