/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef STORM_H
#define STORM_H

/*
 * A storm: devices write as fast as they can while threads map, harvest and unmap the
 * memory below them. Every write changes content, so that one that nobody reported shows
 * as a difference between memory and a copy that is made as a sender makes its own: of
 * pages reported, after the call that reported them.
 */

#include <stdint.h>

#include "wherry_iommu.h"

struct storm_plan {
	const char *spec; /* of a soft domain */
	enum wherry_unmap_mode mode;
	unsigned int burst;  /* writes of a thread between two rests */
	uint64_t writes;     /* it ends when so many have landed ... */
	uint64_t until_lost; /* ... or goes on to this many, 0 or a loss */
	uint64_t per_unmap;  /* so many on average at most: writers wait; 0: they never do */
	unsigned int devices, writers_each, unmappers; /* at least one of each */
};

struct storm_result {
	uint64_t landed, refused; /* writes */
	uint64_t unmaps;
	uint64_t lost; /* pages that had changed and were reported by no harvest and no unmap */
	uint64_t late; /* times that memory changed after the unmap had returned */
};

/* 0 or -errno; a loss is no error. */
int storm_run(const struct storm_plan *plan, struct storm_result *ret_result);

#endif /* STORM_H */
