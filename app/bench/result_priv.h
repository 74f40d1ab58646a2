/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef RESULT_PRIV_H
#define RESULT_PRIV_H

/*
 * What the runs of one bench gave: samples per metric, one per run, in the order in
 * which the metrics were first recorded. Sample n of each belongs to run n.
 */

#include <stdbool.h>

#include "bench.h"

#define RESULT_MAX_METRICS 96
#define RESULT_MAX_RUNS 101

struct metric {
	const char *name;
	const char *unit;
	const char *baseline; /* the metric it is relative to; its own name: to none */
	unsigned int n;
	double samples[RESULT_MAX_RUNS];
};

struct bench_result {
	const struct bench *bench;
	char skipped[512]; /* why there is nothing; "": there is */
	unsigned int n_metrics;
	struct metric metrics[RESULT_MAX_METRICS];
};

struct summary {
	double median, min, max;
};

/* Of @p n > 0 samples. */
struct summary summarize(const double *samples, unsigned int n);
/* Of the ratios, run by run, to its baseline; false: it has none. */
bool ratio_to_baseline(
	const struct bench_result *result, const struct metric *m, struct summary *ret_ratio);

void report_text(FILE *out, const struct bench_result *result);
struct json_t;
/* The whole result as a new JSON object. */
struct json_t *report_json(const struct bench_result *result);

#endif /* RESULT_PRIV_H */
