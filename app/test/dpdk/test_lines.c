/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lib/dpdk: the line to the network changes hands with the application. Two applications of
 * one process, the first on a TAP interface, the second waiting for it: what the kernel sends
 * is numbered, and each number has to arrive at one of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "eal.h"
#include "side.h"
#include "test.h"

#define TYPE 0x88b5u /* for experiments within a site */
#define RING 512u
#define NUMBERS 4096u
#define EVERYONE "\xff\xff\xff\xff\xff\xff\x02\x77\x77\x77\x77\x77\x88\xb5"

struct numbered {
	unsigned char header[ETH_HLEN];
	uint16_t n;
	unsigned char rest[46];
} __attribute__((packed));

/* One side and what it received. */
struct end {
	struct side side;
	bool deaf; /* atomic: polls its app, not its port */
	char name[16];
};

static unsigned int seen[NUMBERS]; /* atomic: how often each number came, at whichever end */

static void
note(const struct rte_mbuf *m)
{
	const struct numbered *f = rte_pktmbuf_mtod(m, const struct numbered *);

	if (m->data_len == sizeof(*f) && memcmp(f->header + 12, "\x88\xb5", 2) == 0)
		__atomic_fetch_add(&seen[f->n % NUMBERS], 1, __ATOMIC_SEQ_CST);
}

static void *
poll_and_note(void *arg)
{
	struct end *e = arg;
	struct rte_mbuf *m[32];

	while (wherry_app_poll(e->side.app)) {
		uint16_t n = side_is(&e->deaf) ? 0 : rte_eth_rx_burst(e->side.port, 0, m, 32);

		for (uint16_t i = 0; i < n; i++)
			note(m[i]);
		rte_pktmbuf_free_bulk(m, n);
		__atomic_fetch_add(&e->side.bursts, 1, __ATOMIC_SEQ_CST);
		usleep(20);
	}
	__atomic_store_n(&e->side.ended, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static uint16_t
open_port(const char *name, const char *args)
{
	static const struct rte_eth_conf conf;
	struct rte_mempool *mp = eal_mempool();
	uint16_t id;

	CHECK_EQ(rte_eal_hotplug_add("vdev", name, args), 0);
	CHECK_EQ(rte_eth_dev_get_port_by_name(name, &id), 0);
	CHECK_EQ(rte_eth_dev_configure(id, 1, 1, &conf), 0);
	CHECK_EQ(rte_eth_rx_queue_setup(id, 0, RING, 0, NULL, mp), 0);
	CHECK_EQ(rte_eth_tx_queue_setup(id, 0, 128, 0, NULL), 0);
	return id;
}

static void
run(struct end *e, const char *name, const char *args, const char *incoming)
{
	struct wherry_app_opts opts = side_opts(&e->side, name, incoming);

	opts.late_frames = true;
	CHECK_EQ(wherry_app_create(&opts, &e->side.app), 0);
	snprintf(e->name, sizeof(e->name), "net_wherry_%s", name);
	e->side.port = open_port(e->name, args);
	CHECK_EQ(wherry_app_add_port(e->side.app, e->side.port), 0);
	CHECK_EQ(pthread_create(&e->side.core, NULL, poll_and_note, e), 0);
	CHECK_EQ(pthread_create(&e->side.starter, NULL, side_start, &e->side), 0);
	if (incoming == NULL)
		CHECK(side_until(&e->side.started));
}

static void
drop(struct end *e)
{
	wherry_app_quit(e->side.app);
	CHECK_EQ(pthread_join(e->side.starter, NULL), 0);
	CHECK_EQ(pthread_join(e->side.core, NULL), 0);
	wherry_app_destroy(e->side.app);
	eal_port_close(e->name);
}

static enum wherry_state
migrate(struct end *from, const char *uri)
{
	struct wherry_agent *agent = wherry_app_agent(from->side.app);
	struct wherry_status status;

	CHECK_EQ(wherry_agent_migrate(agent, uri, NULL), 0);
	do {
		usleep(1000);
		wherry_agent_get_status(agent, &status);
	} while (status.state != WHERRY_STATE_RELEASED && status.state != WHERRY_STATE_SERVING);
	return status.state;
}

static int
open_kernel_end(const char *interface)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(interface) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* What the kernel says of itself there would be counted with our frames. */
static void
silence_ipv6(const char *interface)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", interface);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) /* there is no IPv6 */
		return;
	CHECK_EQ(write(fd, "1", 1), 1);
	close(fd);
}

static void
send_numbers(int fd, unsigned int from, unsigned int n)
{
	for (unsigned int i = from; i < from + n; i++) {
		struct numbered f = { .n = (uint16_t)i };

		memcpy(f.header, EVERYONE, sizeof(f.header));
		CHECK_EQ(send(fd, &f, sizeof(f), 0), sizeof(f));
	}
}

/* How many of the first n numbers have come exactly once; waits for all, two seconds. */
static unsigned int
came(unsigned int n)
{
	unsigned int once = 0;

	for (unsigned int ms = 0; ms < 2000 && once < n; ms++) {
		usleep(1000);
		once = 0;
		for (unsigned int i = 0; i < n; i++)
			once += side_get(&seen[i]) == 1;
	}
	return once;
}

/* A source on a TAP interface of this run's own, and a destination with these arguments. */
struct pair {
	struct end a, b;
	char uri[64], interface[IFNAMSIZ];
	int fd;
};

static void
make(struct pair *p, const char *b_args)
{
	char args[64];

	if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) != 0)
		SKIP("a TAP interface needs root and /dev/net/tun");
	eal_need_net_wherry();
	memset(seen, 0, sizeof(seen));
	side_listen_uri(p->uri, sizeof(p->uri));
	snprintf(p->interface, sizeof(p->interface), "line-%d", (int)getpid());
	snprintf(args, sizeof(args), "wire=tap=%s", p->interface);
	run(&p->a, "a", args, NULL);
	run(&p->b, "b", b_args, p->uri);
	silence_ipv6(p->interface);
	p->fd = open_kernel_end(p->interface);
}

