/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk: rules of rte_flow that move: as bytes, at a port, and with frames behind them. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#include "eal.h"
#include "fault_priv.h"
#include "flow_bytes_priv.h"
#include "ports_priv.h"
#include "test.h"

static struct wherry_why refusal; /* the last one */

static const struct rte_flow_attr ingress = { .ingress = 1 };

/* Frames to this UDP port go to that queue. */
struct udp_rule {
	struct rte_flow_item_udp spec, mask;
	struct rte_flow_action_queue queue;
	struct rte_flow_item pattern[4];
	struct rte_flow_action actions[2];
};

static void
make_udp_rule(struct udp_rule *r, uint16_t port, uint16_t queue)
{
	*r = (struct udp_rule){ .queue.index = queue };
	r->spec.hdr.dst_port = rte_cpu_to_be_16(port);
	r->mask.hdr.dst_port = UINT16_MAX;
	r->pattern[0].type = RTE_FLOW_ITEM_TYPE_ETH;
	r->pattern[1].type = RTE_FLOW_ITEM_TYPE_IPV4;
	r->pattern[2] = (struct rte_flow_item){
		.type = RTE_FLOW_ITEM_TYPE_UDP, .spec = &r->spec, .mask = &r->mask
	};
	r->actions[0] =
		(struct rte_flow_action){ .type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &r->queue };
}

/* ---- as bytes ---- */

static bool
same_part(const void *a, const void *b, size_t len)
{
	return a == NULL || b == NULL ? a == b : memcmp(a, b, len) == 0;
}

TEST(flow_rule_is_the_same_after_bytes)
{
	const struct rte_flow_attr attr = { .group = 7, .priority = 70000, .egress = 1 };
	const struct rte_flow_item_eth eth = { .hdr.ether_type = RTE_BE16(0x88b5) };
	const struct rte_flow_item_ipv6 ip = { .hdr.hop_limits = 9 }, last = { .hdr.proto = 3 };
	const struct rte_flow_item pattern[] = {
		{ .type = RTE_FLOW_ITEM_TYPE_ETH, .spec = &eth, .mask = &rte_flow_item_eth_mask },
		{ .type = RTE_FLOW_ITEM_TYPE_VOID },
		{ .type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &ip, .last = &last },
		{ .type = RTE_FLOW_ITEM_TYPE_TCP },
		{ .type = RTE_FLOW_ITEM_TYPE_END },
	};
	const struct rte_flow_action_mark mark = { .id = 0x12345678 };
	const struct rte_flow_action_queue queue = { .index = 0x9abc };
	const struct rte_flow_action actions[] = {
		{ .type = RTE_FLOW_ACTION_TYPE_MARK, .conf = &mark },
		{ .type = RTE_FLOW_ACTION_TYPE_COUNT },
		{ .type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &queue },
		{ .type = RTE_FLOW_ACTION_TYPE_END },
	};
	uint8_t buf[FLOW_BYTES_MAX];
	struct flow_rule rule;
	const char *why;
	int n = flow_encode(&attr, pattern, actions, buf, sizeof(buf), &why);

	CHECK(n > 0);
	CHECK_EQ(flow_decode(buf, (size_t)n, &rule), 0);
	CHECK(rule.attr.group == 7 && rule.attr.priority == 70000);
	CHECK(rule.attr.egress && !rule.attr.ingress && !rule.attr.transfer);
	CHECK_EQ(rule.pattern[0].type, RTE_FLOW_ITEM_TYPE_ETH);
	CHECK(same_part(rule.pattern[0].spec, &eth, sizeof(eth)));
	CHECK(same_part(rule.pattern[0].mask, &rte_flow_item_eth_mask, sizeof(eth)));
	CHECK_EQ(rule.pattern[1].type, RTE_FLOW_ITEM_TYPE_IPV6);
	CHECK(same_part(rule.pattern[1].spec, &ip, sizeof(ip)));
	CHECK(same_part(rule.pattern[1].last, &last, sizeof(last)));
	CHECK(rule.pattern[1].mask == NULL);
	CHECK_EQ(rule.pattern[2].type, RTE_FLOW_ITEM_TYPE_TCP);
	CHECK(rule.pattern[2].spec == NULL);
	CHECK_EQ(rule.pattern[3].type, RTE_FLOW_ITEM_TYPE_END);
	CHECK_EQ(rule.confs[0].mark.id, mark.id);
	CHECK(rule.actions[1].type == RTE_FLOW_ACTION_TYPE_COUNT && rule.actions[1].conf == NULL);
	CHECK_EQ(rule.confs[2].queue.index, queue.index);
	CHECK_EQ(rule.actions[3].type, RTE_FLOW_ACTION_TYPE_END);
	CHECK_EQ(flow_encode(&attr, pattern, actions, buf, (size_t)n - 1, &why), -ENOSPC);
}

