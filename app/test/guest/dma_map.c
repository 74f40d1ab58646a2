/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A -d object for a secondary testpmd: when it is told to, it asks for memory of its own to be mapped
 * for the ports (rte_dev_dma_map), and says what came of it. It is told by somebody who opens the FIFO
 * that DMA_MAP_WHEN names, at a time when no process of this EAL allocates memory: the primary walks
 * over all memory when it does, and what only a secondary has registered is not there for it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
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
	const char *outcome = "mapped";

	if (rte_eth_dev_info_get(0, &info) != 0)
		return "there is no port";
	if (rte_extmem_register(memory, LEN, NULL, 0, 4096) != 0)
		return "EAL does not take it";
	if (rte_dev_dma_map(info.device, memory, (uintptr_t)memory, LEN) != 0)
		outcome = rte_strerror(rte_errno);
	(void)rte_extmem_unregister(memory, LEN);
	return outcome;
}

static void *
try_once(void *arg)
{
	void *memory = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int told = open(arg, O_RDONLY);

	if (told >= 0)
		close(told);
	printf("dma_map: %s\n", memory != MAP_FAILED ? map(memory) : "no memory");
	fflush(stdout);
	return NULL;
}

RTE_INIT(dma_map_start)
{
	char *when = getenv("DMA_MAP_WHEN");
	pthread_t thread;

	if (when != NULL && pthread_create(&thread, NULL, try_once, when) == 0)
		pthread_detach(thread);
}
