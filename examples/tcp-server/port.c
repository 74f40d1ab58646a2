/* SPDX-License-Identifier: BSD-3-Clause */
/* One DPDK port: bursts, receive buffers in the arena, sleeping on receive interrupts. */

#include "port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <rte_ethdev.h>
#include <rte_interrupts.h>
#include <rte_mbuf.h>

#include "server.h"

#define DESCRIPTORS 1024u
#define BURST 32u
#define BACKLOG 256u /* frames that may wait for room in the transmit ring */
#define RX_MBUFS 4095u
#define TX_MBUFS 4095u
#define MBUF_CACHE 64u
#define RX_ROOM 2048u
#define QUEUE 0
#define POLL_NS 1000000u /* without interrupts: how long a frame may wait for an idle server */

struct port {
	uint16_t id;
	struct wherry_pktpool *rx_pool;
	struct rte_mempool *tx_pool;
	struct rte_mbuf *waiting[BACKLOG];
	uint16_t n_waiting;
	bool refused;  /* a send found no room */
	bool has_intr; /* the PMD has receive interrupts */
	bool armed;    /* they are in the set this thread sleeps on, and so is the wake fd */
	struct rte_epoll_event wake;
};

static int
configure_device(struct port *port)
{
	struct rte_eth_conf conf = { .intr_conf.rxq = port->has_intr };
	int rc = rte_eth_dev_configure(port->id, 1, 1, &conf);

	if (rc == 0 || !port->has_intr)
		return rc;
	port->has_intr = false;
	conf.intr_conf.rxq = 0;
	return rte_eth_dev_configure(port->id, 1, 1, &conf);
}

int
port_configure(struct port *port)
{
	uint16_t rxd = DESCRIPTORS, txd = DESCRIPTORS;
	int rc = configure_device(port);

	if (rc == 0)
		rc = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rxd, &txd);
	if (rc == 0)
		rc = rte_eth_rx_queue_setup(port->id, QUEUE, rxd, (unsigned int)SOCKET_ID_ANY, NULL,
			wherry_pktpool_mempool(port->rx_pool));
	if (rc == 0)
		rc = rte_eth_tx_queue_setup(
			port->id, QUEUE, txd, (unsigned int)SOCKET_ID_ANY, NULL);
	if (rc != 0)
		complain("cannot set up port %u: %s", port->id, strerror(-rc));
	return rc;
}

