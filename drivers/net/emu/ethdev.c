/* SPDX-License-Identifier: BSD-3-Clause */
/* The control side of the ethdev: what each op means for queues and device half. */
#include <errno.h>
#include <string.h>

#include <rte_malloc.h>

#include <wherry_dpdk.h>

#include "emu_priv.h"

#define OVERHEAD (RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN) /* no FCS on our wires */

static void
tell_device(struct emu *emu)
{
	emu_device_configure(emu->device, &emu->config);
}

static int
ethdev_info(struct rte_eth_dev *dev, struct rte_eth_dev_info *info)
{
	const struct rte_eth_desc_lim lim = { .nb_max = EMU_MAX_RING,
		.nb_min = EMU_MIN_RING,
		.nb_align = 1,
		.nb_seg_max = EMU_MIN_RING,
		.nb_mtu_seg_max = EMU_MIN_RING };
	const unsigned int queues = emu_of(dev)->max_queues;

	info->max_rx_queues = (uint16_t)queues;
	info->max_tx_queues = (uint16_t)queues;
	info->min_rx_bufsize = RTE_ETHER_MIN_LEN;
	info->max_rx_pktlen = EMU_MAX_FRAME;
	info->min_mtu = RTE_ETHER_MIN_MTU;
	info->max_mtu = EMU_MAX_FRAME - OVERHEAD;
	info->max_mac_addrs = EMU_MAX_MACS;
	info->rx_offload_capa = RTE_ETH_RX_OFFLOAD_RSS_HASH;
	info->tx_offload_capa = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	info->reta_size = EMU_RETA;
	info->hash_key_size = EMU_RSS_KEY;
	info->flow_type_rss_offloads = EMU_RSS_TYPES;
	info->rx_desc_lim = info->tx_desc_lim = lim;
	info->default_rxportconf = info->default_txportconf = (struct rte_eth_dev_portconf){
		.burst_size = 32, .ring_size = 1024, .nb_queues = 1
	};
	info->speed_capa = RTE_ETH_LINK_SPEED_10G;
	return 0;
}

static int
ethdev_configure(struct rte_eth_dev *dev)
{
	return emu_rss_configure(dev);
}

static int
ethdev_link_update(struct rte_eth_dev *dev, int wait)
{
	struct emu *emu = emu_of(dev);
	const bool up = dev->data->dev_started && !emu->link_off && emu_device_link_up(emu->device);
	const struct rte_eth_link link = {
		.link_speed = up ? RTE_ETH_SPEED_NUM_10G : RTE_ETH_SPEED_NUM_NONE,
		.link_duplex = RTE_ETH_LINK_FULL_DUPLEX,
		.link_autoneg = RTE_ETH_LINK_FIXED,
		.link_status = up ? RTE_ETH_LINK_UP : RTE_ETH_LINK_DOWN,
	};

	(void)wait; /* nothing is negotiated */
	return rte_eth_linkstatus_set(dev, &link);
}

static void
stop_queues(struct rte_eth_dev *dev)
{
	for (uint16_t id = 0; id < dev->data->nb_tx_queues; id++)
		if (dev->data->tx_queue_state[id] == RTE_ETH_QUEUE_STATE_STARTED)
			emu_txq_stop(dev, id);
	for (uint16_t id = 0; id < dev->data->nb_rx_queues; id++)
		if (dev->data->rx_queue_state[id] == RTE_ETH_QUEUE_STATE_STARTED)
			emu_rxq_stop(dev, id);
}

static int
start_queues(struct rte_eth_dev *dev)
{
	int rc = 0;

	for (uint16_t id = 0; id < dev->data->nb_tx_queues && rc == 0; id++)
		if (!((const struct emu_txq *)dev->data->tx_queues[id])->deferred)
			rc = emu_txq_start(dev, id);
	for (uint16_t id = 0; id < dev->data->nb_rx_queues && rc == 0; id++)
		if (!((const struct emu_rxq *)dev->data->rx_queues[id])->deferred)
			rc = emu_rxq_start(dev, id);
	return rc;
}

static int
ethdev_start(struct rte_eth_dev *dev)
{
	struct emu *emu = emu_of(dev);
	int rc = start_queues(dev);

	if (rc != 0) {
		stop_queues(dev);
		return rc;
	}
	emu->config.max_frame = dev->data->mtu + (uint32_t)OVERHEAD;
	emu->config.started = !emu->link_off;
	tell_device(emu);
	return 0;
}

static int
ethdev_stop(struct rte_eth_dev *dev)
{
	struct emu *emu = emu_of(dev);
	struct rte_eth_link down = { .link_status = RTE_ETH_LINK_DOWN };

	emu->config.started = false;
	emu_flow_forget(emu);
	tell_device(emu);
	stop_queues(dev);
	(void)rte_eth_linkstatus_set(dev, &down);
	return 0;
}

static int
set_link(struct rte_eth_dev *dev, bool off)
{
	struct emu *emu = emu_of(dev);

	emu->link_off = off;
	emu->config.started = dev->data->dev_started && !off;
	tell_device(emu);
	(void)ethdev_link_update(dev, 0);
	return 0;
}

