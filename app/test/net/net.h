/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef NET_H
#define NET_H

/*
 * Ports of net_wherry under test: the plugin as it is shipped, in one EAL for all tests
 * of this program. WHERRY_TEST_EAL replaces EAL's memory options, "--no-huge -m 256":
 * "--in-memory" with hugepages makes memory come and go.
 */

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <wherry_dpdk.h>

#include "test.h"

#define POOL_MBUFS 4095u

/* What a port is opened with. */
struct port_opts {
	const char *args;       /* devargs; NULL: "wire=loop" */
	unsigned int queues;    /* 0: 1 */
	unsigned int ring;      /* descriptors; 0: 128 */
	struct rte_mempool *mp; /* NULL: net_pool() */
	bool deferred;          /* receive queues start later */
	bool rss;               /* spread by addresses and ports */
	bool interrupts;        /* receive interrupts are wanted */
	bool stopped;           /* leave it configured, not started */
};

struct port {
	uint16_t id;
	char name[32];
	struct rte_ether_addr mac;
};

/* Start EAL if it has not been. */
void net_need(void);
struct rte_mempool *net_pool(void);
struct port net_open(const struct port_opts *opts);
void net_close(const struct port *port);

/* A frame of len bytes to somebody, filled with a pattern that starts at seed. */
struct rte_mbuf *net_frame(const struct rte_ether_addr *to, unsigned int len, unsigned char seed);
/* A UDP packet to port; flow decides its addresses and ports. */
struct rte_mbuf *net_udp(const struct port *port, unsigned int flow);
/* Does m hold what net_frame() made? */
bool net_is_frame(const struct rte_mbuf *m, unsigned int len, unsigned char seed);
void net_send(const struct port *port, uint16_t queue, struct rte_mbuf *m);
/* The next frame, waiting up to two seconds; fails the test if none comes. */
struct rte_mbuf *net_receive(const struct port *port, uint16_t queue);
/* True if no frame comes for a while. */
bool net_silent(const struct port *port, uint16_t queue);
/* Send to itself, with a broadcast behind that does arrive: which comes out first? */
bool net_passes(const struct port *port, const struct rte_ether_addr *to, unsigned int len);
/* Wait until the extended statistic reaches at least value, up to two seconds. */
void net_wait_xstat(const struct port *port, const char *name, uint64_t value);
uint64_t net_xstat(const struct port *port, const char *name);

#define EXTERNAL_BUFFERS 64u
#define EXTERNAL_ROOM 2048u /* two buffers to a page */
#define EXTERNAL_BYTES (EXTERNAL_BUFFERS * EXTERNAL_ROOM)

/* Packet buffers in a file of their own, as those of an arena are, in the process's domain. */
struct net_external {
	struct wherry_domain *dom;
	struct wherry_span span;
	void *vaddr;
	struct rte_mempool *mp;
};

struct net_external net_external(void);
/* The same with buffers of another size. */
struct net_external net_external_of(unsigned int room);
void net_external_drop(struct net_external *e);

#endif /* NET_H */
