/* SPDX-License-Identifier: BSD-3-Clause */
/* What the device half lets in, and to which queue. */
#include <string.h>

#include <rte_thash.h>

#include "net.h"

static struct rte_ether_addr other = { .addr_bytes = { 2, 0, 0, 0, 0, 99 } };
static struct rte_ether_addr group = { .addr_bytes = { 1, 0, 0x5e, 0, 0, 5 } };
static const struct rte_ether_addr broadcast = { .addr_bytes = { 255, 255, 255, 255, 255, 255 } };
static const struct rte_ether_addr zero;

TEST(net_frames_for_others_are_filtered)
{
	struct port port = net_open(&(struct port_opts){ .queues = 0 });

	CHECK(net_passes(&port, &port.mac, 64));
	CHECK(net_passes(&port, &broadcast, 64));
	CHECK(!net_passes(&port, &other, 64));
	CHECK(!net_passes(&port, &group, 64));
	CHECK(!net_passes(&port, &zero, 64));
	CHECK_EQ(net_xstat(&port, "rx_filtered"), 3);
	net_close(&port);
}

TEST(net_promiscuous_takes_everything)
{
	struct port port = net_open(&(struct port_opts){ .queues = 0 });

	CHECK_EQ(rte_eth_promiscuous_enable(port.id), 0);
	CHECK(net_passes(&port, &other, 64));
	CHECK(net_passes(&port, &group, 64));
	CHECK_EQ(rte_eth_promiscuous_disable(port.id), 0);
	CHECK(!net_passes(&port, &other, 64));
	net_close(&port);
}

TEST(net_multicast_passes_by_list_or_all)
{
	struct port port = net_open(&(struct port_opts){ .queues = 0 });

	CHECK_EQ(rte_eth_dev_set_mc_addr_list(port.id, &group, 1), 0);
	CHECK(net_passes(&port, &group, 64));
	CHECK_EQ(rte_eth_dev_set_mc_addr_list(port.id, NULL, 0), 0);
	CHECK(!net_passes(&port, &group, 64));
	CHECK_EQ(rte_eth_allmulticast_enable(port.id), 0);
	CHECK(net_passes(&port, &group, 64));
	CHECK(!net_passes(&port, &other, 64));
	CHECK_EQ(rte_eth_allmulticast_disable(port.id), 0);
	CHECK(!net_passes(&port, &group, 64));
	net_close(&port);
}

TEST(net_added_and_changed_addresses_are_ours)
{
	struct port port = net_open(&(struct port_opts){ .queues = 0 });
	struct rte_ether_addr mine = { .addr_bytes = { 2, 0, 0, 0, 0, 42 } };

	CHECK_EQ(rte_eth_dev_mac_addr_add(port.id, &other, 0), 0);
	CHECK(net_passes(&port, &other, 64));
	CHECK_EQ(rte_eth_dev_mac_addr_remove(port.id, &other), 0);
	CHECK(!net_passes(&port, &other, 64));
	CHECK_EQ(rte_eth_dev_default_mac_addr_set(port.id, &mine), 0);
	CHECK(net_passes(&port, &mine, 64));
	CHECK(!net_passes(&port, &port.mac, 64));
	net_close(&port);
}

TEST(net_settings_survive_a_restart)
{
	struct port port = net_open(&(struct port_opts){ .queues = 0 });
	struct rte_ether_addr mine = { .addr_bytes = { 2, 0, 0, 0, 0, 42 } };

	CHECK_EQ(rte_eth_dev_default_mac_addr_set(port.id, &mine), 0);
	CHECK_EQ(rte_eth_allmulticast_enable(port.id), 0);
	CHECK_EQ(rte_eth_dev_set_mtu(port.id, 1000), 0);
	CHECK_EQ(rte_eth_dev_stop(port.id), 0);
	CHECK_EQ(rte_eth_dev_start(port.id), 0);
	CHECK(net_passes(&port, &mine, 1018));
	CHECK(!net_passes(&port, &mine, 1019));
	CHECK(net_passes(&port, &group, 64));
	CHECK(!net_passes(&port, &port.mac, 64));
	net_close(&port);
}

/* A VLAN tag does not count. */
TEST(net_mtu_limits_what_passes)
{
	struct port port = net_open(&(struct port_opts){ .queues = 0 });

	CHECK(net_passes(&port, &port.mac, 1518));
	CHECK(!net_passes(&port, &port.mac, 1519));
	CHECK_EQ(rte_eth_dev_set_mtu(port.id, 1800), 0);
	CHECK(net_passes(&port, &port.mac, 1818));
	CHECK(!net_passes(&port, &port.mac, 1819));
	CHECK(rte_eth_dev_set_mtu(port.id, 60000) != 0);
	CHECK_EQ(net_xstat(&port, "tx_bad_length"), 2);
	net_close(&port);
}

