/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting, stopping and taking over ports; the states are in ports_priv.h. */
#include <errno.h>
#include <time.h>

#include <rte_errno.h>

#include "base_priv.h"
#include "ports_priv.h"

#define LOG_PREFIX "dpdk/ports"
#define BRIEF_NS UINT64_C(1000000) /* a PMD that takes longer is looked at again */
#define COOLS_MAX 3u

int
ports_add(struct ports *ports, uint16_t id)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(id, &info) != 0)
		return -ENODEV;
	for (unsigned int i = 0; i < ports->n; i++)
		if (ports->port[i].id == id)
			return -EEXIST;
	ports->port[ports->n++] = (struct port){ .id = id, .serves = true };
	return 0;
}

static int
port_stop(struct port *p)
{
	int rc;

	if (p->at == PORT_STOPPED)
		return 0;
	port_flows_stop(p);
	port_filters_stop(p);
	rc = wherry_fault("ports.stop") ? -EIO : rte_eth_dev_stop(p->id);
	if (rc != 0) {
		LOG_ERR("port %u does not stop: %s", p->id, rte_strerror(-rc));
		(void)port_flows_start(p);
		return rc;
	}
	p->at = PORT_STOPPED;
	return 0;
}

static int
port_start(struct port *p)
{
	int rc;

	if (p->at == PORT_RUNNING)
		return 0;
	rc = wherry_fault("ports.start") ? -EIO : rte_eth_dev_start(p->id);
	if (rc != 0) {
		LOG_ERR("port %u does not start: %s", p->id, rte_strerror(-rc));
		return rc;
	}
	p->at = PORT_RUNNING;
	port_filters_start(p);
	rc = port_flows_start(p);
	if (rc != 0)
		(void)port_stop(p);
	return rc;
}

