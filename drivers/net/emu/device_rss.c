/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive side scaling: the Toeplitz hash of a frame's addresses and ports. */
#include <string.h>

#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_net.h>
#include <rte_thash.h>

#include "device_priv.h"

#define RSS_PORTS                                                      \
	(RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP | \
		RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP)

struct parsed {
	const unsigned char *l3, *l4;
	uint32_t ptype;
	bool has_ports;
};

/* DPDK's own parser works on mbufs: lend it the frame as one. */
static bool
parse(const void *frame, size_t len, struct parsed *ret)
{
	struct rte_mbuf m = { .buf_addr = (void *)(uintptr_t)frame,
		.nb_segs = 1,
		.buf_len = (uint16_t)len,
		.data_len = (uint16_t)len,
		.pkt_len = (uint32_t)len };
	struct rte_net_hdr_lens lens = { .l2_len = 0 };
	const uint32_t layers = RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK | RTE_PTYPE_L4_MASK;
	uint32_t l4;

	ret->ptype = rte_net_get_ptype(&m, &lens, layers);
	l4 = ret->ptype & RTE_PTYPE_L4_MASK;
	ret->l3 = (const unsigned char *)frame + lens.l2_len;
	ret->l4 = ret->l3 + lens.l3_len;
	ret->has_ports = (l4 == RTE_PTYPE_L4_TCP || l4 == RTE_PTYPE_L4_UDP) &&
		(size_t)lens.l2_len + lens.l3_len + 4 <= len;
	return RTE_ETH_IS_IPV4_HDR(ret->ptype) || RTE_ETH_IS_IPV6_HDR(ret->ptype);
}

static void
load_ports(const struct parsed *p, uint16_t *ret_src, uint16_t *ret_dst)
{
	/* source and destination port open a TCP and a UDP header alike */
	const struct rte_udp_hdr *h = (const struct rte_udp_hdr *)p->l4;

	*ret_src = rte_be_to_cpu_16(h->src_port);
	*ret_dst = rte_be_to_cpu_16(h->dst_port);
}

/* The hash is over words; the tuple is half words: copied, or the compiler may reorder. */
static uint32_t
hash_tuple(const union rte_thash_tuple *t, uint32_t n_words, const uint8_t *key)
{
	uint32_t words[sizeof(*t) / sizeof(uint32_t)];

	memcpy(words, t, n_words * sizeof(words[0]));
	return rte_softrss(words, n_words, key);
}

static uint32_t
hash_v4(const struct parsed *p, bool ports, const uint8_t *key)
{
	const struct rte_ipv4_hdr *h = (const struct rte_ipv4_hdr *)p->l3;
	union rte_thash_tuple t;

	t.v4.src_addr = rte_be_to_cpu_32(h->src_addr);
	t.v4.dst_addr = rte_be_to_cpu_32(h->dst_addr);
	if (ports)
		load_ports(p, &t.v4.sport, &t.v4.dport);
	return hash_tuple(&t, ports ? RTE_THASH_V4_L4_LEN : RTE_THASH_V4_L3_LEN, key);
}

static uint32_t
hash_v6(const struct parsed *p, bool ports, const uint8_t *key)
{
	union rte_thash_tuple t;

	rte_thash_load_v6_addrs((const struct rte_ipv6_hdr *)p->l3, &t);
	if (ports)
		load_ports(p, &t.v6.sport, &t.v6.dport);
	return hash_tuple(&t, ports ? RTE_THASH_V6_L4_LEN : RTE_THASH_V6_L3_LEN, key);
}

bool
device_hash(const struct emu_config *config, const void *frame, size_t len, uint32_t *ret_hash)
{
	const uint8_t *key = (const uint8_t *)config->rss_key;
	struct parsed p;
	bool ports;

	if (config->rss == 0 || !parse(frame, len, &p))
		return false;
	ports = p.has_ports && (config->rss & RSS_PORTS) != 0;
	*ret_hash =
		RTE_ETH_IS_IPV4_HDR(p.ptype) ? hash_v4(&p, ports, key) : hash_v6(&p, ports, key);
	return true;
}
