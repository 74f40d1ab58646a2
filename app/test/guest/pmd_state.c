/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What moves of a port under a real poll-mode driver: two ports on one cable, the first set up
 * as an operator might, the second as it comes. The second is given the sections of the first;
 * then it has to answer as the first does when it is asked, and to let in what the first would,
 * and still when it has been stopped and started as for a migration that fails.
 *
 *	wherry exec -- pmd-state EAL-ARG...
 *
 * A line comes out for each sentence: "yes SENTENCE", "no SENTENCE", or "cannot SENTENCE" where
 * the NIC or its driver cannot have it. The status is 0 when all was asked.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "ports_priv.h"

#define DESCRIPTORS 256u
#define LINK_S 60u
#define MARKERS 20u                 /* frames that come behind one that is not let in */
#define ETHER_TYPE RTE_BE16(0x88b5) /* for local experiments */
#define VLAN_IN 100u
#define VLAN_OUT 200u

static const struct rte_ether_addr mac = { { 0x02, 0x77, 0x68, 0x65, 0x72, 0x01 } };
static const struct rte_ether_addr stranger = { { 0x02, 0x77, 0x68, 0x65, 0x72, 0x99 } };
static const struct rte_ether_addr group = { { 0x01, 0x00, 0x5e, 0x00, 0x00, 0x09 } };
static const struct rte_ether_addr other_group = { { 0x01, 0x00, 0x5e, 0x11, 0x22, 0x33 } };
static struct rte_mempool *pool;
static uint16_t queues;

