/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: rings in EAL memory, set up, started and stopped. A started receive queue
 * has mbufs in its ring; setting one up takes none, because the buffers of a mempool
 * may be bound later. After stop no mbuf is left in the queue.
 */
#include <errno.h>

#include <rte_malloc.h>
#include <rte_memzone.h>

#include "emu_priv.h"

#define RX_RING "emu_rx"
#define TX_RING "emu_tx"
#define RING_ALIGN 4096u

static uint32_t
ring_size(uint16_t n)
{
	return rte_align32pow2(RTE_MAX((uint32_t)n, EMU_MIN_RING));
}

static const struct rte_memzone *
reserve_ring(struct rte_eth_dev *dev, const char *name, uint16_t id, uint32_t size, int socket)
{
	const size_t bytes = (size_t)size * sizeof(struct emu_desc) + RTE_CACHE_LINE_SIZE;

	return rte_eth_dma_zone_reserve(dev, name, id, bytes, RING_ALIGN, socket);
}

int
emu_rxq_setup(struct rte_eth_dev *dev, uint16_t id, uint16_t n, unsigned int socket,
	const struct rte_eth_rxconf *conf, struct rte_mempool *pool)
{
	const uint32_t size = ring_size(n);
	const struct rte_memzone *zone;
	struct emu_rxq *q;

	q = rte_zmalloc_socket("emu_rxq", sizeof(*q), RTE_CACHE_LINE_SIZE, (int)socket);
	if (q == NULL)
		return -ENOMEM;
	q->mbufs = rte_calloc_socket("emu_rxq", size, sizeof(q->mbufs[0]), 0, (int)socket);
	if (q->mbufs == NULL)
		goto free_queue;
	zone = reserve_ring(dev, RX_RING, id, size, (int)socket);
	if (zone == NULL)
		goto free_mbufs;
	q->ring = zone->addr;
	q->iova = zone->iova;
	q->size = size;
	q->mask = size - 1;
	q->batch = RTE_MIN(size / 4, EMU_POST_BATCH);
	q->regs = &emu_device_regs(emu_of(dev)->device)->rx[id];
	q->pool = pool;
	q->port = dev->data->port_id;
	q->id = id;
	q->deferred = conf->rx_deferred_start != 0;
	q->irq = rte_intr_efds_index_get(dev->intr_handle, id);
	dev->data->rx_queues[id] = q;
	return 0;
free_mbufs:
	rte_free(q->mbufs);
free_queue:
	rte_free(q);
	return -ENOMEM;
}

int
emu_txq_setup(struct rte_eth_dev *dev, uint16_t id, uint16_t n, unsigned int socket,
	const struct rte_eth_txconf *conf)
{
	const uint32_t size = ring_size(n);
	const struct rte_memzone *zone;
	struct emu_txq *q;

	q = rte_zmalloc_socket("emu_txq", sizeof(*q), RTE_CACHE_LINE_SIZE, (int)socket);
	if (q == NULL)
		return -ENOMEM;
	q->mbufs = rte_calloc_socket("emu_txq", size, sizeof(q->mbufs[0]), 0, (int)socket);
	if (q->mbufs == NULL)
		goto free_queue;
	zone = reserve_ring(dev, TX_RING, id, size, (int)socket);
	if (zone == NULL)
		goto free_mbufs;
	q->ring = zone->addr;
	q->done = (struct emu_tx_done *)(q->ring + size);
	q->iova = zone->iova;
	q->size = size;
	q->mask = size - 1;
	q->device = emu_of(dev)->device;
	q->regs = &emu_device_regs(q->device)->tx[id];
	q->sleeping = &emu_device_regs(q->device)->sleeping;
	q->id = id;
	q->deferred = conf->tx_deferred_start != 0;
	dev->data->tx_queues[id] = q;
	return 0;
free_mbufs:
	rte_free(q->mbufs);
free_queue:
	rte_free(q);
	return -ENOMEM;
}

void
emu_rxq_release(struct rte_eth_dev *dev, uint16_t id)
{
	struct emu_rxq *q = dev->data->rx_queues[id];

	if (q == NULL)
		return;
	rte_eth_dma_zone_free(dev, RX_RING, id);
	rte_free(q->mbufs);
	rte_free(q);
	dev->data->rx_queues[id] = NULL;
}

void
emu_txq_release(struct rte_eth_dev *dev, uint16_t id)
{
	struct emu_txq *q = dev->data->tx_queues[id];

	if (q == NULL)
		return;
	rte_eth_dma_zone_free(dev, TX_RING, id);
	rte_free(q->mbufs);
	rte_free(q);
	dev->data->tx_queues[id] = NULL;
}

int
emu_rxq_start(struct rte_eth_dev *dev, uint16_t id)
{
	struct emu_rxq *q = dev->data->rx_queues[id];
	const struct emu_ring ring = {
		.iova = q->iova, .size = q->size, .irq = q->irq, .armed = &q->regs->armed
	};

	q->head = q->tail = 0;
	__atomic_store_n(&q->regs->tail, 0, __ATOMIC_RELAXED);
	emu_rx_post(q);
	if (q->tail == 0) {
		EMU_LOG(ERR, "port %u queue %u: no mbuf in pool %s to start with", q->port, id,
			q->pool->name);
		return -ENOMEM;
	}
	emu_device_start_rx(emu_of(dev)->device, id, &ring);
	dev->data->rx_queue_state[id] = RTE_ETH_QUEUE_STATE_STARTED;
	return 0;
}

int
emu_rxq_stop(struct rte_eth_dev *dev, uint16_t id)
{
	struct emu_rxq *q = dev->data->rx_queues[id];

	emu_device_stop_rx(emu_of(dev)->device, id);
	for (; q->head != q->tail; q->head++)
		rte_pktmbuf_free(q->mbufs[q->head & q->mask]);
	dev->data->rx_queue_state[id] = RTE_ETH_QUEUE_STATE_STOPPED;
	return 0;
}

int
emu_txq_start(struct rte_eth_dev *dev, uint16_t id)
{
	struct emu_txq *q = dev->data->tx_queues[id];
	const struct emu_ring ring = { .iova = q->iova, .size = q->size, .irq = -1 };

	q->head = q->tail = 0;
	q->done->head = 0;
	__atomic_store_n(&q->regs->tail, 0, __ATOMIC_RELAXED);
	emu_device_start_tx(q->device, id, &ring);
	dev->data->tx_queue_state[id] = RTE_ETH_QUEUE_STATE_STARTED;
	return 0;
}

int
emu_txq_stop(struct rte_eth_dev *dev, uint16_t id)
{
	struct emu_txq *q = dev->data->tx_queues[id];

	emu_device_stop_tx(q->device, id);
	for (; q->head != q->tail; q->head++)
		rte_pktmbuf_free_seg(q->mbufs[q->head & q->mask]);
	dev->data->tx_queue_state[id] = RTE_ETH_QUEUE_STATE_STOPPED;
	return 0;
}

void
emu_rxq_info(struct rte_eth_dev *dev, uint16_t id, struct rte_eth_rxq_info *info)
{
	const struct emu_rxq *q = dev->data->rx_queues[id];

	info->mp = q->pool;
	info->nb_desc = (uint16_t)q->size;
	info->conf.rx_deferred_start = q->deferred;
}

void
emu_txq_info(struct rte_eth_dev *dev, uint16_t id, struct rte_eth_txq_info *info)
{
	const struct emu_txq *q = dev->data->tx_queues[id];

	info->nb_desc = (uint16_t)q->size;
	info->conf.tx_deferred_start = q->deferred;
}
