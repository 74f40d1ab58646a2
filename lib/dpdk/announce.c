/* SPDX-License-Identifier: BSD-3-Clause */
#include <limits.h>
#include <string.h>

#include "wherry_announce.h"

#define ETH 14u
#define ARP_LEN 60u /* padded to the shortest frame */
#define ND_LEN 86u  /* Ethernet, IPv6, advertisement, one option */
#define ND_BODY 32u /* of it ICMPv6 */

static bool
is_none(const uint8_t *address, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (address[i] != 0)
			return false;
	return true;
}

static void
put_ethernet(uint8_t *f, const uint8_t *to, const uint8_t *from, unsigned int type)
{
	memcpy(f, to, 6);
	memcpy(f + 6, from, 6);
	f[12] = (uint8_t)(type >> 8);
	f[13] = (uint8_t)type;
}

/* ARP and RARP have one form; RARP speaks of our own MAC address, ARP of our own IP address. */
static size_t
put_arp(uint8_t *f, const struct wherry_announce *who, bool is_rarp)
{
	static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t ethernet_ip4[6] = { 0, 1, 8, 0, 6, 4 };
	uint8_t *p = f + ETH;

	memset(f, 0, ARP_LEN);
	put_ethernet(f, everybody, who->mac, is_rarp ? 0x8035 : 0x0806);
	memcpy(p, ethernet_ip4, sizeof(ethernet_ip4));
	p[7] = is_rarp ? 3 : 1; /* request reverse; request */
	memcpy(p + 8, who->mac, 6);
	if (is_rarp) {
		memcpy(p + 18, who->mac, 6);
	} else {
		memcpy(p + 14, who->ip4, 4);
		memcpy(p + 24, who->ip4, 4);
	}
	return ARP_LEN;
}

static unsigned int
sum(const uint8_t *bytes, size_t len)
{
	unsigned int s = 0;

	for (size_t i = 0; i < len; i += 2)
		s += (unsigned int)bytes[i] << 8 | bytes[i + 1];
	return s;
}

/* Over both addresses, length and protocol, and the body, whose checksum is 0 so far. */
static void
put_checksum(const uint8_t *ip, uint8_t *icmp)
{
	unsigned int s = sum(ip + 8, 32) + ND_BODY + 58 + sum(icmp, ND_BODY);

	s = (s & 0xffff) + (s >> 16);
	s = ~((s & 0xffff) + (s >> 16));
	icmp[2] = (uint8_t)(s >> 8);
	icmp[3] = (uint8_t)s;
}

static size_t
put_nd(uint8_t *f, const struct wherry_announce *who)
{
	static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	uint8_t *ip = f + ETH, *icmp = ip + 40;

	memset(f, 0, ND_LEN);
	put_ethernet(f, all_nodes_mac, who->mac, 0x86dd);
	ip[0] = 0x60;
	ip[5] = ND_BODY;
	ip[6] = 58;  /* ICMPv6 */
	ip[7] = 255; /* nobody has forwarded it */
	memcpy(ip + 8, who->ip6, 16);
	ip[24] = 0xff; /* ff02::1 */
	ip[25] = 0x02;
	ip[39] = 1;
	icmp[0] = 136;  /* advertisement */
	icmp[4] = 0x20; /* override what you know */
	memcpy(icmp + 8, who->ip6, 16);
	icmp[24] = 2; /* target's link-layer address */
	icmp[25] = 1; /* 8 bytes */
	memcpy(icmp + 26, who->mac, 6);
	put_checksum(ip, icmp);
	return ND_LEN;
}

size_t
wherry_announce_frame(const struct wherry_announce *who, enum wherry_announce_kind kind,
	uint8_t frame[WHERRY_ANNOUNCE_LEN])
{
	switch (kind) {
	case WHERRY_ANNOUNCE_RARP:
		return put_arp(frame, who, true);
	case WHERRY_ANNOUNCE_ARP:
		return is_none(who->ip4, sizeof(who->ip4)) ? 0 : put_arp(frame, who, false);
	case WHERRY_ANNOUNCE_ND:
		return is_none(who->ip6, sizeof(who->ip6)) ? 0 : put_nd(frame, who);
	default:
		return 0;
	}
}

int
wherry_announce_delay(const struct wherry_announce_params *params, unsigned int said)
{
	static const struct wherry_announce_params as_qemu = { 50, 550, 5, 100 };
	bool none = params->initial_ms == 0 && params->max_ms == 0 && params->rounds == 0 &&
		params->step_ms == 0;
	const struct wherry_announce_params *p = none ? &as_qemu : params;
	uint64_t ms, max = p->max_ms < INT_MAX ? p->max_ms : INT_MAX;

	if (said >= p->rounds)
		return -1;
	if (said == 0)
		return 0;
	ms = p->initial_ms + (uint64_t)(said - 1) * p->step_ms;
	return (int)(ms < max ? ms : max);
}
