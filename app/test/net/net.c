/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports, frames and waiting; see net.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "eal_folder.h"
#include "net.h"

#define PATIENCE_MS 10000u
#define SILENCE_MS 20u

void
net_need(void)
{
	static bool tried;
	static int rc = -1;
	static char memory[256];
	char *argv[32] = { (char *)(uintptr_t) "wherry-test-net" };
	const char *chosen = getenv("WHERRY_TEST_EAL");
	char *rest = NULL;
	int n = 1;

	if (rc >= 0)
		return;
	if (tried)
		FAIL("EAL does not start with \"%s\"", chosen != NULL ? chosen : "--no-huge");
	snprintf(memory, sizeof(memory), "%s", chosen != NULL ? chosen : "--no-huge -m 256");
	for (char *word = strtok_r(memory, " ", &rest); word != NULL && n < 20;
		word = strtok_r(NULL, " ", &rest))
		argv[n++] = word;
	argv[n++] = eal_folder_option("wherry-test-net");
	for (const char *const *word = (const char *const[]){ "--no-shconf", "--no-pci",
		     "--no-telemetry", "--iova-mode=va", "-l", "0", "--log-level=error", "-d",
		     NET_PLUGIN, NULL };
		*word != NULL; word++)
		argv[n++] = (char *)(uintptr_t)*word;
	rc = rte_eal_init(n, argv);
	tried = true; /* EAL tries once */
	if (rc < 0)
		FAIL("EAL does not start with \"%s\"", chosen != NULL ? chosen : "--no-huge");
}

struct rte_mempool *
net_pool(void)
{
	static struct rte_mempool *mp;

	net_need();
	if (mp == NULL)
		mp = rte_pktmbuf_pool_create(
			"net", POOL_MBUFS, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	CHECK(mp != NULL);
	return mp;
}

static void
configure(const struct port *port, const struct port_opts *opts, uint16_t queues)
{
	struct rte_eth_conf conf = { .intr_conf.rxq = opts->interrupts };

	if (opts->rss) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf =
			RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP;
	}
	struct rte_eth_dev_info info;

	CHECK_EQ(rte_eth_dev_info_get(port->id, &info), 0);
	conf.rx_adv_conf.rss_conf.rss_hf &= info.flow_type_rss_offloads;
	CHECK_EQ(rte_eth_dev_configure(port->id, queues, queues, &conf), 0);
}

struct port
net_open(const struct port_opts *opts)
{
	static unsigned int count;
	const uint16_t queues = (uint16_t)(opts->queues != 0 ? opts->queues : 1);
	const uint16_t ring = (uint16_t)(opts->ring != 0 ? opts->ring : 128);
	const struct rte_eth_rxconf rx = { .rx_deferred_start = opts->deferred };
	struct rte_mempool *mp = opts->mp != NULL ? opts->mp : net_pool();
	struct port port;

	net_need();
	snprintf(port.name, sizeof(port.name), "net_wherry%u", count++);
	CHECK_EQ(rte_eal_hotplug_add(
			 "vdev", port.name, opts->args != NULL ? opts->args : "wire=loop"),
		0);
	CHECK_EQ(rte_eth_dev_get_port_by_name(port.name, &port.id), 0);
	configure(&port, opts, queues);
	for (uint16_t id = 0; id < queues; id++) {
		CHECK_EQ(rte_eth_rx_queue_setup(port.id, id, ring, 0, &rx, mp), 0);
		CHECK_EQ(rte_eth_tx_queue_setup(port.id, id, ring, 0, NULL), 0);
	}
	CHECK_EQ(rte_eth_macaddr_get(port.id, &port.mac), 0);
	if (!opts->stopped)
		CHECK_EQ(rte_eth_dev_start(port.id), 0);
	return port;
}

void
net_close(const struct port *port)
{
	(void)rte_eth_dev_stop(port->id);
	CHECK_EQ(rte_eal_hotplug_remove("vdev", port->name), 0);
}

struct rte_mbuf *
net_frame(const struct rte_ether_addr *to, unsigned int len, unsigned char seed)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(net_pool());
	unsigned char *data;

	CHECK(m != NULL);
	data = (unsigned char *)rte_pktmbuf_append(m, (uint16_t)len);
	CHECK(data != NULL);
	for (unsigned int i = 0; i < len; i++)
		data[i] = (unsigned char)(seed + i);
	memcpy(data, to, sizeof(*to));
	return m;
}

