/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk: a share of what is received is dropped, and only then. */
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "eal.h"
#include "test.h"
#include "throttle_priv.h"

/* Of 2000 frames, which net_null always has, so many arrive. */
static unsigned int
receive(uint16_t port, uint16_t queue)
{
	unsigned int n = 0;

	for (int i = 0; i < 100; i++) {
		struct rte_mbuf *pkts[20];
		uint16_t got = rte_eth_rx_burst(port, queue, pkts, 20);

		rte_pktmbuf_free_bulk(pkts, got);
		n += got;
	}
	return n;
}

TEST(throttle_drops_the_share_it_is_told_and_nothing_else)
{
	static const unsigned int shares[] = { 20, 50, 99, 1, 0, 30, 0 };
	struct ports ports = { .n = 0 };
	struct throttle *t;
	uint64_t before = 0;

	eal_need();
	CHECK_EQ(ports_add(&ports, eal_port("net_null_throttle", "", 2, eal_mempool())), 0);
	CHECK_EQ(ports_start(&ports), 0);
	t = throttle_create(&ports);
	CHECK(t != NULL);
	throttle_set(t, 0);
	CHECK_EQ(receive(ports.port[0].id, 0), 2000);
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		throttle_set(t, shares[i]);
		CHECK_EQ(receive(ports.port[0].id, 1), 2000 - 20 * shares[i]);
		CHECK_EQ(receive(ports.port[0].id, 0), 2000 - 20 * shares[i]);
		before += 2 * 20 * shares[i];
		CHECK_EQ(throttle_dropped(t), before);
	}
	ports_stop(&ports);
	throttle_destroy(t);
	throttle_destroy(NULL);
	CHECK_EQ(rte_mempool_in_use_count(eal_mempool()), 0);
	eal_port_close("net_null_throttle");
}
