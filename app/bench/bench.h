/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_H
#define BENCH_H

/*
 * The frame of wherry-bench. A *bench* is set up once and run N times; a *run*
 * measures every *metric* of the bench once, its baseline included, so that a ratio
 * always compares two numbers of the same few milliseconds. What is reported is
 * the median over the runs, with the smallest and the largest. Nothing here
 * asserts a time: numbers are for people and for comparison.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <wherry_base.h>

struct bench_result;

struct bench {
	const char *name;
	const char *what; /* one line for --list */
	/* Make what the runs need: 0, or -errno with the reason given to bench_cannot(). */
	int (*setup)(void **ret_ctx);
	/* One run: bench_record() for each metric, the baseline first. */
	int (*run)(void *ctx, struct bench_result *result);
	void (*teardown)(void *ctx); /* of what setup made, also when a run failed */
	bool once;                   /* one run says it all: no warming up, no repetition */
	struct bench *next;
};

/* Put @p b, which stays, on the list; they run in the order of the list's names. */
void bench_register(struct bench *b);

#define BENCH(id)                                                    \
	static __attribute__((constructor)) void id##_register(void) \
	{                                                            \
		bench_register(&id);                                 \
	}

/* Say why a bench cannot run here, and what would help; returns @p rc. */
int bench_cannot(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * One value of this run. @p metric and @p unit live as long as the program. The
 * first metric of a bench is its baseline: all others of that unit are shown
 * relative to it.
 */
void bench_record(struct bench_result *result, const char *metric, const char *unit, double value);

/* The same, shown relative to @p baseline, a metric of the same unit recorded before it. */
void bench_record_ratio(struct bench_result *result, const char *metric, const char *unit,
	double value, const char *baseline);

/* What --size, --channels and --arbiter say, for the benches that move memory. */
extern uint64_t bench_size;         /* bytes */
extern unsigned int bench_channels; /* at least 1 */
extern const char *bench_arbiter;   /* NULL: none */

/* CLOCK_MONOTONIC. */
uint64_t bench_now_ns(void);
/* What this thread has had of a CPU: for work that nobody else does, on a machine that others use too. */
uint64_t bench_cpu_ns(void);

/*
 * Call @p step, which does @p ops operations, for about 50 ms of CPU time; nanoseconds
 * of it per operation, or -errno of a step that failed.
 */
double bench_ns_per_op(int (*step)(void *ctx), void *ctx, uint64_t ops);

/* Of @p n > 0 values, which end up in order. */
double bench_median(double *values, unsigned int n);

/* --long: as much as a night has time for. */
extern bool bench_long;

/* Memory of a memfd, as regions are, aligned to @p align, a power of two of pages; NULL: none. */
void *bench_memory(size_t len, size_t align);
void bench_memory_free(void *p, size_t len);

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define PAGE UINT64_C(4096)

#endif /* BENCH_H */