TEST(flow_rule_that_cannot_move_says_why)
{
	const struct rte_flow_item_vlan more = { .has_more_vlan = 1 };
	const struct rte_flow_item any[] = { { .type = RTE_FLOW_ITEM_TYPE_PORT_ID }, { 0 } };
	const struct rte_flow_item beyond[] = { { .type = RTE_FLOW_ITEM_TYPE_VLAN, .spec = &more },
		{ 0 } };
	const struct rte_flow_action rss[] = { { .type = RTE_FLOW_ACTION_TYPE_RSS }, { 0 } };
	const struct rte_flow_action none[] = { { .type = RTE_FLOW_ACTION_TYPE_QUEUE }, { 0 } };
	const struct rte_flow_action drop[] = { { .type = RTE_FLOW_ACTION_TYPE_DROP }, { 0 } };
	struct rte_flow_item many[FLOW_ITEMS_MAX + 2] = { { 0 } };
	uint8_t buf[FLOW_BYTES_MAX];
	const char *why;

	CHECK_EQ(flow_encode(&ingress, any, drop, buf, sizeof(buf), &why), -EOPNOTSUPP);
	CHECK(strstr(why, "no header") != NULL);
	CHECK_EQ(flow_encode(&ingress, beyond, drop, buf, sizeof(buf), &why), -EOPNOTSUPP);
	CHECK(strstr(why, "more of an item") != NULL);
	CHECK_EQ(flow_encode(&ingress, any + 1, rss, buf, sizeof(buf), &why), -EOPNOTSUPP);
	CHECK(strstr(why, "does something") != NULL);
	CHECK_EQ(flow_encode(&ingress, any + 1, none, buf, sizeof(buf), &why), -EOPNOTSUPP);
	CHECK(strstr(why, "lacks its number") != NULL);
	for (unsigned int i = 0; i <= FLOW_ITEMS_MAX; i++)
		many[i].type = RTE_FLOW_ITEM_TYPE_ETH;
	CHECK_EQ(flow_encode(&ingress, many, drop, buf, sizeof(buf), &why), -EOPNOTSUPP);
	CHECK(strstr(why, "too long") != NULL);
}

/* Cut anywhere it is refused; with any bytes it is refused, or sound. */
TEST(flow_rule_of_a_hostile_peer_is_refused)
{
	uint8_t buf[FLOW_BYTES_MAX], bad[FLOW_BYTES_MAX];
	struct flow_rule rule;
	struct udp_rule r;
	const char *why;
	int n;

	make_udp_rule(&r, 1000, 1);
	n = flow_encode(&ingress, r.pattern, r.actions, buf, sizeof(buf), &why);
	CHECK(n > 0);
	for (int len = 0; len < n; len++)
		CHECK_EQ(flow_decode(buf, (size_t)len, &rule), -EPROTO);
	buf[n] = 0;
	CHECK_EQ(flow_decode(buf, (size_t)n + 1, &rule), -EPROTO);
	for (int i = 0; i < 20000; i++) {
		memcpy(bad, buf, sizeof(bad));
		for (int k = 0; k < 3; k++)
			bad[test_random() % (unsigned int)n] = (uint8_t)test_random();
		if (flow_decode(bad, (size_t)n, &rule) != 0)
			continue;
		CHECK(rule.pattern[FLOW_ITEMS_MAX].type == RTE_FLOW_ITEM_TYPE_END);
		CHECK(rule.actions[FLOW_ACTIONS_MAX].type == RTE_FLOW_ACTION_TYPE_END);
		CHECK_EQ(
			flow_encode(&rule.attr, rule.pattern, rule.actions, bad, sizeof(bad), &why),
			n); /* all of it was understood */
	}
}

/* ---- at a port ---- */

struct flows_pair {
	struct ports here, there;
	uint8_t section[8192];
	size_t len;
};

