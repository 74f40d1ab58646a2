/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The section that describes ports to the other process: a 16-bit count, then per
 * port 14 bytes: MAC address 6, MTU 2, receive queues 2, transmit queues 2, flags 1,
 * zero 1. Little-endian. Its bytes come from a peer: every field is checked.
 *
 * What nobody outside can see is applied when it is loaded, before READY, so that a
 * port that refuses ends the migration while the source can go on. The MAC address
 * waits for takeover.
 */
#include <errno.h>
#include <string.h>

#include "ports_priv.h"
#include "why_priv.h"

#define SHAPE_LEN 14u
#define FLAG_PROMISCUOUS 0x1u
#define FLAG_ALLMULTICAST 0x2u
#define FLAG_STARTED 0x4u
#define FLAGS_KNOWN 0x7u

static void
put16(uint8_t *at, uint16_t n)
{
	at[0] = (uint8_t)(n & 0xff);
	at[1] = (uint8_t)(n >> 8);
}

static uint16_t
get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static void
shape_encode(const struct port_shape *s, uint8_t *at)
{
	memcpy(at, &s->mac, sizeof(s->mac));
	put16(at + 6, s->mtu);
	put16(at + 8, s->rx_queues);
	put16(at + 10, s->tx_queues);
	at[12] = (uint8_t)((s->promiscuous ? FLAG_PROMISCUOUS : 0) |
		(s->allmulticast ? FLAG_ALLMULTICAST : 0) | (s->started ? FLAG_STARTED : 0));
	at[13] = 0;
}

static int
shape_decode(const uint8_t *at, struct port_shape *ret_shape)
{
	struct port_shape s = {
		.mtu = get16(at + 6),
		.rx_queues = get16(at + 8),
		.tx_queues = get16(at + 10),
		.promiscuous = (at[12] & FLAG_PROMISCUOUS) != 0,
		.allmulticast = (at[12] & FLAG_ALLMULTICAST) != 0,
		.started = (at[12] & FLAG_STARTED) != 0,
	};

	memcpy(&s.mac, at, sizeof(s.mac));
	if (!rte_is_valid_assigned_ether_addr(&s.mac) || (at[12] & ~FLAGS_KNOWN) != 0 ||
		at[13] != 0)
		return -EPROTO;
	*ret_shape = s;
	return 0;
}

int
ports_save(void *ctx, void *buf, size_t cap)
{
	const struct ports *ports = ctx;
	size_t len = 2 + ports->n * SHAPE_LEN;
	uint8_t *at = buf;

	if (cap < len)
		return -ENOSPC;
	put16(at, (uint16_t)ports->n);
	for (unsigned int i = 0; i < ports->n; i++) {
		struct port_shape shape;
		int rc = port_shape_get(&ports->port[i], &shape);

		if (rc != 0)
			return rc;
		shape_encode(&shape, at + 2 + (size_t)i * SHAPE_LEN);
	}
	return (int)len;
}

/* Can the port have a MAC address that is not its own? Tried with its own, before the blackout. */
static bool
takes_mac(struct port *p, const struct port_shape *now, const struct port_shape *wanted)
{
	struct rte_ether_addr same = now->mac;

	if (rte_is_same_ether_addr(&now->mac, &wanted->mac))
		return true;
	p->takes_macs = p->takes_macs || rte_eth_dev_default_mac_addr_set(p->id, &same) == 0;
	return p->takes_macs;
}

/* Can the port become what is wanted? -EOPNOTSUPP: no. */
static int
fits(struct port *p, const struct port_shape *wanted, struct wherry_why *ret_why)
{
	struct rte_eth_dev_info info;
	struct port_shape now;

	if (port_shape_get(p, &now) != 0 || rte_eth_dev_info_get(p->id, &info) != 0)
		return refuse(ret_why, -EOPNOTSUPP, "port %u is gone at the destination", p->id);
	if (now.rx_queues != wanted->rx_queues || now.tx_queues != wanted->tx_queues)
		return refuse(ret_why, -EOPNOTSUPP,
			"port %u has %u receive and %u transmit queues at the source, %u and %u at the destination: configure both alike",
			p->id, wanted->rx_queues, wanted->tx_queues, now.rx_queues, now.tx_queues);
	if (now.mtu != wanted->mtu && (wanted->mtu < info.min_mtu || wanted->mtu > info.max_mtu))
		return refuse(ret_why, -EOPNOTSUPP,
			"port %u has MTU %u at the source, and can have %u to %u at the destination: set one that both can have",
			p->id, wanted->mtu, info.min_mtu, info.max_mtu);
	if (!takes_mac(p, &now, wanted))
		return refuse(ret_why, -EOPNOTSUPP,
			"port %u has MAC address " RTE_ETHER_ADDR_PRT_FMT
			" at the source, and stays with " RTE_ETHER_ADDR_PRT_FMT
			" at the destination: take a device there that can change it",
			p->id, RTE_ETHER_ADDR_BYTES(&wanted->mac), RTE_ETHER_ADDR_BYTES(&now.mac));
	return 0;
}

static int
decode_all(struct ports *ports, const uint8_t *at, size_t len, struct port_shape *shapes,
	struct wherry_why *ret_why)
{
	if (len < 2 || len != 2 + get16(at) * (size_t)SHAPE_LEN)
		return -EPROTO;
	if (get16(at) != ports->n)
		return refuse(ret_why, -EOPNOTSUPP,
			"%u ports at the source, %u at the destination: give both the same",
			get16(at), ports->n);
	for (unsigned int i = 0; i < ports->n; i++) {
		int rc = shape_decode(at + 2 + (size_t)i * SHAPE_LEN, &shapes[i]);

		if (rc == 0)
			rc = fits(&ports->port[i], &shapes[i], ret_why);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int
ports_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	struct port_shape shapes[RTE_MAX_ETHPORTS];

	return decode_all(ctx, buf, len, shapes, ret_why);
}

int
ports_load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	struct port_shape shapes[RTE_MAX_ETHPORTS];
	struct ports *ports = ctx;
	int rc = decode_all(ports, buf, len, shapes, ret_why);

	for (unsigned int i = 0; i < ports->n && rc == 0; i++) {
		ports->port[i].wanted = shapes[i];
		rc = port_prepare(&ports->port[i]);
	}
	return rc;
}
