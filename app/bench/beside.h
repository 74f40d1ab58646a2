/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BESIDE_H
#define BESIDE_H

/*
 * What a domain adds to the kernel: mapping, unmapping and harvesting through it, beside the
 * bare ioctls on an address space of the same making. Each side has a NIC of its own, bound to
 * vfio-pci and named in WHERRY_TEST_DEVICES; the two take turns, call by call, so that
 * both see the same machine. The baseline is the ioctl, and around it what anybody needs who
 * calls it: a bitmap that is clear before, and looked through after.
 */

#include <wherry_iommu.h>

#include "bench.h"

/* The bare side; which of the fields are used is its own business. */
struct bare {
	int fd, group, device; /* -1: not open; beside closes them */
	uint32_t ioas, hwpt;
};

struct bare_ops {
	const char *spec;                              /* of the domain beside it */
	int (*open)(struct bare *b, const char *name); /* tracking is on after */
	int (*map)(const struct bare *b, const void *p, struct wherry_span span);
	int (*unmap)(const struct bare *b, struct wherry_span span);
	/* A bit per page of 4 KiB that was written, and clean from here on. */
	int (*get)(const struct bare *b, struct wherry_span span, uint64_t *bits);
};

struct beside_case {
	const struct bare_ops *ops;
	enum { BESIDE_MAP, BESIDE_UNMAP, BESIDE_HARVEST } call;
	uint64_t bytes; /* of one call; from 1 GiB on only with --long */
	unsigned int n; /* calls of each side in a run */
	uint64_t
		harvested; /* bytes of the mapping that is harvested; 0: 64 MiB, or bytes if more */
};

int bare_ioctl(int fd, unsigned long request, void *arg);

/* Of a bench. */
int beside_setup(const struct beside_case *c, void **ret_ctx);
int beside_run(void *ctx, struct bench_result *result);
void beside_teardown(void *ctx);

/* A bench of one call and size; behind the text, the fields of its struct beside_case. */
#define BESIDE(id, text, ...)                                            \
	static const struct beside_case id##_case = { __VA_ARGS__ };     \
	static int id##_setup(void **ret_ctx)                            \
	{                                                                \
		return beside_setup(&id##_case, ret_ctx);                \
	}                                                                \
	static struct bench id = { .name = #id,                          \
		.what = text ", through a domain and by the bare ioctl", \
		.setup = id##_setup,                                     \
		.run = beside_run,                                       \
		.teardown = beside_teardown };                           \
	BENCH(id)

#endif /* BESIDE_H */
