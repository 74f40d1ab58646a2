/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FAKE_KERNEL_H
#define FAKE_KERNEL_H

/*
 * An iommufd and VFIO devices below the syscall seam, with the habits of the real ones
 * that harvesting has to know (doc/backends_iommufd). It shows that the backend keeps
 * to the rules on any machine; whether the rules are the kernel's is shown by the same
 * tests in a machine that has one.
 */

#include "test.h"

#define FAKE_DEVICES 4u

/* What this kernel and its IOMMUs are like. Zero: as good as can be, without MAP_FILE. */
struct fake_kernel {
	bool absent;                   /* no /dev/iommu */
	bool forbidden;                /* it is there, and not ours to open */
	bool map_file;                 /* Linux 6.13 */
	bool no_dirty[FAKE_DEVICES];   /* IOMMUs without dirty bits */
	bool other_kind[FAKE_DEVICES]; /* IOMMUs that need a table of another kind */
	bool no_drain;                 /* VT-d without write draining */
	bool no_rearm;                 /* a page becomes dirty once, and never again */
	bool stuck;                    /* and this one: nothing ever becomes dirty */
	bool born_dirty;               /* SMMUv3: what is mapped is dirty at once */
	bool fail_claim;               /* the memory is beyond what may be locked */
	unsigned int fail_attach;      /* the n-th attach from now on fails; 0: none */
	unsigned int fail_get; /* the n-th GET_DIRTY_BITMAP from now on fails, after its work */
	void (*after_get)(unsigned int nth); /* called when the n-th GET_DIRTY_BITMAP is done */
	/* counted */
	unsigned int enables, gets, maps_by_file, maps_by_address, copies, attaches, claims;
	unsigned int ioctls; /* of all kinds */
	bool bitmap_absent;  /* a GET met a bitmap that was not locked memory; its bits are gone */
};
extern struct fake_kernel fake_kernel;

/* Devices "0000:01:00.0", "0000:02:00.0" ... of a machine that is like @p like. */
void fake_kernel_open(const struct fake_kernel *like);
/* Fails the test if anything of the kernel's is left. */
void fake_kernel_close(void);
const char *fake_kernel_address(unsigned int dev);

/* DMA: 0, or -EFAULT. */
int fake_dma_write(unsigned int dev, uint64_t iova, const void *buf, size_t len);
int fake_dma_read(unsigned int dev, uint64_t iova, void *buf, size_t len);

#endif /* FAKE_KERNEL_H */
