/* SPDX-License-Identifier: BSD-3-Clause */
/* A heap that counts, in the place of the arena. */

#include "heap.h"

#include <limits.h>
#include <stdlib.h>

static unsigned int objects;
static unsigned int left = UINT_MAX;

void
heap_fail_after(unsigned int n)
{
	left = n;
}

unsigned int
heap_objects(void)
{
	return objects;
}

void *
state_alloc(struct state *state, size_t len)
{
	(void)state;
	if (left == 0)
		return NULL;
	if (left != UINT_MAX)
		left--;
	objects++;
	return calloc(1, len);
}

void
state_free(struct state *state, void *p)
{
	(void)state;
	if (p != NULL)
		objects--;
	free(p);
}
