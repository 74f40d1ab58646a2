/* SPDX-License-Identifier: BSD-3-Clause */
/* The cable between two ports, and the wire into the kernel. */
#include <string.h>
#include <unistd.h>

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <rte_cycles.h>

#include "net.h"

static bool
link_is(const struct port *port, unsigned int status)
{
	struct rte_eth_link link;

	for (unsigned int ms = 0; ms < 2000; ms++) {
		CHECK_EQ(rte_eth_link_get_nowait(port->id, &link), 0);
		if (link.link_status == status)
			return true;
		rte_delay_us_sleep(1000);
	}
	return false;
}

/* A name no other run has. */
static const char *
pair_args(void)
{
	static char args[64];

	snprintf(args, sizeof(args), "wire=pair=nic-%d", (int)getpid());
	return args;
}

TEST(net_pair_carries_frames_both_ways)
{
	struct port a = net_open(&(struct port_opts){ .args = pair_args() });
	struct port b = net_open(&(struct port_opts){ .args = pair_args() });
	struct rte_mbuf *m;

	CHECK(link_is(&a, RTE_ETH_LINK_UP));
	CHECK(link_is(&b, RTE_ETH_LINK_UP));
	for (unsigned int i = 0; i < 100; i++) {
		net_send(&a, 0, net_frame(&b.mac, 60 + i * 10, (unsigned char)i));
		m = net_receive(&b, 0);
		CHECK(net_is_frame(m, 60 + i * 10, (unsigned char)i));
		rte_pktmbuf_free(m);
		net_send(&b, 0, net_frame(&a.mac, 60, (unsigned char)i));
		rte_pktmbuf_free(net_receive(&a, 0));
	}
	CHECK(net_silent(&a, 0));
	net_close(&b);
	net_close(&a);
}

/* Whichever end goes, the link is down; whichever comes, it is up. */
TEST(net_pair_link_follows_the_peer)
{
	struct port a = net_open(&(struct port_opts){ .args = pair_args() });
	struct port b;

	CHECK(link_is(&a, RTE_ETH_LINK_DOWN));
	b = net_open(&(struct port_opts){ .args = pair_args() });
	CHECK(link_is(&a, RTE_ETH_LINK_UP));
	net_close(&a); /* the one that listened */
	CHECK(link_is(&b, RTE_ETH_LINK_DOWN));
	a = net_open(&(struct port_opts){ .args = pair_args() });
	CHECK(link_is(&b, RTE_ETH_LINK_UP));
	CHECK(link_is(&a, RTE_ETH_LINK_UP));
	net_send(&a, 0, net_frame(&b.mac, 64, 5));
	rte_pktmbuf_free(net_receive(&b, 0));
	net_close(&b);
	CHECK(link_is(&a, RTE_ETH_LINK_DOWN));
	net_send(&a, 0, net_frame(&a.mac, 64, 5));
	net_wait_xstat(&a, "tx_wire_lost", 1);
	net_close(&a);
}

TEST(net_pair_turns_a_third_port_away)
{
	struct port a = net_open(&(struct port_opts){ .args = pair_args() });
	struct port b = net_open(&(struct port_opts){ .args = pair_args() });
	struct port c;

	CHECK(link_is(&a, RTE_ETH_LINK_UP));
	CHECK(link_is(&b, RTE_ETH_LINK_UP));
	c = net_open(&(struct port_opts){ .args = pair_args() });
	rte_delay_us_sleep(20000);
	CHECK(link_is(&a, RTE_ETH_LINK_UP));
	CHECK(link_is(&b, RTE_ETH_LINK_UP));
	CHECK(link_is(&c, RTE_ETH_LINK_DOWN));
	net_send(&a, 0, net_frame(&b.mac, 64, 5));
	rte_pktmbuf_free(net_receive(&b, 0));
	net_close(&c);
	net_close(&b);
	net_close(&a);
}

/* Each end has its own limit. */
TEST(net_mtu_of_the_receiver_counts)
{
	struct port a = net_open(&(struct port_opts){ .args = pair_args() });
	struct port b = net_open(&(struct port_opts){ .args = pair_args() });

	CHECK(link_is(&a, RTE_ETH_LINK_UP));
	CHECK_EQ(rte_eth_dev_set_mtu(a.id, 1900), 0);
	net_send(&a, 0, net_frame(&b.mac, 1600, 1));
	net_wait_xstat(&b, "rx_bad_length", 1);
	CHECK_EQ(rte_eth_dev_set_mtu(b.id, 1900), 0);
	net_send(&a, 0, net_frame(&b.mac, 1600, 1));
	rte_pktmbuf_free(net_receive(&b, 0));
	net_close(&b);
	net_close(&a);
}

TEST(net_link_can_be_switched_off)
{
	struct port port = net_open(&(struct port_opts){ .queues = 0 });

	CHECK(link_is(&port, RTE_ETH_LINK_UP));
	CHECK_EQ(rte_eth_dev_set_link_down(port.id), 0);
	CHECK(link_is(&port, RTE_ETH_LINK_DOWN));
	net_send(&port, 0, net_frame(&port.mac, 64, 0));
	CHECK(net_silent(&port, 0));
	CHECK_EQ(rte_eth_dev_set_link_up(port.id), 0);
	CHECK(link_is(&port, RTE_ETH_LINK_UP));
	CHECK(net_passes(&port, &port.mac, 64));
	net_close(&port);
}

/* The kernel's end of the interface. */
static int
open_kernel_end(const char *interface)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
		.sll_protocol = htons(0x88b5),
		.sll_ifindex = (int)if_nametoindex(interface) };
	struct timeval patience = { .tv_sec = 2 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x88b5));

	CHECK(fd >= 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

static struct rte_mbuf *
experimental_frame(const struct rte_ether_addr *to)
{
	struct rte_mbuf *m = net_frame(to, 100, 9);

	rte_pktmbuf_mtod(m, struct rte_ether_hdr *)->ether_type = htons(0x88b5);
	return m;
}

TEST(net_tap_carries_frames_to_the_kernel_and_back)
{
	static const struct rte_ether_addr everyone = { .addr_bytes = {
								255, 255, 255, 255, 255, 255 } };
	char args[64], name[IFNAMSIZ], seen[2048];
	struct rte_mbuf *m;
	struct port port;
	int fd;

	if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) != 0)
		SKIP("a TAP interface needs root and /dev/net/tun");
	snprintf(name, sizeof(name), "nic-%d", (int)getpid());
	snprintf(args, sizeof(args), "wire=tap=%s", name);
	port = net_open(&(struct port_opts){ .args = args });
	CHECK(link_is(&port, RTE_ETH_LINK_UP));
	fd = open_kernel_end(name);
	net_send(&port, 0, experimental_frame(&everyone));
	CHECK_EQ(recv(fd, seen, sizeof(seen), 0), 100);
	CHECK(seen[99] == 9 + 99);
	m = experimental_frame(&port.mac);
	CHECK_EQ(send(fd, rte_pktmbuf_mtod(m, void *), 100, 0), 100);
	rte_pktmbuf_free(m);
	do { /* the kernel says a few things of its own */
		m = net_receive(&port, 0);
		memcpy(seen, rte_pktmbuf_mtod(m, void *), 14);
		rte_pktmbuf_free(m);
	} while (memcmp(seen + 12, "\x88\xb5", 2) != 0);
	close(fd);
	net_close(&port);
	CHECK_EQ(if_nametoindex(name), 0);
}
