/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry watch: the dirty rate of each region, until Ctrl-C. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wherry.h"

#define PAGE 4096.0

struct options {
	struct target target;
	int interval_ms;
	uint64_t count; /* reports, 0: no end */
};

static const struct argp_option option_list[] = {
	{ "interval", 'i', "MS", 0, "report so often (default: 1000, at least 50)", 0 },
	{ "count", 'n', "N", 0, "end after so many reports (default: with Ctrl-C)", 0 },
	{ 0 },
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	char *end = arg;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->target;
		return 0;
	case 'i':
		o->interval_ms = (int)strtol(arg, &end, 10);
		if (*end != '\0' || o->interval_ms < 50 || o->interval_ms > 3600000)
			argp_error(state, "the interval is a whole number from 50 to 3600000");
		return 0;
	case 'n':
		o->count = strtoull(arg, &end, 10);
		if (*end != '\0' || o->count == 0 || *arg == '-')
			argp_error(state, "the count is a whole number from 1");
		return 0;
	case ARGP_KEY_ARG:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void
show_region(const json_t *r)
{
	char size[32], devices[32], cpu[32], pending[32];

	printf("%-20s %10s %12s/s %12s/s %12s\n", get_text(r, "name"),
		show_bytes(get_real(r, "bytes"), size, sizeof(size)),
		show_bytes(get_real(r, "iommu_pages_per_s") * PAGE, devices, sizeof(devices)),
		show_bytes(get_real(r, "cpu_pages_per_s") * PAGE, cpu, sizeof(cpu)),
		show_bytes(get_real(r, "pending_pages") * PAGE, pending, sizeof(pending)));
}

static void
show_report(const json_t *report, bool again)
{
	const json_t *regions = json_object_get(report, "regions"), *region;
	size_t i;

	if (again && isatty(STDOUT_FILENO))
		printf("\033[%zuA\033[J", json_array_size(regions) + 1);
	printf("%-20s %10s %14s %14s %12s\n", get_text(report, "state"), "size", "by devices",
		"by the CPU", "pending");
	json_array_foreach(regions, i, region) show_region(region);
	fflush(stdout);
}

static int
follow(const struct options *o, struct client *c)
{
	uint64_t reports = 0;
	json_t *line;

	while ((line = client_next(c, -1, NULL)) != NULL) {
		bool is_report = strcmp(client_event(line), "watch") == 0;

		if (o->target.json)
			write_json(stdout, line);
		else if (is_report)
			show_report(line, reports > 0);
		json_decref(line);
		reports += is_report;
		if (o->count != 0 && reports == o->count)
			return 0;
	}
	fputs("wherry: the application has ended\n", stderr);
	return 1;
}

int
cmd_watch(int argc, char **argv)
{
	static const struct argp_child children[] = { { &target_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = { option_list, parse, "",
		"Show how fast each region is written, by devices and by the CPU.\v"
		"Tracking is on while somebody watches. The first report has no rates yet.",
		children, NULL, NULL };
	struct options o = { .interval_ms = 1000 };
	struct client *c;
	json_t *answer;
	int status = 1;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	c = client_open(&o.target);
	if (c == NULL)
		return 1;
	if (client_request(c, json_pack("{ss si}", "cmd", "watch", "interval_ms", o.interval_ms))) {
		answer = client_next(c, -1, NULL);
		if (client_is_ok(answer))
			status = follow(&o, c);
		json_decref(answer);
	}
	client_close(c);
	return status;
}
