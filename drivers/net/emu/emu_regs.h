/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef EMU_REGS_H
#define EMU_REGS_H

/*
 * What the driver and the device half of net_wherry share: registers and rings.
 *
 * Registers are plain words in this process, as the BAR of a card would be. Rings lie
 * in EAL memory; the device half knows them by I/O address and touches them, and the
 * buffers they name, by DMA only.
 *
 * Indices run freely and are masked at use; a ring has a power of two of descriptors.
 * Orders: the driver stores `tail` with release after the descriptors; the device loads
 * it with acquire. The device's DMA writes are ordered (wherry_soft.h): data, then the
 * word that says it is there, which the driver loads with acquire.
 */

#include <stdint.h>

#define EMU_MAX_QUEUES 16u
#define EMU_MAX_FRAME 16384u /* longest frame the device half can hold */
#define EMU_MIN_RING 32u
#define EMU_MAX_RING 8192u

/* Descriptor word, receive: bits 0..15 room, then length; 16..31 flags; 32..63 RSS hash. */
#define EMU_DESC_DONE (UINT64_C(1) << 16)  /* device: it is the driver's again */
#define EMU_DESC_ERROR (UINT64_C(1) << 17) /* device: nothing of use is in the buffer */
#define EMU_DESC_HASH (UINT64_C(1) << 18)  /* device: the RSS hash is there */
/* Descriptor word, transmit: bits 0..15 length of this segment. */
#define EMU_DESC_LAST (UINT64_C(1) << 19) /* driver: the frame ends here */
#define EMU_DESC_LEN UINT64_C(0xffff)
#define EMU_DESC_HASH_SHIFT 32

struct emu_desc {
	uint64_t iova; /* of the buffer; written by the driver */
	uint64_t word;
};

/* A transmit ring is followed by this word: descriptors done, written by the device. */
struct emu_tx_done {
	uint32_t head;
};

struct emu_queue_regs {
	uint32_t tail;  /* descriptors posted so far; written by the driver */
	uint32_t armed; /* receive: an interrupt is wanted; taken by who raises it */
} __attribute__((aligned(64)));

struct emu_regs {
	/* The device half sleeps, or is about to: ring the doorbell. Set by the device
	 * before it looks at the tails a last time; taken by the driver after it has
	 * stored a tail. Both sequentially consistent, so one of them sees the other. */
	uint32_t sleeping __attribute__((aligned(64)));
	struct emu_queue_regs rx[EMU_MAX_QUEUES];
	struct emu_queue_regs tx[EMU_MAX_QUEUES];
};

#endif /* EMU_REGS_H */