static void
must(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "pmd-state: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void
say(bool yes, const char *sentence)
{
	printf("%s %s\n", yes ? "yes" : "no", sentence);
}

/* ---- set up ---- */

static void
configure(uint16_t port)
{
	struct rte_eth_conf conf = { .rxmode.mq_mode =
					     queues > 1 ? RTE_ETH_MQ_RX_RSS : RTE_ETH_MQ_RX_NONE };

	if (queues > 1)
		conf.rx_adv_conf.rss_conf.rss_hf = RTE_ETH_RSS_IPV4;
	must(rte_eth_dev_configure(port, queues, queues, &conf), "configure");
	for (uint16_t q = 0; q < queues; q++) {
		must(rte_eth_rx_queue_setup(port, q, DESCRIPTORS, 0, NULL, pool), "receive queue");
		must(rte_eth_tx_queue_setup(port, q, DESCRIPTORS, 0, NULL), "transmit queue");
	}
}

static void
await_link(uint16_t port)
{
	struct rte_eth_link link = { .link_status = 0 };

	for (unsigned int i = 0; i < LINK_S * 100; i++) {
		if (rte_eth_link_get_nowait(port, &link) == 0 &&
			link.link_status == RTE_ETH_LINK_UP)
			return;
		rte_delay_us_sleep(10000);
	}
	must(-ENETDOWN, "link");
}

/* Both queues in turn, but the other way round. */
static void
set_rss(uint16_t port)
{
	struct rte_eth_rss_reta_entry64 reta[PORT_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
	uint8_t key[PORT_RSS_KEY_MAX];
	struct rte_eth_rss_conf conf = { .rss_key = key, .rss_hf = RTE_ETH_RSS_IPV4 };
	struct rte_eth_dev_info info;

	must(rte_eth_dev_info_get(port, &info), "info");
	conf.rss_key_len = info.hash_key_size;
	memset(key, 7, sizeof(key));
	memset(reta, 0xff, sizeof(reta));
	for (unsigned int i = 0; i < info.reta_size; i++)
		reta[i / 64].reta[i % 64] = (uint16_t)((i + 1) % queues);
	must(rte_eth_dev_rss_hash_update(port, &conf), "RSS key");
	must(rte_eth_dev_rss_reta_update(port, reta, info.reta_size), "RSS table");
}

static void
set_up_first(struct port *p)
{
	must(rte_eth_dev_default_mac_addr_set(p->id, (struct rte_ether_addr *)&mac), "MAC");
	must(rte_eth_dev_set_vlan_offload(p->id, RTE_ETH_VLAN_FILTER_OFFLOAD), "VLAN filter");
	must(port_set_vlan(p, VLAN_IN, true), "VLAN");
	must(port_set_vlan(p, 4000, true), "VLAN 4000");
	must(port_set_multicast(p, &group, 1), "multicast");
	if (queues > 1)
		set_rss(p->id);
}

/* ---- what is asked of it ---- */

static bool
has_rss(uint16_t port)
{
	struct rte_eth_rss_reta_entry64 reta[PORT_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
	uint8_t key[PORT_RSS_KEY_MAX] = { 0 };
	struct rte_eth_rss_conf conf = { .rss_key = key };
	struct rte_eth_dev_info info;
	bool same = true;

	must(rte_eth_dev_info_get(port, &info), "info");
	conf.rss_key_len = info.hash_key_size;
	memset(reta, 0xff, sizeof(reta));
	must(rte_eth_dev_rss_hash_conf_get(port, &conf), "RSS key");
	must(rte_eth_dev_rss_reta_query(port, reta, info.reta_size), "RSS table");
	for (unsigned int i = 0; i < info.reta_size; i++)
		same = same && reta[i / 64].reta[i % 64] == (i + 1) % queues;
	return same && key[0] == 7 && key[info.hash_key_size - 1] == 7 &&
		conf.rss_hf == RTE_ETH_RSS_IPV4;
}

static void
ask(const struct port *p, uint16_t mtu)
{
	struct port_shape s = { 0 };

	must(port_shape_get(p, &s), "shape");
	say(rte_is_same_ether_addr(&s.mac, &mac), "has the MAC address");
	say(s.mtu == mtu, "has the MTU");
	say(!s.promiscuous, "is not promiscuous");
	say(!s.allmulticast, "is not in all-multicast mode");
	say(rte_eth_dev_get_vlan_offload(p->id) == RTE_ETH_VLAN_FILTER_OFFLOAD,
		"treats VLAN tags alike");
	if (queues > 1)
		say(has_rss(p->id), "has RSS types, key and table");
	else
		printf("cannot has RSS types, key and table\n");
}

/* ---- frames ---- */

/* The n-th kind of frame; vlan 0: without a tag. */
static void
send_one(uint16_t port, const struct rte_ether_addr *to, unsigned int vlan, uint32_t kind)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct rte_ether_hdr *eth;
	uint8_t *at;

	if (m == NULL)
		return;
	eth = (struct rte_ether_hdr *)rte_pktmbuf_append(m, 64);
	memset(eth, 0, 64);
	eth->dst_addr = *to;
	eth->src_addr = stranger;
	eth->ether_type = vlan != 0 ? RTE_BE16(RTE_ETHER_TYPE_VLAN) : ETHER_TYPE;
	at = (uint8_t *)(eth + 1);
	if (vlan != 0) {
		const uint16_t tag[2] = { rte_cpu_to_be_16((uint16_t)vlan), ETHER_TYPE };

		memcpy(at, tag, sizeof(tag));
		at += sizeof(tag);
	}
	memcpy(at, &kind, sizeof(kind));
	if (rte_eth_tx_burst(port, 0, &m, 1) == 0)
		rte_pktmbuf_free(m);
}

/* What kind came; 0: none that is ours. */
static uint32_t
kind_of(const struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const uint8_t *at = (const uint8_t *)(eth + 1);
	uint32_t kind = 0;

	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_VLAN))
		at += 4;
	else if (eth->ether_type != ETHER_TYPE)
		return 0;
	memcpy(&kind, at, sizeof(kind));
	return kind;
}

/* Frames of a kind and of kind 1, which comes in any case, until that has come so often. */
static bool
arrives(uint16_t from, uint16_t at, const struct rte_ether_addr *to, unsigned int vlan)
{
	static uint32_t last = 1;
	const uint32_t kind = ++last;
	unsigned int markers = 0;
	bool seen = false;

	for (unsigned int i = 0; markers < MARKERS && i < 3000; i++) {
		struct rte_mbuf *m[32];
		uint16_t n = 0;

		send_one(from, to, vlan, kind);
		send_one(from, &mac, 0, 1);
		rte_delay_us_sleep(3000);
		for (uint16_t q = 0; q < queues && n == 0; q++)
			n = rte_eth_rx_burst(at, q, m, 32);
		for (uint16_t k = 0; k < n; k++) {
			seen = seen || kind_of(m[k]) == kind;
			markers += kind_of(m[k]) == 1;
		}
		rte_pktmbuf_free_bulk(m, n);
	}
	if (markers < MARKERS)
		fprintf(stderr, "pmd-state: only %u frames came\n", markers);
	return markers >= MARKERS && seen;
}

