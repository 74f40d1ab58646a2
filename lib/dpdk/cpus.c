/* SPDX-License-Identifier: BSD-3-Clause */
/* CPUs of parked cores, lent to the agent; see cpus_priv.h. */
#include <string.h>

#include <rte_lcore.h>

#include "base_priv.h"
#include "cpus_priv.h"

#define LOG_PREFIX "dpdk/cpus"

static void
add_cpus(cpu_set_t *all, unsigned int lcore)
{
	rte_cpuset_t set = rte_lcore_cpuset(lcore);

	CPU_OR(all, all, &set);
}

void
cpus_borrow(struct cpus *c)
{
	cpu_set_t all;
	int rc;

	if (c->borrowed)
		return;
	c->thread = pthread_self();
	rc = pthread_getaffinity_np(c->thread, sizeof(c->own), &c->own);
	if (rc == 0) {
		all = c->own;
		for (unsigned int lcore = 0; lcore < RTE_MAX_LCORE; lcore++)
			if (rte_lcore_is_enabled(lcore))
				add_cpus(&all, lcore);
		rc = pthread_setaffinity_np(c->thread, sizeof(all), &all);
	}
	c->borrowed = rc == 0;
	if (rc != 0)
		LOG_DEBUG("the agent stays off the parked cores: %s", strerror(rc));
}

void
cpus_give_back(struct cpus *c)
{
	if (c->borrowed && pthread_setaffinity_np(c->thread, sizeof(c->own), &c->own) != 0)
		LOG_WARN("the agent stays on cores that poll");
	c->borrowed = false;
}