static void
make_pair(struct flows_pair *pair)
{
	eal_need_net_wherry();
	*pair = (struct flows_pair){ .len = 0 };
	CHECK_EQ(
		ports_add(&pair->here, eal_port("net_wherry_a", "wire=loop", 2, eal_mempool())), 0);
	CHECK_EQ(ports_add(&pair->there, eal_port("net_wherry_b", "wire=loop", 2, eal_mempool())),
		0);
	CHECK_EQ(ports_start(&pair->here), 0);
}

static void
drop_pair(struct flows_pair *pair)
{
	ports_stop(&pair->here);
	ports_stop(&pair->there);
	ports_fini(&pair->here);
	ports_fini(&pair->there);
	eal_port_close("net_wherry_a");
	eal_port_close("net_wherry_b");
}

static void
save(struct flows_pair *pair)
{
	int n = flows_save(&pair->here, pair->section, sizeof(pair->section));

	CHECK(n > 0);
	pair->len = (size_t)n;
}

static unsigned int
add_udp(struct ports *ports, uint16_t udp, uint16_t queue)
{
	unsigned int id = UINT32_MAX;
	struct rte_flow_error error;
	struct udp_rule r;
	int rc;

	make_udp_rule(&r, udp, queue);
	rc = port_create_flow(&ports->port[0], &ingress, r.pattern, r.actions, &id, &error);
	if (rc != 0)
		FAIL("%d: %s", rc, error.message);
	return id;
}

static struct rte_mbuf *
udp_frame(uint16_t udp)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(eal_mempool());
	struct rte_ether_hdr *eth;
	struct rte_ipv4_hdr *ip;
	struct rte_udp_hdr *h;

	CHECK(m != NULL);
	eth = (struct rte_ether_hdr *)rte_pktmbuf_append(m, 60);
	ip = (struct rte_ipv4_hdr *)(eth + 1);
	h = (struct rte_udp_hdr *)(ip + 1);
	memset(eth, 0xff, 60);
	eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	ip->version_ihl = RTE_IPV4_VHL_DEF;
	ip->next_proto_id = IPPROTO_UDP;
	h->dst_port = rte_cpu_to_be_16(udp);
	return m;
}

/* Where a frame to that UDP port comes out: its queue, or -1: nowhere. */
static int
queue_of(const struct ports *ports, uint16_t udp)
{
	uint16_t id = ports->port[0].id;
	struct rte_mbuf *m = udp_frame(udp);

	CHECK_EQ(rte_eth_tx_burst(id, 0, &m, 1), 1);
	for (unsigned int i = 0; i < 500; i++) {
		for (uint16_t q = 0; q < 2; q++) {
			if (rte_eth_rx_burst(id, q, &m, 1) == 0)
				continue;
			rte_pktmbuf_free(m);
			return q;
		}
		usleep(100);
	}
	return -1;
}

TEST(ports_flows_choose_a_queue_at_both_ends)
{
	struct flows_pair pair;
	unsigned int gone, kept;

	make_pair(&pair);
	CHECK_EQ(queue_of(&pair.here, 1000), 0);
	gone = add_udp(&pair.here, 2000, 1);
	kept = add_udp(&pair.here, 1000, 1);
	CHECK_EQ(queue_of(&pair.here, 1000), 1);
	CHECK_EQ(queue_of(&pair.here, 1001), 0);
	CHECK_EQ(port_destroy_flow(&pair.here.port[0], gone), 0);
	CHECK_EQ(port_destroy_flow(&pair.here.port[0], gone), -ENOENT);
	CHECK_EQ(port_destroy_flow(&pair.here.port[0], 64), -ENOENT);
	CHECK_EQ(queue_of(&pair.here, 2000), 0);
	save(&pair);
	CHECK_EQ(ports_warm(&pair.there), 0);
	add_udp(&pair.there, 3000, 1); /* what it had itself goes */
	CHECK_EQ(flows_check(&pair.there, pair.section, pair.len, &refusal), 0);
	CHECK_EQ(flows_load(&pair.there, pair.section, pair.len, &refusal), 0);
	pair.there.port[0].wanted.started = true;
	CHECK_EQ(rte_eth_macaddr_get(pair.there.port[0].id, &pair.there.port[0].wanted.mac), 0);
	CHECK_EQ(ports_takeover(&pair.there), 0);
	CHECK_EQ(queue_of(&pair.there, 1000), 1);
	CHECK_EQ(queue_of(&pair.there, 2000), 0);
	CHECK_EQ(queue_of(&pair.there, 3000), 0);
	CHECK_EQ(port_destroy_flow(&pair.there.port[0], kept), 0); /* the same number */
	CHECK_EQ(queue_of(&pair.there, 1000), 0);
	drop_pair(&pair);
}

