/* SPDX-License-Identifier: BSD-3-Clause */
#include "ground.h"

#include <errno.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wherry_soft.h>

#define HUGE (UINT64_C(2) << 20)

const char *const every_kind[] = { "wp-async/memfd", "wp-async/anonymous", "wp-async/hugetlb",
	"wp-sync/memfd", "wp-sync/anonymous", "wp-sync/hugetlb", "hash/memfd", "hash/hugetlb",
	NULL };
const char *const every_source[] = { "wp-async", "wp-sync", "hash", NULL };
const char *const wp_sources[] = { "wp-async", "wp-sync", NULL };

static enum wherry_cpu_source
source_of(const char *kind)
{
	for (int s = WHERRY_CPU_AUTO; s <= WHERRY_CPU_NONE; s++) {
		const char *name = wherry_cpu_source_name((enum wherry_cpu_source)s);

		if (strncmp(kind, name, strlen(name)) == 0)
			return (enum wherry_cpu_source)s;
	}
	FAIL("no CPU source of kind %s", kind);
}

static void
open_file(struct ground *g, bool huge)
{
	g->fd = memfd_create("ground", MFD_CLOEXEC | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
	CHECK(g->fd >= 0);
	CHECK_EQ(ftruncate(g->fd, (off_t)g->len), 0);
	g->mem = mmap(NULL, g->len, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	if (g->mem == MAP_FAILED && huge) {
		close(g->fd);
		SKIP("no 2M hugepages: as root, sysctl vm.nr_hugepages=8");
	}
	CHECK(g->mem != MAP_FAILED);
	g->alias = mmap(NULL, g->len, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	CHECK(g->alias != MAP_FAILED);
}

static void
open_memory(struct ground *g, const char *kind, uint64_t n_pages)
{
	bool huge = strstr(kind, "/hugetlb") != NULL;

	g->page = huge ? HUGE : PAGE;
	g->len = round_up(n_pages * PAGE, g->page);
	g->fd = -1;
	if (strstr(kind, "/anonymous") == NULL) {
		open_file(g, huge);
	} else {
		g->mem = mmap(
			NULL, g->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(g->mem != MAP_FAILED);
	}
	g->span = (struct wherry_span){ .iova = (uint64_t)(uintptr_t)g->mem, .len = g->len };
}

void
ground_open(struct ground *g, const char *kind, uint64_t n_pages)
{
	struct wherry_tracker_opts opts = { .cpu = source_of(kind) };
	int rc;

	memset(g, 0, sizeof(*g));
	rc = wherry_tracker_create(&opts, &g->tr);
	if (rc == -EOPNOTSUPP)
		SKIP("this kernel has no %s: see doc/dirty_tracking.rst", kind);
	CHECK_EQ(rc, 0);
	g->hash = opts.cpu == WHERRY_CPU_HASH;
	wherry_tracker_destroy(g->tr); /* open_memory may SKIP */
	open_memory(g, kind, n_pages);
	CHECK_EQ(wherry_tracker_create(&opts, &g->tr), 0);
	CHECK_EQ(wherry_watch_create(g->tr, "ground", g->span, g->page, &g->w), 0);
	CHECK_EQ(wherry_bitmap_create(g->span, PAGE, &g->taken), 0);
	g->copy = calloc(1, g->len);
	CHECK(g->copy != NULL);
}

void
ground_close(struct ground *g)
{
	wherry_bitmap_destroy(g->taken);
	wherry_tracker_destroy(g->tr);
	wherry_device_close(g->dev);
	wherry_domain_destroy(g->dom);
	munmap(g->mem, g->len);
	if (g->alias != NULL)
		munmap(g->alias, g->len);
	if (g->fd >= 0)
		close(g->fd);
	free(g->copy);
}

void
ground_map_in(struct ground *g, const char *spec)
{
	struct wherry_span span = g->span;

	CHECK_EQ(wherry_domain_create(spec, &g->dom), 0);
	CHECK_EQ(
		wherry_domain_map_file(g->dom, g->fd, 0, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
		0);
	CHECK_EQ(wherry_device_open("soft:ground", &g->dev), 0);
	CHECK_EQ(wherry_device_attach(g->dev, g->dom, NULL), 0);
}

void
ground_map(struct ground *g)
{
	ground_map_in(g, "soft");
}

void
poke(uint8_t *mem, uint64_t page)
{
	__atomic_fetch_add(mem + page * PAGE + page % PAGE, 1, __ATOMIC_RELAXED);
}

void
ground_dma(struct ground *g, uint64_t page)
{
	uint64_t iova = g->span.iova + page * PAGE + 8;
	uint64_t word;

	CHECK_EQ(wherry_soft_dma_read(g->dev, iova, &word, sizeof(word)), 0);
	word++;
	CHECK_EQ(wherry_soft_dma_write(g->dev, iova, &word, sizeof(word)), 0);
}

void
ground_start(struct ground *g)
{
	CHECK_EQ(wherry_tracker_start(g->tr), 0);
	CHECK_EQ(ground_take(g), g->len / PAGE);
}

void
ground_harvest(struct ground *g)
{
	CHECK_EQ(wherry_tracker_harvest(g->tr), 0);
}

uint64_t
ground_take(struct ground *g)
{
	uint64_t at = g->span.iova;
	struct wherry_span run;

	wherry_bitmap_clear(g->taken);
	CHECK_EQ(wherry_watch_take(g->w, false, g->taken), 0);
	while (wherry_bitmap_next_run(g->taken, &at, &run)) {
		uint64_t offset = run.iova - g->span.iova;

		memcpy(g->copy + offset, g->mem + offset, run.len);
		CHECK_EQ(wherry_watch_sent(g->w, run, g->copy + offset), 0);
	}
	return wherry_bitmap_count(g->taken);
}

bool
ground_taken(const struct ground *g, uint64_t page)
{
	return wherry_bitmap_test(g->taken, g->span.iova + page * PAGE);
}

bool
ground_same(const struct ground *g)
{
	return memcmp(g->copy, g->mem, g->len) == 0;
}

struct wherry_watch_stats
ground_stats(const struct ground *g)
{
	struct wherry_watch_stats stats;

	wherry_watch_get_stats(g->w, &stats);
	return stats;
}

struct wherry_span
ground_pages(const struct ground *g, uint64_t first, uint64_t n)
{
	return (struct wherry_span){ .iova = g->span.iova + first * PAGE, .len = n * PAGE };
}