static bool
stays_out(uint16_t from, uint16_t at, const struct rte_ether_addr *to, unsigned int vlan)
{
	return arrives(from, at, &mac, 0) && !arrives(from, at, to, vlan);
}

static void
look_at_frames(uint16_t from, uint16_t at)
{
	await_link(from);
	await_link(at);
	say(arrives(from, at, &mac, VLAN_IN), "lets its VLAN in");
	say(arrives(from, at, &mac, 4000), "lets its VLAN 4000 in");
	say(stays_out(from, at, &mac, VLAN_OUT), "keeps another VLAN out");
	say(arrives(from, at, &group, 0), "receives its multicast group");
	say(stays_out(from, at, &other_group, 0), "does not receive another group");
	say(stays_out(from, at, &stranger, 0), "does not receive what is for another");
}

/* ---- all of it ---- */

static const struct {
	const char *name;
	int (*save)(void *ctx, void *buf, size_t cap);
	int (*check)(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);
	int (*load)(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);
} sections[] = {
	{ PORTS_SECTION, ports_save, ports_check, ports_load },
	{ FILTERS_SECTION, filters_save, filters_check, filters_load },
};

static void
move(struct ports *first, struct ports *second)
{
	static uint8_t bytes[2][65536];
	struct wherry_why why = { "" };
	size_t len[2];

	for (unsigned int i = 0; i < 2; i++) {
		int n = sections[i].save(first, bytes[i], sizeof(bytes[i]));

		must(n > 0 ? 0 : n, sections[i].name);
		len[i] = (size_t)n;
		must(sections[i].check(second, bytes[i], len[i], &why), why.text);
	}
	for (unsigned int i = 0; i < 2; i++)
		must(sections[i].load(second, bytes[i], len[i], &why), why.text);
	must(ports_takeover(second), "takeover");
}

static void
run(struct ports *first, struct ports *second)
{
	struct rte_eth_dev_info info;
	uint16_t mtu = 1400;

	must(rte_eth_dev_info_get(0, &info), "info");
	printf("driver %s\n", info.driver_name);
	queues = info.max_rx_queues >= 2 && info.reta_size > 0 ? 2 : 1;
	pool = rte_pktmbuf_pool_create("all", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	must(pool != NULL ? 0 : -ENOMEM, "pool");
	must(ports_add(first, 0), "first port");
	must(ports_add(second, 1), "second port");
	configure(0);
	configure(1);
	must(rte_eth_dev_set_mtu(0, mtu), "MTU");
	must(rte_eth_promiscuous_enable(1), "promiscuous");
	must(rte_eth_allmulticast_enable(1), "all-multicast");
	must(ports_start(first), "start");
	set_up_first(&first->port[0]);
	must(ports_warm(second), "warm");
	move(first, second);
	ask(&second->port[0], mtu);
	look_at_frames(0, 1);
	printf("driver %s, stopped and started again\n", info.driver_name);
	must(ports_quiesce(second), "quiesce");
	ports_resume(second);
	ask(&second->port[0], mtu);
	look_at_frames(0, 1);
	ports_stop(first);
	ports_stop(second);
}

int
main(int argc, char **argv)
{
	static struct ports first, second;

	must(rte_eal_init(argc, argv) >= 0 ? 0 : -ENODEV, "EAL");
	must(rte_eth_dev_count_avail() == 2 ? 0 : -ENODEV, "two ports");
	run(&first, &second);
	(void)rte_eth_dev_close(0);
	(void)rte_eth_dev_close(1);
	(void)rte_eal_cleanup();
	return 0;
}
