/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BAY_H
#define BAY_H

/*
 * A real NIC on a real IOMMU, and memory laid out so that one can say which pages it touches.
 *
 * Small memory: 64 pages of 4 KiB, one bit each of a 64-bit word. The first NIC_PAGES are the
 * NIC's own (nic.h), the others receive. Large memory: four hugepages of 2 MiB. Both are
 * mapped page by page, as AMD-Vi would make one entry of neighbours that happen to be adjacent.
 *
 * The devices are named in WHERRY_TEST_DEVICES, at vfio-pci; without it, tests are skipped.
 * A test that fails leaves what it opened behind; the next bay_open() takes it down.
 */

#include "nic.h"
#include "test.h"
#include "wherry_bitmap.h"

#define SMALL_PAGES 64u
#define SMALL_IOVA UINT64_C(0x100000000)
#define RX_PAGES (SMALL_PAGES - NIC_PAGES)
#define LARGE_PAGES 4u
#define LARGE_PAGE (UINT64_C(2) << 20)
#define LARGE_IOVA UINT64_C(0x140000000)
#define BIT64(n) (UINT64_C(1) << (n))
#define RINGS (BIT64(NIC_PAGE_RX_RING) | BIT64(NIC_PAGE_TX_RING))

struct bay {
	struct wherry_domain *dom;
	struct wherry_device *dev; /* attached */
	struct nic *nic;
	struct wherry_domain_caps caps;
	uint8_t *small, *large; /* large: NULL if the machine has no hugepages free */
};

/* Real backends that may track device writes. */
extern const char *const tracking[];

/* The n-th device of WHERRY_TEST_DEVICES, or NULL. */
const char *bay_device(unsigned int n);
void bay_open(struct bay *g, const char *spec);
void bay_close(struct bay *g);
void bay_start(struct bay *g); /* tracking; skips where there is none */
void bay_need_large(const struct bay *g);

/* The n-th page that receives. */
static inline uint64_t
rx_iova(unsigned int n)
{
	return SMALL_IOVA + (NIC_PAGES + n) * NIC_PAGE;
}

static inline uint8_t *
rx_vaddr(const struct bay *g, unsigned int n)
{
	return g->small + (NIC_PAGES + n) * NIC_PAGE;
}

static inline uint64_t
rx_bit(unsigned int n)
{
	return BIT64(NIC_PAGES + n);
}

/* Which pages of the small memory are dirty; clear: harvest. */
uint64_t bay_dirty(struct bay *g, bool clear);
/* The same of the large memory, one bit per page of 4 KiB; the caller destroys it. */
struct wherry_bitmap *bay_dirty_large(struct bay *g, bool clear);
/* Frames of len bytes from the NIC's own pages to each of n addresses. */
void bay_receive(struct bay *g, const uint64_t *rx, unsigned int n, unsigned int len,
	unsigned int flags, uint32_t seed);

#endif /* BAY_H */