/* Do one thing to each receive queue until one fails. */
static int
each_rx_queue(const struct port *p, int (*fn)(uint16_t port, uint16_t queue))
{
	struct rte_eth_dev_info info;
	int rc = rte_eth_dev_info_get(p->id, &info);

	for (uint16_t q = 0; rc == 0 && q < info.nb_rx_queues; q++)
		rc = fn(p->id, q);
	return rc;
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static int
stop_rx_queues(struct port *p, uint64_t *ret_ns)
{
	uint64_t begin = now_ns();
	int rc = each_rx_queue(p, rte_eth_dev_rx_queue_stop);

	*ret_ns = wherry_fault("ports.busy") ? UINT64_MAX : now_ns() - begin;
	return rc;
}

/* Stop the queues of a port that runs. What took long may have met a busy moment: the best counts. */
static int
port_cool(struct port *p)
{
	uint64_t ns, best;
	int rc = stop_rx_queues(p, &best);

	for (unsigned int n = 1; rc == 0 && n < COOLS_MAX && best > BRIEF_NS; n++) {
		rc = each_rx_queue(p, rte_eth_dev_rx_queue_start);
		if (rc == 0)
			rc = stop_rx_queues(p, &ns);
		if (rc == 0)
			best = RTE_MIN(best, ns);
	}
	if (rc == 0)
		p->takeover_ns = best;
	return rc;
}

static int
port_warm(struct port *p)
{
	uint64_t begin = now_ns();
	int rc = port_start(p);

	p->takeover_ns = now_ns() - begin;
	if (rc != 0 || p->adopted)
		return rc;
	rc = port_cool(p);
	if (rc == 0) {
		p->at = PORT_WARM;
		return 0;
	}
	LOG_INFO("port %u starts at takeover only: its receive queues cannot be stopped (%s)",
		p->id, rte_strerror(-rc));
	return port_stop(p);
}

uint64_t
ports_takeover_ns(const struct ports *ports)
{
	uint64_t ns = 0;

	for (unsigned int i = 0; i < ports->n; i++)
		ns += ports->port[i].takeover_ns;
	return ns;
}

void
ports_stop(struct ports *ports)
{
	for (unsigned int i = 0; i < ports->n; i++)
		if (!ports->port[i].adopted)
			(void)port_stop(&ports->port[i]);
}

static int
for_each_or_stop(struct ports *ports, int (*fn)(struct port *p))
{
	for (unsigned int i = 0; i < ports->n; i++) {
		int rc = fn(&ports->port[i]);

		if (rc != 0) {
			ports_stop(ports);
			return rc;
		}
	}
	return 0;
}

int
ports_start(struct ports *ports)
{
	return for_each_or_stop(ports, port_start);
}

int
ports_warm(struct ports *ports)
{
	return for_each_or_stop(ports, port_warm);
}

int
ports_quiesce(struct ports *ports)
{
	int rc = 0;

	/* of every port before the first stop: some keep them in the device and lose them */
	for (unsigned int i = 0; i < ports->n; i++)
		(void)rte_eth_stats_get(ports->port[i].id, &ports->port[i].last);
	for (unsigned int i = 0; i < ports->n && rc == 0; i++)
		rc = port_stop(&ports->port[i]);
	if (rc != 0)
		ports_resume(ports);
	return rc;
}

void
ports_resume(struct ports *ports)
{
	for (unsigned int i = 0; i < ports->n; i++) {
		struct port *p = &ports->port[i];

		/* ethdev restores MAC address, promiscuous and all-multicast mode itself */
		if (p->at == PORT_STOPPED && p->serves)
			(void)port_start(p);
	}
}

static int
set_mac(const struct port *p)
{
	struct rte_ether_addr now;
	int rc = rte_eth_macaddr_get(p->id, &now);

	if (rc != 0 || rte_is_same_ether_addr(&now, &p->wanted.mac))
		return rc;
	rc = rte_eth_dev_default_mac_addr_set(p->id, (struct rte_ether_addr *)&p->wanted.mac);
	if (rc != 0)
		LOG_ERR("port %u refuses its MAC address: %s", p->id, rte_strerror(-rc));
	return rc;
}

static int
port_takeover(struct port *p)
{
	int rc = set_mac(p);

	if (rc != 0)
		return rc;
	p->serves = p->wanted.started;
	if (!p->serves)
		return port_stop(p);
	if (p->at != PORT_WARM)
		return port_start(p);
	rc = each_rx_queue(p, rte_eth_dev_rx_queue_start);
	if (rc != 0) {
		LOG_ERR("port %u: a receive queue does not start: %s", p->id, rte_strerror(-rc));
		return rc;
	}
	p->at = PORT_RUNNING;
	return 0;
}

int
ports_takeover(struct ports *ports)
{
	return for_each_or_stop(ports, port_takeover);
}

int
port_shape_get(const struct port *p, struct port_shape *ret_shape)
{
	struct port_shape s = { .started = p->serves };
	struct rte_eth_dev_info info;
	int rc = rte_eth_dev_info_get(p->id, &info);

	if (rc != 0)
		return rc;
	s.rx_queues = info.nb_rx_queues;
	s.tx_queues = info.nb_tx_queues;
	s.promiscuous = rte_eth_promiscuous_get(p->id) == 1;
	s.allmulticast = rte_eth_allmulticast_get(p->id) == 1;
	rc = rte_eth_macaddr_get(p->id, &s.mac);
	if (rc == 0)
		rc = rte_eth_dev_get_mtu(p->id, &s.mtu);
	if (rc == 0)
		*ret_shape = s;
	return rc;
}

/* Some PMDs change the MTU of a stopped port only. */
static int
set_mtu(struct port *p, uint16_t mtu)
{
	int rc = rte_eth_dev_set_mtu(p->id, mtu);
	bool warm = p->at == PORT_WARM;

	if (rc != -EBUSY || !warm)
		return rc;
	rc = port_stop(p);
	if (rc == 0)
		rc = rte_eth_dev_set_mtu(p->id, mtu);
	return rc == 0 ? port_warm(p) : rc;
}

int
port_prepare(struct port *p)
{
	struct port_shape now;
	int rc = port_shape_get(p, &now);

	if (rc == 0 && now.mtu != p->wanted.mtu)
		rc = set_mtu(p, p->wanted.mtu);
	if (rc == 0 && now.promiscuous != p->wanted.promiscuous)
		rc = p->wanted.promiscuous ? rte_eth_promiscuous_enable(p->id)
					   : rte_eth_promiscuous_disable(p->id);
	if (rc == 0 && now.allmulticast != p->wanted.allmulticast)
		rc = p->wanted.allmulticast ? rte_eth_allmulticast_enable(p->id)
					    : rte_eth_allmulticast_disable(p->id);
	if (rc != 0)
		LOG_ERR("port %u does not take on the peer's shape: %s", p->id, rte_strerror(-rc));
	return rc;
}
