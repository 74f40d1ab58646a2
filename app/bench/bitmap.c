/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What bitmaps cost: merge, count and iteration over 10,000 marked pages of 4 KiB,
 * spread at random over 1 GiB to 1 TiB, and the same 10,000 pages of 1 GiB in 1 TiB. The
 * baseline does these three jobs on the same bits of 1 TiB word by word; what follows the
 * marked pages has to be far below that, and not to grow with what is not marked.
 *
 * CPU time, so that it matters less what else the machine does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <wherry_bitmap.h>

#include "bench.h"

#define TIB (1024 * GIB)
#define MARKED 10000u
#define WORDS (TIB / PAGE / 64)
#define DENSE_BYTES (32 * MIB) /* of bits, all set */

/* One bitmap and one to merge it into, with what is reported of them. */
struct shape {
	uint64_t len, spread; /* marked pages lie in the first spread bytes */
	const char *merge, *count, *runs, *all, *per_page;
};

#define SHAPE(size, where, text)                                                                  \
	{                                                                                         \
		.len = (size), .spread = (where), .merge = "merge_" text, .count = "count_" text, \
		.runs = "runs_" text, .all = "all_" text, .per_page = "page_" text                \
	}

static const struct shape shapes[] = {
	SHAPE(GIB, GIB, "1G"),
	SHAPE(32 * GIB, 32 * GIB, "32G"),
	SHAPE(TIB, TIB, "1T"),
	SHAPE(TIB, GIB, "1T_low"),
};
#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

struct pair {
	struct wherry_bitmap *from, *into;
};

struct bits {
	struct pair pairs[N_SHAPES];
	struct pair dense;
	uint64_t *words, *merged; /* the bits of the whole TiB again, one behind the other */
};

/* splitmix64 from a fixed seed: the same pages in every run and on every machine. */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int
make_pair(struct pair *pair, uint64_t len)
{
	struct wherry_span span = { 0, len };
	int rc = wherry_bitmap_create(span, PAGE, &pair->from);

	return rc == 0 ? wherry_bitmap_create(span, PAGE, &pair->into) : rc;
}

static void
mark_pages(struct bits *b, size_t i)
{
	uint64_t state = 1, n = 0;

	while (n < MARKED) {
		uint64_t page = next_random(&state) % (shapes[i].spread / PAGE);

		if (wherry_bitmap_test(b->pairs[i].from, page * PAGE))
			continue;
		wherry_bitmap_mark(b->pairs[i].from, (struct wherry_span){ page * PAGE, PAGE });
		if (shapes[i].spread == TIB)
			b->words[page / 64] |= UINT64_C(1) << page % 64;
		n++;
	}
}

static void
bitmap_teardown(void *ctx)
{
	struct bits *b = ctx;

	for (size_t i = 0; i < N_SHAPES; i++) {
		wherry_bitmap_destroy(b->pairs[i].from);
		wherry_bitmap_destroy(b->pairs[i].into);
	}
	wherry_bitmap_destroy(b->dense.from);
	wherry_bitmap_destroy(b->dense.into);
	free(b->words);
	free(b->merged);
	free(b);
}

/* On hugepages if the kernel likes, as bitmaps are. */
static uint64_t *
zeroed_words(void)
{
	void *words = aligned_alloc(2 * MIB, WORDS * sizeof(uint64_t));

	if (words == NULL)
		return NULL;
	madvise(words, WORDS * sizeof(uint64_t), MADV_HUGEPAGE);
	return memset(words, 0, WORDS * sizeof(uint64_t));
}

