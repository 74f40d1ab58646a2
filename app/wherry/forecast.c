/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry forecast: watches for a while, and says what a migration would come to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry.h"
#include "wherry_migrate.h"

#define PAGE 4096.0
#define INTERVAL_MS 1000

struct options {
	struct target target;
	struct wherry_forecast_terms terms;
	uint64_t seconds;
};

static const struct argp_option option_list[] = {
	{ "bandwidth", 'b', "BYTES", 0,
		"bytes per second that the network, or --max-bandwidth, lets through; K, M and G are 2^10, 2^20 and 2^30 (default: 1G)",
		0 },
	{ "downtime-limit", 'd', "MS", 0, "as migrate will be given (default: 50)", 0 },
	{ "max-rounds", 'r', "N", 0, "likewise (default: 30)", 0 },
	{ "seconds", 's', "N", 0, "watch for so long, 1 to 3600 (default: 3)", 0 },
	{ 0 },
};

static uint64_t
number(struct argp_state *state, const char *arg, bool units, uint64_t max)
{
	uint64_t value = 0;

	if (!parse_number(arg, units, &value) || value == 0 || value > max)
		argp_error(state, "\"%s\" is no whole number from 1 to %llu%s", arg,
			(unsigned long long)max, units ? " (100M, 1G)" : "");
	return value;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->target;
		return 0;
	case 'b':
		o->terms.bandwidth = (double)number(state, arg, true, INT64_MAX);
		return 0;
	case 'd':
		o->terms.downtime_limit_ms = (double)number(state, arg, false, 3600000);
		return 0;
	case 'r':
		o->terms.max_rounds = (unsigned int)number(state, arg, false, 1000);
		return 0;
	case 's':
		o->seconds = number(state, arg, false, 3600);
		return 0;
	case ARGP_KEY_ARG:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* The last of so many reports; the first has no rates yet. NULL: the application has ended. */
static json_t *
last_report(struct client *c, uint64_t reports)
{
	json_t *line, *last = NULL;

	while (reports > 0 && (line = client_next(c, -1, NULL)) != NULL) {
		if (strcmp(client_event(line), "watch") != 0) {
			json_decref(line);
			continue;
		}
		json_decref(last);
		last = line;
		reports--;
	}
	if (reports > 0)
		fputs("wherry: the application has ended\n", stderr);
	return last;
}

static void
show(const struct wherry_forecast *f, const struct wherry_forecast_terms *terms,
	const json_t *worst)
{
	double rate = get_real(worst, "iommu_pages_per_s") + get_real(worst, "cpu_pages_per_s");
	char bytes[32], link[32];

	printf("%s: after %u rounds, %.1f s, a blackout of %.1f ms; the limit is %.0f ms\n",
		f->converges ? "would converge" : "would not converge", f->rounds, f->seconds,
		f->blackout_ms, terms->downtime_limit_ms);
	if (terms->quiesce_ns != 0)
		printf("of it %.1f ms to stop and %.1f ms to harvest, as measured\n",
			(double)terms->quiesce_ns / 1e6, (double)terms->harvest_ns / 1e6);
	if (f->converges)
		return;
	printf("most of it is region \"%s\", of which %s/s are written; %s/s can be sent: "
	       "lower its load, raise --downtime-limit, or find more bandwidth\n",
		get_text(worst, "name"), show_bytes(rate * PAGE, bytes, sizeof(bytes)),
		show_bytes(terms->bandwidth, link, sizeof(link)));
}

static void
show_json(const struct wherry_forecast *f, const struct wherry_forecast_terms *terms,
	const json_t *worst)
{
	json_t *line = json_pack("{ss sb si sf sf ss sf sf}", "event", "forecast", "converges",
		(int)f->converges, "rounds", (int)f->rounds, "seconds", f->seconds, "blackout_ms",
		f->blackout_ms, "worst", get_text(worst, "name"), "quiesce_ms",
		(double)terms->quiesce_ns / 1e6, "harvest_ms", (double)terms->harvest_ns / 1e6);

	write_json(stdout, line);
	json_decref(line);
}

static int
reckon(const struct options *o, const json_t *report)
{
	const json_t *list = json_object_get(report, "regions"), *r, *worst;
	size_t n = json_array_size(list), i;
	struct wherry_forecast_region *regions = calloc(n + 1, sizeof(*regions));
	struct wherry_forecast_terms terms = o->terms;
	struct wherry_forecast f;

	if (regions == NULL)
		return 1;
	json_array_foreach(list, i, r) regions[i] = (struct wherry_forecast_region){
		.pages = (uint64_t)(get_real(r, "bytes") / PAGE),
		.dirty_pages_per_s =
			get_real(r, "iommu_pages_per_s") + get_real(r, "cpu_pages_per_s"),
	};
	terms.quiesce_ns = (uint64_t)(get_real(report, "quiesce_ms") * 1e6);
	terms.harvest_ns = (uint64_t)(get_real(report, "harvest_ms") * 1e6);
	if (wherry_forecast_reckon(regions, n, &terms, &f) != 0) {
		free(regions);
		return 1;
	}
	worst = json_array_get(list, f.worst);
	if (o->target.json)
		show_json(&f, &terms, worst);
	else
		show(&f, &terms, worst);
	free(regions);
	return f.converges ? 0 : 3;
}

int
cmd_forecast(int argc, char **argv)
{
	static const struct argp_child children[] = { { &target_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = { option_list, parse, "",
		"Watch how fast the application writes, and say whether a migration would converge, "
		"after how long, with what blackout, and which region prevents it.\v"
		"Tracking is on meanwhile, and the application is stopped once for a moment, as a "
		"migration does to measure what stopping takes. The exit status is 0 if it would, 3 if it would not.",
		children, NULL, NULL };
	struct options o = {
		.terms = { .bandwidth = 1 << 30, .downtime_limit_ms = 50, .max_rounds = 30 },
		.seconds = 3
	};
	json_t *answer = NULL, *report = NULL;
	struct client *c;
	int status = 1;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	c = client_open(&o.target);
	if (c == NULL)
		return 1;
	if (client_request(c,
		    json_pack("{ss si sb}", "cmd", "watch", "interval_ms", INTERVAL_MS, "rehearse",
			    1)))
		answer = client_next(c, -1, NULL);
	if (answer != NULL && client_is_ok(answer))
		report = last_report(c, o.seconds + 1);
	if (report != NULL)
		status = reckon(&o, report);
	json_decref(report);
	json_decref(answer);
	client_close(c);
	return status;
}
