/* SPDX-License-Identifier: BSD-3-Clause */
/* Callbacks that park the cores of an application that does not know it; see adopt_priv.h. */
#include <errno.h>
#include <stdlib.h>

#include <rte_cycles.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "adopt_priv.h"
#include "base_priv.h"

#define LOG_PREFIX "dpdk/adopt"
#define OTHERS_US 200000u /* who has not polled for so long does not poll */

static void
note_core(struct adopt *a)
{
	unsigned int lcore = rte_lcore_id();
	bool *seen = lcore < RTE_MAX_LCORE ? &a->polls[lcore] : &a->strangers;

	if (!__atomic_load_n(seen, __ATOMIC_RELAXED))
		__atomic_store_n(seen, true, __ATOMIC_RELAXED);
}

/* Something is asked: drop the burst and wait, or only say that a burst was handled. */
static uint16_t
heed(struct adopt *a, struct rte_mbuf **pkts, uint16_t n, bool discard)
{
	bool asked = (__atomic_load_n(&a->park->word, __ATOMIC_RELAXED) & PARK_ASKED) != 0;

	if (discard || asked) {
		rte_pktmbuf_free_bulk(pkts, n);
		n = 0;
	}
	if (!discard)
		(void)park_poll(a->park); /* false: nobody is asked to come back here */
	return n;
}

static uint16_t
on_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, uint16_t max, void *arg)
{
	struct adopt *a = __atomic_load_n(&((struct adopt_queue *)arg)->adopt, __ATOMIC_ACQUIRE);
	bool discard;

	(void)port;
	(void)queue;
	(void)max;
	if (unlikely(a == NULL))
		return n;
	discard = __atomic_load_n(&a->discard, __ATOMIC_ACQUIRE); /* pairs with takeover() */
	note_core(a);
	if (likely(!discard &&
		    (__atomic_load_n(&a->park->word, __ATOMIC_RELAXED) & PARK_FLAGS) == 0))
		return n;
	return heed(a, pkts, n, discard);
}

static int
adopt_queue(struct adopt *a, uint16_t port, uint16_t queue)
{
	struct adopt_queue **more, *q;

	more = wherry_fault("adopt.queues") ? NULL
					    : reallocarray(a->queues, a->n + 1, sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	a->queues = more;
	q = wherry_fault("adopt.queue") ? NULL : calloc(1, sizeof(*q));
	if (q == NULL)
		return -ENOMEM;
	q->hook = (struct rx_hook){ .port = port, .queue = queue };
	q->adopt = a;
	if (wherry_fault("adopt.callback") || !rx_hook_add(&q->hook, on_burst)) {
		free(q);
		return -ENOMEM;
	}
	a->queues[a->n++] = q;
	return 0;
}

/* A closed port's may be left behind, see rx_hook_priv.h: it does nothing any more. */
static void
drop_queues(struct adopt *a, unsigned int n, bool is_polled)
{
	while (a->n > n) {
		struct adopt_queue *q = a->queues[--a->n];

		__atomic_store_n(&q->adopt, NULL, __ATOMIC_RELEASE);
		rx_hook_drop(&q->hook, is_polled);
	}
}

int
adopt_port(struct adopt *a, uint16_t port)
{
	unsigned int had = a->n;
	struct rte_eth_dev_info info;
	int rc = rte_eth_dev_info_get(port, &info);

	if (rc != 0)
		return -ENODEV;
	for (uint16_t queue = 0; rc == 0 && queue < info.nb_rx_queues; queue++)
		rc = adopt_queue(a, port, queue);
	if (rc != 0)
		drop_queues(a, had, true);
	return rc;
}

void
adopt_fini(struct adopt *a)
{
	drop_queues(a, 0, false);
	free(a->queues);
	a->queues = NULL;
}

/* EAL knows the state of its workers; of the main lcore and registered threads it does not. */
static bool
has_state(unsigned int lcore)
{
	return lcore != rte_get_main_lcore() && rte_eal_lcore_role(lcore) == ROLE_RTE;
}

/*
 * One of the others may have polled once, as testpmd's main lcore does to empty the queues
 * before it starts: forget it, and see whether it comes again.
 */
static void
forget_others(struct adopt *a)
{
	bool any = false;

	for (unsigned int lcore = 0; lcore < RTE_MAX_LCORE; lcore++) {
		if (!__atomic_load_n(&a->polls[lcore], __ATOMIC_RELAXED) || has_state(lcore))
			continue;
		__atomic_store_n(&a->polls[lcore], false, __ATOMIC_RELAXED);
		any = true;
	}
	if (any)
		rte_delay_us_sleep(OTHERS_US);
}

int
adopt_count(struct adopt *a, unsigned int *ret_pollers)
{
	unsigned int n = 0;

	if (__atomic_load_n(&a->strangers, __ATOMIC_RELAXED)) {
		LOG_ERR("a thread without an lcore id polls a port: cores cannot be parked");
		return -EOPNOTSUPP;
	}
	forget_others(a);
	for (unsigned int lcore = 0; lcore < RTE_MAX_LCORE; lcore++)
		n += __atomic_load_n(&a->polls[lcore], __ATOMIC_RELAXED) &&
			(!has_state(lcore) || rte_eal_get_lcore_state(lcore) == RUNNING);
	*ret_pollers = n;
	return 0;
}
