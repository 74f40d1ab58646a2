/* SPDX-License-Identifier: BSD-3-Clause */
/* Bursts: every frame, whole, and every mbuf accounted for. */
#include <rte_cycles.h>

#include "net.h"

TEST(net_loop_returns_frames_of_every_length)
{
	static const unsigned int lens[] = { 14, 60, 63, 64, 65, 255, 256, 257, 511, 1500, 1514,
		1518 };
	struct port port = net_open(&(struct port_opts){ .queues = 0 });

	for (unsigned int i = 0; i < RTE_DIM(lens); i++) {
		struct rte_mbuf *m;

		net_send(&port, 0, net_frame(&port.mac, lens[i], (unsigned char)i));
		m = net_receive(&port, 0);
		CHECK(net_is_frame(m, lens[i], (unsigned char)i));
		CHECK_EQ(m->nb_segs, 1);
		CHECK_EQ(m->port, port.id);
		rte_pktmbuf_free(m);
	}
	net_close(&port);
}

/* In order, through many turns of both rings. */
TEST(net_loop_keeps_the_order_through_full_bursts)
{
	struct port port = net_open(&(struct port_opts){ .ring = 64 });
	unsigned int sent = 0, got = 0;

	while (got < 3000) {
		struct rte_mbuf *m[32];
		uint16_t n;

		for (; sent < 3000 && sent - got < 48; sent++)
			net_send(&port, 0, net_frame(&port.mac, 64, (unsigned char)sent));
		n = rte_eth_rx_burst(port.id, 0, m, 32);
		for (uint16_t i = 0; i < n; i++, got++) {
			CHECK(net_is_frame(m[i], 64, (unsigned char)got));
			rte_pktmbuf_free(m[i]);
		}
	}
	net_close(&port);
}

TEST(net_frame_of_many_segments_arrives_as_one)
{
	struct port port = net_open(&(struct port_opts){ .queues = 0 });
	struct rte_mbuf *head = net_frame(&port.mac, 20, 3), *m;

	for (unsigned int i = 1; i < 5; i++)
		CHECK_EQ(rte_pktmbuf_chain(head, net_frame(&port.mac, i * 30, 3)), 0);
	CHECK_EQ(head->pkt_len, 320);
	net_send(&port, 0, head);
	m = net_receive(&port, 0);
	CHECK_EQ(m->pkt_len, 320);
	CHECK(rte_pktmbuf_mtod(m, unsigned char *)[19] == 3 + 19);
	CHECK(rte_pktmbuf_mtod(m, unsigned char *)[20 + 30 + 60 + 90 + 119] ==
		(unsigned char)(3 + 119));
	rte_pktmbuf_free(m);
	net_close(&port);
}

TEST(net_full_ring_takes_no_more_than_fits)
{
	struct port port = net_open(&(struct port_opts){ .ring = 32 });
	struct rte_mbuf *m[64];
	uint16_t n;

	for (unsigned int i = 0; i < 64; i++)
		m[i] = net_frame(&port.mac, 64, 0);
	n = rte_eth_tx_burst(port.id, 0, m, 64);
	CHECK_EQ(n, 32);
	rte_pktmbuf_free_bulk(&m[n], 64u - n);
	net_close(&port);
}

TEST(net_frames_beyond_the_posted_buffers_are_missed_and_counted)
{
	struct port port = net_open(&(struct port_opts){ .ring = 64 });
	struct rte_eth_stats stats;
	unsigned int got = 0;

	for (unsigned int i = 0; i < 100; i++)
		net_send(&port, 0, net_frame(&port.mac, 64, 0));
	net_wait_xstat(&port, "rx_no_descriptor", 36);
	CHECK_EQ(rte_eth_stats_get(port.id, &stats), 0);
	CHECK_EQ(stats.imissed, 36);
	CHECK_EQ(stats.ipackets, 64);
	CHECK_EQ(stats.opackets, 100);
	for (; got < 64; got++)
		rte_pktmbuf_free(net_receive(&port, 0));
	CHECK(net_silent(&port, 0));
	net_close(&port);
}

