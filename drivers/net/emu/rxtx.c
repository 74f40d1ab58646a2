/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bursts: no lock, no allocation but of mbufs, and no system call but the doorbell
 * of a device half that sleeps. See emu_regs.h for who writes what in which order.
 */
#include "emu_priv.h"

static void
rx_post_one(struct emu_rxq *q, struct rte_mbuf *m)
{
	struct emu_desc *desc = &q->ring[q->tail & q->mask];

	q->mbufs[q->tail & q->mask] = m;
	desc->iova = rte_mbuf_data_iova_default(m);
	/* the device may have left DONE here: it goes before the tail lets anybody look */
	__atomic_store_n(
		&desc->word, (uint64_t)m->buf_len - RTE_PKTMBUF_HEADROOM, __ATOMIC_RELAXED);
	q->tail++;
}

/* False: the pool has no such number of mbufs. */
static bool
rx_post_batch(struct emu_rxq *q, uint32_t n)
{
	struct rte_mbuf *m[EMU_POST_BATCH];

	if (rte_pktmbuf_alloc_bulk(q->pool, m, n) != 0) {
		__atomic_store_n(&q->no_mbufs, q->no_mbufs + n, __ATOMIC_RELAXED);
		return false;
	}
	for (uint32_t i = 0; i < n; i++)
		rx_post_one(q, m[i]);
	return true;
}

void
emu_rx_post(struct emu_rxq *q)
{
	const uint32_t before = q->tail;
	uint32_t room = q->size - (q->tail - q->head);

	while (room >= q->batch && rx_post_batch(q, q->batch))
		room -= q->batch;
	if (q->tail != before)
		__atomic_store_n(&q->regs->tail, q->tail, __ATOMIC_RELEASE);
}

static void
rx_fill(const struct emu_rxq *q, struct rte_mbuf *m, uint64_t word)
{
	const uint16_t len = (uint16_t)(word & EMU_DESC_LEN);

	m->data_len = len;
	m->pkt_len = len;
	m->port = q->port;
	if ((word & EMU_DESC_HASH) != 0) {
		m->hash.rss = (uint32_t)(word >> EMU_DESC_HASH_SHIFT);
		m->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
	}
}

uint16_t
emu_rx_burst(void *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct emu_rxq *q = rxq;
	uint16_t got = 0;

	while (got < n && q->head != q->tail) {
		const uint32_t at = q->head & q->mask;
		const uint64_t word = __atomic_load_n(&q->ring[at].word, __ATOMIC_ACQUIRE);

		if ((word & EMU_DESC_DONE) == 0)
			break;
		q->head++;
		if ((word & EMU_DESC_ERROR) != 0) {
			rte_pktmbuf_free(q->mbufs[at]);
			continue;
		}
		rx_fill(q, q->mbufs[at], word);
		pkts[got++] = q->mbufs[at];
	}
	emu_rx_post(q);
	return got;
}

void
emu_tx_reclaim(struct emu_txq *q)
{
	const uint32_t done = __atomic_load_n(&q->done->head, __ATOMIC_ACQUIRE);

	for (; q->head != done; q->head++)
		rte_pktmbuf_free_seg(q->mbufs[q->head & q->mask]);
}

int
emu_tx_cleanup(void *txq, uint32_t n)
{
	struct emu_txq *q = txq;
	const uint32_t before = q->head;

	(void)n;
	emu_tx_reclaim(q);
	return (int)(q->head - before);
}

static void
tx_post(struct emu_txq *q, struct rte_mbuf *m)
{
	while (m != NULL) {
		struct rte_mbuf *next = m->next;
		struct emu_desc *desc = &q->ring[q->tail & q->mask];

		desc->iova = rte_mbuf_data_iova(m);
		desc->word = m->data_len | (next == NULL ? EMU_DESC_LAST : 0);
		q->mbufs[q->tail & q->mask] = m;
		q->tail++;
		m = next;
	}
}

/* The device says it sleeps before it looks at the tails a last time. */
static void
ring_doorbell(struct emu_txq *q)
{
	__atomic_store_n(
		&q->regs->tail, q->tail, __ATOMIC_SEQ_CST); /* pairs with sleep_until_called */
	if (__atomic_load_n(q->sleeping, __ATOMIC_SEQ_CST) == 0 ||
		__atomic_exchange_n(q->sleeping, 0, __ATOMIC_RELAXED) == 0)
		return;
	emu_device_ring(q->device);
}

uint16_t
emu_tx_burst(void *txq, struct rte_mbuf **pkts, uint16_t n)
{
	struct emu_txq *q = txq;
	const uint32_t before = q->tail;
	uint16_t sent;

	emu_tx_reclaim(q);
	for (sent = 0; sent < n; sent++) {
		if (pkts[sent]->nb_segs > q->size - (q->tail - q->head))
			break;
		tx_post(q, pkts[sent]);
	}
	if (q->tail != before)
		ring_doorbell(q);
	return sent;
}