static int
ethdev_link_on(struct rte_eth_dev *dev)
{
	return set_link(dev, false);
}

static int
ethdev_link_off(struct rte_eth_dev *dev)
{
	return set_link(dev, true);
}

static int
ethdev_close(struct rte_eth_dev *dev)
{
	struct emu *emu = emu_of(dev);

	emu_line_destroy(dev);
	emu_device_destroy(emu->device);
	emu->device = NULL;
	for (uint16_t id = 0; id < dev->data->nb_rx_queues; id++)
		emu_rxq_release(dev, id);
	for (uint16_t id = 0; id < dev->data->nb_tx_queues; id++)
		emu_txq_release(dev, id);
	emu_intr_destroy(dev);
	wherry_dpdk_domain_put(emu->dom);
	emu->dom = NULL;
	return 0;
}

static int
set_promiscuous(struct rte_eth_dev *dev, bool on)
{
	emu_of(dev)->config.promiscuous = on;
	tell_device(emu_of(dev));
	return 0;
}

static int
ethdev_promiscuous_on(struct rte_eth_dev *dev)
{
	return set_promiscuous(dev, true);
}

static int
ethdev_promiscuous_off(struct rte_eth_dev *dev)
{
	return set_promiscuous(dev, false);
}

static int
set_all_multicast(struct rte_eth_dev *dev, bool on)
{
	emu_of(dev)->config.all_multicast = on;
	tell_device(emu_of(dev));
	return 0;
}

static int
ethdev_all_multicast_on(struct rte_eth_dev *dev)
{
	return set_all_multicast(dev, true);
}

static int
ethdev_all_multicast_off(struct rte_eth_dev *dev)
{
	return set_all_multicast(dev, false);
}

static int
ethdev_mac_add(struct rte_eth_dev *dev, struct rte_ether_addr *mac, uint32_t i, uint32_t pool)
{
	(void)pool;
	emu_of(dev)->config.macs[i] = *mac;
	tell_device(emu_of(dev));
	return 0;
}

static void
ethdev_mac_remove(struct rte_eth_dev *dev, uint32_t i)
{
	emu_of(dev)->config.macs[i] = (struct rte_ether_addr){ .addr_bytes = { 0 } };
	tell_device(emu_of(dev));
}

static int
ethdev_mac_set(struct rte_eth_dev *dev, struct rte_ether_addr *mac)
{
	return ethdev_mac_add(dev, mac, 0, 0);
}

static int
ethdev_set_mcasts(struct rte_eth_dev *dev, struct rte_ether_addr *list, uint32_t n)
{
	struct emu *emu = emu_of(dev);

	if (n > EMU_MAX_MCASTS)
		return -ENOSPC;
	if (n != 0)
		memcpy(emu->config.mcasts, list, n * sizeof(list[0]));
	emu->config.n_mcasts = n;
	tell_device(emu);
	return 0;
}

static int
ethdev_set_mtu(struct rte_eth_dev *dev, uint16_t mtu)
{
	emu_of(dev)->config.max_frame = mtu + (uint32_t)OVERHEAD;
	tell_device(emu_of(dev));
	return 0;
}

const struct eth_dev_ops emu_ops = {
	.dev_configure = ethdev_configure,
	.dev_start = ethdev_start,
	.dev_stop = ethdev_stop,
	.dev_close = ethdev_close,
	.dev_infos_get = ethdev_info,
	.dev_set_link_up = ethdev_link_on,
	.dev_set_link_down = ethdev_link_off,
	.link_update = ethdev_link_update,
	.promiscuous_enable = ethdev_promiscuous_on,
	.promiscuous_disable = ethdev_promiscuous_off,
	.allmulticast_enable = ethdev_all_multicast_on,
	.allmulticast_disable = ethdev_all_multicast_off,
	.mac_addr_add = ethdev_mac_add,
	.mac_addr_remove = ethdev_mac_remove,
	.mac_addr_set = ethdev_mac_set,
	.set_mc_addr_list = ethdev_set_mcasts,
	.mtu_set = ethdev_set_mtu,
	.rx_queue_setup = emu_rxq_setup,
	.rx_queue_release = emu_rxq_release,
	.rx_queue_start = emu_rxq_start,
	.rx_queue_stop = emu_rxq_stop,
	.rxq_info_get = emu_rxq_info,
	.rx_queue_intr_enable = emu_rx_intr_enable,
	.rx_queue_intr_disable = emu_rx_intr_disable,
	.tx_queue_setup = emu_txq_setup,
	.tx_queue_release = emu_txq_release,
	.tx_queue_start = emu_txq_start,
	.tx_queue_stop = emu_txq_stop,
	.txq_info_get = emu_txq_info,
	.tx_done_cleanup = emu_tx_cleanup,
	.flow_ops_get = emu_flow_ops,
	.rss_hash_update = emu_rss_update,
	.rss_hash_conf_get = emu_rss_get,
	.reta_update = emu_reta_update,
	.reta_query = emu_reta_query,
	.stats_get = emu_stats_get,
	.stats_reset = emu_stats_reset,
	.xstats_get = emu_xstats_get,
	.xstats_get_names = emu_xstats_get_names,
	.xstats_reset = emu_stats_reset,
};
