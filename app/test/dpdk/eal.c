/* SPDX-License-Identifier: BSD-3-Clause */
#include "eal.h"

#include <sched.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "eal_folder.h"
#include "test.h"

#ifdef NET_PLUGIN
#define NET_PLUGIN_ARGS "-d", NET_PLUGIN,
#else
#define NET_PLUGIN_ARGS
#endif

static int cpus; /* that this process could use before EAL pinned its thread */

static void
count_cpus(void)
{
	cpu_set_t set;

	CHECK_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
	cpus = CPU_COUNT(&set);
}

int
eal_cpus(void)
{
	return cpus;
}

void
eal_need(void)
{
	static int rc = -1;
	static char *argv[] = { "wherry-test-dpdk", NULL, "--no-huge", "--no-shconf", "--no-pci",
		"-m", "128", "-l", "0", "--log-level=critical", NET_PLUGIN_ARGS NULL };

	if (rc < 0 && argv[1] == NULL)
		argv[1] = eal_folder_option("wherry-test-dpdk");
	if (rc < 0)
		count_cpus();
	if (rc < 0)
		rc = rte_eal_init((int)(sizeof(argv) / sizeof(*argv)) - 1, argv);
	CHECK(rc >= 0);
}

struct rte_mempool *
eal_mempool(void)
{
	static struct rte_mempool *mp;

	if (mp == NULL)
		mp = rte_pktmbuf_pool_create(
			"plain", 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	CHECK(mp != NULL);
	return mp;
}

uint16_t
eal_port(const char *name, const char *args, uint16_t queues, struct rte_mempool *mp)
{
	static const struct rte_eth_conf conf;
	uint16_t id;

	CHECK_EQ(rte_eal_hotplug_add("vdev", name, args), 0);
	CHECK_EQ(rte_eth_dev_get_port_by_name(name, &id), 0);
	CHECK_EQ(rte_eth_dev_configure(id, queues, queues, &conf), 0);
	for (uint16_t q = 0; q < queues; q++) {
		CHECK_EQ(rte_eth_rx_queue_setup(id, q, 128, 0, NULL, mp), 0);
		CHECK_EQ(rte_eth_tx_queue_setup(id, q, 128, 0, NULL), 0);
	}
	return id;
}

void
eal_port_close(const char *name)
{
	uint16_t id;

	CHECK_EQ(rte_eth_dev_get_port_by_name(name, &id), 0);
	CHECK_EQ(rte_eth_dev_stop(id), 0);
	CHECK_EQ(rte_eth_dev_close(id), 0);
	CHECK_EQ(rte_eal_hotplug_remove("vdev", name), 0);
}

void
eal_need_net_wherry(void)
{
#ifndef NET_PLUGIN
	SKIP("net_wherry is not built: run devtools/dpdk-sdk, then meson setup --reconfigure");
#endif
	eal_need();
}
