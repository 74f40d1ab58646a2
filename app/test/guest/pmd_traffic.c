/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_memzone.h>

#include "pmd_traffic.h"

#define BURST 32u
#define DESCRIPTORS 128u
#define MBUFS 255u /* few, so that a page is soon written again: before it leaves the IOTLB */
#define HELD 128u  /* frames that port 1 has received and not yet sent back */
#define ROOM (RTE_PKTMBUF_HEADROOM + 2048u)
#define WINDOW 256u /* frames on their way at most */
#define LINK_S 60u
#define SETTLE_US 20000u /* what a NIC was told before is done by then */
#define LOST_MS 200u     /* what has not come back by then does not come */

struct frame {
	struct rte_ether_hdr eth;
	uint16_t words;    /* that follow */
	uint32_t n;        /* counts the frames */
	uint32_t pad[179]; /* words: a sequence that begins with n */
};

static struct rte_mempool *to_send;

/* Data apart from the mbufs, so that no CPU writes the pages it lies in. */
static struct rte_mempool *
make_receive_pool(uint16_t port)
{
	unsigned int n = port == 0 ? MBUFS : MBUFS + HELD + DESCRIPTORS;
	struct rte_pktmbuf_extmem mem = { .buf_len = (n + 1) * ROOM, .elt_size = ROOM };
	const struct rte_memzone *zone;
	char name[32];

	snprintf(name, sizeof(name), "received %u", port);
	zone = rte_memzone_reserve_aligned(name, mem.buf_len, SOCKET_ID_ANY, 0, RTE_PGSIZE_4K);
	if (zone == NULL)
		return NULL;
	mem.buf_ptr = zone->addr;
	mem.buf_iova = zone->iova;
	return rte_pktmbuf_pool_create_extbuf(name, n, 0, 0, ROOM, SOCKET_ID_ANY, &mem, 1);
}

static int
open_port(uint16_t port)
{
	static const struct rte_eth_conf conf;
	struct rte_mempool *mp = make_receive_pool(port);
	int rc;

	if (mp == NULL)
		return -ENOMEM;
	rc = rte_eth_dev_configure(port, 1, 1, &conf);
	if (rc == 0)
		rc = rte_eth_rx_queue_setup(port, 0, DESCRIPTORS, 0, NULL, mp);
	if (rc == 0)
		rc = rte_eth_tx_queue_setup(port, 0, DESCRIPTORS, 0, NULL);
	if (rc == 0)
		rc = rte_eth_promiscuous_enable(port);
	return rc == 0 ? rte_eth_dev_start(port) : rc;
}

