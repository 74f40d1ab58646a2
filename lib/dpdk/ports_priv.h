/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PORTS_PRIV_H
#define PORTS_PRIV_H

/*
 * The ports of an application that move: started, stopped for a moment, described in
 * a section of the stream, and brought up in the same shape elsewhere.
 *
 * A source's ports are RUNNING, and STOPPED from quiesce to resume. A destination's
 * are WARM: started, so that link and rings are up before the blackout, but with
 * receive queues stopped, so that no frame is written where bytes still arrive. A PMD
 * that cannot stop a queue leaves its port STOPPED until takeover. An adopted port is
 * RUNNING on both sides; a destination's drops what it receives (adopt_priv.h).
 *
 * Threads: one at a time, and no core polls a port that is stopped or started.
 */

#include <stdbool.h>
#include <stddef.h>

#include <rte_ethdev.h>
#include <rte_flow.h>

#include "wherry_migrate.h"

enum port_at { PORT_STOPPED, PORT_WARM, PORT_RUNNING };

/* What moves of a port. */
struct port_shape {
	struct rte_ether_addr mac;
	uint16_t mtu, rx_queues, tx_queues;
	bool promiscuous, allmulticast, started;
};

#define PORT_MCASTS_MAX 64u
#define PORT_FLOWS_MAX 64u
#define PORT_RSS_KEY_MAX 64u
#define PORT_RETA_MAX 512u
#define PORT_VLANS 4096u

/* Which queue a frame goes to; all zero: there is no RSS. */
struct port_rss {
	uint64_t types;
	uint8_t key[PORT_RSS_KEY_MAX];
	uint16_t key_len;
	uint16_t reta[PORT_RETA_MAX];
	uint16_t n_reta;
};

struct port_flow;

struct port {
	uint16_t id;
	enum port_at at;
	bool serves;                 /* it is to run when the application does */
	bool takes_macs;             /* destination: that was tried when the peer's was checked */
	bool adopted;                /* somebody else starts it, and stops it in the end */
	uint64_t takeover_ns;        /* destination: so long it takes to start, or to stop queues */
	struct port_shape wanted;    /* destination: from the stream */
	struct rte_eth_stats last;   /* read before the last stop: some PMDs forget */
	struct rte_eth_stats before; /* destination: what earlier processes counted */
	struct rte_ether_addr mcasts[PORT_MCASTS_MAX]; /* set through us, n_mcasts of them */
	unsigned int n_mcasts;
	uint8_t vlans[PORT_VLANS / 8]; /* let in, set through us: one bit each */
	struct port_rss rss;           /* as it was before the last stop, or has to be */
	struct port_flow
		*flows; /* PORT_FLOWS_MAX places of rules made through us; NULL: none yet */
};

struct ports {
	unsigned int n;
	struct port port[RTE_MAX_ETHPORTS];
};

/* -ENODEV: no such port; -EEXIST: it was added. */
int ports_add(struct ports *ports, uint16_t id);
/* Forget what is kept of them; they are no longer used. */
void ports_fini(struct ports *ports);
/* All RUNNING, or none and -errno. */
int ports_start(struct ports *ports);
/* All WARM, or STOPPED where the PMD cannot. */
int ports_warm(struct ports *ports);
/* How long takeover of ports that are warm takes: as their start did, or their queues' stop. */
uint64_t ports_takeover_ns(const struct ports *ports);
/* All STOPPED for good, but what was adopted. */
void ports_stop(struct ports *ports);
/* Source: read statistics, stop DMA. On failure all run again. */
int ports_quiesce(struct ports *ports);
/* Source: undo quiesce; what does not start again is logged. */
void ports_resume(struct ports *ports);
/* Destination: apply what was loaded and run. */
int ports_takeover(struct ports *ports);

/* How a port is now. */
int port_shape_get(const struct port *p, struct port_shape *ret_shape);
/* Give it the shape wanted, but the MAC address; a failure is logged. */
int port_prepare(struct port *p);

/* The section, see struct wherry_section; ctx is the ports. */
#define PORTS_SECTION "wherry.ports"
#define PORTS_SECTION_VERSION 1u
int ports_save(void *ctx, void *buf, size_t cap);
int ports_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);
int ports_load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);

/* What this process and those before it counted. */
int port_total(const struct port *p, struct rte_eth_stats *ret_stats);

/* The section with it; ctx is the ports. */
#define PORTS_STATS_SECTION "wherry.port-stats"
#define PORTS_STATS_SECTION_VERSION 1u
int ports_stats_save(void *ctx, void *buf, size_t cap);
int ports_stats_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);
int ports_stats_load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);

/*
 * Replace the list of multicast addresses; let a VLAN in, or no longer. Remembered, for no
 * port tells. -EINVAL, -ENOSPC, -EOPNOTSUPP: this port cannot.
 */
int port_set_multicast(struct port *p, const struct rte_ether_addr *addrs, unsigned int n);
int port_set_vlan(struct port *p, unsigned int id, bool on);

/* The port is to be stopped; has been started: what many PMDs forget is as it was. */
void port_filters_stop(struct port *p);
void port_filters_start(struct port *p);

/* The section of RSS, multicast addresses and VLANs; ctx is the ports. */
#define FILTERS_SECTION "wherry.filters"
#define FILTERS_SECTION_VERSION 2u
int filters_save(void *ctx, void *buf, size_t cap);
int filters_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);
int filters_load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);

/*
 * Rules of rte_flow, numbered by port. Made at once if the port runs, else when it starts.
 * -EOPNOTSUPP: the port cannot have it, or it is one that does not move; -ENOSPC: too many;
 * -ENOENT: there is no such rule; others as rte_flow_create(). error may be NULL.
 */
int port_create_flow(struct port *p, const struct rte_flow_attr *attr,
	const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
	unsigned int *ret_id, struct rte_flow_error *error);
int port_destroy_flow(struct port *p, unsigned int id);
/* The port has been started; is to be stopped: its rules are made, or taken away. */
int port_flows_start(struct port *p);
void port_flows_stop(struct port *p);

/* The section with them; ctx is the ports. */
#define FLOWS_SECTION "wherry.flows"
#define FLOWS_SECTION_VERSION 1u
int flows_save(void *ctx, void *buf, size_t cap);
int flows_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);
int flows_load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);

#endif /* PORTS_PRIV_H */
