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
	uint64_t dev, ino, offset; /* which file, and where in it the mapping begins */
};

/*
 * One span that the caller mapped, taken away only as a whole. The room of an
 * interval in domain.mappings.
 *
 * bytes: where the CPU finds what devices see at the span: the caller's address, or
 * in the view if it was mapped from a file.
 *
 * pending: bits already taken from the backend and not yet handed to a caller. There while
 * tracking is on, before anything is asked of the backend that may report bits: made by
 * dirty_start, and for what is mapped later by the first reading. NULL: none have been taken.
 * marked: it may have bits; false spares the look.
 */
struct mapping {
	unsigned int prot;
	const uint8_t *bytes;
	struct view view;
	struct wherry_bitmap *pending;
	bool marked;
	bool in_twin; /* while there is a twin: it has this mapping */
};

/* The backend has said so, or somebody who knows. */
static inline void
mapping_mark(struct mapping *m, struct wherry_span span)
{
	wherry_bitmap_mark(m->pending, span);
	m->marked = true;
}

/* A second set of tables: none, being filled, complete. */
enum twin_state { TWIN_NONE, TWIN_FILLING, TWIN_READY };

/* A mapping of a file as it is described to another process: no pointers, no padding. */
struct lent_mapping {
	struct wherry_span span;
	uint64_t dev, ino, offset;
	uint64_t prot;
};

/* What a borrowed domain had mapped when it was lent; ascending. */
struct heritage {
	size_t n;
	struct lent_mapping mappings[];
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
	struct wherry_quick lock;
	const struct wherry_iommu_driver *drv;
	void *be;                         /* the backend's half */
	struct wherry_iova_set *mappings; /* with room for a struct mapping; under lock */
	bool tracking;                    /* under lock */
	enum twin_state twin;             /* under lock */
	uint64_t twins;                   /* how many are gone; under lock */
	const char *unsound;              /* NULL: dirty bits are believed; under lock */
	bool foreign;              /* another process's: nothing may be changed; under lock */
	bool lent;                 /* its files are out, and it may be another's; under lock */
	struct heritage *heritage; /* NULL: it was not borrowed, or is owned; under lock */
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
	struct wherry_device_ops ops;   /* zero when none were given; under dom->lock */
	bool tested;                    /* its dirty bits; under dom->lock */
	LIST_ENTRY(wherry_device) link; /* under dom->lock */
};

/* Ask the backend again. -EOVERFLOW: a mapping lies outside what is usable now. */
int domain_refresh_caps_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock);

/* The driver of that name, or NULL. */
const struct wherry_iommu_driver *domain_driver(const char *name, size_t len);
/* The core's half around a backend's, which stays the caller's on failure. */
int domain_wrap(const struct wherry_iommu_driver *drv, void *be, struct wherry_domain **ret_dom);

/* lend.c: -ENOENT: the lender had nothing mapped that is m at that span. */
int heritage_find_locked(struct wherry_domain *dom, const struct mapping *m,
	struct wherry_span span) WHERRY_REQUIRES(&dom->lock);

/* Map the file and give place its address. -EFAULT: not that much file, or not mappable. */
int view_open(struct view *view, struct wherry_place *place);
void view_close(struct view *view);

/* Ask the backend again about all but the usable ranges, which are as before. */
void domain_update_caps_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock);
/* Bits of a span of mappings, from the backend to pending. -ENOENT: there is a hole. */
int domain_fetch_locked(struct wherry_domain *dom, struct wherry_span span, bool clear)
	WHERRY_REQUIRES(&dom->lock);
/* Map, with all the checks; place says where it came to be. */
int domain_map_locked(struct wherry_domain *dom, struct wherry_place *place)
	WHERRY_REQUIRES(&dom->lock);
/* Tracking is on: test every device that can be told to write and was not tested. */
void selftest_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock);
/* Drop the twin, if there is one. */
void granule_drop_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock);

/* It is another's, or may be: what is torn down here is not torn down there. */
static inline bool
domain_hands_off_locked(const struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	return dom->foreign || dom->lent;
}

static inline uint64_t
domain_smallest_page(const struct wherry_domain *dom)
{
	return dom->caps.page_sizes & -dom->caps.page_sizes;
}

static inline bool
domain_aligned(const struct wherry_domain *dom, struct wherry_span span)
{
	return span.len != 0 && ((span.iova | span.len) & (domain_smallest_page(dom) - 1)) == 0;
}

/* Both are not empty and stay within the 64-bit space. */
static inline bool
span_holds(struct wherry_span all, struct wherry_span span)
{
	return all.iova <= span.iova && wherry_span_last(all) >= wherry_span_last(span);
}

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

/* An exact unmap by content (content.c); the span is made of whole mappings. */
struct content;
/* All the memory it takes. -EOPNOTSUPP: the kernel has no random numbers. */
int content_create_locked(struct wherry_domain *dom, struct wherry_span span,
	struct content **ret_c) WHERRY_REQUIRES(&dom->lock);
void content_destroy(struct content *c);
/* Look at the pages that are not pending. */
void content_look_locked(struct wherry_domain *dom, struct content *c) WHERRY_REQUIRES(&dom->lock);
/* Nothing reaches them any more: make pending those that have changed since. */
void content_compare_locked(struct wherry_domain *dom, struct content *c)
	WHERRY_REQUIRES(&dom->lock);

#endif /* IOMMU_PRIV_H */