static bool
is_up(uint16_t port)
{
	struct rte_eth_link link = { .link_status = 0 };

	return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

int
traffic_open(void)
{
	int rc = rte_eth_dev_count_avail() == 2 ? 0 : -ENODEV;

	to_send = rte_pktmbuf_pool_create("to send", MBUFS, 0, 0, ROOM, SOCKET_ID_ANY);
	if (rc == 0 && to_send == NULL)
		rc = -ENOMEM;
	if (rc == 0)
		rc = open_port(0);
	if (rc == 0)
		rc = open_port(1);
	for (unsigned int i = 0; rc == 0 && i < LINK_S * 10; i++) {
		if (is_up(0) && is_up(1))
			return 0;
		rte_delay_us_sleep(100000);
	}
	return rc == 0 ? -ENETDOWN : rc;
}

int
traffic_close(void)
{
	int rc = rte_eth_dev_stop(0), rc1 = rte_eth_dev_stop(1);

	return rc != 0 ? rc : rc1;
}

const char *
traffic_driver(void)
{
	struct rte_eth_dev_info info;

	return rte_eth_dev_info_get(0, &info) == 0 ? info.driver_name : "?";
}

static void
fill(struct rte_mbuf *m, uint32_t n)
{
	struct frame *f = rte_pktmbuf_mtod(m, struct frame *);
	uint32_t word = n;

	memset(&f->eth, 0xff, RTE_ETHER_ADDR_LEN);
	memset(&f->eth.src_addr, 2, RTE_ETHER_ADDR_LEN);
	f->eth.ether_type = RTE_BE16(0x88b5); /* for local experiments */
	f->n = n;
	f->words = (uint16_t)(16 + n % (RTE_DIM(f->pad) - 15));
	for (unsigned int i = 0; i < f->words; i++)
		f->pad[i] = word = word * 1664525u + 1013904223u;
	m->data_len = (uint16_t)(offsetof(struct frame, pad) + f->words * sizeof(f->pad[0]));
	m->pkt_len = m->data_len;
}

/* Looked at through the CPU's eyes, as the device left it. */
static bool
is_whole(const struct rte_mbuf *m)
{
	const struct frame *f = rte_pktmbuf_mtod(m, const struct frame *);
	uint32_t word;

	if (m->data_len < offsetof(struct frame, pad) || f->words > RTE_DIM(f->pad) ||
		m->data_len < offsetof(struct frame, pad) + f->words * sizeof(f->pad[0]))
		return false;
	word = f->n;
	for (unsigned int i = 0; i < f->words; i++) {
		word = word * 1664525u + 1013904223u;
		if (f->pad[i] != word)
			return false;
	}
	return true;
}

static void
put_out(uint16_t port, struct rte_mbuf **m, uint16_t n)
{
	uint16_t sent = rte_eth_tx_burst(port, 0, m, n);

	rte_pktmbuf_free_bulk(m + sent, n - sent);
}

static void
send_some(struct traffic *t, uint64_t *on_way)
{
	struct rte_mbuf *m[BURST];

	if (*on_way > WINDOW - BURST || rte_pktmbuf_alloc_bulk(to_send, m, BURST) != 0)
		return;
	for (unsigned int i = 0; i < BURST; i++)
		fill(m[i], (uint32_t)t->sent++);
	*on_way += BURST;
	put_out(0, m, BURST);
}

/* What is not ours, as a NIC's own first words on a link, is not counted. */
static uint16_t
look_at_some(struct traffic *t)
{
	struct rte_mbuf *m[BURST];
	uint16_t n = rte_eth_rx_burst(0, 0, m, BURST);

	for (uint16_t i = 0; i < n; i++) {
		const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m[i], struct rte_ether_hdr *);

		if (eth->ether_type != RTE_BE16(0x88b5))
			continue;
		if (is_whole(m[i]))
			t->back++;
		else
			t->damaged++;
	}
	rte_pktmbuf_free_bulk(m, n);
	return n;
}

/* First in, first out, after some time: a harvest finds pages that are read next, not written. */
static void
reflect_some(void)
{
	static struct rte_mbuf *held[HELD];
	static unsigned int next;
	struct rte_mbuf *m[BURST];
	uint16_t n = rte_eth_rx_burst(1, 0, m, BURST), out = 0;

	for (uint16_t i = 0; i < n; i++, next = (next + 1) % HELD) {
		struct rte_mbuf *old = held[next];

		held[next] = m[i];
		if (old != NULL)
			m[out++] = old;
	}
	put_out(1, m, out);
}

static void
wait_paused(struct traffic *t)
{
	__atomic_store_n(&t->is_paused, true, __ATOMIC_RELEASE);
	while (__atomic_load_n(&t->pause, __ATOMIC_ACQUIRE))
		rte_delay_us_sleep(100);
	__atomic_store_n(&t->is_paused, false, __ATOMIC_RELEASE);
}

void
traffic_pause(struct traffic *t)
{
	__atomic_store_n(&t->pause, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&t->is_paused, __ATOMIC_ACQUIRE))
		rte_delay_us_sleep(100);
	rte_delay_us_sleep(SETTLE_US);
}

void
traffic_resume(struct traffic *t)
{
	__atomic_store_n(&t->pause, false, __ATOMIC_RELEASE);
	while (__atomic_load_n(&t->is_paused, __ATOMIC_ACQUIRE))
		rte_delay_us_sleep(100);
}

int
traffic_run(void *arg)
{
	uint64_t patience = rte_get_timer_hz() / 1000 * LOST_MS, last = rte_get_timer_cycles(),
		 on_way = 0;
	struct traffic *t = arg;

	while (!__atomic_load_n(&t->quit, __ATOMIC_ACQUIRE)) {
		uint64_t got, now = rte_get_timer_cycles();

		if (__atomic_load_n(&t->pause, __ATOMIC_ACQUIRE))
			wait_paused(t);
		send_some(t, &on_way);
		reflect_some();
		got = look_at_some(t);
		if (got != 0)
			last = now;
		on_way -= RTE_MIN(got, on_way);
		if (now - last > patience) {
			on_way = 0;
			last = now;
		}
	}
	return 0;
}
