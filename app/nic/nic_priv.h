/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef NIC_PRIV_H
#define NIC_PRIV_H

/*
 * Registers and descriptors, as far as they are needed.
 * Sources: Intel 82574 GbE Controller Family Datasheet, 10.2 (registers), 7.1.4 and 7.2.3
 * (descriptors); Intel 82576 Datasheet, 8.2 to 8.12 and 7.1.5, 7.2.2.
 */

#include <stdbool.h>

#include "nic.h"

#define BIT(n) (1u << (n))

#define REG_CTRL 0x0000u
#define CTRL_FULL_DUPLEX BIT(0)
#define CTRL_SET_LINK_UP BIT(6)
#define CTRL_RESET BIT(26)
#define REG_STATUS 0x0008u
#define STATUS_LINK_UP BIT(1)
#define REG_MDIC 0x0020u /* the PHY's registers */
#define MDIC_PHY1 BIT(21)
#define MDIC_WRITE BIT(26)
#define MDIC_READY BIT(28)
#define PHY_NEGOTIATE_AGAIN 0x1200u /* for its register 0 */
#define REG_IMC 0x00d8u             /* interrupts to mask */
#define REG_RCTL 0x0100u
#define RCTL_ENABLE BIT(1)
#define RCTL_ALL_UNICAST BIT(3)
#define RCTL_ALL_MULTICAST BIT(4)
#define RCTL_MAC_LOOPBACK BIT(6)
#define RCTL_BROADCAST BIT(15)
#define RCTL_STRIP_CRC BIT(26)
#define REG_TCTL 0x0400u
#define TCTL_ENABLE BIT(1)
#define TCTL_PAD BIT(3)

/* Queue 0. The base differs, what follows it does not. */
#define E1000E_RX_QUEUE 0x2800u
#define E1000E_TX_QUEUE 0x3800u
#define IGB_RX_QUEUE 0xc000u
#define IGB_TX_QUEUE 0xe000u
#define QUEUE_BASE_LOW 0x00u
#define QUEUE_BASE_HIGH 0x04u
#define QUEUE_LEN 0x08u
#define QUEUE_SRRCTL 0x0cu /* igb, receive */
#define SRRCTL_2K 2u
#define SRRCTL_ADVANCED BIT(25)
#define QUEUE_HEAD 0x10u
#define QUEUE_TAIL 0x18u
#define QUEUE_CONTROL 0x28u /* igb */
#define QUEUE_ENABLE BIT(25)

/* The second word of a TX descriptor. */
#define TX_END_OF_PACKET UINT64_C(0x01000000)
#define TX_CRC UINT64_C(0x02000000)
#define TX_REPORT UINT64_C(0x08000000)
#define TX_ADVANCED UINT64_C(0x20300000)               /* igb: a data descriptor */
#define TX_PAYLOAD(len) ((uint64_t)(len) << 46)        /* igb */
#define RX_DONE(igb) (UINT64_C(1) << ((igb) ? 0 : 32)) /* the second word, received */

#define RING_LEN 256u /* descriptors of two words: one page */
#define NIC_TIMEOUT_NS UINT64_C(5000000000)
#define NIC_LOST_NS UINT64_C(50000000) /* what was sent and has not come by then does not come */

struct nic {
	struct wherry_device *dev;
	volatile uint8_t *regs;
	bool igb;
	bool link;                       /* was seen up */
	unsigned int rx_queue, tx_queue; /* registers of queue 0 */
	struct nic_memory mem;
	volatile uint64_t *rx_ring, *tx_ring; /* two words per descriptor */
	unsigned int rx_tail, tx_tail;        /* the next to be posted */
};

static inline void
reg_write(struct nic *nic, unsigned int reg, uint32_t value)
{
	*(volatile uint32_t *)(nic->regs + reg) = value;
}

static inline uint32_t
reg_read(const struct nic *nic, unsigned int reg)
{
	return *(volatile uint32_t *)(nic->regs + reg);
}

static inline uint8_t *
page_vaddr(const struct nic *nic, unsigned int page)
{
	return nic->mem.vaddr + page * NIC_PAGE;
}

static inline uint64_t
page_iova(const struct nic *nic, unsigned int page)
{
	return nic->mem.iova + page * NIC_PAGE;
}

/* nic.c: monotonic clock */
uint64_t nic_now_ns(void);

#endif /* NIC_PRIV_H */
