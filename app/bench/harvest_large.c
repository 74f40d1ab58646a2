/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a harvest costs when more is mapped and no more is dirty: 1 GiB to 1 TiB in leaves
 * of 2 MiB, of which a device has written the same 256. "walk" is a harvest that finds
 * nothing: a look at every leaf's entry, which no bitmap can spare. "dirty" is what the 256
 * leaves add to it, of 131,072 pages in all: to be the same at every size.
 *
 * CPU time, so that it matters less what else the machine does.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <wherry_bitmap.h>
#include <wherry_soft.h>

#include "bench.h"

#define TIB (1024 * GIB)
#define BASE TIB
#define LEAF (2 * MIB)
#define WRITTEN 256u /* leaves: every second one of the first GiB */
#define ROUNDS 31u

static const struct size {
	uint64_t len;
	const char *walk, *dirty;
} sizes[] = {
	{ GIB, "walk_1G", "dirty_1G" },
	{ 32 * GIB, "walk_32G", "dirty_32G" },
	{ TIB, "walk_1T", "dirty_1T" },
};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* memory: 1 TiB of addresses, of which a GiB is touched here and there. */
struct large {
	struct wherry_domain *dom[N_SIZES];
	struct wherry_device *dev[N_SIZES];
	struct wherry_bitmap *found[N_SIZES];
	char *memory;
	double walk[ROUNDS], dirty[ROUNDS];
};

static void
large_teardown(void *ctx)
{
	struct large *l = ctx;

	for (size_t i = 0; i < N_SIZES; i++) {
		wherry_bitmap_destroy(l->found[i]);
		wherry_device_close(l->dev[i]);
		wherry_domain_destroy(l->dom[i]);
	}
	if (l->memory != NULL)
		munmap(l->memory, TIB + LEAF);
	free(l);
}

static int
open_domain(struct large *l, size_t i)
{
	struct wherry_span span = { BASE, sizes[i].len };
	char *aligned = l->memory + (LEAF - (uintptr_t)l->memory % LEAF) % LEAF;
	int rc = wherry_domain_create("soft:leaf=2m", &l->dom[i]);

	if (rc == 0)
		rc = wherry_device_open("soft:bench", &l->dev[i]);
	if (rc == 0)
		rc = wherry_device_attach(l->dev[i], l->dom[i], NULL);
	if (rc == 0)
		rc = wherry_domain_map(l->dom[i], aligned, WHERRY_DMA_WRITE, &span);
	if (rc == 0)
		rc = wherry_bitmap_create(span, PAGE, &l->found[i]);
	return rc == 0 ? wherry_domain_dirty_start(l->dom[i]) : rc;
}

static int
large_setup(void **ret_ctx)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	struct large *l = calloc(1, sizeof(*l));
	int rc = 0;

	if (l == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	l->memory = mmap(NULL, TIB + LEAF, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (l->memory == MAP_FAILED) {
		l->memory = NULL;
		rc = -ENOMEM;
	}
	for (size_t i = 0; i < N_SIZES && rc == 0; i++)
		rc = open_domain(l, i);
	if (rc != 0) {
		large_teardown(l);
		return bench_cannot(
			rc, "1 TiB of addresses cannot be mapped: ulimit -v, overcommit?");
	}
	*ret_ctx = l;
	return 0;
}

static int
harvest_ms(struct large *l, size_t i, uint64_t want, double *ret_ms)
{
	struct wherry_span span = wherry_bitmap_span(l->found[i]);
	uint64_t start = bench_cpu_ns();
	int rc = wherry_domain_dirty_harvest(l->dom[i], span, l->found[i]);

	*ret_ms = (double)(bench_cpu_ns() - start) / 1e6;
	if (rc == 0 && wherry_bitmap_count(l->found[i]) != want)
		rc = -EIO;
	wherry_bitmap_clear(l->found[i]);
	return rc;
}

static int
write_leaves(struct large *l, size_t i)
{
	uint64_t value = 1;
	int rc = 0;

	for (uint64_t n = 0; n < WRITTEN && rc == 0; n++)
		rc = wherry_soft_dma_write(l->dev[i], BASE + 2 * n * LEAF, &value, sizeof(value));
	return rc;
}

static int
measure_size(struct large *l, size_t i, struct bench_result *result)
{
	double all = 0;
	int rc = 0;

	for (unsigned int n = 0; n < ROUNDS && rc == 0; n++) {
		rc = harvest_ms(l, i, 0, &l->walk[n]);
		if (rc == 0)
			rc = write_leaves(l, i);
		if (rc == 0)
			rc = harvest_ms(l, i, WRITTEN * LEAF / PAGE, &all);
		l->dirty[n] = (all - l->walk[n]) * 1000;
	}
	if (rc != 0)
		return bench_cannot(rc, "%s", sizes[i].dirty);
	bench_record_ratio(result, sizes[i].walk, "ms", bench_median(l->walk, ROUNDS), "walk_1G");
	bench_record_ratio(
		result, sizes[i].dirty, "us", bench_median(l->dirty, ROUNDS), "dirty_1G");
	return 0;
}

static int
large_run(void *ctx, struct bench_result *result)
{
	int rc = 0;

	for (size_t i = 0; i < N_SIZES && rc == 0; i++)
		rc = measure_size(ctx, i, result);
	return rc;
}

static struct bench harvest_large = {
	.name = "harvest-large",
	.what = "harvest of the same dirty pages with 1 GiB to 1 TiB mapped in leaves of 2 MiB",
	.setup = large_setup,
	.run = large_run,
	.teardown = large_teardown,
};
BENCH(harvest_large)
