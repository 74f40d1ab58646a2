/* SPDX-License-Identifier: BSD-3-Clause */
/* A table for people, an object for programs. */
#include <jansson.h>

#include "result_priv.h"

void
report_text(FILE *out, const struct bench_result *result)
{
	fprintf(out, "%s: %s\n", result->bench->name, result->bench->what);
	if (result->skipped[0] != '\0') {
		fprintf(out, "  skipped: %s\n", result->skipped);
		return;
	}
	for (unsigned int i = 0; i < result->n_metrics; i++) {
		const struct metric *m = &result->metrics[i];
		struct summary sum = summarize(m->samples, m->n), ratio;

		fprintf(out, "  %-28s %12.4g %-9s [%.4g .. %.4g]", m->name, sum.median, m->unit,
			sum.min, sum.max);
		if (ratio_to_baseline(result, m, &ratio))
			fprintf(out, "  %.3g x %s [%.3g .. %.3g]", ratio.median, m->baseline,
				ratio.min, ratio.max);
		fputc('\n', out);
	}
}

static json_t *
metric_json(const struct bench_result *result, const struct metric *m)
{
	struct summary sum = summarize(m->samples, m->n), ratio;
	json_t *samples = json_array(), *object;

	for (unsigned int i = 0; i < m->n; i++)
		json_array_append_new(samples, json_real(m->samples[i]));
	object = json_pack("{s:s, s:s, s:f, s:f, s:f, s:o}", "name", m->name, "unit", m->unit,
		"median", sum.median, "min", sum.min, "max", sum.max, "samples", samples);
	if (object != NULL && ratio_to_baseline(result, m, &ratio)) {
		json_object_set_new(object, "baseline", json_string(m->baseline));
		json_object_set_new(object, "ratio", json_real(ratio.median));
		json_object_set_new(object, "ratio_min", json_real(ratio.min));
		json_object_set_new(object, "ratio_max", json_real(ratio.max));
	}
	return object;
}

json_t *
report_json(const struct bench_result *result)
{
	json_t *metrics;

	if (result->skipped[0] != '\0')
		return json_pack(
			"{s:s, s:s}", "name", result->bench->name, "skipped", result->skipped);
	metrics = json_array();
	for (unsigned int i = 0; i < result->n_metrics; i++)
		json_array_append_new(metrics, metric_json(result, &result->metrics[i]));
	return json_pack("{s:s, s:o}", "name", result->bench->name, "metrics", metrics);
}
