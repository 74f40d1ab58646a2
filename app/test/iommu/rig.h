/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef RIG_H
#define RIG_H

/*
 * What every domain test needs: a domain of some backend, devices on it whose
 * DMA the test makes, and memory. A backend that cannot be had here skips the
 * test. Tests know the backend by its caps alone.
 */

#include "base_priv.h"
#include "test.h"
#include "wherry_bitmap.h"
#include "wherry_iommu.h"

#define RIG_MEM (UINT64_C(4) << 20)
#define RIG_DEVICES 2u

struct rig {
	const char *spec;
	struct wherry_domain *dom;
	struct wherry_device *dev[RIG_DEVICES]; /* attached */
	struct wherry_domain_caps caps;
	uint64_t page; /* the smallest */
	uint8_t *mem;  /* RIG_MEM bytes of fd, zeroed, aligned to 2M */
	int fd;
	struct wherry_device_ops ops; /* of all devices attached from now on */
	struct nic *nic[RIG_DEVICES]; /* where devices are real */
	uint8_t *nic_mem;             /* what those need for themselves */
};

/* Every spec the contract is checked with. */
extern const char *const backends[];

void rig_open(struct rig *r, const char *spec);
void rig_close(struct rig *r);

/*
 * In parts: what the spec's place needs before and after, a domain without devices, and
 * the names of its devices. A spec is a domain's, followed by the place, as in "@fake".
 */
void rig_arrive(const char *spec);
void rig_leave(const char *spec);
int rig_domain(const char *spec, struct wherry_domain **ret_dom);
const char *rig_device_name(const char *spec, unsigned int dev);

/* Skip what is about pages told apart where devices' writes are not. */
void rig_need_tracking(struct rig *r);

/* One of the rig's devices moves; its DMA works, or reaches nothing. */
void rig_attach(struct rig *r, unsigned int dev, struct wherry_domain *dom);
void rig_detach(struct rig *r, unsigned int dev);

/* DMA by a device: 0 or -EFAULT. */
int rig_write(struct rig *r, unsigned int dev, uint64_t iova, const void *buf, size_t len);
int rig_read(struct rig *r, unsigned int dev, uint64_t iova, void *buf, size_t len);
/* One byte at iova. */
int rig_poke(struct rig *r, unsigned int dev, uint64_t iova, uint8_t byte);

/* Map the rig's memory from its page on, at iova or anywhere; fails the test if it cannot. */
struct wherry_span rig_map(struct rig *r, uint64_t iova, uint64_t first_page, uint64_t n_pages);
/* The same while tracking is on, and what is born dirty is harvested. */
struct wherry_span rig_map_tracked(
	struct rig *r, uint64_t iova, uint64_t first_page, uint64_t n_pages);
/* An empty bitmap over the span at the rig's page. */
struct wherry_bitmap *rig_bitmap(const struct rig *r, struct wherry_span span);
/* How many pages a harvest of the span reports. */
uint64_t rig_harvest_count(struct rig *r, struct wherry_span span);

#endif /* RIG_H */
