/* SPDX-License-Identifier: BSD-3-Clause */
/* The descriptor log: made, given ports and watches, taken away. The idea is in rxlog_priv.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mempool.h>

#include "rxlog_priv.h"

#define LOG_PREFIX "dpdk/rxlog"

int
wherry_rxlog_create(enum wherry_rxlog_role role, struct wherry_rxlog **ret_log)
{
	struct wherry_rxlog *log = wherry_fault("rxlog.alloc") ? NULL : calloc(1, sizeof(*log));

	if (log == NULL)
		return -ENOMEM;
	log->role = role;
	log->table = wherry_fault("rxlog.empty") ? NULL : calloc(1, sizeof(*log->table));
	if (log->table == NULL) {
		free(log);
		return -ENOMEM;
	}
	wherry_mutex_init(&log->lock);
	*ret_log = log;
	return 0;
}

/* A closed port's may be left behind, see rx_hook_priv.h: it notes nothing any more. */
static void
queue_drop(struct rxlog_queue *q, bool is_polled)
{
	__atomic_store_n(&q->log, NULL, __ATOMIC_RELEASE);
	rx_hook_drop(&q->hook, is_polled);
}

/* The last queues, down to the first n. */
static void
drop_queues_locked(struct wherry_rxlog *log, unsigned int n, bool is_polled)
	WHERRY_REQUIRES(&log->lock)
{
	while (log->n_queues > n)
		queue_drop(log->queues[--log->n_queues], is_polled);
}

void
wherry_rxlog_destroy(struct wherry_rxlog *log)
{
	if (log == NULL)
		return;
	wherry_mutex_lock(&log->lock);
	drop_queues_locked(log, 0, false);
	wherry_mutex_unlock(&log->lock);
	free(log->queues);
	rxlog_fields_free(log);
	wherry_mutex_fini(&log->lock);
	free(log);
}

/* Twice the ring: a PMD may take a burst out of it and keep a part back. */
static uint32_t
completions_in(uint16_t port, uint16_t queue, const struct rte_eth_dev_info *info)
{
	struct rte_eth_rxq_info rxq;

	if (rte_eth_rx_queue_info_get(port, queue, &rxq) == 0 && rxq.nb_desc != 0)
		return 2u * rxq.nb_desc;
	return 2u * info->rx_desc_lim.nb_max;
}

static int
add_queue_locked(struct wherry_rxlog *log, uint16_t port, uint16_t queue,
	const struct rte_eth_dev_info *info) WHERRY_REQUIRES(&log->lock)
{
	struct rxlog_queue *q = NULL, **more;

	more = wherry_fault("rxlog.queues")
		? NULL
		: reallocarray(log->queues, log->n_queues + 1, sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	log->queues = more;
	if (wherry_fault("rxlog.queue") || posix_memalign((void **)&q, 64, sizeof(*q)) != 0)
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	q->hook = (struct rx_hook){ .port = port, .queue = queue, .is_first = true };
	q->log = log;
	q->size = completions_in(port, queue, info);
	q->from = log->role == WHERRY_RXLOG_CHECK ? q->size : 0;
	if (wherry_fault("rxlog.callback") || !rx_hook_add(&q->hook, rxlog_burst)) {
		free(q);
		return -ENOMEM;
	}
	log->queues[log->n_queues++] = q;
	return 0;
}

static int
add_port_locked(struct wherry_rxlog *log, uint16_t port) WHERRY_REQUIRES(&log->lock)
{
	unsigned int had = log->n_queues;
	struct rte_eth_dev_info info;
	int rc;

	if (rte_eth_dev_info_get(port, &info) != 0)
		return -ENODEV;
	for (unsigned int i = 0; i < had; i++)
		if (log->queues[i]->hook.port == port)
			return -EEXIST;
	for (uint16_t queue = 0; queue < info.nb_rx_queues; queue++) {
		rc = add_queue_locked(log, port, queue, &info);
		if (rc != 0) {
			drop_queues_locked(log, had, true);
			return rc;
		}
	}
	return 0;
}

int
wherry_rxlog_add_port(struct wherry_rxlog *log, uint16_t port)
{
	int rc;

	wherry_mutex_lock(&log->lock);
	rc = add_port_locked(log, port);
	wherry_mutex_unlock(&log->lock);
	return rc;
}

int
wherry_rxlog_add_watch(struct wherry_rxlog *log, struct wherry_watch *w)
{
	struct wherry_write_log ops = rxlog_ops;

	ops.ctx = log;
	return wherry_watch_add_log(w, &ops);
}

/* Inward to whole pages: a page that holds something else, too, stays. */
static void
unmark_chunk(struct rte_mempool *mp, void *opaque, struct rte_mempool_memhdr *chunk, unsigned int i)
{
	uint64_t from = round_up((uintptr_t)chunk->addr, RXLOG_PAGE);
	uint64_t to = round_down((uintptr_t)chunk->addr + chunk->len, RXLOG_PAGE);

	(void)mp;
	(void)i;
	if (to > from)
		wherry_bitmap_unmark(
			opaque, (struct wherry_span){ .iova = from, .len = to - from });
}

/* The chunks of a pool with external buffers hold mbufs alone, which no device writes. */
static void
unmark_pools_locked(struct wherry_rxlog *log, struct wherry_bitmap *other)
	WHERRY_REQUIRES(&log->lock)
{
	struct rte_eth_rxq_info rxq;

	for (unsigned int i = 0; i < log->n_queues; i++) {
		const struct rxlog_queue *q = log->queues[i];

		if (rte_eth_rx_queue_info_get(q->hook.port, q->hook.queue, &rxq) == 0 &&
			rxq.mp != NULL)
			(void)rte_mempool_mem_iter(rxq.mp, unmark_chunk, other);
	}
}

int
wherry_rxlog_add_rest(struct wherry_rxlog *log, struct wherry_watch *w)
{
	struct wherry_span span = wherry_watch_span(w), run;
	uint64_t at = span.iova;
	struct wherry_bitmap *other;
	int rc = wherry_bitmap_create(span, RXLOG_PAGE, &other);

	if (rc != 0)
		return rc;
	wherry_bitmap_mark(other, span);
	wherry_mutex_lock(&log->lock);
	unmark_pools_locked(log, other);
	wherry_mutex_unlock(&log->lock);
	while (rc == 0 && wherry_bitmap_next_run(other, &at, &run))
		rc = wherry_watch_always(w, run);
	wherry_bitmap_destroy(other);
	return rc;
}

void
wherry_rxlog_get_stats(struct wherry_rxlog *log, struct wherry_rxlog_stats *ret_stats)
{
	wherry_mutex_lock(&log->lock);
	*ret_stats = log->stats;
	for (unsigned int i = 0; i < log->n_queues; i++)
		ret_stats->descriptors += __atomic_load_n(&log->queues[i]->seen, __ATOMIC_RELAXED);
	wherry_mutex_unlock(&log->lock);
}
