/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef EMU_PRIV_H
#define EMU_PRIV_H

/*
 * The driver half of net_wherry: an ethdev over the registers and rings of the device
 * half (emu_device.h).
 *
 * Threads: as DPDK has it, one core per queue in the bursts, one at a time in the rest.
 */

#include <ethdev_driver.h>
#include <rte_ethdev.h>
#include <rte_flow_driver.h>
#include <rte_mbuf.h>
#include <rte_version.h>

#include "emu_device.h"
#include "emu_log.h"

struct emu_rxq {
	struct emu_desc *ring;
	struct rte_mbuf **mbufs; /* mbufs[i] is posted in ring[i] while head <= i < tail */
	uint32_t size, mask, head, tail;
	uint32_t batch; /* buffers are posted so many at a time */
	struct emu_queue_regs *regs;
	struct rte_mempool *pool;
	uint64_t no_mbufs; /* __atomic; posts put off because the pool was empty */
	uint64_t iova;
	uint16_t port, id;
	bool deferred;
	int irq; /* eventfd */
};

struct emu_txq {
	struct emu_desc *ring;
	struct emu_tx_done *done; /* behind the ring; the device's word */
	struct rte_mbuf **mbufs;  /* the segment in ring[i] while head <= i < tail */
	uint32_t size, mask, head, tail;
	struct emu_queue_regs *regs;
	struct emu_device *device;
	uint32_t *sleeping;
	uint64_t iova;
	uint16_t id;
	bool deferred;
};

/* What an application knows a rule by: its place in the configuration. */
struct rte_flow {
	unsigned int place;
};

struct emu {
	struct rte_eth_dev *dev;
	struct wherry_domain *dom;
	struct emu_device *device;
	struct emu_config config; /* what the device half has been told */
	struct rte_flow flows[EMU_FLOWS];
	unsigned int max_queues;
	bool link_off;            /* by rte_eth_dev_set_link_down() */
	struct emu_counters base; /* what had been counted at the last reset */
	uint64_t base_no_mbufs;
};

static inline struct emu *
emu_of(const struct rte_eth_dev *dev)
{
	return dev->data->dev_private;
}

/* ethdev.c */
extern const struct eth_dev_ops emu_ops;

/* queue.c */
int emu_rxq_setup(struct rte_eth_dev *dev, uint16_t id, uint16_t n, unsigned int socket,
	const struct rte_eth_rxconf *conf, struct rte_mempool *pool);
int emu_txq_setup(struct rte_eth_dev *dev, uint16_t id, uint16_t n, unsigned int socket,
	const struct rte_eth_txconf *conf);
void emu_rxq_release(struct rte_eth_dev *dev, uint16_t id);
void emu_txq_release(struct rte_eth_dev *dev, uint16_t id);
int emu_rxq_start(struct rte_eth_dev *dev, uint16_t id);
int emu_rxq_stop(struct rte_eth_dev *dev, uint16_t id);
int emu_txq_start(struct rte_eth_dev *dev, uint16_t id);
int emu_txq_stop(struct rte_eth_dev *dev, uint16_t id);
void emu_rxq_info(struct rte_eth_dev *dev, uint16_t id, struct rte_eth_rxq_info *info);
void emu_txq_info(struct rte_eth_dev *dev, uint16_t id, struct rte_eth_txq_info *info);

/* rxtx.c */
#define EMU_POST_BATCH 32u /* at most */
uint16_t emu_rx_burst(void *rxq, struct rte_mbuf **pkts, uint16_t n);
uint16_t emu_tx_burst(void *txq, struct rte_mbuf **pkts, uint16_t n);
void emu_rx_post(struct emu_rxq *q); /* give the device all the buffers there are */
void emu_tx_reclaim(struct emu_txq *q);
int emu_tx_cleanup(void *txq, uint32_t n);

/* intr.c */
int emu_intr_create(struct rte_eth_dev *dev);
void emu_intr_destroy(struct rte_eth_dev *dev);
int emu_rx_intr_enable(struct rte_eth_dev *dev, uint16_t id);
int emu_rx_intr_disable(struct rte_eth_dev *dev, uint16_t id);

/* line.c */
int emu_line_create(struct rte_eth_dev *dev);
void emu_line_destroy(struct rte_eth_dev *dev);

/* rss.c */
void emu_rss_defaults(struct emu *emu);
int emu_rss_configure(struct rte_eth_dev *dev);
int emu_rss_update(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf);
int emu_rss_get(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf);
int emu_reta_update(struct rte_eth_dev *dev, struct rte_eth_rss_reta_entry64 *conf, uint16_t size);
int emu_reta_query(struct rte_eth_dev *dev, struct rte_eth_rss_reta_entry64 *conf, uint16_t size);
#define EMU_RSS_TYPES                                                                          \
	(RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV4_TCP |                  \
		RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_TCP |                  \
		RTE_ETH_RSS_NONFRAG_IPV6_UDP | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_FRAG_IPV6 | \
		RTE_ETH_RSS_NONFRAG_IPV4_OTHER | RTE_ETH_RSS_NONFRAG_IPV6_OTHER)

/* flow.c */
int emu_flow_ops(struct rte_eth_dev *dev, const struct rte_flow_ops **ret_ops);
/* Forget all, as most cards do when they are stopped. */
void emu_flow_forget(struct emu *emu);

/* stats.c: since 25.11 the counters of queues are a struct of their own, and NULL if nobody asks. */
#if RTE_VERSION >= RTE_VERSION_NUM(25, 11, 0, 0)
#define EMU_QUEUE_STATS_APART
#define emu_queue_stats eth_queue_stats
int emu_stats_get(
	struct rte_eth_dev *dev, struct rte_eth_stats *stats, struct emu_queue_stats *queues);
#else
#define emu_queue_stats rte_eth_stats
int emu_stats_get(struct rte_eth_dev *dev, struct rte_eth_stats *stats);
#endif
int emu_stats_reset(struct rte_eth_dev *dev);
int emu_xstats_get(struct rte_eth_dev *dev, struct rte_eth_xstat *xstats, unsigned int n);
int emu_xstats_get_names(struct rte_eth_dev *dev, struct rte_eth_xstat_name *names, unsigned int n);

#endif /* EMU_PRIV_H */
