/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wherry-bench: every number the documents quote. Results go to stdout, progress to
 * stderr. What each number means is in doc/bench.rst.
 */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "result_priv.h"

bool bench_long;

uint64_t bench_size = 256 * MIB;
unsigned int bench_channels = 2;
const char *bench_arbiter;

static struct bench *benches;
static char cannot[256]; /* what bench_cannot() was told last */

struct options {
	unsigned int runs;
	bool json, list;
	char **names; /* of the benches wanted; NULL-terminated, empty: all */
};

void
bench_register(struct bench *b)
{
	struct bench **at = &benches;

	while (*at != NULL && strcmp((*at)->name, b->name) < 0)
		at = &(*at)->next;
	b->next = *at;
	*at = b;
}

int
bench_cannot(int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cannot, sizeof(cannot), fmt, ap);
	va_end(ap);
	return rc;
}

static const struct argp_option arguments[] = {
	{ "runs", 'n', "N", 0, "measure N times, 1 to 101 (7)", 0 },
	{ "json", 'j', NULL, 0, "results as one JSON object", 0 },
	{ "list", 'l', NULL, 0, "name the benches", 0 },
	{ "size", 's', "MIB", 0, "migrate: so much memory, 16 to 16384 (256)", 0 },
	{ "channels", 'c', "N", 0, "migrate: so many connections, 1 to 16 (2)", 0 },
	{ "arbiter", 'a', "SPEC", 0, "migrate: ask this one, too (etcd:URL)", 0 },
	{ "long", 'L', NULL, 0, "race: 10^9 writes", 0 },
	{ 0 },
};

static bool
known(const char *name)
{
	for (const struct bench *b = benches; b != NULL; b = b->next)
		if (strcmp(b->name, name) == 0)
			return true;
	return false;
}

static unsigned int
number(struct argp_state *state, const char *name, const char *arg, unsigned int min,
	unsigned int max)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (*end != '\0' || n < min || n > max)
		argp_error(state, "--%s wants a number from %u to %u", name, min, max);
	return (unsigned int)n;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct options *opts = state->input;

	switch (key) {
	case 'n':
		opts->runs = number(state, "runs", arg, 1, RESULT_MAX_RUNS);
		return 0;
	case 's':
		bench_size = number(state, "size", arg, 16, 16384) * MIB;
		return 0;
	case 'c':
		bench_channels = number(state, "channels", arg, 1, 16);
		return 0;
	case 'a':
		bench_arbiter = arg;
		return 0;
	case 'j':
		opts->json = true;
		return 0;
	case 'l':
		opts->list = true;
		return 0;
	case 'L':
		bench_long = true;
		return 0;
	case ARGP_KEY_ARGS:
		opts->names = state->argv + state->next;
		for (char **name = opts->names; *name != NULL; name++)
			if (!known(*name))
				argp_error(state, "no bench '%s'; --list names them", *name);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool
wanted(const struct options *opts, const char *name)
{
	if (opts->names == NULL)
		return true;
	for (char **p = opts->names; *p != NULL; p++)
		if (strcmp(*p, name) == 0)
			return true;
	return false;
}

/* On a terminal one line that changes, else a line each time. */
static void progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void
progress(const char *fmt, ...)
{
	bool terminal = isatty(STDERR_FILENO) == 1;
	va_list ap;

	if (terminal)
		fputs("\r\033[K", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (!terminal)
		fputc('\n', stderr);
}

/* The first run warms caches and page tables and is forgotten. */
static int
run_all(const struct bench *b, void *ctx, unsigned int runs, struct bench_result *result)
{
	if (b->once)
		return b->run(ctx, result);
	for (unsigned int i = 0; i <= runs; i++) {
		int rc = b->run(ctx, result);

		if (rc != 0)
			return rc;
		if (i == 0)
			result->n_metrics = 0;
		progress("%s: run %u of %u", b->name, i, runs);
	}
	return 0;
}

static int
measure(const struct bench *b, unsigned int runs, struct bench_result *result)
{
	void *ctx = NULL;
	int rc;

	*result = (struct bench_result){ .bench = b };
	snprintf(cannot, sizeof(cannot), "no reason given");
	progress("%s: setup", b->name);
	rc = b->setup(&ctx);
	if (rc == 0) {
		rc = run_all(b, ctx, runs, result);
		b->teardown(ctx);
	}
	progress("%s: measured", b->name);
	if (isatty(STDERR_FILENO) == 1)
		fputs("\r\033[K", stderr);
	if (rc != 0)
		snprintf(
			result->skipped, sizeof(result->skipped), "%s (%s)", cannot, strerror(-rc));
	return rc;
}

static json_t *
machine(unsigned int runs)
{
	struct utsname os;
	json_t *object;

	uname(&os);
	object = json_pack("{s:s, s:s, s:s, s:I, s:I}", "version", wherry_version(), "kernel",
		os.release, "machine", os.machine, "cpus",
		(json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "runs", (json_int_t)runs);
	json_object_set_new(object, "benches", json_array());
	return object;
}

/* A bench that is not for this machine is no failure; one that broke is. */
static int
measure_wanted(const struct options *opts, json_t *all)
{
	struct bench_result *result = malloc(sizeof(*result));
	int worst = 0;

	for (const struct bench *b = benches; b != NULL && result != NULL; b = b->next) {
		if (!wanted(opts, b->name))
			continue;
		if (measure(b, opts->runs, result) != 0 && result->n_metrics > 0)
			worst = 1;
		if (opts->json)
			json_array_append_new(json_object_get(all, "benches"), report_json(result));
		else
			report_text(stdout, result);
		fflush(stdout);
	}
	free(result);
	return worst;
}

int
main(int argc, char **argv)
{
	static const struct argp argp = { arguments, parse, "[BENCH...]",
		"Measure Wherry on this machine: medians, spread, and ratios to a baseline of the "
		"same run.\vWhat each number means: doc/bench.rst.",
		NULL, NULL, NULL };
	struct options opts = { .runs = 7 };
	json_t *all;
	int status;

	argp_program_version = wherry_version();
	if (argp_parse(&argp, argc, argv, 0, NULL, &opts) != 0)
		return 2;
	if (opts.list) {
		for (const struct bench *b = benches; b != NULL; b = b->next)
			printf("%-12s %s\n", b->name, b->what);
		return 0;
	}
	all = machine(opts.runs);
	status = measure_wanted(&opts, all);
	if (opts.json) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(all);
	return status;
}
