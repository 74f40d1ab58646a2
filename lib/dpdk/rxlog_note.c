/* SPDX-License-Identifier: BSD-3-Clause */
/* The descriptor log in the burst: no lock, no allocation, no system call. */
#include <sched.h>
#include <stdlib.h>

#include <rte_mbuf.h>

#include "rxlog_priv.h"

/* Release: who takes the bit sees what lies in the page; pairs with take_words(). */
static void
set_pages(struct rxlog_field *f, uint64_t first, uint64_t last)
{
	for (uint64_t page = first; page <= last; page++)
		__atomic_fetch_or(
			&f->words[page / 64], UINT64_C(1) << (page % 64), __ATOMIC_RELEASE);
}

/* Memory that no field covers is not watched. A field is whole pages, so its bounds are too. */
static void
note_bytes(const struct rxlog_table *table, uint64_t first, uint64_t last)
{
	unsigned int n = __atomic_load_n(&table->n, __ATOMIC_ACQUIRE);

	for (unsigned int i = 0; i < n; i++) {
		struct rxlog_field *f = __atomic_load_n(&table->field[i], __ATOMIC_RELAXED);
		uint64_t from = f->span.iova, to = wherry_span_last(f->span);

		if (last < from || first > to)
			continue;
		set_pages(f, (RTE_MAX(first, from) - from) / RXLOG_PAGE,
			(RTE_MIN(last, to) - from) / RXLOG_PAGE);
	}
}

/*
 * A source must not miss a byte the NIC wrote: it may have written in the headroom and
 * behind the data, as virtio's header and a checksum of the frame, so all of the buffer
 * counts. A judge must not demand what was not written: only the data does.
 */
static void
note_segment(
	const struct wherry_rxlog *log, const struct rxlog_table *table, const struct rte_mbuf *m)
{
	uint64_t at = (uintptr_t)m->buf_addr, len = m->buf_len;

	if (log->role == WHERRY_RXLOG_CHECK) {
		at += m->data_off;
		len = m->data_len;
	}
	if (len != 0)
		note_bytes(table, at, at + len - 1);
}

static void
note_frame(const struct wherry_rxlog *log, struct rxlog_queue *q, const struct rxlog_table *table,
	const struct rte_mbuf *m)
{
	uint64_t from = __atomic_load_n(&q->from, __ATOMIC_ACQUIRE); /* pairs with begin_lap() */
	uint64_t seen = q->seen;

	for (; m != NULL; m = m->next)
		if (seen++ >= from)
			note_segment(log, table, m);
	__atomic_store_n(&q->seen, seen, __ATOMIC_RELAXED);
}

uint16_t
rxlog_burst(
	uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, uint16_t max, void *arg)
{
	struct rxlog_queue *q = arg;
	struct wherry_rxlog *log = __atomic_load_n(&q->log, __ATOMIC_ACQUIRE);
	const struct rxlog_table *table;

	(void)port;
	(void)queue;
	(void)max;
	if (n == 0 || log == NULL)
		return n;
	__atomic_fetch_add(&q->inside, 1, __ATOMIC_SEQ_CST); /* before the table is loaded */
	table = __atomic_load_n(&log->table, __ATOMIC_SEQ_CST);
	for (uint16_t i = 0; i < n; i++)
		note_frame(log, q, table, pkts[i]);
	__atomic_fetch_add(&q->inside, 1, __ATOMIC_RELEASE); /* pairs with settle() */
	return n;
}

static void
settle(const struct rxlog_queue *q)
{
	uint64_t at = __atomic_load_n(&q->inside, __ATOMIC_SEQ_CST);

	while (at % 2 != 0 && __atomic_load_n(&q->inside, __ATOMIC_ACQUIRE) == at)
		sched_yield(); /* its core may have been taken away in the middle */
}

void
rxlog_settle_locked(struct wherry_rxlog *log)
{
	for (unsigned int i = 0; i < log->n_queues; i++)
		settle(log->queues[i]);
}

void
rxlog_replace_locked(struct wherry_rxlog *log, struct rxlog_table *table)
{
	struct rxlog_table *old = log->table;

	__atomic_store_n(&log->table, table, __ATOMIC_SEQ_CST);
	rxlog_settle_locked(log);
	free(old);
}
