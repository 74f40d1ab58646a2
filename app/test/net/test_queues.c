/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues that start later, and cores that sleep. */
#include <rte_cycles.h>
#include <rte_epoll.h>
#include <rte_interrupts.h>

#include "net.h"

TEST(net_deferred_queue_gets_nothing_until_started)
{
	const unsigned int before = rte_mempool_avail_count(net_pool());
	struct port port = net_open(&(struct port_opts){ .deferred = true });
	struct rte_eth_stats stats;

	CHECK_EQ(rte_mempool_avail_count(net_pool()), before);
	net_send(&port, 0, net_frame(&port.mac, 64, 0));
	net_wait_xstat(&port, "rx_disabled", 1);
	CHECK_EQ(rte_eth_stats_get(port.id, &stats), 0);
	CHECK_EQ(stats.ipackets + stats.imissed, 0);
	CHECK_EQ(rte_eth_dev_rx_queue_start(port.id, 0), 0);
	CHECK(net_passes(&port, &port.mac, 64));
	CHECK_EQ(rte_eth_dev_rx_queue_stop(port.id, 0), 0);
	net_send(&port, 0, net_frame(&port.mac, 64, 0));
	net_wait_xstat(&port, "rx_disabled", 2);
	net_close(&port);
	CHECK_EQ(rte_mempool_avail_count(net_pool()), before);
}

TEST(net_stopped_queue_holds_no_mbuf)
{
	const unsigned int before = rte_mempool_avail_count(net_pool());
	struct port port = net_open(&(struct port_opts){ .queues = 2 });

	for (unsigned int i = 0; i < 20; i++)
		net_send(&port, 0, net_frame(&port.mac, 64, 0));
	CHECK_EQ(rte_eth_dev_rx_queue_stop(port.id, 0), 0);
	CHECK_EQ(rte_eth_dev_rx_queue_stop(port.id, 1), 0);
	CHECK_EQ(rte_eth_dev_tx_queue_stop(port.id, 0), 0);
	CHECK_EQ(rte_mempool_avail_count(net_pool()), before);
	CHECK_EQ(rte_eth_dev_rx_queue_start(port.id, 0), 0);
	CHECK_EQ(rte_eth_dev_tx_queue_start(port.id, 0), 0);
	CHECK(net_passes(&port, &port.mac, 64));
	net_close(&port);
}

static struct port
open_sleeper(void)
{
	struct port port = net_open(&(struct port_opts){ .queues = 2, .interrupts = true });

	for (uint16_t id = 0; id < 2; id++)
		CHECK_EQ(rte_eth_dev_rx_intr_ctl_q(port.id, id, RTE_EPOLL_PER_THREAD,
				 RTE_INTR_EVENT_ADD, (void *)(uintptr_t)(id + 1)),
			0);
	return port;
}

static void
close_sleeper(const struct port *port)
{
	for (uint16_t id = 0; id < 2; id++)
		(void)rte_eth_dev_rx_intr_ctl_q(
			port->id, id, RTE_EPOLL_PER_THREAD, RTE_INTR_EVENT_DEL, NULL);
	net_close(port);
}

/* 1 + queue, or 0 when nothing happened in ms */
static unsigned int
sleep_until_woken(int ms)
{
	struct rte_epoll_event event;

	if (rte_epoll_wait(RTE_EPOLL_PER_THREAD, &event, 1, ms) != 1)
		return 0;
	return (unsigned int)(uintptr_t)event.epdata.data;
}

TEST(net_interrupt_wakes_a_sleeping_core_once)
{
	struct port port = open_sleeper();

	CHECK_EQ(sleep_until_woken(0), 0);
	CHECK_EQ(rte_eth_dev_rx_intr_enable(port.id, 0), 0);
	CHECK_EQ(sleep_until_woken(5), 0);
	net_send(&port, 1, net_frame(&port.mac, 64, 0));
	CHECK_EQ(sleep_until_woken(2000), 1);
	rte_pktmbuf_free(net_receive(&port, 0));
	net_send(&port, 1, net_frame(&port.mac, 64, 0)); /* not enabled again */
	CHECK_EQ(sleep_until_woken(20), 0);
	CHECK_EQ(net_xstat(&port, "interrupts"), 1);
	rte_pktmbuf_free(net_receive(&port, 0));
	close_sleeper(&port);
}

TEST(net_interrupt_comes_for_frames_there_already)
{
	struct port port = open_sleeper();

	net_send(&port, 0, net_frame(&port.mac, 64, 0));
	rte_delay_us_sleep(5000);
	CHECK_EQ(rte_eth_dev_rx_intr_enable(port.id, 0), 0);
	CHECK_EQ(sleep_until_woken(0), 1);
	rte_pktmbuf_free(net_receive(&port, 0));
	close_sleeper(&port);
}

TEST(net_interrupt_that_is_disabled_stays_away)
{
	struct port port = open_sleeper();

	CHECK_EQ(rte_eth_dev_rx_intr_enable(port.id, 0), 0);
	CHECK_EQ(rte_eth_dev_rx_intr_disable(port.id, 0), 0);
	net_send(&port, 0, net_frame(&port.mac, 64, 0));
	CHECK_EQ(sleep_until_woken(20), 0);
	rte_pktmbuf_free(net_receive(&port, 0));
	close_sleeper(&port);
}

/* Ping-pong of a core that sleeps for every frame: a lost wake-up would stop it. */
TEST(net_interrupts_are_never_lost)
{
	struct port port = open_sleeper();

	for (unsigned int i = 0; i < 2000; i++) {
		struct rte_mbuf *m;

		net_send(&port, 0, net_frame(&port.mac, 64, 0));
		while (rte_eth_rx_burst(port.id, 0, &m, 1) == 0) {
			CHECK_EQ(rte_eth_dev_rx_intr_enable(port.id, 0), 0);
			if (sleep_until_woken(2000) != 1)
				FAIL("not woken for frame %u", i);
		}
		rte_pktmbuf_free(m);
	}
	close_sleeper(&port);
}
