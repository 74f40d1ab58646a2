/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A -d object for testpmd: once packets pass, it measures on port 0 which way of stopping
 * its NIC's DMA is the cheaper one, the polling core being parked in a receive callback:
 * bus mastering off and on (does traffic go on after it?), or port stop and start.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_ethdev.h>

#define ROUNDS 5u
#define COMMAND 4u /* PCI configuration space: the command register */
#define BUS_MASTER 0x4u

static bool hold;           /* __atomic: the core is to wait */
static unsigned int parked; /* __atomic: it waits */

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec * 1e-6;
}

static uint16_t
on_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, uint16_t max, void *arg)
{
	(void)port;
	(void)queue;
	(void)max;
	(void)arg;
	(void)pkts;
	if (!__atomic_load_n(&hold, __ATOMIC_ACQUIRE))
		return n;
	__atomic_store_n(&parked, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&hold, __ATOMIC_ACQUIRE))
		usleep(200);
	__atomic_store_n(&parked, 0, __ATOMIC_RELEASE);
	return n; /* what circulates is not to end here */
}

static void
park(bool on)
{
	__atomic_store_n(&hold, on, __ATOMIC_RELEASE);
	while (__atomic_load_n(&parked, __ATOMIC_ACQUIRE) != on)
		usleep(100);
}

static uint64_t
received(void)
{
	struct rte_eth_stats stats;

	return rte_eth_stats_get(0, &stats) == 0 ? stats.ipackets : 0;
}

static bool
receives_more(unsigned int seconds)
{
	uint64_t before = received();

	for (unsigned int i = 0; i < seconds * 10 && received() < before + 100; i++)
		usleep(100000);
	return received() >= before + 100;
}

static int
by_value(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1
						       : *(const double *)a > *(const double *)b;
}

static double
median(double *ms)
{
	qsort(ms, ROUNDS, sizeof(*ms), by_value);
	return ms[ROUNDS / 2];
}

/* Bus mastering off, with what was posted pushed before it by reading back; and on. */
static void
by_bus_master(int config, double *ret_off, double *ret_on)
{
	uint16_t was = 0, off, back;
	double begin = now_ms(), middle;

	if (pread(config, &was, 2, COMMAND) != 2)
		return;
	off = was & (uint16_t)~BUS_MASTER;
	(void)!pwrite(config, &off, 2, COMMAND);
	(void)!pread(config, &back, 2, COMMAND);
	middle = now_ms();
	(void)!pwrite(config, &was, 2, COMMAND);
	*ret_off = middle - begin;
	*ret_on = now_ms() - middle;
}

static void
measure_bus_master(const char *pmd, const char *address)
{
	double off[ROUNDS] = { 0 }, on[ROUNDS] = { 0 };
	bool goes_on = true;
	char path[96];
	int config;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", address);
	config = open(path, O_RDWR | O_CLOEXEC);
	for (unsigned int i = 0; config >= 0 && i < ROUNDS; i++) {
		park(true);
		by_bus_master(config, &off[i], &on[i]);
		park(false);
		goes_on = goes_on && receives_more(10);
	}
	close(config);
	printf("stopcost: %s: bus mastering off %.3f ms, on %.3f ms, traffic %s\n", pmd,
		median(off), median(on), goes_on ? "goes on" : "does NOT go on");
	fflush(stdout);
}

static void
measure_port(const char *pmd)
{
	double stop[ROUNDS] = { 0 }, start[ROUNDS] = { 0 };

	for (unsigned int i = 0; i < ROUNDS; i++) {
		double begin, middle;

		park(true);
		begin = now_ms();
		(void)rte_eth_dev_stop(0);
		middle = now_ms();
		(void)rte_eth_dev_start(0);
		stop[i] = middle - begin;
		start[i] = now_ms() - middle;
		park(false);
		usleep(200000);
	}
	printf("stopcost: %s: port stop %.3f ms, start %.3f ms\n", pmd, median(stop),
		median(start));
	printf("stopcost: done\n");
	fflush(stdout);
}

/* Some PMDs do not survive a look at the statistics of a port that was never configured. */
static bool
is_configured(struct rte_eth_dev_info *info)
{
	return rte_eth_dev_is_valid_port(0) && rte_eth_dev_info_get(0, info) == 0 &&
		info->nb_rx_queues != 0;
}

static void *
measure(void *arg)
{
	char address[RTE_ETH_NAME_MAX_LEN];
	struct rte_eth_dev_info info;

	while (!is_configured(&info))
		usleep(500000);
	do
		usleep(500000);
	while (received() < 4000);
	if (rte_eth_dev_get_name_by_port(0, address) == 0 &&
		rte_eth_add_rx_callback(0, 0, on_burst, NULL) != NULL) {
		measure_bus_master(info.driver_name, address);
		measure_port(info.driver_name);
	}
	return arg;
}

RTE_INIT(stopcost_start)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, measure, NULL) == 0)
		pthread_detach(thread);
}
