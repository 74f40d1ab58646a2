/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A -d object for a secondary testpmd: once its ports are there, it asks for memory of its own to
 * be mapped for them (rte_dev_dma_map), and says what came of it.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_memory.h>

#define LEN ((size_t)2 << 20)

static const char *
map(void *memory)
{
	struct rte_eth_dev_info info;

	if (rte_extmem_register(memory, LEN, NULL, 0, 4096) != 0)
		return "EAL does not take it";
	if (rte_eth_dev_info_get(0, &info) != 0)
		return "there is no port";
	if (rte_dev_dma_map(info.device, memory, (uintptr_t)memory, LEN) == 0)
		return "mapped";
	return rte_strerror(rte_errno);
}

static void *
try_once(void *arg)
{
	void *memory = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	while (!rte_eth_dev_is_valid_port(1))
		usleep(100000);
	printf("dma_map: %s\n", memory != MAP_FAILED ? map(memory) : "no memory");
	fflush(stdout);
	return NULL;
}

RTE_INIT(dma_map_start)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, try_once, NULL) == 0)
		pthread_detach(thread);
}