TEST(net_empty_pool_is_counted_and_overcome)
{
	struct rte_mempool *small = (net_need(),
		rte_pktmbuf_pool_create(
			"small", 63, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY));
	struct port port = net_open(&(struct port_opts){ .ring = 32, .mp = small });
	struct rte_eth_stats stats;
	struct rte_mbuf *kept[63];
	unsigned int n = 0;

	CHECK(small != NULL);
	for (; n < 32; n++) {
		net_send(&port, 0, net_frame(&port.mac, 64, 0));
		kept[n] = net_receive(&port, 0);
	}
	CHECK_EQ(rte_eth_stats_get(port.id, &stats), 0);
	CHECK(stats.rx_nombuf != 0);
	for (unsigned int i = 0; i < n; i++)
		rte_pktmbuf_free(kept[i]);
	CHECK(net_silent(&port, 0)); /* the burst posts again */
	CHECK(net_passes(&port, &port.mac, 64));
	net_close(&port);
	rte_mempool_free(small);
}

TEST(net_stop_gives_every_mbuf_back)
{
	const unsigned int before = rte_mempool_avail_count(net_pool());
	struct port port = net_open(&(struct port_opts){ .queues = 4 });

	CHECK(rte_mempool_avail_count(net_pool()) < before);
	for (uint16_t i = 0; i < 100; i++)
		net_send(&port, i % 4, net_frame(&port.mac, 64, 0));
	CHECK_EQ(rte_eth_dev_stop(port.id), 0);
	CHECK_EQ(rte_mempool_avail_count(net_pool()), before);
	net_close(&port);
}

TEST(net_hundred_restarts_lose_nothing_and_keep_working)
{
	const unsigned int before = rte_mempool_avail_count(net_pool());
	struct port port = net_open(&(struct port_opts){ .ring = 64 });
	struct rte_eth_stats stats;

	for (unsigned int i = 0; i < 100; i++) {
		struct rte_mbuf *m;

		net_send(&port, 0, net_frame(&port.mac, 100, (unsigned char)i));
		m = net_receive(&port, 0);
		CHECK(net_is_frame(m, 100, (unsigned char)i));
		rte_pktmbuf_free(m);
		CHECK_EQ(rte_eth_dev_stop(port.id), 0);
		CHECK_EQ(rte_mempool_avail_count(net_pool()), before);
		CHECK_EQ(rte_eth_dev_start(port.id), 0);
	}
	CHECK_EQ(rte_eth_stats_get(port.id, &stats), 0);
	CHECK_EQ(stats.ipackets, 100);
	CHECK_EQ(stats.opackets, 100);
	CHECK_EQ(stats.obytes, 10000);
	net_close(&port);
}

TEST(net_reset_statistics_start_again_at_zero)
{
	struct port port = net_open(&(struct port_opts){ .queues = 2 });
	struct rte_eth_stats stats;

	net_send(&port, 1, net_frame(&port.mac, 64, 0));
	rte_pktmbuf_free(net_receive(&port, 0));
	CHECK_EQ(net_xstat(&port, "tx_q1_packets"), 1);
	CHECK_EQ(net_xstat(&port, "rx_q0_bytes"), 64);
	CHECK_EQ(rte_eth_stats_reset(port.id), 0);
	CHECK_EQ(rte_eth_stats_get(port.id, &stats), 0);
	CHECK_EQ(stats.ipackets + stats.opackets + stats.ibytes + stats.obytes, 0);
	net_close(&port);
}

/* An eventfd is written only when the device half has said that it sleeps. */
TEST(net_doorbell_rings_only_for_a_sleeping_device)
{
	struct port port = net_open(&(struct port_opts){ .ring = 1024 });
	uint64_t rings, sleeps;

	rte_delay_us_sleep(5000); /* now it sleeps */
	rings = net_xstat(&port, "doorbells");
	CHECK(net_passes(&port, &port.mac, 64));
	CHECK(net_xstat(&port, "doorbells") > rings);
	rings = net_xstat(&port, "doorbells");
	sleeps = net_xstat(&port, "sleeps");
	for (unsigned int i = 0; i < 1000; i++)
		net_send(&port, 0, net_frame(&port.mac, 64, 0));
	CHECK(net_xstat(&port, "doorbells") - rings <= net_xstat(&port, "sleeps") - sleeps + 1);
	net_close(&port);
}

TEST(net_devargs_that_make_no_sense_are_refused)
{
	static const char *const wrong[] = { "wire=string", "wire=tap", "wire=loop=x", "queues=0",
		"queues=17", "queues=two", "iommu=none", "colour=red", "wire=pair=" };

	net_need();
	for (unsigned int i = 0; i < RTE_DIM(wrong); i++) {
		uint16_t id;

		if (rte_eal_hotplug_add("vdev", "net_wherry99", wrong[i]) == 0)
			FAIL("%s was taken", wrong[i]);
		CHECK(rte_eth_dev_get_port_by_name("net_wherry99", &id) != 0);
	}
}
