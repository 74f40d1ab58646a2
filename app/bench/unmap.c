/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What it costs to take memory away, from one page to 1 GiB, in leaves of 4 KiB and of
 * 2 MiB, clean and with every page written, in each order of steps; a device is attached
 * and idle. The baseline of each is a plain unmap of the same.
 *
 * Calls are timed one by one, and the median of some rounds is not spoiled by a thread
 * that lost its CPU in one of them. Calls so long that most would are timed by the CPU.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <wherry_bitmap.h>
#include <wherry_soft.h>

#include "bench.h"

#define MAX_ROUNDS 101u
#define PIECE (2 * MIB) /* of memory, which stands behind all of the GiB */

enum { LEAF_4K, LEAF_2M, LEAVES };
enum { PLAIN, SNAPSHOT, SEED, EXACT, ORDERS };

static const struct size {
	unsigned int leaf;
	uint64_t len;
	const char *names[2][ORDERS]; /* clean and written */
} sizes[] = {
#define NAMES(text)                                                      \
	{                                                                \
		text "plain", text "snapshot", text "seed", text "exact" \
	}
#define SIZE(leaf, len, text)                                        \
	{                                                            \
		leaf, len,                                           \
		{                                                    \
			NAMES(text "_clean_"), NAMES(text "_dirty_") \
		}                                                    \
	}
	SIZE(LEAF_4K, PAGE, "4K"),
	SIZE(LEAF_4K, 64 * 1024, "64K_by_4K"),
	SIZE(LEAF_4K, 2 * MIB, "2M_by_4K"),
	SIZE(LEAF_4K, 64 * MIB, "64M_by_4K"),
	SIZE(LEAF_4K, GIB, "1G_by_4K"),
	SIZE(LEAF_2M, 2 * MIB, "2M"),
	SIZE(LEAF_2M, 64 * MIB, "64M_by_2M"),
	SIZE(LEAF_2M, GIB, "1G_by_2M"),
#undef SIZE
#undef NAMES
};

struct unmapping {
	struct wherry_domain *dom[LEAVES];
	struct wherry_device *dev[LEAVES];
	struct wherry_bitmap *found;
	char *memory; /* 1 GiB of addresses */
	double us[MAX_ROUNDS];
};

static void
unmap_teardown(void *ctx)
{
	struct unmapping *u = ctx;

	wherry_bitmap_destroy(u->found);
	for (size_t i = 0; i < LEAVES; i++) {
		wherry_device_close(u->dev[i]);
		wherry_domain_destroy(u->dom[i]);
	}
	bench_memory_free(u->memory, GIB);
	free(u);
}

static int
open_domain(struct unmapping *u, unsigned int leaf)
{
	static const char *const specs[LEAVES] = { "soft:leaf=4k", "soft:leaf=2m" };
	int rc = wherry_domain_create(specs[leaf], &u->dom[leaf]);

	if (rc == 0)
		rc = wherry_device_open("soft:bench", &u->dev[leaf]);
	if (rc == 0)
		rc = wherry_device_attach(u->dev[leaf], u->dom[leaf], NULL);
	return rc == 0 ? wherry_domain_dirty_start(u->dom[leaf]) : rc;
}

