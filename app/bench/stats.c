/* SPDX-License-Identifier: BSD-3-Clause */
/* Medians, because a run that the scheduler disturbed should not count. */
#include <stdlib.h>
#include <string.h>

#include "result_priv.h"

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double
bench_median(double *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), compare);
	return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

struct summary
summarize(const double *samples, unsigned int n)
{
	double sorted[RESULT_MAX_RUNS];
	struct summary sum;

	memcpy(sorted, samples, n * sizeof(*samples));
	sum.median = bench_median(sorted, n);
	sum.min = sorted[0];
	sum.max = sorted[n - 1];
	return sum;
}

static const struct metric *
find_metric(const struct bench_result *result, const char *name)
{
	for (unsigned int i = 0; i < result->n_metrics; i++)
		if (strcmp(result->metrics[i].name, name) == 0)
			return &result->metrics[i];
	return NULL;
}

bool
ratio_to_baseline(
	const struct bench_result *result, const struct metric *m, struct summary *ret_ratio)
{
	const struct metric *base = find_metric(result, m->baseline);
	double ratios[RESULT_MAX_RUNS];

	if (base == NULL || m == base || m->n != base->n || strcmp(m->unit, base->unit) != 0)
		return false;
	for (unsigned int i = 0; i < m->n; i++) {
		if (base->samples[i] <= 0)
			return false;
		ratios[i] = m->samples[i] / base->samples[i];
	}
	*ret_ratio = summarize(ratios, m->n);
	return true;
}

void
bench_record_ratio(struct bench_result *result, const char *metric, const char *unit, double value,
	const char *baseline)
{
	struct metric *m = result->metrics, *end = m + result->n_metrics;

	while (m < end && strcmp(m->name, metric) != 0)
		m++;
	if (m == end) {
		if (result->n_metrics == RESULT_MAX_METRICS)
			abort(); /* a bench with more metrics than room for them */
		result->n_metrics++;
		*m = (struct metric){ .name = metric, .unit = unit, .baseline = baseline };
	}
	if (m->n < RESULT_MAX_RUNS)
		m->samples[m->n++] = value;
}

void
bench_record(struct bench_result *result, const char *metric, const char *unit, double value)
{
	const char *first = result->n_metrics > 0 ? result->metrics[0].name : metric;

	bench_record_ratio(result, metric, unit, value, first);
}
