/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MEM_PRIV_H
#define MEM_PRIV_H

#include "base_priv.h"
#include "wherry_mem.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define PAGE_4K ((size_t)4096)
#define PAGE_2M ((size_t)2 << 20)
#define PAGE_1G ((size_t)1 << 30)

/*
 * A number that the kernel keeps about hugepages of one size, e.g. "free_hugepages",
 * for one NUMA node or WHERRY_NODE_ANY; 0 if it keeps none.
 */
unsigned long mem_hugepages(int node, size_t page, const char *what);
/* The folder of those numbers. */
void mem_hugepages_folder(int node, size_t page, char *ret_path, size_t size);
/* Is there such a NUMA node? Without NUMA there is node 0. */
bool mem_node_exists(int node);

#endif /* MEM_PRIV_H */
