/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one access of a device costs: a 64-byte DMA through the software IOMMU when
 * the IOTLB has the translation, and when it has to walk. The baseline is the same
 * 64 bytes to the same pages by memcpy, which is what hardware without an IOMMU does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <wherry_soft.h>

#include "bench.h"

#define LINE 64
#define ACCESSES 4096             /* of one step */
#define FEW_PAGES UINT64_C(16)    /* fit any IOTLB */
#define MANY_PAGES UINT64_C(4096) /* fit none */

struct access {
	struct wherry_domain *dom;
	struct wherry_device *dev;
	char *memory;
	uint64_t iova;
	uint64_t pages; /* the accesses of a step go round these */
	char line[LINE];
};

/* An odd stride visits every page before it comes back to one. */
static uint64_t
offset_of(const struct access *a, uint64_t n)
{
	return n * 17 % a->pages * PAGE + n % (PAGE / LINE) * LINE;
}

static int
copy_step(void *ctx)
{
	struct access *a = ctx;

	for (uint64_t n = 0; n < ACCESSES; n++) {
		memcpy(a->memory + offset_of(a, n), a->line, LINE);
		__atomic_signal_fence(__ATOMIC_SEQ_CST); /* the compiler does each copy */
	}
	return 0;
}

static int
write_step(void *ctx)
{
	struct access *a = ctx;
	int rc = 0;

	for (uint64_t n = 0; n < ACCESSES && rc == 0; n++)
		rc = wherry_soft_dma_write(a->dev, a->iova + offset_of(a, n), a->line, LINE);
	return rc;
}

static int
read_step(void *ctx)
{
	struct access *a = ctx;
	int rc = 0;

	for (uint64_t n = 0; n < ACCESSES && rc == 0; n++)
		rc = wherry_soft_dma_read(a->dev, a->iova + offset_of(a, n), a->line, LINE);
	return rc;
}

static void
translate_teardown(void *ctx)
{
	struct access *a = ctx;

	wherry_device_close(a->dev);
	wherry_domain_destroy(a->dom);
	bench_memory_free(a->memory, MANY_PAGES * PAGE);
	free(a);
}

static int
map_small_pages(struct access *a)
{
	struct wherry_span span = { .iova = 512 * MIB, .len = MANY_PAGES * PAGE };
	int rc;

	a->memory = bench_memory(span.len, 2 * MIB);
	if (a->memory == NULL)
		return -ENOMEM;
	rc = wherry_domain_map(a->dom, a->memory, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span);
	a->iova = span.iova;
	return rc;
}

static int
translate_setup(void **ret_ctx)
{
	struct access *a = calloc(1, sizeof(*a));
	int rc;

	if (a == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	rc = wherry_domain_create("soft:leaf=4k", &a->dom);
	if (rc == 0)
		rc = wherry_device_open("soft:bench", &a->dev);
	if (rc == 0)
		rc = wherry_device_attach(a->dev, a->dom, NULL);
	if (rc == 0)
		rc = map_small_pages(a);
	if (rc != 0) {
		translate_teardown(a);
		return bench_cannot(rc, "no soft domain");
	}
	*ret_ctx = a;
	return 0;
}

static int
translate_run(void *ctx, struct bench_result *result)
{
	static const struct {
		const char *name;
		int (*step)(void *ctx);
		uint64_t pages;
	} cases[] = {
		{ "memcpy_64", copy_step, FEW_PAGES },
		{ "memcpy_64_cold", copy_step, MANY_PAGES },
		{ "dma_write_64_hit", write_step, FEW_PAGES },
		{ "dma_write_64_miss", write_step, MANY_PAGES },
		{ "dma_read_64_hit", read_step, FEW_PAGES },
		{ "dma_read_64_miss", read_step, MANY_PAGES },
	};
	struct access *a = ctx;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double ns;

		a->pages = cases[i].pages;
		ns = bench_ns_per_op(cases[i].step, a, ACCESSES);
		if (ns < 0)
			return bench_cannot((int)ns, "%s", cases[i].name);
		bench_record(result, cases[i].name, "M/s", 1000 / ns);
	}
	return 0;
}

static struct bench translate = {
	.name = "translate",
	.what = "accesses of a device per second: memcpy, IOTLB hit, page-table walk",
	.setup = translate_setup,
	.run = translate_run,
	.teardown = translate_teardown,
};
BENCH(translate)
