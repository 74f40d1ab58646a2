/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef EAL_H
#define EAL_H

/*
 * One EAL for all tests of this program, without hugepages, devices and files. Tests
 * make the ports they need and close them.
 */

#include <stdint.h>

#include <rte_mempool.h>

/* Start EAL if it has not been. */
void eal_need(void);
/* How many CPUs there were for it; after eal_need(). */
int eal_cpus(void);
/* The same, and net_wherry is there; SKIP if not. */
void eal_need_net_wherry(void);
/* A port: a stock PMD or net_wherry, configured with n queues each way, not started. */
uint16_t eal_port(const char *name, const char *args, uint16_t queues, struct rte_mempool *mp);
/* Close it. */
void eal_port_close(const char *name);
/* 1023 ordinary mbufs, made once. */
struct rte_mempool *eal_mempool(void);

#endif /* EAL_H */