TEST(net_frames_longer_than_the_buffer_are_dropped_and_counted)
{
	struct rte_mempool *tight = (net_need(),
		rte_pktmbuf_pool_create(
			"tight", 255, 0, 0, RTE_PKTMBUF_HEADROOM + 256, SOCKET_ID_ANY));
	struct port port = net_open(&(struct port_opts){ .mp = tight });
	struct rte_eth_stats stats;

	CHECK(tight != NULL);
	CHECK(net_passes(&port, &port.mac, 256));
	CHECK(!net_passes(&port, &port.mac, 257));
	CHECK(net_passes(&port, &port.mac, 256));
	CHECK_EQ(rte_eth_stats_get(port.id, &stats), 0);
	CHECK_EQ(stats.ierrors, 1);
	CHECK_EQ(stats.ipackets, 2 + 3);
	net_close(&port);
	rte_mempool_free(tight);
}

/* The queue a flow goes to and the hash, by DPDK's own arithmetic. */
static uint32_t
expected_hash(const struct port *port, unsigned int flow)
{
	uint32_t words[RTE_THASH_V4_L4_LEN];
	uint8_t key[40];
	struct rte_eth_rss_conf conf = { .rss_key = key, .rss_key_len = sizeof(key) };
	union rte_thash_tuple t = { .v4 = { .src_addr = RTE_IPV4(10, 0, 0, flow / 16),
					    .dst_addr = RTE_IPV4(10, 0, 1, 1),
					    .dport = 80,
					    .sport = (uint16_t)(1000 + flow) } };

	CHECK_EQ(rte_eth_dev_rss_hash_conf_get(port->id, &conf), 0);
	memcpy(words, &t.v4, sizeof(words));
	return rte_softrss(words, RTE_THASH_V4_L4_LEN, key);
}

TEST(net_rss_sends_each_flow_to_the_queue_of_its_hash)
{
	struct port port = net_open(&(struct port_opts){ .queues = 4, .rss = true });
	unsigned int used[4] = { 0 };

	for (unsigned int flow = 0; flow < 64; flow++) {
		const uint32_t hash = expected_hash(&port, flow);
		const uint16_t queue = (uint16_t)(hash % 128 % 4);
		struct rte_mbuf *m;

		net_send(&port, 0, net_udp(&port, flow));
		m = net_receive(&port, queue);
		CHECK((m->ol_flags & RTE_MBUF_F_RX_RSS_HASH) != 0);
		CHECK_EQ(m->hash.rss, hash);
		rte_pktmbuf_free(m);
		used[queue]++;
	}
	for (unsigned int i = 0; i < 4; i++)
		CHECK(used[i] != 0);
	net_close(&port);
}

TEST(net_redirection_table_steers_flows)
{
	struct port port = net_open(&(struct port_opts){ .queues = 4, .rss = true });
	struct rte_eth_rss_reta_entry64 reta[2], back[2];

	for (unsigned int i = 0; i < 2; i++) {
		reta[i].mask = back[i].mask = UINT64_MAX;
		for (unsigned int j = 0; j < RTE_ETH_RETA_GROUP_SIZE; j++)
			reta[i].reta[j] = 3;
	}
	CHECK_EQ(rte_eth_dev_rss_reta_update(port.id, reta, 128), 0);
	CHECK_EQ(rte_eth_dev_rss_reta_query(port.id, back, 128), 0);
	CHECK(memcmp(reta[1].reta, back[1].reta, sizeof(back[1].reta)) == 0);
	for (unsigned int flow = 0; flow < 8; flow++) {
		net_send(&port, 0, net_udp(&port, flow));
		rte_pktmbuf_free(net_receive(&port, 3));
	}
	reta[0].reta[5] = 4; /* there is none */
	CHECK(rte_eth_dev_rss_reta_update(port.id, reta, 128) != 0);
	net_close(&port);
}

TEST(net_frames_without_addresses_go_to_queue_0)
{
	struct port port = net_open(&(struct port_opts){ .queues = 4, .rss = true });
	struct rte_mbuf *m;

	net_send(&port, 2, net_frame(&port.mac, 64, 1));
	m = net_receive(&port, 0);
	CHECK((m->ol_flags & RTE_MBUF_F_RX_RSS_HASH) == 0);
	rte_pktmbuf_free(m);
	net_close(&port);
}
