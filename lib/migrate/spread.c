/* SPDX-License-Identifier: BSD-3-Clause */
#include <sched.h>

#include "spread_priv.h"

/* It has more than n. */
static size_t
nth(const cpu_set_t *set, unsigned int n)
{
	size_t cpu = 0;

	while (!CPU_ISSET(cpu, set) || n-- > 0)
		cpu++;
	return cpu;
}

void
mig_spread(unsigned int n)
{
	cpu_set_t may, there;
	int count;

	if (sched_getaffinity(0, sizeof(may), &may) != 0)
		return; /* more CPUs than the set has room for: the kernel does what it can */
	count = CPU_COUNT(&may);
	if (count < 2)
		return;
	CPU_ZERO(&there);
	CPU_SET(nth(&may, n % (unsigned int)count), &there);
	if (sched_setaffinity(0, sizeof(there), &there) == 0)
		sched_setaffinity(0, sizeof(may), &may);
}
