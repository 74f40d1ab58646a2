/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry report: reads what wherry migrate --log wrote, and draws it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report.h"
#include "wherry.h"

struct options {
	const char *log, *output;
};

static const char doc[] =
	"Draw a migration as SVG: its rounds in time, what devices and the CPU wrote, the bandwidth, the "
	"blackout, and where in each region pages were written. LOG is what wherry migrate --log=LOG "
	"wrote, or its output with --json; - is the standard input.";

static const struct argp_option option_list[] = {
	{ "output", 'o', "FILE", 0, "write the picture to FILE (default: the standard output)", 0 },
	{ 0 },
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'o':
		o->output = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (o->log != NULL)
			argp_usage(state);
		o->log = arg;
		return 0;
	case ARGP_KEY_END:
		if (o->log == NULL)
			argp_error(
				state, "the LOG is missing: wherry migrate --log=LOG writes one");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* A duration or a count as it may be: finite, not below 0, and no more than a picture can show. */
static bool
is_measure(const json_t *object, const char *name)
{
	double v = get_real(object, name);

	return json_is_number(json_object_get(object, name)) && v >= 0 && v < 1e18;
}

static bool
is_round(const json_t *line)
{
	static const char *const fields[] = { "n", "ms", "bytes", "pages", "iommu_dirty_pages",
		"cpu_dirty_pages", "bandwidth", "forecast_ms", NULL };

	for (size_t i = 0; fields[i] != NULL; i++)
		if (!is_measure(line, fields[i]))
			return false;
	return get_real(line, "ms") > 0;
}

/* false: this is no event of a migration. */
static bool
take_event(struct report *r, json_t *line)
{
	const char *event = get_text(line, "event");

	if (strcmp(event, "round") == 0)
		return is_round(line) && json_array_append(r->rounds, line) == 0;
	if (strcmp(event, "end") == 0) {
		r->end = json_incref(line);
		return is_measure(line, "total_ms") && is_measure(line, "blackout_ms");
	}
	return *event != '\0';
}

/* Up to the first end: a log has one migration. */
static bool
read_events(struct report *r, const char *name, FILE *from)
{
	unsigned int n = 0;
	size_t cap = 0;
	char *text = NULL;
	bool good = true;

	while (good && r->end == NULL && getline(&text, &cap, from) >= 0) {
		json_t *line = json_loads(text, 0, NULL);

		n++;
		good = json_is_object(line) && take_event(r, line);
		json_decref(line);
	}
	free(text);
	if (!good)
		fprintf(stderr,
			"wherry: line %u of %s is no event of a migration: wherry migrate --log=FILE writes them\n",
			n, name);
	else if (json_array_size(r->rounds) == 0)
		fprintf(stderr, "wherry: %s has no round: there is nothing to draw\n", name);
	return good && json_array_size(r->rounds) > 0;
}

static void
measure(struct report *r)
{
	const json_t *round;
	double sum = 0;
	size_t i;

	json_array_foreach(r->rounds, i, round)
	{
		if (json_is_true(json_object_get(round, "final")))
			r->switchover_ms = sum;
		sum += get_real(round, "ms");
	}
	r->total_ms = r->end != NULL && get_real(r->end, "total_ms") > sum
		? get_real(r->end, "total_ms")
		: sum;
}

static FILE *
open_file(const char *name, const char *mode, FILE *standard)
{
	FILE *f = name == NULL || strcmp(name, "-") == 0 ? standard : fopen(name, mode);

	if (f == NULL)
		fprintf(stderr, "wherry: %s: %s\n", name, strerror(errno));
	return f;
}

/* An unfinished picture is no picture; what is no file is not ours to remove. */
static int
write_picture(const struct report *r, const char *name)
{
	FILE *to = open_file(name, "we", stdout);
	struct stat st = { .st_mode = 0 };
	bool written;

	if (to == NULL)
		return 1;
	(void)fstat(fileno(to), &st);
	written = report_draw(r, to);
	if (to != stdout && fclose(to) != 0)
		written = false;
	if (written)
		return 0;
	fprintf(stderr, "wherry: %s could not be written: %s\n",
		name != NULL ? name : "the standard output", strerror(errno));
	if (to != stdout && S_ISREG(st.st_mode))
		remove(name);
	return 1;
}

int
cmd_report(int argc, char **argv)
{
	static const struct argp argp = { option_list, parse, "LOG", doc, NULL, NULL, NULL };
	struct report r = { .rounds = json_array() };
	struct options o = { .log = NULL };
	int status = 1;
	FILE *from;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	from = open_file(o.log, "re", stdin);
	if (from != NULL && read_events(&r, o.log, from)) {
		measure(&r);
		status = write_picture(&r, o.output);
	}
	if (from != NULL && from != stdin)
		fclose(from);
	json_decref(r.rounds);
	json_decref(r.end);
	return status;
}
