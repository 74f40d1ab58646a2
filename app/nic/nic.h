/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef NIC_H
#define NIC_H

/*
 * A device that writes what one asks it to, where one asks it to: a driver for Intel's e1000e
 * (82574, 8086:10d3) and igb (82576, 8086:10c9) in MAC loopback, without interrupts and without
 * a cable. What it sends, it receives: a frame read from one I/O address is written to another.
 *
 * Tests and `wherry selftest` make real DMA with it. It is no network driver.
 *
 * Its memory is the caller's: NIC_PAGES pages of 4 KiB that devices may read and write. A page
 * has one use, so that one can say exactly which pages the device touched:
 *
 *	page 0		TX ring: read; written only when NIC_WRITE_BACK is asked for
 *	page 1		RX ring: read and written
 *	page 2 to 9	what is sent from here: only read
 *	page 10		what nic_read() receives: written
 *
 * Threads: one at a time. Functions return 0 or -errno; -ETIMEDOUT: the device does not answer.
 */

#include <wherry_iommu.h>

#define NIC_PAGE UINT64_C(4096)
#define NIC_PAGE_TX_RING 0u
#define NIC_PAGE_RX_RING 1u
#define NIC_PAGE_TX 2u
#define NIC_TX_PAGES 8u
#define NIC_PAGE_RX 10u
#define NIC_PAGES 11u

#define NIC_FRAME_MIN 64u /* shorter ones are padded by the device */
#define NIC_FRAME_MAX 1500u
#define NIC_BURST 255u /* frames of one nic_send() */

struct nic;

/* Where its memory is, for us and for devices. */
struct nic_memory {
	uint8_t *vaddr;
	uint64_t iova;
};

/*
 * Reset and start the device, which is attached; mem stays the caller's, mapped until close.
 * An igb negotiates its link from here on, which may take seconds: whatever sends waits for the
 * link, so that many NICs negotiate at the same time.
 * -ENODEV: it is neither of the two NICs. -ENOMEM: no memory.
 */
int nic_open(struct wherry_device *dev, struct nic_memory mem, struct nic **ret_nic);
/*
 * The device was started by another process, which has let go of it between two nic_send(): go
 * on with it as it is, with the same memory. Errors as nic_open().
 */
int nic_take_over(struct wherry_device *dev, struct nic_memory mem, struct nic **ret_nic);
/* Wait here, for those who measure. */
int nic_wait_link(struct nic *nic);
/* No DMA after return. Before detach. NULL is fine. */
void nic_close(struct nic *nic);
/* "e1000e" or "igb" */
const char *nic_model(const struct nic *nic);

/* One frame: len bytes at iova tx are read, and written to iova rx. tx 0: one of its own pages. */
struct nic_frame {
	uint64_t tx, rx;
	unsigned int len;
};

#define NIC_WRITE_BACK 0x1u /* sent descriptors are marked so in the TX ring */
/*
 * Send up to NIC_BURST frames and wait until all have arrived. Frames from own pages carry
 * what grows out of seed. -EFAULT: one of them was not sent, as the device cannot read it.
 * A frame that devices cannot write is lost and looks as if it had arrived.
 */
int nic_send(struct nic *nic, const struct nic_frame *frames, unsigned int n, unsigned int flags,
	uint32_t seed);
/* Frames n < NIC_TX_PAGES of the last nic_send() from its own pages, as they were sent. */
const uint8_t *nic_sent(const struct nic *nic, unsigned int n);
/* Send one frame that is not received: the device reads, and writes only for NIC_WRITE_BACK. */
int nic_read_only(struct nic *nic, unsigned int flags);

/*
 * DMA at any address and length. Writing reads first, where less than a frame is written, and
 * reads back: devices may do both there. -EFAULT: the device cannot reach it.
 */
int nic_write(struct nic *nic, uint64_t iova, const void *buf, size_t len);
int nic_read(struct nic *nic, uint64_t iova, void *buf, size_t len);

#endif /* NIC_H */
