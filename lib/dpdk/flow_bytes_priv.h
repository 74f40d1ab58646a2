/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FLOW_BYTES_PRIV_H
#define FLOW_BYTES_PRIV_H

/*
 * A rule of rte_flow as bytes that another process understands, and back. Of what rte_flow
 * can say the part moves that means the same everywhere: headers as they are in frames
 * (Ethernet, VLAN, IPv4, IPv6, UDP, TCP, SCTP, ICMP), and actions with a number at most.
 * What points to other objects, to memory or to a device does not.
 *
 * Little-endian: group 4, priority 4, flags 1 (ingress 1, egress 2, transfer 4); number of
 * items 1, and for each its kind 1, its parts 1 (spec 1, last 2, mask 4), and each part
 * as the header it is; number of actions 1, and for each its kind 1, whether it has a
 * number 1, and that 4. Kinds are rows of the tables in flow_bytes.c: new ones go to the end.
 */

#include <stddef.h>
#include <stdint.h>

#include <rte_flow.h>

#define FLOW_BYTES_MAX 512u
#define FLOW_ITEMS_MAX 8u
#define FLOW_ACTIONS_MAX 8u

/* Room for the longest of the items, and of the actions' confs. */
union flow_item {
	struct rte_flow_item_eth eth;
	struct rte_flow_item_vlan vlan;
	struct rte_flow_item_ipv4 ipv4;
	struct rte_flow_item_ipv6 ipv6;
	struct rte_flow_item_udp udp;
	struct rte_flow_item_tcp tcp;
	struct rte_flow_item_sctp sctp;
	struct rte_flow_item_icmp icmp;
};
union flow_conf {
	uint32_t number;
	struct rte_flow_action_queue queue;
	struct rte_flow_action_mark mark;
	struct rte_flow_action_jump jump;
	struct rte_flow_action_count count;
};

/* As rte_flow_create() takes it; it points into itself. */
struct flow_rule {
	struct rte_flow_attr attr;
	struct rte_flow_item pattern[FLOW_ITEMS_MAX + 1];
	struct rte_flow_action actions[FLOW_ACTIONS_MAX + 1];
	union flow_item parts[FLOW_ITEMS_MAX][3];
	union flow_conf confs[FLOW_ACTIONS_MAX];
};

/* How many bytes; -EOPNOTSUPP: it cannot move, *ret_why says what of it; -ENOSPC. */
int flow_encode(const struct rte_flow_attr *attr, const struct rte_flow_item *pattern,
	const struct rte_flow_action *actions, uint8_t *buf, size_t cap, const char **ret_why);
/* -EPROTO: these bytes are none. */
int flow_decode(const uint8_t *buf, size_t len, struct flow_rule *ret_rule);

#endif /* FLOW_BYTES_PRIV_H */
