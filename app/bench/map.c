/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What it costs to map a page for devices and to take it away, per page size, with
 * a device attached whose IOTLB has to be invalidated; and the same 2 MiB in leaves of
 * 4 KiB, as dirty tracking wants them. The baseline is the kernel's price for the same
 * on the CPU's side: mmap and munmap of one page. Unmapping with dirty bits: unmap.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <wherry_soft.h>

#include "bench.h"

#define ROUNDS 512 /* pairs of map and unmap in one measurement */

/* One domain with the greatest leaves and one with the smallest, a device in each. */
enum { GREAT, SMALL, DOMAINS };

struct mapping {
	struct wherry_domain *dom[DOMAINS];
	struct wherry_device *dev[DOMAINS];
	char *memory; /* 1 GiB, aligned to itself, never touched */
};

static void
map_teardown(void *ctx)
{
	struct mapping *m = ctx;

	for (size_t i = 0; i < DOMAINS; i++) {
		wherry_device_close(m->dev[i]);
		wherry_domain_destroy(m->dom[i]);
	}
	bench_memory_free(m->memory, GIB);
	free(m);
}

static int
open_domains(struct mapping *m)
{
	static const char *const specs[DOMAINS] = { "soft:leaf=1g", "soft:leaf=4k" };
	int rc = 0;

	for (size_t i = 0; i < DOMAINS && rc == 0; i++) {
		rc = wherry_domain_create(specs[i], &m->dom[i]);
		if (rc == 0)
			rc = wherry_device_open("soft:bench", &m->dev[i]);
		if (rc == 0)
			rc = wherry_device_attach(m->dev[i], m->dom[i], NULL);
	}
	return rc;
}

static int
map_setup(void **ret_ctx)
{
	struct mapping *m = calloc(1, sizeof(*m));
	int rc;

	if (m == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	m->memory = bench_memory(GIB, GIB);
	rc = m->memory != NULL ? open_domains(m) : -ENOMEM;
	if (rc != 0) {
		map_teardown(m);
		return bench_cannot(rc, "no soft domain");
	}
	*ret_ctx = m;
	return 0;
}

/* What is mapped and taken away. */
struct kind {
	unsigned int domain;
	uint64_t len;
	const char *map, *unmap; /* metrics */
};

/* Nanoseconds spent in each of the two, summed over ROUNDS. */
struct cost {
	uint64_t map, unmap;
};

static int
map_rounds(struct mapping *m, struct kind kind, struct cost *ret_cost)
{
	struct wherry_domain *dom = m->dom[kind.domain];
	struct cost cost = { 0 };
	int rc = 0;

	for (unsigned int i = 0; i < ROUNDS && rc == 0; i++) {
		struct wherry_span span = { .iova = GIB, .len = kind.len };
		uint64_t start = bench_now_ns(), mapped;

		rc = wherry_domain_map(dom, m->memory, WHERRY_DMA_WRITE, &span);
		mapped = bench_now_ns();
		if (rc == 0)
			rc = wherry_domain_unmap(dom, span);
		cost.map += mapped - start;
		cost.unmap += bench_now_ns() - mapped;
	}
	*ret_cost = cost;
	return rc;
}

static int
kernel_rounds(uint64_t *ret_ns)
{
	uint64_t start = bench_now_ns();

	for (unsigned int i = 0; i < ROUNDS; i++) {
		void *p = mmap(
			NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (p == MAP_FAILED)
			return -ENOMEM;
		munmap(p, PAGE);
	}
	*ret_ns = bench_now_ns() - start;
	return 0;
}

static double
us_each(uint64_t ns)
{
	return (double)ns / ROUNDS / 1000;
}

static int
measure_kind(struct mapping *m, const struct kind *kind, struct bench_result *result)
{
	struct cost cost;
	int rc = map_rounds(m, *kind, &cost);

	if (rc != 0)
		return bench_cannot(rc, "%s", kind->unmap);
	bench_record(result, kind->map, "us", us_each(cost.map));
	bench_record(result, kind->unmap, "us", us_each(cost.unmap));
	return 0;
}

static int
map_run(void *ctx, struct bench_result *result)
{
	static const struct kind kinds[] = {
		{ GREAT, PAGE, "map_4K", "unmap_4K" },
		{ GREAT, 2 * MIB, "map_2M", "unmap_2M" },
		{ GREAT, GIB, "map_1G", "unmap_1G" },
		{ SMALL, 2 * MIB, "map_2M_as_4K", "unmap_2M_as_4K" },
	};
	uint64_t ns;
	int rc = kernel_rounds(&ns);

	if (rc != 0)
		return bench_cannot(rc, "mmap failed");
	bench_record(result, "mmap_munmap_4K", "us", us_each(ns));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && rc == 0; i++)
		rc = measure_kind(ctx, &kinds[i], result);
	return rc;
}

static struct bench map = {
	.name = "map",
	.what = "mapping and unmapping one page of 4K, 2M, 1G with a device attached",
	.setup = map_setup,
	.run = map_run,
	.teardown = map_teardown,
};
BENCH(map)
