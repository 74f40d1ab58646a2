/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames to pbufs and back. */

#include "netif.h"

#include <errno.h>
#include <string.h>

#include <lwip/etharp.h>
#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/prot/ethernet.h>
#include <lwip/prot/tcp.h>
#include <netif/ethernet.h>
#include <wherry_announce.h>

#include "port.h"
#include "server.h"
#include "state.h"

#define MTU 1500
/* A payload shorter than this is copied: a buffer kept for it would cost more. */
#define KEEP_MIN 256u

/*
 * A payload that lies in a receive buffer. On state->kept while the buffer is out of
 * the pool, on state->idle when lwIP is done with it.
 */
struct rx_pbuf {
	struct pbuf_custom custom; /* first: lwIP's pointer is ours */
	struct state *state;
	const void *buffer; /* an address in the kept buffer; NULL: not kept */
	LIST_ENTRY(rx_pbuf) link;
};

static void
rx_free(struct pbuf *p)
{
	struct rx_pbuf *rx = (struct rx_pbuf *)(void *)p;
	struct state *state = rx->state;

	if (rx->buffer != NULL) {
		port_release(state->server->port, rx->buffer);
		LIST_REMOVE(rx, link);
		state->n_kept--;
	}
	LIST_INSERT_HEAD(&state->idle, rx, link);
}

/* For a payload at @p data, with one reference. NULL: the arena is full. */
static struct rx_pbuf *
rx_create(struct state *state, const void *data, u16_t len)
{
	struct rx_pbuf *rx = LIST_FIRST(&state->idle);

	if (rx != NULL)
		LIST_REMOVE(rx, link);
	else
		rx = state_alloc(state, sizeof(*rx));
	if (rx == NULL)
		return NULL;
	rx->state = state;
	rx->buffer = NULL;
	rx->custom.custom_free_function = rx_free;
	pbuf_alloced_custom(PBUF_RAW, len, PBUF_REF, &rx->custom, (void *)(uintptr_t)data, len);
	return rx;
}

static void
input(struct state *state, struct pbuf *p)
{
	if (state->netif->input(p, state->netif) != ERR_OK)
		pbuf_free(p);
}

static bool
receive_copied(struct state *state, const void *data, u16_t len)
{
	struct pbuf *p = pbuf_alloc(PBUF_RAW, len, PBUF_RAM);

	if (p != NULL) {
		memcpy(p->payload, data, len);
		input(state, p);
	}
	return false;
}

static bool
receive_split(struct state *state, const void *data, u16_t head_len, u16_t len)
{
	const char *payload = (const char *)data + head_len;
	struct pbuf *head = pbuf_alloc(PBUF_RAW, head_len, PBUF_RAM);
	struct rx_pbuf *rx =
		head == NULL ? NULL : rx_create(state, payload, (u16_t)(len - head_len));

	if (rx == NULL) {
		if (head != NULL)
			pbuf_free(head);
		return false;
	}
	struct pbuf *body = &rx->custom.pbuf;
	memcpy(head->payload, data, head_len);
	pbuf_ref(body);
	pbuf_cat(head, body);
	input(state, head);
	bool held = body->ref > 1;
	if (held) {
		rx->buffer = payload;
		LIST_INSERT_HEAD(&state->kept, rx, link);
		state->n_kept++;
	}
	pbuf_free(body);
	return held;
}

/*
 * Where the headers of an unfragmented TCP segment over IPv4 end, and the segment;
 * false for everything else, malformed frames too: lwIP sees to those.
 */
static bool
find_payload(const void *data, size_t len, u16_t *ret_head_len, u16_t *ret_len)
{
	const uint8_t *f = data;
	size_t ip = SIZEOF_ETH_HDR;

	if (len < ip + IP_HLEN || f[12] != 0x08 || f[13] != 0x00 || (f[ip] >> 4) != 4)
		return false;
	size_t tcp = ip + (f[ip] & 15u) * 4u;
	size_t end = ip + ((size_t)f[ip + 2] << 8 | f[ip + 3]);
	bool fragment = (f[ip + 6] & 0x3f) != 0 || f[ip + 7] != 0;
	if (fragment || f[ip + 9] != IP_PROTO_TCP || end > len || tcp + TCP_HLEN > end)
		return false;
	size_t payload = tcp + (f[tcp + 12] >> 4) * 4u;
	*ret_head_len = (u16_t)payload;
	*ret_len = (u16_t)end;
	return payload >= tcp + TCP_HLEN && payload < end;
}

bool
netif_receive(void *ctx, const void *data, size_t len)
{
	struct state *state = ctx;
	u16_t head_len, end;

	if (len > UINT16_MAX)
		return false;
	if (state->n_kept >= state->max_kept || !find_payload(data, len, &head_len, &end) ||
		(size_t)end - head_len < KEEP_MIN)
		return receive_copied(state, data, (u16_t)len);
	return receive_split(state, data, head_len, end);
}

static err_t
link_output(struct netif *netif, struct pbuf *p)
{
	struct state *state = netif->state;
	void *room = port_send(state->server->port, p->tot_len);

	if (room == NULL)
		return ERR_MEM;
	pbuf_copy_partial(p, room, p->tot_len, 0);
	return ERR_OK;
}

static err_t
no_ip6(struct netif *netif, struct pbuf *p, const ip6_addr_t *to)
{
	(void)netif;
	(void)p;
	(void)to;
	return ERR_RTE;
}

static void
set_functions(struct netif *netif)
{
	netif->input = ethernet_input;
	netif->output = etharp_output;
	netif->linkoutput = link_output;
	netif->output_ip6 = no_ip6;
}

static err_t
init(struct netif *netif)
{
	netif->name[0] = 'w';
	netif->name[1] = 'h';
	netif->mtu = MTU;
	netif->hwaddr_len = ETH_HWADDR_LEN;
	netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
	set_functions(netif);
	return ERR_OK;
}

int
netif_create(struct state *state, const struct options *opts, const uint8_t mac[6])
{
	struct netif *netif = state_alloc(state, sizeof(*netif));
	const ip4_addr_t ip = { opts->ip }, mask = { opts->netmask }, gw = { opts->gw };

	if (netif == NULL)
		return -ENOMEM;
	memcpy(netif->hwaddr, mac, ETH_HWADDR_LEN);
	if (netif_add(netif, &ip, &mask, &gw, state, init, ethernet_input) == NULL) {
		state_free(state, netif);
		return -ENOMEM;
	}
	netif_set_default(netif);
	netif_set_link_up(netif);
	netif_set_up(netif);
	state->netif = netif;
	return 0;
}

void
netif_rebind(struct state *state)
{
	struct rx_pbuf *rx;

	set_functions(state->netif);
	LIST_FOREACH(rx, &state->kept, link)
		rx->custom.custom_free_function = rx_free;
}

void
netif_announce(struct state *state)
{
	struct wherry_announce who = { .ip4 = { 0 } };
	uint8_t frame[WHERRY_ANNOUNCE_LEN];

	memcpy(who.mac, state->netif->hwaddr, sizeof(who.mac));
	memcpy(who.ip4, netif_ip4_addr(state->netif), sizeof(who.ip4));
	for (unsigned int i = 0; i < WHERRY_ANNOUNCE_KINDS; i++) {
		size_t len = wherry_announce_frame(&who, (enum wherry_announce_kind)i, frame);
		void *room = len != 0 ? port_send(state->server->port, len) : NULL;

		if (room != NULL)
			memcpy(room, frame, len);
	}
}
