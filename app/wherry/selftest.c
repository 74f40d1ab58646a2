/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Usage: wherry selftest --hardware DEVICE: does this machine's IOMMU do what Wherry builds on?
 * One report file has the answer with all that a person needs who was not there.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "info.h"
#include "selftest.h"
#include "wherry.h"
#include "wherry_vfio.h"

struct selftest_options {
	const char *device, *report;
};

void
selftest_number(json_t *report, const char *name, double value, const char *unit)
{
	char key[96];

	snprintf(key, sizeof(key), "%s, %s", name, unit);
	json_object_set_new(report, key, json_real(value));
	printf("  %-44s %12.3f %s\n", name, value, unit);
	fflush(stdout);
}

/* The command line says which IOMMU options the kernel was booted with. */
static json_t *
boot_options(void)
{
	char line[2048] = "";
	FILE *f = fopen("/proc/cmdline", "r");

	if (f == NULL)
		return json_string("");
	if (fgets(line, sizeof(line), f) == NULL)
		line[0] = '\0';
	fclose(f);
	line[strcspn(line, "\n")] = '\0';
	return json_string(line);
}

static json_t *
now(void)
{
	char text[32];
	time_t t = time(NULL);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

/* This one of all devices, or NULL; a new reference. */
static json_t *
find_device(const char *address)
{
	json_t *all = info_devices(), *found = NULL, *dev;
	size_t i;

	json_array_foreach(all, i, dev) if (strcmp(get_text(dev, "address"), address) == 0) found =
		json_incref(dev);
	json_decref(all);
	return found;
}

static json_t *
describe(json_t *device)
{
	json_t *report = json_pack("{ss}", "wherry", wherry_version());

	json_object_set_new(report, "date", now());
	json_object_set_new(report, "boot_options", boot_options());
	json_object_set_new(report, "machine", info_machine());
	json_object_set_new(report, "device", device);
	info_show_machine(json_object_get(report, "machine"));
	info_show_one_device(device);
	return report;
}

static int
write_report(const json_t *report, const struct selftest_options *opts)
{
	char name[64];
	const char *path = opts->report;

	if (path == NULL) {
		snprintf(name, sizeof(name), "wherry-selftest-%s.json", opts->device);
		path = name;
	}
	if (json_dump_file(report, path, JSON_INDENT(2)) != 0) {
		fprintf(stderr, "wherry: cannot write %s\n", path);
		return 1;
	}
	printf("report: %s\n", path);
	return 0;
}

static int
run(const struct selftest_options *opts)
{
	json_t *device = find_device(opts->device), *report;
	const char *backend;
	int failed = 1, rc = 0;

	if (device == NULL) {
		fprintf(stderr,
			"wherry: %s is no network device and not bound to VFIO: wherry info lists those that are\n",
			opts->device);
		return 1;
	}
	report = describe(device);
	backend = get_text(json_object_get(device, "use"), "backend");
	if (*backend != '\0') {
		failed = selftest_checks(opts->device, report);
		rc = selftest_measure(opts->device, backend, report);
	} else
		fprintf(stderr, "wherry: no backend takes %s; what is missing stands above\n",
			opts->device);
	if (write_report(report, opts) != 0)
		rc = 1;
	json_decref(report);
	return failed > 0 || rc != 0;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct selftest_options *opts = state->input;

	switch (key) {
	case 'd':
		opts->device = arg;
		return 0;
	case 'r':
		opts->report = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_usage(state);
		return 0;
	case ARGP_KEY_END:
		if (opts->device == NULL)
			argp_error(state, "--hardware DEVICE is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int
cmd_selftest(int argc, char **argv)
{
	static const struct argp_option option_list[] = {
		{ "hardware", 'd', "DEVICE", 0,
			"PCI address of a device bound to VFIO that nobody uses", 0 },
		{ "report", 'r', "FILE", 0, "where the report goes; wherry-selftest-DEVICE.json",
			0 },
		{ 0 },
	};
	static const struct argp argp = { option_list, parse, "",
		"Check with real DMA what the IOMMU of this machine promises, measure what it costs, and write one report.",
		NULL, NULL, NULL };
	struct selftest_options opts = { .device = NULL };

	argp_parse(&argp, argc, argv, 0, NULL, &opts);
	info_keep_lines();
	return run(&opts);
}
