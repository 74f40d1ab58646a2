/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A -d object for testpmd: once ports forward, 200 MB of EAL memory come and go ten times,
 * or $WHERRY_CHURN times, each piece written, so that the heap grows and shrinks by whole
 * hugepages.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>

#include <wherry_dpdk.h>

#define PIECE (2u << 20)
#define PIECES 100u
#define TIMES 10u

static bool
is_forwarding(void)
{
	struct rte_eth_dev_info info;
	struct rte_eth_stats stats;

	return rte_eth_dev_is_valid_port(0) && rte_eth_dev_info_get(0, &info) == 0 &&
		info.nb_rx_queues != 0 && rte_eth_stats_get(0, &stats) == 0 && stats.ipackets > 100;
}

static unsigned int
once(void)
{
	static void *piece[PIECES];
	unsigned int got = 0;

	for (unsigned int i = 0; i < PIECES; i++) {
		piece[i] = rte_malloc("churn", PIECE, 0);
		if (piece[i] != NULL) {
			memset(piece[i], 0x5a, PIECE);
			got++;
		}
	}
	for (unsigned int i = 0; i < PIECES; i++)
		rte_free(piece[i]);
	return got;
}

static void *
churn(void *arg)
{
	const char *wanted = getenv("WHERRY_CHURN");
	unsigned long n = wanted != NULL ? strtoul(wanted, NULL, 10) : TIMES;
	struct wherry_dpdk_domain_stats stats;
	unsigned int times = 0;

	(void)arg;
	while (!is_forwarding())
		usleep(100000);
	for (unsigned long i = 0; i < n; i++)
		times += once() == PIECES;
	wherry_dpdk_domain_get_stats(&stats);
	printf("churn: %u times 200 MB; %llu maps, %llu unmaps, %llu failed\n", times,
		(unsigned long long)stats.maps, (unsigned long long)stats.unmaps,
		(unsigned long long)stats.failed);
	fflush(stdout);
	return NULL;
}

RTE_INIT(churn_start)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, churn, NULL) == 0)
		pthread_detach(thread);
}
