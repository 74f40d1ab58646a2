/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device half reaches memory through the domain and in no other way: what is not
 * mapped faults, what it writes is dirty, and the CPU's own tracking knows nothing.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_mbuf_pool_ops.h>

#include <wherry_bitmap.h>
#include <wherry_dirty.h>
#include <wherry_soft.h>

#include "net.h"

static bool
lies_in(const struct net_external *e, const struct rte_mbuf *m)
{
	const char *data = rte_pktmbuf_mtod(m, const char *), *from = e->vaddr;

	return data >= from && data < from + EXTERNAL_BYTES;
}

TEST(net_external_buffers_take_frames)
{
	struct net_external e = net_external();
	struct port port = net_open(&(struct port_opts){ .mp = e.mp, .ring = 32 });

	for (unsigned int i = 0; i < 200; i++) {
		struct rte_mbuf *m;

		net_send(&port, 0, net_frame(&port.mac, 200, (unsigned char)i));
		m = net_receive(&port, 0);
		CHECK(lies_in(&e, m));
		CHECK(net_is_frame(m, 200, (unsigned char)i));
		net_send(&port, 0, m); /* and read from there */
		m = net_receive(&port, 0);
		CHECK(net_is_frame(m, 200, (unsigned char)i));
		rte_pktmbuf_free(m);
	}
	net_close(&port);
	CHECK_EQ(rte_mempool_avail_count(e.mp), EXTERNAL_BUFFERS);
	net_external_drop(&e);
}

TEST(net_unmapped_receive_buffer_is_counted_and_survived)
{
	struct net_external e = net_external();
	struct port port = net_open(&(struct port_opts){ .mp = e.mp, .ring = 32 });
	struct rte_eth_stats stats;
	struct rte_mbuf *m;

	CHECK_EQ(wherry_domain_unmap(e.dom, e.span), 0);
	for (unsigned int i = 0; i < 100; i++) {
		net_send(&port, 0, net_frame(&port.mac, 64, 0));
		net_wait_xstat(&port, "rx_faults", i + 1);
		CHECK_EQ(rte_eth_rx_burst(port.id, 0, &m, 1), 0);
	}
	CHECK_EQ(rte_eth_stats_get(port.id, &stats), 0);
	CHECK_EQ(stats.ierrors, 100);
	CHECK_EQ(stats.ipackets, 0);
	CHECK_EQ(net_xstat(&port, "rx_faults"), 100);
	CHECK(net_xstat(&port, "iommu_faults") >= 100);
	CHECK_EQ(wherry_domain_map(e.dom, e.vaddr, WHERRY_DMA_WRITE, &e.span), 0);
	CHECK(net_passes(&port, &port.mac, 64));
	net_close(&port);
	CHECK_EQ(rte_mempool_avail_count(e.mp), EXTERNAL_BUFFERS);
	net_external_drop(&e);
}

/* Until n frames have come in or have been lost to a fault. */
static void
wait_for_received(const struct port *port, uint64_t n)
{
	for (unsigned int ms = 0; ms < 2000; ms++) {
		if (net_xstat(port, "rx_good_packets") + net_xstat(port, "rx_faults") >= n)
			return;
		rte_delay_us_sleep(1000);
	}
	FAIL("frame %llu has vanished", (unsigned long long)n);
}

/* Half of the buffers can be reached: their turn comes. */
TEST(net_unmapped_receive_buffer_does_not_block_the_queue)
{
	struct net_external e = net_external();
	struct port port = net_open(&(struct port_opts){ .mp = e.mp, .ring = 32 });
	struct wherry_span half = { .iova = e.span.iova + EXTERNAL_BYTES / 2,
		.len = EXTERNAL_BYTES / 2 };
	unsigned int got = 0;
	struct rte_mbuf *m;

	CHECK_EQ(wherry_domain_unmap(e.dom, e.span), 0);
	CHECK_EQ(wherry_domain_map(
			 e.dom, (char *)e.vaddr + EXTERNAL_BYTES / 2, WHERRY_DMA_WRITE, &half),
		0);
	for (unsigned int i = 0; i < 2 * EXTERNAL_BUFFERS; i++) {
		net_send(&port, 0, net_frame(&port.mac, 64, 0));
		wait_for_received(&port, i + 1);
		while (rte_eth_rx_burst(port.id, 0, &m, 1) == 1) {
			got++;
			rte_pktmbuf_free(m);
		}
	}
	CHECK(got != 0);
	CHECK(net_xstat(&port, "rx_faults") != 0);
	net_close(&port);
	CHECK_EQ(wherry_domain_unmap(e.dom, half), 0);
	net_external_drop(&e);
}

