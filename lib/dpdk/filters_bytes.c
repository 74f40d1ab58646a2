/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a port sorts frames by, as bytes, little-endian: five times a 16-bit length in bytes and
 * so many of them: RSS types (8) and key, table (2 for each entry), multicast addresses (6 each),
 * what is done with VLAN tags (2: the mask of rte_eth_dev_get_vlan_offload()), VLANs (2 each).
 * They come from a peer: every length is checked.
 */
#include <errno.h>

#include "filters_priv.h"

/* The length of a part: a multiple of each, at most max times. How many. */
static uint16_t
get_count(struct bytes *b, uint16_t each, uint16_t max)
{
	uint16_t len = bytes_get16(b);

	if (len % each != 0 || len / each > max)
		b->bad = true;
	if (b->bad)
		return 0;
	return (uint16_t)(len / each);
}

static void
encode_rss(const struct port_rss *r, struct bytes *b)
{
	bytes_put16(b, r->key_len != 0 ? (uint16_t)(8 + r->key_len) : 0);
	for (unsigned int i = 0; r->key_len != 0 && i < 4; i++)
		bytes_put16(b, (uint16_t)(r->types >> 16 * i & 0xffff));
	bytes_put(b, r->key, r->key_len);
	bytes_put16(b, (uint16_t)(r->n_reta * 2));
	for (unsigned int i = 0; i < r->n_reta; i++)
		bytes_put16(b, r->reta[i]);
}

void
filters_encode(const struct filters *f, struct bytes *b)
{
	encode_rss(&f->rss, b);
	bytes_put16(b, (uint16_t)(f->n_mcasts * RTE_ETHER_ADDR_LEN));
	bytes_put(b, f->mcasts, f->n_mcasts * sizeof(f->mcasts[0]));
	bytes_put16(b, 2);
	bytes_put16(b, f->vlan_offload);
	bytes_put16(b, (uint16_t)(f->n_vlans * 2));
	for (unsigned int id = 0; id < PORT_VLANS; id++)
		if (filters_has_vlan(f->vlans, id))
			bytes_put16(b, (uint16_t)id);
}

static void
decode_rss(struct bytes *b, struct port_rss *r)
{
	uint16_t len = get_count(b, 1, 8 + PORT_RSS_KEY_MAX);

	if (len != 0 && len <= 8)
		b->bad = true;
	if (len != 0 && !b->bad) {
		for (unsigned int i = 0; i < 4; i++)
			r->types |= (uint64_t)bytes_get16(b) << 16 * i;
		r->key_len = (uint16_t)(len - 8);
		bytes_get(b, r->key, r->key_len);
	}
	r->n_reta = get_count(b, 2, PORT_RETA_MAX);
	for (unsigned int i = 0; i < r->n_reta; i++)
		r->reta[i] = bytes_get16(b);
}

static void
decode_mcasts(struct bytes *b, struct filters *f)
{
	f->n_mcasts = get_count(b, RTE_ETHER_ADDR_LEN, PORT_MCASTS_MAX);
	bytes_get(b, f->mcasts, f->n_mcasts * sizeof(f->mcasts[0]));
	for (unsigned int i = 0; !b->bad && i < f->n_mcasts; i++)
		if (!rte_is_multicast_ether_addr(&f->mcasts[i]))
			b->bad = true;
}

static void
decode_vlans(struct bytes *b, struct filters *f)
{
	if (get_count(b, 2, 1) != 1)
		b->bad = true;
	f->vlan_offload = bytes_get16(b);
	if ((f->vlan_offload & ~FILTERS_VLAN_OFFLOADS) != 0)
		b->bad = true;
	f->n_vlans = get_count(b, 2, PORT_VLANS);
	for (unsigned int i = 0; i < f->n_vlans; i++) {
		uint16_t id = bytes_get16(b);

		if (id >= PORT_VLANS || filters_has_vlan(f->vlans, id))
			b->bad = true;
		else
			f->vlans[id / 8] = (uint8_t)(f->vlans[id / 8] | 1u << id % 8);
	}
}

int
filters_decode(struct bytes *b, struct filters *f)
{
	memset(f, 0, sizeof(*f));
	decode_rss(b, &f->rss);
	decode_mcasts(b, f);
	decode_vlans(b, f);
	return b->bad ? -EPROTO : 0;
}
