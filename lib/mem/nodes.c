/* SPDX-License-Identifier: BSD-3-Clause */
/* What memory and hugepages each NUMA node has: libnuma, and the kernel's files. */
#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "mem_priv.h"

void
mem_hugepages_folder(int node, size_t page, char *ret_path, size_t size)
{
	if (node == WHERRY_NODE_ANY)
		snprintf(ret_path, size, "/sys/kernel/mm/hugepages/hugepages-%zukB", page >> 10);
	else
		snprintf(ret_path, size,
			"/sys/devices/system/node/node%d/hugepages/hugepages-%zukB", node,
			page >> 10);
}

unsigned long
mem_hugepages(int node, size_t page, const char *what)
{
	char folder[96], path[128], text[32] = "";
	ssize_t n;
	int fd;

	mem_hugepages_folder(node, page, folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/%s", folder, what);
	fd = wherry_sys->open(path, 0);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 ? strtoul(text, NULL, 10) : 0;
}

static bool
has_numa(void)
{
	return numa_available() >= 0;
}

bool
mem_node_exists(int node)
{
	if (!has_numa())
		return node == 0;
	return node >= 0 && node <= numa_max_node() &&
		numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned int)node);
}

static void
fill_hugepages(struct wherry_node *node, int where)
{
	node->free_2m = (unsigned int)mem_hugepages(where, PAGE_2M, "free_hugepages");
	node->free_1g = (unsigned int)mem_hugepages(where, PAGE_1G, "free_hugepages");
}

static void
fill_only(struct wherry_node *node)
{
	struct sysinfo info;

	*node = (struct wherry_node){ .id = 0 };
	if (sysinfo(&info) == 0) {
		node->total = (uint64_t)info.totalram * info.mem_unit;
		node->free = (uint64_t)info.freeram * info.mem_unit;
	}
	fill_hugepages(node, WHERRY_NODE_ANY);
}

static void
fill(struct wherry_node *node, int id)
{
	long long unused = 0, total = numa_node_size64(id, &unused);

	*node = (struct wherry_node){ .id = id };
	node->total = total > 0 ? (uint64_t)total : 0;
	node->free = unused > 0 ? (uint64_t)unused : 0;
	fill_hugepages(node, id);
}

size_t
wherry_nodes(struct wherry_node *ret_nodes, size_t n)
{
	size_t count = 0;

	if (!has_numa()) {
		if (n > 0)
			fill_only(&ret_nodes[0]);
		return 1;
	}
	for (int id = 0; id <= numa_max_node(); id++) {
		if (!mem_node_exists(id))
			continue;
		if (count < n)
			fill(&ret_nodes[count], id);
		count++;
	}
	return count;
}