TEST(net_unmapped_transmit_buffer_is_counted_and_survived)
{
	struct net_external e = net_external();
	struct port port = net_open(&(struct port_opts){ .queues = 0 });
	struct rte_eth_stats stats;
	struct rte_mbuf *m = rte_pktmbuf_alloc(e.mp);

	CHECK(m != NULL && rte_pktmbuf_append(m, 64) != NULL);
	CHECK_EQ(wherry_domain_unmap(e.dom, e.span), 0);
	net_send(&port, 0, m);
	net_wait_xstat(&port, "tx_faults", 1);
	CHECK_EQ(rte_eth_stats_get(port.id, &stats), 0);
	CHECK_EQ(stats.oerrors, 1);
	CHECK_EQ(stats.opackets, 0);
	CHECK(net_passes(&port, &port.mac, 64));
	net_close(&port);
	net_external_drop(&e);
}

/* A frame of two segments, the second out of reach: nothing of it goes out. */
TEST(net_half_readable_frame_is_not_sent)
{
	struct net_external e = net_external();
	struct port port = net_open(&(struct port_opts){ .queues = 0 });
	struct rte_mbuf *head = net_frame(&port.mac, 64, 0), *tail = rte_pktmbuf_alloc(e.mp);

	CHECK(tail != NULL && rte_pktmbuf_append(tail, 64) != NULL);
	CHECK_EQ(rte_pktmbuf_chain(head, tail), 0);
	CHECK_EQ(wherry_domain_unmap(e.dom, e.span), 0);
	net_send(&port, 0, head);
	CHECK(net_silent(&port, 0));
	CHECK_EQ(net_xstat(&port, "tx_faults"), 1);
	CHECK(net_passes(&port, &port.mac, 64));
	net_close(&port);
	net_external_drop(&e);
}

TEST(net_received_frames_are_dirty_in_the_domain)
{
	struct net_external e = net_external();
	struct port port = net_open(&(struct port_opts){ .mp = e.mp, .ring = 32 });
	struct wherry_bitmap *dirty;
	struct rte_mbuf *m;

	CHECK_EQ(wherry_bitmap_create(e.span, 4096, &dirty), 0);
	CHECK_EQ(wherry_domain_dirty_start(e.dom), 0);
	CHECK_EQ(wherry_domain_dirty_harvest(e.dom, e.span, dirty), 0);
	CHECK_EQ(wherry_bitmap_count(dirty), 0);
	net_send(&port, 0, net_frame(&port.mac, 200, 1));
	m = net_receive(&port, 0);
	CHECK_EQ(wherry_domain_dirty_harvest(e.dom, e.span, dirty), 0);
	CHECK_EQ(wherry_bitmap_count(dirty), 1);
	CHECK(wherry_bitmap_test(dirty, (uintptr_t)rte_pktmbuf_mtod(m, void *)));
	wherry_bitmap_clear(dirty);
	net_send(&port, 0, m); /* the device only reads it; the frame lands elsewhere */
	m = net_receive(&port, 0);
	CHECK_EQ(wherry_domain_dirty_harvest(e.dom, e.span, dirty), 0);
	CHECK_EQ(wherry_bitmap_count(dirty), 1);
	CHECK(wherry_bitmap_test(dirty, (uintptr_t)rte_pktmbuf_mtod(m, void *)));
	rte_pktmbuf_free(m);
	wherry_domain_dirty_stop(e.dom);
	wherry_bitmap_destroy(dirty);
	net_close(&port);
	net_external_drop(&e);
}

/* Device writes go through a mapping of their own: only the IOMMU's bits know of them. */
TEST(net_received_frames_are_unseen_by_cpu_tracking)
{
	const struct wherry_tracker_opts opts = { .cpu = WHERRY_CPU_WP_ASYNC };
	struct wherry_tracker *tr = NULL;
	struct wherry_watch_stats before, after;
	struct wherry_watch *w;
	struct net_external e;
	struct port port;
	struct rte_mbuf *m;

	if (wherry_tracker_create(&opts, &tr) == -EOPNOTSUPP)
		SKIP("this kernel has no userfaultfd WP_ASYNC and PAGEMAP_SCAN (Linux 6.7)");
	e = net_external();
	port = net_open(&(struct port_opts){ .mp = e.mp, .ring = 32 });
	CHECK_EQ(wherry_watch_create(tr, "external", e.span, 4096, &w), 0);
	CHECK_EQ(wherry_tracker_start(tr), 0);
	CHECK_EQ(wherry_tracker_harvest(tr), 0);
	wherry_watch_get_stats(w, &before);
	for (unsigned int i = 0; i < 10; i++) {
		net_send(&port, 0, net_frame(&port.mac, 200, 1));
		m = net_receive(&port, 0);
		CHECK(net_is_frame(m, 200, 1));
		if (i < 9)
			rte_pktmbuf_free(m);
	}
	CHECK_EQ(wherry_tracker_harvest(tr), 0);
	wherry_watch_get_stats(w, &after);
	CHECK_EQ(after.cpu_pages - before.cpu_pages, 0);
	*rte_pktmbuf_mtod(m, char *) = 1;
	CHECK_EQ(wherry_tracker_harvest(tr), 0);
	wherry_watch_get_stats(w, &after);
	CHECK_EQ(after.cpu_pages - before.cpu_pages, 1);
	rte_pktmbuf_free(m);
	wherry_tracker_destroy(tr);
	net_close(&port);
	net_external_drop(&e);
}
