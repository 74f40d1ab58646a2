/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets per second round a loop of net_wherry on one core, with dirty tracking off
 * and with a harvest of all EAL memory ten times a second. The baseline is DPDK's own
 * net_ring looped back: what remains when there is neither device nor IOMMU.
 *
 * WHERRY_NET_PLUGIN names another librte_net_wherry.so than the one of this build.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <wherry_bitmap.h>
#include <wherry_dpdk.h>

#include "bench.h"

#define BURST 32
#define WINDOW (8 * BURST)
#define RUN_NS UINT64_C(300000000)
#define MAX_AREAS 64

/* One stretch of EAL memory without holes. */
struct area {
	struct wherry_span span;
	struct wherry_bitmap *found;
};

struct loop {
	struct rte_mempool *pool;
	struct wherry_domain *dom;
	cpu_set_t before; /* EAL pins this thread */
	struct area areas[MAX_AREAS];
	size_t n_areas;
	uint16_t ring, wherry;
	bool harvesting; /* atomic: cleared to end the thread */
	int harvest_rc;
};

static const char *
plugin(void)
{
	const char *other = getenv("WHERRY_NET_PLUGIN");

	return other != NULL ? other : NET_WHERRY_PLUGIN;
}

static int
start_eal(void)
{
	static bool started;
	const char *args[] = { "wherry-bench", "--no-huge", "--no-shconf", "--no-pci",
		"--no-telemetry", "--iova-mode=va", "-m", "256", "-l", "0", "--log-level=4", "-d",
		plugin(), "--vdev=net_ring0", "--vdev=net_wherry0,wire=loop" };

	if (started)
		return 0;
	/* EAL does not change the strings, whatever its prototype says */
	if (rte_eal_init((int)(sizeof(args) / sizeof(args[0])), (char **)(uintptr_t)args) < 0)
		return -rte_errno;
	started = true;
	return 0;
}

static int
start_port(const char *name, struct rte_mempool *pool, uint16_t *ret_port)
{
	const struct rte_eth_conf conf = { 0 };
	uint16_t port;
	int rc = rte_eth_dev_get_port_by_name(name, &port);

	if (rc == 0)
		rc = rte_eth_dev_configure(port, 1, 1, &conf);
	if (rc == 0)
		rc = rte_eth_rx_queue_setup(port, 0, 512, (unsigned int)SOCKET_ID_ANY, NULL, pool);
	if (rc == 0)
		rc = rte_eth_tx_queue_setup(port, 0, 512, (unsigned int)SOCKET_ID_ANY, NULL);
	if (rc == 0)
		rc = rte_eth_dev_start(port);
	if (rc == 0)
		rc = rte_eth_promiscuous_enable(port);
	*ret_port = port;
	return rc == -ENOTSUP ? 0 : rc;
}

static int
add_area(const struct rte_memseg_list *list, const struct rte_memseg *seg, size_t len, void *ctx)
{
	struct loop *l = ctx;
	struct area *a = &l->areas[l->n_areas];

	(void)list;
	if (l->n_areas == MAX_AREAS)
		return -ENOSPC;
	a->span = (struct wherry_span){ .iova = seg->addr_64, .len = len };
	l->n_areas++;
	return wherry_bitmap_create(a->span, PAGE, &a->found);
}

static void
net_teardown(void *ctx)
{
	struct loop *l = ctx;

	rte_eth_dev_stop(l->ring);
	rte_eth_dev_stop(l->wherry);
	for (size_t i = 0; i < l->n_areas; i++)
		wherry_bitmap_destroy(l->areas[i].found);
	if (l->dom != NULL)
		wherry_dpdk_domain_put(l->dom);
	rte_mempool_free(l->pool);
	sched_setaffinity(0, sizeof(l->before), &l->before);
	free(l);
}

