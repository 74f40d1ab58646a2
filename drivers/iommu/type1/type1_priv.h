/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TYPE1_PRIV_H
#define TYPE1_PRIV_H

/*
 * VFIO type1: one container per domain. Vocabulary:
 *
 *  container  /dev/vfio/vfio, opened: an address space, but only once it is live
 *  group      what the IOMMU cannot tell apart; enters a container as a whole
 *  live       the container has an IOMMU: with the first group it gets one, with the
 *             last it loses it, and all mappings with it
 *  entry      a mapping as the kernel keeps it, of which there is a limited number
 *
 * So a container that comes to life is brought up to date, from the core's list of
 * mappings: there is none here, and nothing to count. /dev/vfio/vfio may also be iommufd's imitation of a container,
 * which has no dirty ioctls and no limit.
 */

#include <linux/vfio.h>
#include <sys/queue.h>

#include "base_priv.h"
#include "wherry_iommu_driver.h"
#include "wherry_vfio_driver.h"

/* What GET_INFO says; before that a guess. */
struct type1_info {
	uint64_t page_sizes;
	struct wherry_span *usable; /* ascending */
	size_t n_usable;
	bool migration;        /* the dirty ioctls are there */
	uint64_t bitmap_page;  /* bytes of one bit; of GET_BITMAP */
	uint64_t max_bitmap;   /* bytes of bitmap in one call */
	uint64_t entries_left; /* 0: no limit; while nothing is mapped, all of them */
};

/* A group that is in the container. */
struct type1_group {
	LIST_ENTRY(type1_group) link;
	char node[32]; /* "/dev/vfio/8" */
	int fd;
	unsigned int users; /* attached devices */
};

/*
 * The backend's half of a domain; hooks run under the core's lock. logging: the kernel
 * was told to keep dirty bitmaps; tracking: the core wants it so, live or not; says_all: asked
 * since, it called all dirty. bits holds the bitmap of the largest mapping at least.
 */
struct type1_domain {
	const struct wherry_domain *core; /* has the mappings */
	int container;
	bool live, tracking, logging, says_all;
	bool has_unmap_all;
	bool warned; /* that entries run out */
	struct type1_info info;
	uint64_t max_entries; /* of all; 0: no limit, or not known yet */
	uint64_t credit;      /* so many mappings later is the limit looked at */
	LIST_HEAD(, type1_group) groups;
	uint64_t *bits;
	size_t n_words; /* of bits */
};

/* Is there room for the bits of that many bytes? */
static inline bool
type1_bits_hold(const struct type1_domain *dom, uint64_t len)
{
	return len >> __builtin_ctzll(dom->info.bitmap_page) <= dom->n_words * UINT64_C(64);
}

/* type1_info.c: the caller frees usable. */
int type1_guess_info(struct type1_info *ret_info);
int type1_read_info(int container, struct type1_info *ret_info);

/* type1_map.c */
int type1_map(void *be, const struct wherry_place *place);
/* All of the domain's mappings into a container that has just come to life; all or none. */
int type1_map_all(struct type1_domain *dom);
void type1_unmap_all(struct type1_domain *dom);
void type1_unmap(void *be, struct wherry_span span, struct wherry_dirty_sink *sink);
/* The kernel's entries of a live container. */
void type1_kernel_unmap(const struct type1_domain *dom, struct wherry_span span);

/* type1_dirty.c */
int type1_track(void *be, bool on);
int type1_read_dirty(void *be, struct wherry_span span, bool clear, struct wherry_dirty_sink *sink);
/* Unmap what is mapped in the span, live or not, and report. */
void type1_unmap_with_bits(
	const struct type1_domain *dom, struct wherry_span span, struct wherry_dirty_sink *sink);
/* More room, for the bits of that many bytes. */
int type1_reserve_bits(struct type1_domain *dom, uint64_t len);

/* type1_attach.c */
int type1_attach(void *be, void *dev);
void type1_detach(void *be, void *dev);

extern const struct wherry_iommu_driver wherry_iommu_type1;

#endif /* TYPE1_PRIV_H */
