/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef EMU_DEVICE_H
#define EMU_DEVICE_H

/*
 * The device half of a port as its driver sees it: what would be the card. It runs on
 * a thread of its own and does DMA through the soft IOMMU.
 *
 * Calls that change the device are carried out by its thread and return when it has:
 * after emu_device_stop_rx() no DMA of that queue is under way.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_ether.h>

#include <wherry_iommu.h>

#include "emu_regs.h"

#define EMU_MAX_MACS 16u
#define EMU_MAX_MCASTS 64u
#define EMU_RETA 128u
#define EMU_RSS_KEY 40u
#define EMU_FLOWS 16u
#define EMU_FLOW_LEN 64u

struct emu_device;

/* A rule for frames whose first len bytes are these, as far as the mask wants. */
struct emu_flow {
	bool used;
	bool drop;      /* else: to the queue */
	uint16_t queue; /* one that is there */
	uint16_t len;
	uint8_t value[EMU_FLOW_LEN], mask[EMU_FLOW_LEN]; /* value: 0 where mask is */
};

/* What passes the device's filters, and where it goes. Set as a whole. */
struct emu_config {
	bool started; /* off: the wire is drained and frames are forgotten */
	bool promiscuous;
	bool all_multicast;
	uint32_t max_frame; /* bytes, without FCS */
	unsigned int n_mcasts;
	struct rte_ether_addr macs[EMU_MAX_MACS]; /* zero: unused */
	struct rte_ether_addr mcasts[EMU_MAX_MCASTS];
	uint64_t rss; /* RTE_ETH_RSS_ bits that are hashed; 0: all to queue 0 */
	uint32_t rss_key[EMU_RSS_KEY / 4];
	uint16_t reta[EMU_RETA];
	struct emu_flow flows[EMU_FLOWS]; /* the first that fits goes before RSS */
};

/* A ring of descriptors, and what comes with it. */
struct emu_ring {
	uint64_t iova;
	uint32_t size;   /* descriptors, a power of two */
	int irq;         /* receive: eventfd of the interrupt, or -1 */
	uint32_t *armed; /* receive: its register */
};

/* Counters; written by the device half alone, read with emu_count_read(). */
struct emu_queue_counters {
	uint64_t packets, bytes, errors;
};
struct emu_counters {
	struct emu_queue_counters rx[EMU_MAX_QUEUES], tx[EMU_MAX_QUEUES];
	uint64_t rx_no_descriptor; /* lost: the ring was empty */
	uint64_t rx_disabled;      /* lost: the queue was not started */
	uint64_t rx_filtered;      /* not for us */
	uint64_t rx_bad_length;    /* lost: runt, beyond the MTU or longer than the buffer */
	uint64_t rx_faults;        /* lost: the IOMMU refused */
	uint64_t tx_faults;        /* lost: the IOMMU refused */
	uint64_t tx_bad_length;    /* lost: runt or beyond the MTU */
	uint64_t tx_wire_lost;     /* lost: no room on the wire, or nobody there */
	uint64_t interrupts;
	uint64_t sleeps;
	uint64_t doorbells; /* eventfd writes; counted by who rings */
};

static inline uint64_t
emu_count_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* The device attaches to dom, opens its wire and starts its thread. */
int emu_device_create(const char *name, const char *wire, struct wherry_domain *dom,
	struct emu_device **ret_device);
void emu_device_destroy(struct emu_device *device); /* NULL is fine */

struct emu_regs *emu_device_regs(struct emu_device *device);
const struct emu_counters *emu_device_counters(const struct emu_device *device);
/* For its IOTLB's counters. */
struct wherry_device *emu_device_iommu(struct emu_device *device);
bool emu_device_link_up(struct emu_device *device);

/* Wake the device half; the driver does so only after taking regs->sleeping. */
void emu_device_ring(struct emu_device *device);

void emu_device_configure(struct emu_device *device, const struct emu_config *config);
/* tails start at 0 */
void emu_device_start_rx(struct emu_device *device, unsigned int id, const struct emu_ring *ring);
void emu_device_stop_rx(struct emu_device *device, unsigned int id);
void emu_device_start_tx(struct emu_device *device, unsigned int id, const struct emu_ring *ring);
void emu_device_stop_tx(struct emu_device *device, unsigned int id);

/*
 * The line to the network, device_line.c. While it is held frames wait in it; when hold returns
 * none is under way. lend: the wire's fd, or -EOPNOTSUPP: it is no file, -ENODEV: none has
 * come yet. take: another's from here on, held; -EALREADY: it has its own.
 */
void emu_device_hold(struct emu_device *device, bool held);
int emu_device_lend(struct emu_device *device);
int emu_device_take(struct emu_device *device, int fd);
void emu_device_drop(struct emu_device *device);

#endif /* EMU_DEVICE_H */
