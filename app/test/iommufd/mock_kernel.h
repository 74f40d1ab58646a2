/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MOCK_KERNEL_H
#define MOCK_KERNEL_H

/*
 * Devices of iommufd's own mock IOMMU (CONFIG_IOMMUFD_TEST): the kernel's iommufd is the real
 * one, page tables and dirty bits are the mock's. There are no VFIO devices to it, so their
 * files are made up below the syscall seam, and DMA is asked of the kernel. Linux 6.12 gives
 * mock devices out only where no Intel IOMMU is: devtools/vm, machine mock.
 */

#include "test.h"

#define MOCK_DEVICES 2u

/* Skips where the kernel has no mock. */
void mock_kernel_open(void);
void mock_kernel_close(void);

/* DMA: 0, or -EFAULT. */
int mock_dma_write(unsigned int dev, uint64_t iova, const void *buf, size_t len);
int mock_dma_read(unsigned int dev, uint64_t iova, void *buf, size_t len);

#endif /* MOCK_KERNEL_H */