/* The port forgets its rules when it is stopped; a migration that fails starts it again. */
TEST(ports_flows_are_there_again_after_a_migration_that_failed)
{
	struct flows_pair pair;
	unsigned int id;

	make_pair(&pair);
	id = add_udp(&pair.here, 1000, 1);
	CHECK_EQ(ports_quiesce(&pair.here), 0);
	ports_resume(&pair.here);
	CHECK_EQ(queue_of(&pair.here, 1000), 1);
	CHECK_EQ(port_destroy_flow(&pair.here.port[0], id), 0);
	CHECK_EQ(queue_of(&pair.here, 1000), 0);
	drop_pair(&pair);
}

TEST(ports_flows_made_before_start_are_made_when_it_starts)
{
	struct flows_pair pair;

	make_pair(&pair);
	add_udp(&pair.there, 1000, 1);
	CHECK_EQ(ports_start(&pair.there), 0);
	CHECK_EQ(queue_of(&pair.there, 1000), 1);
	drop_pair(&pair);
}

/* The destination has a port of fewer queues, or one that knows no rules at all. */
TEST(ports_flows_that_a_port_cannot_have_are_refused)
{
	struct ports none = { .n = 0 };
	struct flows_pair pair;
	struct rte_flow_error error;
	struct udp_rule r;
	unsigned int id;

	make_pair(&pair);
	make_udp_rule(&r, 1000, 2);
	CHECK_EQ(port_create_flow(&pair.here.port[0], &ingress, r.pattern, r.actions, &id, &error),
		-EOPNOTSUPP);
	CHECK(strstr(error.message, "no such queue") != NULL);
	r.actions[0].type = RTE_FLOW_ACTION_TYPE_RSS;
	CHECK_EQ(port_create_flow(&pair.here.port[0], &ingress, r.pattern, r.actions, &id, &error),
		-EOPNOTSUPP);
	CHECK(strstr(error.message, "does not move") != NULL);
	CHECK_EQ(ports_add(&none, eal_port("net_null_c", "", 2, eal_mempool())), 0);
	save(&pair);
	CHECK_EQ(flows_check(&none, pair.section, pair.len, &refusal), 0);
	add_udp(&pair.here, 1000, 1);
	save(&pair);
	CHECK_EQ(flows_check(&none, pair.section, pair.len, &refusal), -EOPNOTSUPP);
	CHECK_EQ(flows_check(&pair.there, pair.section, pair.len - 1, &refusal), -EPROTO);
	CHECK_EQ(flows_check(&pair.there, pair.section, pair.len, &refusal), 0);
	CHECK_EQ(ports_start(&pair.there), 0);
	CHECK_EQ(queue_of(&pair.there, 1000), 0); /* looking changes nothing */
	ports_fini(&none);
	eal_port_close("net_null_c");
	drop_pair(&pair);
}

TEST(ports_flows_have_numbers_up_to_63)
{
	struct rte_flow_error error;
	struct flows_pair pair;
	struct udp_rule r;
	unsigned int id;
	int rc = 0;

	make_pair(&pair); /* which has room for 16 */
	make_udp_rule(&r, 1000, 1);
	for (unsigned int i = 0; rc == 0 && i < 100; i++)
		rc = port_create_flow(
			&pair.here.port[0], &ingress, r.pattern, r.actions, &id, &error);
	CHECK_EQ(rc, -ENOSPC);
	CHECK(strstr(error.message, "16 rules") != NULL);
	rc = 0; /* one that is not started has no say yet */
	for (unsigned int i = 0; rc == 0 && i < 100; i++)
		rc = port_create_flow(
			&pair.there.port[0], &ingress, r.pattern, r.actions, &id, NULL);
	CHECK_EQ(rc, -ENOSPC);
	CHECK_EQ(id, 63);
	drop_pair(&pair);
}