bool
net_is_frame(const struct rte_mbuf *m, unsigned int len, unsigned char seed)
{
	const unsigned char *data = rte_pktmbuf_mtod(m, const unsigned char *);

	if (m->pkt_len != len || m->data_len != len)
		return false;
	for (unsigned int i = sizeof(struct rte_ether_addr); i < len; i++)
		if (data[i] != (unsigned char)(seed + i))
			return false;
	return true;
}

struct rte_mbuf *
net_udp(const struct port *port, unsigned int flow)
{
	struct rte_mbuf *m = net_frame(&port->mac, 64, 0);
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(eth + 1);
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);

	eth->ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
	*ip = (struct rte_ipv4_hdr){ .version_ihl = RTE_IPV4_VHL_DEF,
		.total_length = rte_cpu_to_be_16(50),
		.time_to_live = 64,
		.next_proto_id = IPPROTO_UDP,
		.src_addr = rte_cpu_to_be_32(RTE_IPV4(10, 0, 0, flow / 16)),
		.dst_addr = rte_cpu_to_be_32(RTE_IPV4(10, 0, 1, 1)) };
	*udp = (struct rte_udp_hdr){ .src_port = rte_cpu_to_be_16((uint16_t)(1000 + flow)),
		.dst_port = rte_cpu_to_be_16(80),
		.dgram_len = rte_cpu_to_be_16(30) };
	return m;
}

void
net_send(const struct port *port, uint16_t queue, struct rte_mbuf *m)
{
	for (unsigned int ms = 0; ms < PATIENCE_MS; ms++) {
		if (rte_eth_tx_burst(port->id, queue, &m, 1) == 1)
			return;
		rte_delay_us_sleep(1000);
	}
	FAIL("%s does not take a frame", port->name);
}

static struct rte_mbuf *
receive(const struct port *port, uint16_t queue, unsigned int ms)
{
	const uint64_t until = rte_get_timer_cycles() + ms * rte_get_timer_hz() / 1000;
	struct rte_mbuf *m;

	do {
		if (rte_eth_rx_burst(port->id, queue, &m, 1) == 1)
			return m;
		rte_delay_us_sleep(10);
	} while (rte_get_timer_cycles() < until);
	return NULL;
}

struct rte_mbuf *
net_receive(const struct port *port, uint16_t queue)
{
	struct rte_mbuf *m = receive(port, queue, PATIENCE_MS);

	if (m == NULL)
		FAIL("no frame comes out of %s, queue %u", port->name, queue);
	return m;
}

bool
net_silent(const struct port *port, uint16_t queue)
{
	struct rte_mbuf *m = receive(port, queue, SILENCE_MS);

	rte_pktmbuf_free(m);
	return m == NULL;
}

bool
net_passes(const struct port *port, const struct rte_ether_addr *to, unsigned int len)
{
	static const struct rte_ether_addr all = { .addr_bytes = { 255, 255, 255, 255, 255, 255 } };
	struct rte_mbuf *m;
	bool passed;

	net_send(port, 0, net_frame(to, len, 7));
	net_send(port, 0, net_frame(&all, 60, 200));
	m = net_receive(port, 0);
	passed = !net_is_frame(m, 60, 200);
	rte_pktmbuf_free(m);
	if (passed)
		rte_pktmbuf_free(net_receive(port, 0));
	return passed;
}

uint64_t
net_xstat(const struct port *port, const char *name)
{
	uint64_t id, value;

	CHECK_EQ(rte_eth_xstats_get_id_by_name(port->id, name, &id), 0);
	CHECK_EQ(rte_eth_xstats_get_by_id(port->id, &id, &value, 1), 1);
	return value;
}

void
net_wait_xstat(const struct port *port, const char *name, uint64_t value)
{
	for (unsigned int ms = 0; ms < PATIENCE_MS; ms++) {
		if (net_xstat(port, name) >= value)
			return;
		rte_delay_us_sleep(1000);
	}
	FAIL("%s of %s stays at %llu", name, port->name, (unsigned long long)net_xstat(port, name));
}
