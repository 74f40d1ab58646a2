/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "base_priv.h"
#include "late_frames_priv.h"
#include "late_kept_priv.h"

#define LOG_PREFIX "dpdk/late"
#define RING_LEN 1024u /* frames that wait for one queue */
#define QUEUES_MAX 64u /* of all ports; frames for others are dropped */

struct late_queue {
	struct park *park;
	uint16_t port, id;
	struct rte_mempool *pool; /* of its mbufs */
	struct rte_ring *ring;    /* injected, not received yet */
	const struct rte_eth_rxtx_callback *callback;
};

struct late {
	struct park *park;
	struct ports *ports;
	struct rte_mbuf *last;    /* what receive returned */
	struct kept kept;         /* taken out of their buffers */
	bool gave_kept;           /* late_receive returned the first of them */
	unsigned int port, queue; /* where it looks next */
	unsigned int n;
	struct late_queue queues[QUEUES_MAX];
};

struct late *
late_create(struct park *park, struct ports *ports)
{
	struct late *late = wherry_fault("late.alloc") ? NULL : calloc(1, sizeof(*late));

	if (late != NULL) {
		late->park = park;
		late->ports = ports;
		kept_init(&late->kept);
	}
	return late;
}

static void
free_queue(struct late_queue *q)
{
	struct rte_mbuf *m;

	if (q->callback != NULL)
		(void)rte_eth_remove_rx_callback(q->port, q->id, q->callback);
	while (q->ring != NULL && rte_ring_dequeue(q->ring, (void **)&m) == 0)
		rte_pktmbuf_free(m);
	rte_ring_free(q->ring);
}

void
late_destroy(struct late *late)
{
	if (late == NULL)
		return;
	rte_pktmbuf_free(late->last);
	kept_clear(&late->kept);
	for (unsigned int i = 0; i < late->n; i++)
		free_queue(&late->queues[i]);
	free(late);
}

static unsigned int
rx_queues(const struct port *p)
{
	struct rte_eth_dev_info info;

	return p->at == PORT_RUNNING && rte_eth_dev_info_get(p->id, &info) == 0 ? info.nb_rx_queues
										: 0;
}

/* What we sent ourselves, and a switch flooded back, is no news to the destination. */
static bool
is_ours(const struct port *p, const struct rte_mbuf *m)
{
	struct rte_ether_addr mac;

	return m->data_len < RTE_ETHER_HDR_LEN || rte_eth_macaddr_get(p->id, &mac) != 0 ||
		rte_is_same_ether_addr(
			&rte_pktmbuf_mtod(m, const struct rte_ether_hdr *)->src_addr, &mac);
}

/* The next frame of this queue that is worth sending, in late->last. */
static bool
receive_from(struct late *late, const struct port *p, unsigned int queue)
{
	while (rte_eth_rx_burst(p->id, (uint16_t)queue, &late->last, 1) == 1) {
		if (late->last->nb_segs == 1 && !is_ours(p, late->last))
			return true;
		rte_pktmbuf_free(late->last);
		late->last = NULL;
	}
	late->last = NULL;
	return false;
}

/* 1: the next frame that lies in a receive queue, until the next call. */
static int
receive(struct late *late, struct wherry_late_frame *ret_frame)
{
	rte_pktmbuf_free(late->last);
	late->last = NULL;
	for (; late->port < late->ports->n; late->port++, late->queue = 0) {
		const struct port *p = &late->ports->port[late->port];
		unsigned int n = rx_queues(p);

		for (; late->queue < n; late->queue++) {
			if (!receive_from(late, p, late->queue))
				continue;
			*ret_frame = (struct wherry_late_frame){ .port = late->port,
				.queue = late->queue,
				.bytes = rte_pktmbuf_mtod(late->last, const void *),
				.len = late->last->data_len };
			return 1;
		}
	}
	late->port = late->queue = 0;
	return 0;
}

