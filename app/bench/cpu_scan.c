/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What it costs to learn which pages the CPU wrote, per GiB and for each way this
 * kernel has: the harvest when none, one in a hundred, or all pages were written, and
 * the price the writer pays for its first write to a page after a harvest. The
 * baseline reads the memory once, as hashing must at least.
 */
#include <errno.h>
#include <stdlib.h>

#include <wherry_bitmap.h>
#include <wherry_dirty.h>

#include "bench.h"

#define SIZE (256 * MIB)
#define PAGES (SIZE / PAGE)
#define PER_GIB ((double)GIB / (double)SIZE)

/* Names of the metrics of one source: they live as long as the program. */
struct source {
	enum wherry_cpu_source cpu;
	const char *clean, *percent, *all, *write;
};

#define SOURCE(id, text)                                                           \
	{                                                                          \
		.cpu = (id), .clean = text "_clean", .percent = text "_1_percent", \
		.all = text "_all", .write = text "_first_write"                   \
	}

static const struct source sources[] = {
	SOURCE(WHERRY_CPU_WP_ASYNC, "wp_async"),
	SOURCE(WHERRY_CPU_WP_SYNC, "wp_sync"),
	SOURCE(WHERRY_CPU_HASH, "hash"),
};

static int
cpu_scan_setup(void **ret_ctx)
{
	char *memory = bench_memory(SIZE, 2 * MIB);

	if (memory == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	for (uint64_t i = 0; i < PAGES; i++)
		memory[i * PAGE] = 1;
	*ret_ctx = memory;
	return 0;
}

static void
cpu_scan_teardown(void *ctx)
{
	bench_memory_free(ctx, SIZE);
}

static double
read_ms(const char *memory)
{
	const uint64_t *word = (const uint64_t *)(const void *)memory;
	uint64_t start = bench_now_ns(), sum = 0;

	for (uint64_t i = 0; i < SIZE / sizeof(*word); i++)
		sum += word[i];
	__asm__ volatile("" : : "r"(sum)); /* the compiler keeps the sum */
	return (double)(bench_now_ns() - start) / 1e6;
}

/* Nanoseconds per page for writing one in @p every. */
static double
write_ns(char *memory, uint64_t every)
{
	uint64_t start = bench_now_ns(), n = 0;

	for (uint64_t i = 0; i < PAGES; i += every, n++)
		__atomic_fetch_add(&memory[i * PAGE], 1, __ATOMIC_RELAXED);
	return (double)(bench_now_ns() - start) / (double)n;
}

/* One source at work. */
struct scan {
	struct wherry_tracker *tracker;
	struct wherry_watch *watch;
	struct wherry_bitmap *taken;
	const struct source *source;
	char *memory;
};

/* As a sender does: pages that are pending need no second look, so a harvest is measured without. */
static int
take_and_send(struct scan *scan)
{
	uint64_t at = wherry_watch_span(scan->watch).iova;
	struct wherry_span run;
	int rc;

	wherry_bitmap_clear(scan->taken);
	rc = wherry_watch_take(scan->watch, false, scan->taken);
	while (rc == 0 && wherry_bitmap_next_run(scan->taken, &at, &run))
		rc = wherry_watch_sent(scan->watch, run, (const void *)(uintptr_t)run.iova);
	return rc;
}

static int
harvest_ms(struct scan *scan, double *ret_ms)
{
	uint64_t start = bench_now_ns();
	int rc = wherry_tracker_harvest(scan->tracker);

	*ret_ms = (double)(bench_now_ns() - start) / 1e6 * PER_GIB;
	return rc == 0 ? take_and_send(scan) : rc;
}

static int
record_harvest(struct scan *scan, const char *metric, uint64_t want, struct bench_result *result)
{
	double ms;
	int rc = harvest_ms(scan, &ms);

	if (rc != 0)
		return rc;
	if (wherry_bitmap_count(scan->taken) < want)
		return -EIO;
	bench_record(result, metric, "ms/GiB", ms);
	return 0;
}

static int
measure_started(struct scan *scan, struct bench_result *result)
{
	const struct source *src = scan->source;
	double ms;
	int rc = harvest_ms(scan, &ms); /* all is pending at first */

	write_ns(scan->memory, 1); /* what the source before this one left write-protected */
	if (rc == 0)
		rc = harvest_ms(scan, &ms);
	if (rc == 0)
		rc = record_harvest(scan, src->clean, 0, result);
	if (rc != 0)
		return rc;
	write_ns(scan->memory, 100);
	rc = record_harvest(scan, src->percent, PAGES / 100, result);
	if (rc != 0)
		return rc;
	bench_record(result, src->write, "ns/page", write_ns(scan->memory, 1));
	return record_harvest(scan, src->all, PAGES, result);
}

/* A source that this kernel lacks leaves no metrics. */
static int
measure_source(const struct source *src, char *memory, struct bench_result *result)
{
	struct wherry_tracker_opts opts = { .cpu = src->cpu };
	struct wherry_span span = { .iova = (uint64_t)(uintptr_t)memory, .len = SIZE };
	struct scan scan = { .source = src, .memory = memory };
	int rc = wherry_tracker_create(&opts, &scan.tracker);

	if (rc != 0)
		return rc == -EOPNOTSUPP ? 0 : rc;
	rc = wherry_watch_create(scan.tracker, "bench", span, PAGE, &scan.watch);
	if (rc == 0)
		rc = wherry_bitmap_create(span, PAGE, &scan.taken);
	if (rc == 0)
		rc = wherry_tracker_start(scan.tracker);
	if (rc == 0)
		rc = measure_started(&scan, result);
	wherry_tracker_stop(scan.tracker);
	wherry_bitmap_destroy(scan.taken);
	wherry_watch_destroy(scan.watch);
	wherry_tracker_destroy(scan.tracker);
	return rc;
}

static int
cpu_scan_run(void *ctx, struct bench_result *result)
{
	bench_record(result, "read_all_memory", "ms/GiB", read_ms(ctx) * PER_GIB);
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		int rc = measure_source(&sources[i], ctx, result);

		if (rc != 0)
			return bench_cannot(
				rc, "source %s", wherry_cpu_source_name(sources[i].cpu));
	}
	return 0;
}

static struct bench cpu_scan = {
	.name = "cpu-scan",
	.what = "learning which pages of a GiB the CPU wrote, for each source",
	.setup = cpu_scan_setup,
	.run = cpu_scan_run,
	.teardown = cpu_scan_teardown,
};
BENCH(cpu_scan)