static int
start_all(struct loop *l)
{
	int rc;

	l->pool = rte_pktmbuf_pool_create(
		"bench", 4095, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (l->pool == NULL)
		return -rte_errno;
	rc = start_port("net_ring0", l->pool, &l->ring);
	if (rc == 0)
		rc = start_port("net_wherry0", l->pool, &l->wherry);
	if (rc == 0)
		rc = wherry_dpdk_domain_get(NULL, &l->dom);
	return rc == 0 ? rte_memseg_contig_walk(add_area, l) : rc;
}

static int
net_setup(void **ret_ctx)
{
	struct loop *l = calloc(1, sizeof(*l));
	int rc;

	if (l == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	sched_getaffinity(0, sizeof(l->before), &l->before);
	rc = start_eal();
	if (rc != 0) {
		free(l);
		return bench_cannot(rc, "EAL does not start with %s", plugin());
	}
	rc = start_all(l);
	if (rc != 0) {
		net_teardown(l);
		return bench_cannot(rc, "ports do not start");
	}
	*ret_ctx = l;
	return 0;
}

/* Ask for all dirty bits ten times a second, as a migration would. */
static void *
harvester(void *ctx)
{
	struct loop *l = ctx;

	while (__atomic_load_n(&l->harvesting, __ATOMIC_RELAXED) && l->harvest_rc == 0) {
		for (size_t i = 0; i < l->n_areas && l->harvest_rc == 0; i++) {
			wherry_bitmap_clear(l->areas[i].found);
			l->harvest_rc = wherry_domain_dirty_harvest(
				l->dom, l->areas[i].span, l->areas[i].found);
		}
		usleep(100000);
	}
	return NULL;
}

/* Bursts of 64-byte frames to the port itself. */
static unsigned int
send_burst(uint16_t port, struct rte_mempool *pool)
{
	struct rte_mbuf *burst[BURST];
	unsigned int n;

	if (rte_pktmbuf_alloc_bulk(pool, burst, BURST) != 0)
		return 0;
	for (unsigned int i = 0; i < BURST; i++)
		memset(rte_pktmbuf_append(burst[i], 60), 0xff, 60); /* broadcast */
	n = rte_eth_tx_burst(port, 0, burst, BURST);
	rte_pktmbuf_free_bulk(burst + n, BURST - n);
	return n;
}

static unsigned int
receive_burst(uint16_t port)
{
	struct rte_mbuf *burst[BURST];
	unsigned int n = rte_eth_rx_burst(port, 0, burst, BURST);

	rte_pktmbuf_free_bulk(burst, n);
	return n;
}

/* What is still under way is no packet of the next measurement. */
static void
drain(uint16_t port)
{
	for (unsigned int quiet = 0; quiet < 1000; quiet++)
		if (receive_burst(port) > 0)
			quiet = 0;
}

/*
 * Millions of packets that came back, per second. A few bursts are under way at any
 * time; if none has come back for long they are lost and others are sent.
 */
static double
forward(uint16_t port, struct rte_mempool *pool)
{
	uint64_t start = bench_now_ns(), took, received = 0, missing = 0;
	unsigned int quiet = 0;

	do {
		unsigned int n;

		if (missing < WINDOW)
			missing += send_burst(port, pool);
		n = receive_burst(port);
		received += n;
		missing -= n < missing ? n : missing;
		quiet = n > 0 ? 0 : quiet + 1;
		if (quiet > 100000)
			missing = 0;
		took = bench_now_ns() - start;
	} while (took < RUN_NS);
	drain(port);
	return (double)received * 1000 / (double)took;
}

static int
forward_tracked(struct loop *l, double *ret_rate)
{
	pthread_t thread;
	int rc = wherry_domain_dirty_start(l->dom);

	if (rc != 0)
		return bench_cannot(rc, "no tracking");
	l->harvesting = true;
	l->harvest_rc = 0;
	rc = -pthread_create(&thread, NULL, harvester, l);
	if (rc != 0)
		goto stop_tracking;
	*ret_rate = forward(l->wherry, l->pool);
	__atomic_store_n(&l->harvesting, false, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	rc = l->harvest_rc;
stop_tracking:
	wherry_domain_dirty_stop(l->dom);
	return rc == 0 ? 0 : bench_cannot(rc, "harvest failed");
}

static int
net_run(void *ctx, struct bench_result *result)
{
	struct loop *l = ctx;
	double rate = 0;
	int rc;

	bench_record(result, "net_ring", "Mpkt/s", forward(l->ring, l->pool));
	bench_record(result, "net_wherry", "Mpkt/s", forward(l->wherry, l->pool));
	rc = forward_tracked(l, &rate);
	if (rc == 0)
		bench_record(result, "net_wherry_tracked", "Mpkt/s", rate);
	return rc;
}

static struct bench net = {
	.name = "net",
	.what = "packets per second round a loop of net_wherry, tracking off and on",
	.setup = net_setup,
	.run = net_run,
	.teardown = net_teardown,
};
BENCH(net)