int
late_receive(struct late *late, struct wherry_late_frame *ret_frame)
{
	if (late->gave_kept)
		kept_drop_first(&late->kept);
	late->gave_kept = kept_first(&late->kept, ret_frame);
	return late->gave_kept ? 1 : receive(late, ret_frame);
}

void
late_keep(struct late *late)
{
	struct wherry_late_frame frame;

	while (receive(late, &frame) == 1)
		kept_add(&late->kept, &frame);
}

/* In front of what the wire has brought: these came earlier. */
static uint16_t
give_injected(
	uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, uint16_t max, void *arg)
{
	struct late_queue *q = arg;
	struct rte_mbuf *older[64];
	unsigned int room = max - n, got;

	(void)port;
	(void)queue;
	if (rte_ring_empty(q->ring) != 0 || room == 0)
		return n;
	got = rte_ring_dequeue_burst(q->ring, (void **)older,
		room < RTE_DIM(older) ? room : (unsigned int)RTE_DIM(older), NULL);
	memmove(pkts + got, pkts, n * sizeof(*pkts));
	memcpy(pkts, older, got * sizeof(*pkts));
	if (rte_ring_empty(q->ring) != 0)
		park_nudged(q->park);
	return (uint16_t)(n + got);
}

static int
attach_queue(struct late *late, const struct port *p, uint16_t id)
{
	struct late_queue q = { .park = late->park, .port = p->id, .id = id };
	struct rte_eth_rxq_info info;
	char name[RTE_RING_NAMESIZE];
	int rc = rte_eth_rx_queue_info_get(p->id, id, &info);

	if (rc != 0)
		return rc;
	q.pool = info.mp;
	snprintf(name, sizeof(name), "late_%u_%u", p->id, id);
	q.ring = rte_ring_create(name, RING_LEN, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (q.ring == NULL)
		return -rte_errno;
	late->queues[late->n] = q;
	late->queues[late->n].callback =
		rte_eth_add_first_rx_callback(p->id, id, give_injected, &late->queues[late->n]);
	if (late->queues[late->n].callback == NULL) {
		rte_ring_free(q.ring);
		return -rte_errno;
	}
	late->n++;
	return 0;
}

void
late_attach(struct late *late)
{
	for (unsigned int i = 0; i < late->ports->n; i++) {
		const struct port *p = &late->ports->port[i];
		unsigned int n = rx_queues(p);

		for (unsigned int id = 0; id < n && late->n < QUEUES_MAX; id++) {
			int rc = attach_queue(late, p, (uint16_t)id);

			if (rc != 0)
				LOG_WARN("port %u: late frames of queue %u will be lost: %s", p->id,
					id, rte_strerror(-rc));
		}
	}
}

static struct late_queue *
find_queue(struct late *late, const struct wherry_late_frame *frame)
{
	for (unsigned int i = 0; frame->port < late->ports->n && i < late->n; i++)
		if (late->queues[i].port == late->ports->port[frame->port].id &&
			late->queues[i].id == frame->queue)
			return &late->queues[i];
	return NULL;
}

void
late_inject(struct late *late, const struct wherry_late_frame *frame)
{
	struct late_queue *q = find_queue(late, frame);
	struct rte_mbuf *m = q != NULL ? rte_pktmbuf_alloc(q->pool) : NULL;
	char *to = m != NULL && frame->len <= UINT16_MAX
		? rte_pktmbuf_append(m, (uint16_t)frame->len)
		: NULL;

	if (to == NULL)
		goto drop;
	memcpy(to, frame->bytes, frame->len);
	m->port = q->port;
	if (rte_ring_enqueue(q->ring, m) != 0)
		goto drop;
	park_nudge(late->park);
	return;
drop:
	rte_pktmbuf_free(m);
}

void
late_put_back(struct late *late)
{
	struct wherry_late_frame frame;

	late->gave_kept = false; /* it went to a peer that came to nothing, too */
	if (late->n == 0 && kept_first(&late->kept, &frame))
		late_attach(late);
	for (; kept_first(&late->kept, &frame); kept_drop_first(&late->kept))
		late_inject(late, &frame);
}