static void
unmake(struct pair *p)
{
	close(p->fd);
	drop(&p->b);
	drop(&p->a);
	CHECK_EQ(if_nametoindex(p->interface), 0);
}

static void
wait_until_taken_in(const struct pair *p, uint64_t n)
{
	struct rte_eth_stats stats = { 0 };

	for (unsigned int ms = 0; ms < 2000 && stats.ipackets < n; ms++) {
		usleep(1000);
		CHECK_EQ(rte_eth_stats_get(p->a.side.port, &stats), 0);
	}
	CHECK(stats.ipackets >= n);
}

/* What lies in the receive ring, what waits in the line, and what comes after. */
TEST(app_hands_its_line_over_and_no_frame_is_lost)
{
	struct pair p = { .a.deaf = true };

	make(&p, "wire=tap=-");
	send_numbers(p.fd, 0, 60);
	wait_until_taken_in(&p, 60);
	CHECK_EQ(migrate(&p.a, p.uri), WHERRY_STATE_RELEASED);
	send_numbers(p.fd, 60, 60);
	CHECK_EQ(came(120), 120);
	unmake(&p);
}

static void *
send_on(void *arg)
{
	const struct pair *p = arg;

	for (unsigned int i = 0; i < NUMBERS; i++) {
		send_numbers(p->fd, i, 1);
		usleep(50);
	}
	return NULL;
}

static uint64_t
missed(const struct end *e)
{
	struct rte_eth_stats stats;

	CHECK_EQ(rte_eth_stats_get(e->side.port, &stats), 0);
	return stats.imissed;
}

/* By the kernel, for want of room in the line. */
static uint64_t
dropped(const char *interface)
{
	struct ifaddrs *all;
	uint64_t n = 0;

	CHECK_EQ(getifaddrs(&all), 0);
	for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
		if (i->ifa_data != NULL && i->ifa_addr->sa_family == AF_PACKET &&
			strcmp(i->ifa_name, interface) == 0)
			n = ((const struct rtnl_link_stats *)i->ifa_data)->tx_dropped;
	freeifaddrs(all);
	return n;
}

/* That a busy machine does not poll until ring and line are full is no handover's fault. */
static uint64_t
lost(const struct pair *p)
{
	return missed(&p->a) + missed(&p->b) + dropped(p->interface);
}

TEST(app_hands_its_line_over_while_frames_come)
{
	struct pair p = { .fd = -1 };
	uint64_t before, once;
	pthread_t sender;

	make(&p, "wire=tap=-");
	before = lost(&p);
	CHECK_EQ(pthread_create(&sender, NULL, send_on, &p), 0);
	usleep(20000);
	CHECK_EQ(migrate(&p.a, p.uri), WHERRY_STATE_RELEASED);
	CHECK_EQ(pthread_join(sender, NULL), 0);
	once = came(NUMBERS);
	CHECK_EQ(once + lost(&p) - before, NUMBERS);
	CHECK(side_get(&p.b.side.bursts) > 0);
	unmake(&p);
}

TEST(app_takes_its_line_back_if_the_handover_fails)
{
	struct pair p = { .a.deaf = true, .b.side.verify_rc = -EPROTO };

	make(&p, "wire=tap=-");
	send_numbers(p.fd, 0, 60);
	wait_until_taken_in(&p, 60);
	CHECK_EQ(migrate(&p.a, p.uri), WHERRY_STATE_SERVING);
	__atomic_store_n(&p.a.deaf, false, __ATOMIC_SEQ_CST);
	send_numbers(p.fd, 60, 60);
	CHECK_EQ(came(120), 120);
	unmake(&p);
}

/* It has a way to the network of its own; what lay in the ring comes all the same. */
TEST(app_with_a_line_of_its_own_keeps_it)
{
	struct pair p = { .a.deaf = true };

	make(&p, "wire=loop");
	send_numbers(p.fd, 0, 60);
	wait_until_taken_in(&p, 60);
	CHECK_EQ(migrate(&p.a, p.uri), WHERRY_STATE_RELEASED);
	CHECK_EQ(came(60), 60);
	unmake(&p);
}

/* Nothing but a file could be its way to the network. */
TEST(app_that_waits_for_a_line_refuses_to_run_without)
{
	struct pair p = { .fd = -1 };
	struct wherry_agent *agent;
	struct wherry_status status;

	make(&p, "wire=tap=-");
	agent = wherry_app_agent(p.a.side.app);
	CHECK_EQ(
		wherry_agent_migrate(agent, p.uri, &(struct wherry_migrate_params){ .copy = true }),
		0);
	do {
		usleep(1000);
		wherry_agent_get_status(agent, &status);
	} while (status.state != WHERRY_STATE_RELEASED && status.state != WHERRY_STATE_SERVING);
	CHECK_EQ(status.state, WHERRY_STATE_SERVING);
	CHECK(strstr(status.reason, "cannot take over") != NULL);
	send_numbers(p.fd, 0, 10);
	CHECK_EQ(came(10), 10);
	unmake(&p);
}
