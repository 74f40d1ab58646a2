/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "base_priv.h"
#include "rx_hook_priv.h"
#include "throttle_priv.h"

#define LOG_PREFIX "dpdk/throttle"
#define QUEUES_MAX 64u /* of all ports; others are not throttled */

struct throttled {
	struct rx_hook hook;  /* first */
	unsigned int percent; /* atomic; 0 also when nobody is there any more */
	unsigned int debt;    /* hundredths of a frame to drop; the polling core's */
	uint64_t dropped;     /* atomic; it alone writes */
};

struct throttle {
	const struct ports *ports;
	bool attached;
	unsigned int n;
	struct throttled *queues[QUEUES_MAX];
};

struct throttle *
throttle_create(const struct ports *ports)
{
	struct throttle *t = wherry_fault("throttle.alloc") ? NULL : calloc(1, sizeof(*t));

	if (t != NULL)
		t->ports = ports;
	return t;
}

void
throttle_destroy(struct throttle *t)
{
	if (t == NULL)
		return;
	throttle_set(t, 0);
	for (unsigned int i = 0; i < t->n; i++)
		rx_hook_drop(&t->queues[i]->hook, false);
	free(t);
}

/* Evenly: of 100 frames in a row so many go. */
static uint16_t
drop_some(
	uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, uint16_t max, void *arg)
{
	struct throttled *q = arg;
	unsigned int percent = __atomic_load_n(&q->percent, __ATOMIC_RELAXED);
	uint16_t kept = 0;

	(void)port;
	(void)queue;
	(void)max;
	if (percent == 0)
		return n;
	for (uint16_t i = 0; i < n; i++) {
		q->debt += percent;
		if (q->debt < 100) {
			pkts[kept++] = pkts[i];
			continue;
		}
		q->debt -= 100;
		rte_pktmbuf_free(pkts[i]);
	}
	__atomic_store_n(&q->dropped, q->dropped + (uint64_t)(n - kept), __ATOMIC_RELAXED);
	return kept;
}

static void
attach_queue(struct throttle *t, uint16_t port, uint16_t id)
{
	struct throttled *q = calloc(1, sizeof(*q));

	if (q != NULL)
		q->hook = (struct rx_hook){ .port = port, .queue = id };
	if (q != NULL && rx_hook_add(&q->hook, drop_some)) {
		t->queues[t->n++] = q;
		return;
	}
	LOG_WARN("port %u: queue %u cannot be throttled", port, id);
	free(q);
}

static void
attach(struct throttle *t)
{
	for (unsigned int i = 0; i < t->ports->n; i++) {
		const struct port *p = &t->ports->port[i];
		struct rte_eth_dev_info info;
		unsigned int n = p->at == PORT_RUNNING && rte_eth_dev_info_get(p->id, &info) == 0
			? info.nb_rx_queues
			: 0;

		for (unsigned int id = 0; id < n && t->n < QUEUES_MAX; id++)
			attach_queue(t, p->id, (uint16_t)id);
	}
	t->attached = true;
}

void
throttle_set(struct throttle *t, unsigned int percent)
{
	if (!t->attached && percent != 0)
		attach(t);
	for (unsigned int i = 0; i < t->n; i++)
		__atomic_store_n(&t->queues[i]->percent, percent, __ATOMIC_RELAXED);
}

uint64_t
throttle_dropped(const struct throttle *t)
{
	uint64_t dropped = 0;

	for (unsigned int i = 0; i < t->n; i++)
		dropped += __atomic_load_n(&t->queues[i]->dropped, __ATOMIC_RELAXED);
	return dropped;
}