static int
make_pools(struct port *port, const struct port_opts *opts)
{
	const struct wherry_pktpool_opts rx = {
		.name = "tcp-server-rx",
		.mbufs = RX_MBUFS,
		.spares = opts->max_kept,
		.room = RX_ROOM,
		.cache = MBUF_CACHE,
		.node = WHERRY_NODE_ANY,
	};
	int rc = wherry_pktpool_create(&rx, &port->rx_pool);

	if (rc != 0)
		return rc;
	port->tx_pool = rte_pktmbuf_pool_create(
		"tcp-server-tx", TX_MBUFS, MBUF_CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	return port->tx_pool == NULL ? -rte_errno : 0;
}

int
port_create(const struct port_opts *opts, struct port **ret_port)
{
	uint16_t id = (uint16_t)rte_eth_find_next(0);
	struct port *port = id == RTE_MAX_ETHPORTS ? NULL : calloc(1, sizeof(*port));
	int rc;

	if (id == RTE_MAX_ETHPORTS) {
		complain("no port; give EAL one, as in --vdev net_wherry0,wire=tap=wire0");
		return -ENODEV;
	}
	if (port == NULL)
		return -ENOMEM;
	port->id = id;
	port->has_intr = opts->sleeps;
	rc = make_pools(port, opts);
	if (rc != 0) {
		complain("cannot make packet buffers: %s", strerror(-rc));
		port_destroy(port);
		return rc;
	}
	*ret_port = port;
	return 0;
}

void
port_destroy(struct port *port)
{
	if (port == NULL)
		return;
	rte_pktmbuf_free_bulk(port->waiting, port->n_waiting);
	(void)rte_eth_dev_stop(port->id); /* it may never have been started */
	(void)rte_eth_dev_close(port->id);
	wherry_pktpool_destroy(port->rx_pool);
	rte_mempool_free(port->tx_pool);
	free(port);
}

uint16_t
port_id(const struct port *port)
{
	return port->id;
}

void
port_mac(const struct port *port, uint8_t ret_mac[6])
{
	struct rte_ether_addr mac = { 0 };

	(void)rte_eth_macaddr_get(port->id, &mac);
	memcpy(ret_mac, mac.addr_bytes, sizeof(mac.addr_bytes));
}

void *
port_bind(struct port *port, struct wherry_arena *arena)
{
	return wherry_pktpool_bind(port->rx_pool, arena);
}

int
port_adopt(struct port *port, struct wherry_arena *arena, void *buffers)
{
	return wherry_pktpool_adopt(port->rx_pool, arena, buffers);
}

void
port_set_filter(struct port *port, struct wherry_watch *watch)
{
	wherry_watch_set_filter(watch, wherry_pktpool_filter, port->rx_pool);
}

static void
receive_one(struct port *port, struct rte_mbuf *m, port_frame_fn fn, void *ctx)
{
	/* A frame of several buffers cannot be: the MTU is far below a buffer's room. */
	bool kept = m->nb_segs == 1 && fn(ctx, rte_pktmbuf_mtod(m, const void *), m->data_len);

	/* fn counts what it keeps, and keeps no more than the pool has spares */
	if (kept && wherry_pktpool_keep(port->rx_pool, m) == NULL)
		rte_panic("receive buffers: more kept than there are spares\n");
	rte_pktmbuf_free(m);
}

unsigned int
port_receive(struct port *port, port_frame_fn fn, void *ctx)
{
	struct rte_mbuf *burst[BURST];
	uint16_t n = rte_eth_rx_burst(port->id, QUEUE, burst, BURST);

	for (uint16_t i = 0; i < n; i++)
		receive_one(port, burst[i], fn, ctx);
	return n;
}

void
port_release(struct port *port, const void *data)
{
	wherry_pktpool_release(port->rx_pool, data);
}

static void
transmit(struct port *port)
{
	uint16_t n = rte_eth_tx_burst(port->id, QUEUE, port->waiting, port->n_waiting);

	port->n_waiting = (uint16_t)(port->n_waiting - n);
	memmove(port->waiting, port->waiting + n, port->n_waiting * sizeof(port->waiting[0]));
}

void *
port_send(struct port *port, size_t len)
{
	if (port->n_waiting == BACKLOG)
		transmit(port);
	struct rte_mbuf *m = port->n_waiting < BACKLOG ? rte_pktmbuf_alloc(port->tx_pool) : NULL;
	char *room = m == NULL || len > UINT16_MAX ? NULL : rte_pktmbuf_append(m, (uint16_t)len);

	if (room == NULL) {
		rte_pktmbuf_free(m);
		port->refused = true;
		return NULL;
	}
	port->waiting[port->n_waiting++] = m;
	return room;
}

bool
port_flush(struct port *port)
{
	if (port->n_waiting > 0)
		transmit(port);
	bool refused = port->refused && port->n_waiting == 0;
	if (refused)
		port->refused = false;
	return refused;
}

void
port_restarted(struct port *port)
{
	port->armed = false;
}

static int
control_intr(struct port *port, int op)
{
	return rte_eth_dev_rx_intr_ctl_q(port->id, QUEUE, RTE_EPOLL_PER_THREAD, op, NULL);
}

static void
arm(struct port *port, struct wherry_app *app)
{
	bool anew = port->wake.status != RTE_EPOLL_INVALID;

	if (port->has_intr && anew) /* what is in the set may be from before the restart */
		(void)control_intr(port, RTE_INTR_EVENT_DEL);
	port->has_intr = port->has_intr && control_intr(port, RTE_INTR_EVENT_ADD) == 0;
	port->armed = true;
	if (anew)
		return;
	port->wake.epdata.event = EPOLLIN;
	(void)rte_epoll_ctl(
		RTE_EPOLL_PER_THREAD, EPOLL_CTL_ADD, wherry_app_wake_fd(app), &port->wake);
}

static void
wait(uint64_t timeout_ns)
{
	struct rte_epoll_event events[2];

	(void)rte_epoll_wait(
		RTE_EPOLL_PER_THREAD, events, 2, (int)((timeout_ns + 999999) / 1000000));
}

void
port_sleep(struct port *port, struct wherry_app *app, uint64_t timeout_ns)
{
	if (!port->armed)
		arm(port, app);
	if (port->n_waiting > 0)
		return;
	if (port->has_intr && rte_eth_dev_rx_intr_enable(port->id, QUEUE) != 0)
		port->has_intr = false; /* the PMD promised too much */
	if (!port->has_intr) {
		wait(timeout_ns < POLL_NS ? timeout_ns : POLL_NS);
		return;
	}
	/* a frame that came before the interrupt was enabled gives none */
	if (rte_eth_rx_queue_count(port->id, QUEUE) <= 0)
		wait(timeout_ns);
	(void)rte_eth_dev_rx_intr_disable(port->id, QUEUE);
}
