/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef IOMMU_PRIV_H
#define IOMMU_PRIV_H

#include <sys/queue.h>

#include "base_priv.h"
#include "wherry_bitmap.h"
#include "wherry_iommu.h"
#include "wherry_iommu_driver.h"
#include "wherry_iova.h"

/* A file mapped by the domain itself; p is NULL: there is none. */
struct view {
	void *p;
	size_t len;
};

/*
 * One span that the caller mapped, taken away only as a whole. The value of an
 * interval in domain.mappings.
 *
 * bytes: where the CPU finds what devices see at the span: the caller's address, or
 * in the view if it was mapped from a file.
 *
 * pending: bits already taken from the backend and not yet handed to a caller.
 * Exists exactly while tracking is on, for every mapping.
 */
struct mapping {
	unsigned int prot;
	const uint8_t *bytes;
	struct view view;
	struct wherry_bitmap *pending;
};

struct wherry_dirty_sink {
	struct wherry_domain *dom;
};

/*
 * The core's half of a domain. Lock order: device.lock, then domain.lock; a
 * backend's own locks come after both.
 *
 * caps.usable points to usable. search is usable without address 0, which is
 * never chosen for a caller because too much software takes it for "none".
 */
struct wherry_domain {
	struct wherry_mutex lock;
	const struct wherry_iommu_driver *drv;
	void *be;                         /* the backend's half */
	struct wherry_iova_set *mappings; /* of struct mapping; under lock */
	bool tracking;                    /* under lock */
	struct wherry_dirty_sink sink;
	struct wherry_domain_caps caps;     /* under lock */
	struct wherry_span *usable;         /* under lock */
	struct wherry_span *search;         /* under lock, as many as usable */
	LIST_HEAD(, wherry_device) devices; /* attached; under lock */
};

struct wherry_device {
	struct wherry_mutex lock;
	char *name;
	const struct wherry_iommu_driver *drv;
	void *be;                       /* the backend's half */
	struct wherry_domain *dom;      /* NULL: not attached; under lock */
	struct wherry_device_ops ops;   /* zero when none were given; under lock */
	LIST_ENTRY(wherry_device) link; /* under dom->lock */
};

/* Ask the backend again. -EOVERFLOW: a mapping lies outside what is usable now. */
int domain_refresh_caps_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock);

/* Map the file and give place its address. -EFAULT: not that much file, or not mappable. */
int view_open(struct view *view, struct wherry_place *place);
void view_close(struct view *view);

uint64_t domain_smallest_page(const struct wherry_domain *dom);
/* The rules for every span: -EINVAL or -EOVERFLOW. */
int domain_check_span_locked(struct wherry_domain *dom, struct wherry_span span)
	WHERRY_REQUIRES(&dom->lock);
/* Drop the core's record of what lies in the span. */
void domain_forget_locked(struct wherry_domain *dom, struct wherry_span span)
	WHERRY_REQUIRES(&dom->lock);

/*
 * struct wherry_iova_entry e = { .value = NULL };
 * while (domain_next_locked(dom, span, &e)) visits the mappings that touch the
 * span. The one last visited may be removed meanwhile.
 */
bool domain_next_locked(struct wherry_domain *dom, struct wherry_span span,
	struct wherry_iova_entry *entry) WHERRY_REQUIRES(&dom->lock);

#endif /* IOMMU_PRIV_H */
