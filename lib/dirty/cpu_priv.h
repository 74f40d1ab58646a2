/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CPU_PRIV_H
#define CPU_PRIV_H

/*
 * The seam behind which the ways to know the CPU's writes stand, one file each.
 *
 *	source  one way, opened once per tracker: file descriptors, a handler thread
 *	area    a watched span under a source; its struct embeds struct cpu_area
 *
 * What the callers grant: open, close, attach, detach, start, stop and harvest of one
 * source come one at a time (tracker lock). taken and sent come from any thread at any
 * time, taken under the watch's lock.
 */

#include <wherry_bitmap.h>
#include <wherry_dirty.h>

#include "base_priv.h"

#define PAGE_SIZE_4K UINT64_C(4096)      /* what one bit of the tracker stands for */
#define MEM_PAGE_MAX (UINT64_C(1) << 30) /* the largest hugepage */

/* For people: why a source cannot be used. */
struct reason {
	char text[224];
};

struct cpu_source {
	const struct cpu_ops *ops;
};

struct cpu_area {
	struct cpu_source *src;
	struct wherry_span span;
	uint64_t mem_page; /* what the memory is made of, in bytes */
};

struct cpu_ops {
	enum wherry_cpu_source kind;
	bool faults; /* it sees the write itself: can be tried out when opened */

	/* -EOPNOTSUPP: not on this kernel; @p why then says it */
	int (*open)(struct cpu_source **ret_src, struct reason *why);
	void (*close)(struct cpu_source *src);

	/* -EFAULT: such memory cannot be tracked; -ENOMEM */
	int (*attach)(struct cpu_source *src, struct wherry_span span, uint64_t mem_page,
		struct cpu_area **ret_area);
	void (*detach)(struct cpu_area *area); /* stops, too */

	/* Off, and other memory is mapped there now. -EFAULT, -ENOMEM. NULL: no matter. */
	int (*renew)(struct cpu_area *area);
	/* Writes are noted from now on; those before are forgotten. */
	int (*start)(struct cpu_area *area);
	void (*stop)(struct cpu_area *area);
	/*
	 * Marks what was written since the last harvest or start. Marks are valid after
	 * a failure, too; what failed is marked or comes with the next harvest.
	 */
	int (*harvest)(struct cpu_area *area, struct wherry_bitmap *into);

	/* May be NULL: only who compares contents wants to know. See cpu_hash.c. */
	void (*taken)(struct cpu_area *area, const struct wherry_bitmap *pages);
	void (*sent)(struct cpu_area *area, struct wherry_span pages, const void *copy);

	size_t (*footprint)(const struct cpu_area *area);
};

extern const struct cpu_ops cpu_wp_async, cpu_wp_sync, cpu_hash, cpu_none;

/*
 * Open @p wanted, or the best one for WHERRY_CPU_AUTO. @p why: why no better one.
 * -EOPNOTSUPP: this kernel lacks what was wanted; it is logged.
 */
int cpu_open(enum wherry_cpu_source wanted, struct cpu_source **ret_src, struct reason *why);

void reason_set(struct reason *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif /* CPU_PRIV_H */
