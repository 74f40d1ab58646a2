/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receive side of the device half: a frame from the wire passes the filters, finds its
 * queue and is written by DMA into the buffer of the next descriptor.
 *
 * A buffer that cannot be written is given back with EMU_DESC_ERROR, so that one bad
 * address does not block the queue.
 */
#include <string.h>
#include <unistd.h>

#include <wherry_soft.h>

#include "device_priv.h"

static bool
is_among(const struct rte_ether_addr *addr, const struct rte_ether_addr *list, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (rte_is_same_ether_addr(addr, &list[i]))
			return true;
	return false;
}

static bool
is_for_us(const struct emu_config *config, const struct rte_ether_addr *to)
{
	if (config->promiscuous || rte_is_broadcast_ether_addr(to))
		return true;
	if (rte_is_zero_ether_addr(to)) /* an unused entry is no address */
		return false;
	if (rte_is_multicast_ether_addr(to))
		return config->all_multicast || is_among(to, config->mcasts, config->n_mcasts);
	return is_among(to, config->macs, EMU_MAX_MACS);
}

/* The counter a frame that goes no further is counted in, or NULL. */
static uint64_t *
refuse(struct emu_device *device, const void *frame, size_t len)
{
	const struct emu_config *config = &device->config;

	if (len < RTE_ETHER_HDR_LEN || len > config->max_frame)
		return &device->counters.rx_bad_length;
	if (!is_for_us(config, &((const struct rte_ether_hdr *)frame)->dst_addr))
		return &device->counters.rx_filtered;
	return NULL;
}

/* The descriptor at head, if the driver has posted one and it can be read. */
static const struct emu_desc *
next_desc(struct emu_device *device, unsigned int id, uint64_t **ret_lost)
{
	struct device_rxq *q = &device->rx[id];
	struct device_prefetch *a = &q->ahead;
	const uint32_t at = q->head & (q->ring.size - 1);
	uint32_t n;

	if (q->head - a->first < a->n)
		return &a->desc[q->head - a->first];
	n = __atomic_load_n(&device->regs.rx[id].tail, __ATOMIC_ACQUIRE) - q->head;
	if (n > q->ring.size - at)
		n = q->ring.size - at;
	if (n > DEVICE_BATCH)
		n = DEVICE_BATCH;
	*ret_lost = &device->counters.rx_no_descriptor;
	if (n == 0)
		return NULL;
	*ret_lost = &device->counters.rx_faults;
	a->n = 0;
	if (wherry_soft_dma_read(device->iommu, q->ring.iova + (uint64_t)at * sizeof(a->desc[0]),
		    a->desc, n * sizeof(a->desc[0])) != 0)
		return NULL;
	a->first = q->head;
	a->n = n;
	return &a->desc[0];
}

static int
write_back(struct emu_device *device, struct device_rxq *q, uint64_t word)
{
	const uint64_t at = q->ring.iova +
		(uint64_t)(q->head & (q->ring.size - 1)) * sizeof(struct emu_desc) +
		offsetof(struct emu_desc, word);
	int rc = wherry_soft_dma_write(device->iommu, at, &word, sizeof(word));

	if (rc == 0) {
		q->head++;
		q->delivered = true;
	}
	return rc;
}

/* Returns the counter of the loss, or NULL: it is in memory. word: flags and hash. */
static uint64_t *
deliver(struct emu_device *device, unsigned int id, const void *frame, size_t len, uint64_t word)
{
	struct emu_counters *c = &device->counters;
	struct device_rxq *q = &device->rx[id];
	const struct emu_desc *desc;
	uint64_t *lost = NULL;

	if (!q->enabled)
		return &c->rx_disabled;
	desc = next_desc(device, id, &lost);
	if (desc == NULL)
		return lost;
	if (len > (desc->word & EMU_DESC_LEN))
		return &c->rx_bad_length;
	if (wherry_soft_dma_write(device->iommu, desc->iova, frame, len) != 0) {
		(void)write_back(device, q, EMU_DESC_DONE | EMU_DESC_ERROR);
		return &c->rx_faults;
	}
	if (write_back(device, q, word | EMU_DESC_DONE | len) != 0)
		return &c->rx_faults;
	return NULL;
}

/* Losses that are the wire's or the driver's business are no errors of the queue. */
static bool
is_error(const struct emu_counters *c, const uint64_t *lost)
{
	return lost == &c->rx_faults || lost == &c->rx_bad_length;
}

/* Rules go before RSS. False: it is to be dropped. */
static bool
choose_queue(const struct emu_config *config, const void *frame, size_t len, unsigned int *id,
	uint64_t *word)
{
	const struct emu_flow *flow = device_flow(config, frame, len);
	uint32_t hash;

	if (device_hash(config, frame, len, &hash)) {
		*id = config->reta[hash % EMU_RETA];
		*word = EMU_DESC_HASH | (uint64_t)hash << EMU_DESC_HASH_SHIFT;
	}
	if (flow == NULL)
		return true;
	*id = flow->queue;
	return !flow->drop;
}

void
device_input(void *arg, const void *frame, size_t len)
{
	struct emu_device *device = arg;
	struct emu_counters *c = &device->counters;
	unsigned int id = 0;
	uint64_t word = 0, *lost;

	if (!device->config.started)
		return;
	lost = refuse(device, frame, len);
	if (lost == NULL)
		lost = choose_queue(&device->config, frame, len, &id, &word)
			? deliver(device, id, frame, len, word)
			: &c->rx_filtered;
	if (lost == NULL) {
		device_count(&c->rx[id].packets, 1);
		device_count(&c->rx[id].bytes, len);
		return;
	}
	device_count(lost, 1);
	if (is_error(c, lost))
		device_count(&c->rx[id].errors, 1);
}

static void
raise_one(struct emu_device *device, struct device_rxq *q)
{
	const uint64_t one = 1;

	q->delivered = false;
	/* pairs with the fence of emu_rx_intr_enable: armed is seen here, or the frame there */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(q->ring.armed, __ATOMIC_RELAXED) == 0 ||
		__atomic_exchange_n(q->ring.armed, 0, __ATOMIC_ACQ_REL) == 0)
		return;
	device_count(&device->counters.interrupts, 1);
	(void)!write(q->ring.irq, &one, sizeof(one));
}

void
device_interrupt(struct emu_device *device)
{
	for (unsigned int id = 0; id < EMU_MAX_QUEUES; id++)
		if (device->rx[id].enabled && device->rx[id].delivered)
			raise_one(device, &device->rx[id]);
}