static int
bitmap_setup(void **ret_ctx)
{
	struct bits *b = calloc(1, sizeof(*b));
	int rc = 0;

	if (b == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	b->words = zeroed_words();
	b->merged = zeroed_words();
	if (b->words == NULL || b->merged == NULL)
		rc = -ENOMEM;
	for (size_t i = 0; i < N_SHAPES && rc == 0; i++) {
		rc = make_pair(&b->pairs[i], shapes[i].len);
		if (rc == 0)
			mark_pages(b, i);
	}
	if (rc == 0)
		rc = make_pair(&b->dense, DENSE_BYTES * 8 * PAGE);
	if (rc != 0) {
		bitmap_teardown(b);
		return bench_cannot(rc, "no memory for bitmaps of 1 TiB");
	}
	wherry_bitmap_mark(b->dense.from, wherry_bitmap_span(b->dense.from));
	*ret_ctx = b;
	return 0;
}

/* A step and what it works on. */
struct job {
	struct bits *bits;
	const struct pair *pair;
};

/* Word by word, and nothing else. */
static int
scan_merge_step(void *ctx)
{
	const struct bits *b = ((struct job *)ctx)->bits;

	for (uint64_t w = 0; w < WORDS; w++)
		b->merged[w] |= b->words[w];
	return 0;
}

static int
scan_count_step(void *ctx)
{
	const struct bits *b = ((struct job *)ctx)->bits;
	uint64_t n = 0;

	for (uint64_t w = 0; w < WORDS; w++)
		if (b->words[w] != 0)
			n += (unsigned int)__builtin_popcountll(b->words[w]);
	return n == MARKED ? 0 : -EIO;
}

/* Runs within a word; what a run over two words would add is left out in the baseline's favour. */
static int
scan_runs_step(void *ctx)
{
	const struct bits *b = ((struct job *)ctx)->bits;
	uint64_t n = 0;

	for (uint64_t w = 0; w < WORDS; w++) {
		for (uint64_t bits = b->words[w], run; bits != 0; bits &= ~run) {
			run = bits & ~(bits + (bits & -bits)); /* from its lowest bit on */
			n += (unsigned int)__builtin_popcountll(run);
		}
	}
	return n == MARKED ? 0 : -EIO;
}

static int
merge_step(void *ctx)
{
	const struct pair *pair = ((struct job *)ctx)->pair;

	wherry_bitmap_or(pair->into, pair->from);
	return 0;
}

static int
count_step(void *ctx)
{
	return wherry_bitmap_count(((struct job *)ctx)->pair->from) == MARKED ? 0 : -EIO;
}

static int
runs_step(void *ctx)
{
	const struct wherry_bitmap *from = ((struct job *)ctx)->pair->from;
	struct wherry_span run;
	uint64_t at = 0, n = 0;

	while (wherry_bitmap_next_run(from, &at, &run))
		n += run.len;
	return n == MARKED * PAGE ? 0 : -EIO;
}

static int
memcpy_step(void *ctx)
{
	const struct bits *b = ((struct job *)ctx)->bits;

	memcpy(b->merged, b->words, DENSE_BYTES);
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* the compiler does each copy */
	return 0;
}

static int
dense_merge_step(void *ctx)
{
	const struct pair *dense = &((struct job *)ctx)->bits->dense;

	wherry_bitmap_or(dense->into, dense->from);
	return 0;
}

/* The three jobs, with what each is called in the report. */
struct jobs {
	const char *name[3], *all;
	int (*step[3])(void *ctx);
};

static const struct jobs scan = { { "scan_merge_1T", "scan_count_1T", "scan_runs_1T" },
	"scan_all_1T", { scan_merge_step, scan_count_step, scan_runs_step } };

/* All of them on one bitmap; their nanoseconds, summed up. */
static int
do_jobs(struct job *job, const struct jobs *jobs, struct bench_result *result, double *ret_ns)
{
	double all = 0;

	for (size_t i = 0; i < 3; i++) {
		double ns = bench_ns_per_op(jobs->step[i], job, 1);

		if (ns < 0)
			return bench_cannot((int)ns, "%s: wrong pages", jobs->name[i]);
		bench_record_ratio(result, jobs->name[i], "us", ns / 1e3, scan.name[i]);
		all += ns;
	}
	bench_record_ratio(result, jobs->all, "us", all / 1e3, scan.all);
	*ret_ns = all;
	return 0;
}

static int
follow(struct job *job, const struct shape *shape, struct bench_result *result)
{
	const struct jobs jobs = { { shape->merge, shape->count, shape->runs }, shape->all,
		{ merge_step, count_step, runs_step } };
	double ns = 0;
	int rc = do_jobs(job, &jobs, result, &ns);

	if (rc == 0)
		bench_record_ratio(
			result, shape->per_page, "ns/page", ns / MARKED, shapes[0].per_page);
	return rc;
}

static int
bitmap_run(void *ctx, struct bench_result *result)
{
	struct bits *b = ctx;
	struct job job = { .bits = b };
	double ns;
	int rc = do_jobs(&job, &scan, result, &ns);

	for (size_t i = 0; i < N_SHAPES && rc == 0; i++) {
		job.pair = &b->pairs[i];
		rc = follow(&job, &shapes[i], result);
	}
	if (rc != 0)
		return rc;
	ns = bench_ns_per_op(memcpy_step, &job, DENSE_BYTES);
	bench_record_ratio(result, "memcpy_32M", "GB/s", 1 / ns, "memcpy_32M");
	ns = bench_ns_per_op(dense_merge_step, &job, DENSE_BYTES);
	bench_record_ratio(result, "merge_dense_32M", "GB/s", 1 / ns, "memcpy_32M");
	return 0;
}

static struct bench bitmap = {
	.name = "bitmap",
	.what = "merge, count and runs of 10,000 marked pages in 1 GiB to 1 TiB, and merge bandwidth",
	.setup = bitmap_setup,
	.run = bitmap_run,
	.teardown = bitmap_teardown,
};
BENCH(bitmap)