/* The same 2 MiB again and again, so that devices can write a GiB that nobody has. */
static int
make_memory(struct unmapping *u)
{
	int fd = memfd_create("wherry-bench", MFD_CLOEXEC), rc = 0;

	u->memory = bench_memory(GIB, GIB);
	if (u->memory == NULL || fd < 0 || ftruncate(fd, (off_t)PIECE) != 0)
		rc = -ENOMEM;
	for (uint64_t at = 0; at < GIB && rc == 0; at += PIECE)
		if (mmap(u->memory + at, PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			    0) == MAP_FAILED)
			rc = -ENOMEM;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int
unmap_setup(void **ret_ctx)
{
	struct unmapping *u = calloc(1, sizeof(*u));
	int rc;

	if (u == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	rc = make_memory(u);
	for (unsigned int leaf = 0; leaf < LEAVES && rc == 0; leaf++)
		rc = open_domain(u, leaf);
	if (rc == 0)
		rc = wherry_bitmap_create((struct wherry_span){ GIB, GIB }, PAGE, &u->found);
	if (rc != 0) {
		unmap_teardown(u);
		return bench_cannot(rc, "no soft domain with 1 GiB mapped");
	}
	*ret_ctx = u;
	return 0;
}

static int
write_all(const struct unmapping *u, const struct size *size)
{
	uint64_t value = 1;
	int rc = 0;

	for (uint64_t at = 0; at < size->len && rc == 0; at += PAGE)
		rc = wherry_soft_dma_write(u->dev[size->leaf], GIB + at, &value, sizeof(value));
	return rc;
}

static int
unmap_by(const struct unmapping *u, const struct size *size, unsigned int order)
{
	static const enum wherry_unmap_mode modes[ORDERS] = { [SNAPSHOT] = WHERRY_UNMAP_SNAPSHOT,
		[SEED] = WHERRY_UNMAP_SEED,
		[EXACT] = WHERRY_UNMAP_EXACT };
	struct wherry_span span = { GIB, size->len };

	if (order == PLAIN)
		return wherry_domain_unmap(u->dom[size->leaf], span);
	return wherry_domain_unmap_dirty(u->dom[size->leaf], span, modes[order], u->found);
}

static uint64_t
now_ns(const struct size *size)
{
	return size->len > 2 * MIB ? bench_cpu_ns() : bench_now_ns();
}

static int
one_round(struct unmapping *u, const struct size *size, bool dirty, unsigned int order,
	double *ret_us)
{
	struct wherry_span span = { GIB, size->len };
	uint64_t start, want = dirty && order != PLAIN ? size->len / PAGE : 0;
	int rc = wherry_domain_map(u->dom[size->leaf], u->memory, WHERRY_DMA_WRITE, &span);

	if (rc == 0 && dirty)
		rc = write_all(u, size);
	if (rc != 0)
		return rc;
	start = now_ns(size);
	rc = unmap_by(u, size, order);
	*ret_us = (double)(now_ns(size) - start) / 1000;
	if (rc == 0 && wherry_bitmap_count(u->found) != want)
		rc = -EIO;
	wherry_bitmap_clear(u->found);
	return rc;
}

/* Fewer rounds where one takes longer. */
static unsigned int
rounds_of(const struct size *size)
{
	uint64_t rounds = 1 + 64 * MIB / size->len;

	return rounds < MAX_ROUNDS ? (unsigned int)rounds | 1 : MAX_ROUNDS;
}

/* The orders take turns, so that a busy moment is everybody's. */
static int
measure_size(struct unmapping *u, const struct size *size, bool dirty, struct bench_result *result)
{
	for (unsigned int order = 0; order < ORDERS; order++) {
		const char *const *names = size->names[dirty];
		unsigned int rounds = rounds_of(size);

		for (unsigned int i = 0; i < rounds; i++) {
			int rc = one_round(u, size, dirty, order, &u->us[i]);

			if (rc != 0)
				return bench_cannot(rc, "%s", names[order]);
		}
		bench_record_ratio(
			result, names[order], "us", bench_median(u->us, rounds), names[PLAIN]);
		if (size == &sizes[2] && !dirty && order == EXACT)
			bench_record_ratio(result, "2M_by_4K_exact_beside", "us",
				bench_median(u->us, rounds), names[SNAPSHOT]);
	}
	return 0;
}

static int
unmap_run(void *ctx, struct bench_result *result)
{
	int rc = 0;

	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]) && rc == 0; i++)
		rc = measure_size(ctx, &sizes[i / 2], i % 2 == 1, result);
	return rc;
}

static struct bench unmap = {
	.name = "unmap",
	.what = "taking away 4 KiB to 1 GiB, clean and dirty, as plain, SNAPSHOT, SEED and EXACT",
	.setup = unmap_setup,
	.run = unmap_run,
	.teardown = unmap_teardown,
};
BENCH(unmap)
