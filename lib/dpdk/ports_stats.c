/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The section that carries what ports have counted: a 16-bit count, then per port eight
 * 64-bit numbers, little-endian, in the order of `numbers` below. No PMD lets counters be
 * set, so what earlier processes counted is kept beside and added whenever it is shown.
 */
#include <errno.h>
#include <string.h>

#include "ports_priv.h"
#include "why_priv.h"

#define NUMBERS 8u

static void
numbers(const struct rte_eth_stats *s, uint64_t n[NUMBERS])
{
	const uint64_t all[NUMBERS] = { s->ipackets, s->opackets, s->ibytes, s->obytes, s->imissed,
		s->ierrors, s->oerrors, s->rx_nombuf };

	memcpy(n, all, sizeof(all));
}

static void
add(struct rte_eth_stats *to, const uint64_t n[NUMBERS])
{
	uint64_t *const all[NUMBERS] = { &to->ipackets, &to->opackets, &to->ibytes, &to->obytes,
		&to->imissed, &to->ierrors, &to->oerrors, &to->rx_nombuf };

	for (unsigned int i = 0; i < NUMBERS; i++)
		*all[i] += n[i];
}

int
port_total(const struct port *p, struct rte_eth_stats *ret_stats)
{
	struct rte_eth_stats now = p->last;
	uint64_t before[NUMBERS];
	int rc = p->at == PORT_STOPPED ? 0 : rte_eth_stats_get(p->id, &now);

	if (rc != 0)
		return rc;
	numbers(&p->before, before);
	add(&now, before);
	*ret_stats = now;
	return 0;
}

static void
put64(uint8_t *at, uint64_t n)
{
	for (unsigned int i = 0; i < 8; i++)
		at[i] = (uint8_t)(n >> (8 * i));
}

static uint64_t
get64(const uint8_t *at)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < 8; i++)
		n |= (uint64_t)at[i] << (8 * i);
	return n;
}

int
ports_stats_save(void *ctx, void *buf, size_t cap)
{
	const struct ports *ports = ctx;
	size_t len = 2 + ports->n * NUMBERS * 8u;
	uint8_t *at = buf;

	if (cap < len)
		return -ENOSPC;
	at[0] = (uint8_t)(ports->n & 0xff);
	at[1] = (uint8_t)(ports->n >> 8);
	at += 2;
	for (unsigned int i = 0; i < ports->n; i++) {
		struct rte_eth_stats total;
		uint64_t n[NUMBERS];
		int rc = port_total(&ports->port[i], &total);

		if (rc != 0)
			return rc;
		numbers(&total, n);
		for (unsigned int k = 0; k < NUMBERS; k++, at += 8)
			put64(at, n[k]);
	}
	return (int)len;
}

int
ports_stats_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	const struct ports *ports = ctx;
	const uint8_t *at = buf;

	if (len != 2 + ports->n * NUMBERS * 8u || at[0] + (at[1] << 8) != (int)ports->n)
		return refuse(ret_why, -EPROTO,
			"%zu bytes came, which are not the statistics of %u ports", len, ports->n);
	return 0;
}

int
ports_stats_load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	struct ports *ports = ctx;
	const uint8_t *at = (const uint8_t *)buf + 2;
	int rc = ports_stats_check(ctx, buf, len, ret_why);

	for (unsigned int i = 0; rc == 0 && i < ports->n; i++) {
		uint64_t n[NUMBERS];

		for (unsigned int k = 0; k < NUMBERS; k++, at += 8)
			n[k] = get64(at);
		memset(&ports->port[i].before, 0, sizeof(ports->port[i].before));
		add(&ports->port[i].before, n);
	}
	return rc;
}
