/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a harvest of IOMMU dirty bits costs per GiB mapped in 4 KiB pages, when none,
 * one in a hundred, or all of the pages are dirty. The baseline reads one word per
 * page, in order: the least a harvest could do that looks at every entry.
 */
#include <errno.h>
#include <stdlib.h>

#include <wherry_bitmap.h>
#include <wherry_soft.h>

#include "bench.h"

#define SIZE (256 * MIB)
#define PAGES (SIZE / PAGE)
#define PER_GIB ((double)GIB / (double)SIZE)

struct tracked {
	struct wherry_domain *dom;
	struct wherry_device *dev;
	struct wherry_bitmap *found;
	struct wherry_span span;
	char *memory;
	uint64_t *words; /* as many as there are pages */
};

static void
harvest_teardown(void *ctx)
{
	struct tracked *t = ctx;

	wherry_bitmap_destroy(t->found);
	wherry_device_close(t->dev);
	wherry_domain_destroy(t->dom);
	bench_memory_free(t->memory, SIZE);
	free(t->words);
	free(t);
}

static int
open_soft(struct tracked *t)
{
	int rc = wherry_domain_create("soft:leaf=4k", &t->dom);

	if (rc == 0)
		rc = wherry_device_open("soft:bench", &t->dev);
	if (rc == 0)
		rc = wherry_device_attach(t->dev, t->dom, NULL);
	return rc;
}

static int
map_and_track(struct tracked *t)
{
	int rc;

	t->span = (struct wherry_span){ .iova = GIB, .len = SIZE };
	t->memory = bench_memory(SIZE, 2 * MIB);
	t->words = calloc(PAGES, sizeof(*t->words));
	if (t->memory == NULL || t->words == NULL)
		return -ENOMEM;
	rc = wherry_domain_map(t->dom, t->memory, WHERRY_DMA_WRITE, &t->span);
	if (rc == 0)
		rc = wherry_bitmap_create(t->span, PAGE, &t->found);
	if (rc == 0)
		rc = wherry_domain_dirty_start(t->dom);
	return rc;
}

static int
harvest_setup(void **ret_ctx)
{
	struct tracked *t = calloc(1, sizeof(*t));
	int rc;

	if (t == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	rc = open_soft(t);
	if (rc == 0)
		rc = map_and_track(t);
	if (rc != 0) {
		harvest_teardown(t);
		return bench_cannot(rc, "no tracked soft domain");
	}
	*ret_ctx = t;
	return 0;
}

static double
read_words_ms(const struct tracked *t)
{
	uint64_t start = bench_now_ns(), sum = 0;

	for (uint64_t i = 0; i < PAGES; i++)
		sum += __atomic_load_n(&t->words[i], __ATOMIC_RELAXED);
	return (double)(bench_now_ns() - start + (sum & 1)) / 1e6;
}

/* Let the device write one page in @p every; 0: none. */
static int
write_pages(struct tracked *t, uint64_t every)
{
	uint64_t value = 1;
	int rc = 0;

	for (uint64_t i = 0; every > 0 && i < PAGES && rc == 0; i += every)
		rc = wherry_soft_dma_write(t->dev, t->span.iova + i * PAGE, &value, sizeof(value));
	return rc;
}

static int
harvest_ms(struct tracked *t, uint64_t every, double *ret_ms)
{
	uint64_t start, want = every > 0 ? (PAGES + every - 1) / every : 0;
	int rc = write_pages(t, every);

	if (rc != 0)
		return bench_cannot(rc, "DMA failed");
	wherry_bitmap_clear(t->found);
	start = bench_now_ns();
	rc = wherry_domain_dirty_harvest(t->dom, t->span, t->found);
	*ret_ms = (double)(bench_now_ns() - start) / 1e6;
	if (rc == 0 && wherry_bitmap_count(t->found) != want)
		return bench_cannot(-EIO, "the harvest found other pages than were written");
	return rc;
}

static int
harvest_run(void *ctx, struct bench_result *result)
{
	static const struct {
		const char *name;
		uint64_t every;
	} cases[] = { { "harvest_clean", 0 }, { "harvest_1_percent", 100 }, { "harvest_all", 1 } };
	struct tracked *t = ctx;

	bench_record(result, "read_a_word_per_page", "ms/GiB", read_words_ms(t) * PER_GIB);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double ms = 0;
		int rc = harvest_ms(t, cases[i].every, &ms);

		if (rc != 0)
			return rc;
		bench_record(result, cases[i].name, "ms/GiB", ms * PER_GIB);
	}
	return 0;
}

static struct bench harvest = {
	.name = "harvest",
	.what = "reading and clearing the IOMMU's dirty bits of a GiB of 4 KiB pages",
	.setup = harvest_setup,
	.run = harvest_run,
	.teardown = harvest_teardown,
};
BENCH(harvest)
