/* SPDX-License-Identifier: BSD-3-Clause */
/* Source: Prometheus documentation, "Exposition formats", text-based format. */
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "wherry.h"

#define ANSWER_MS 2000

static const struct metric {
	const char *name, *type, *help;
	const char *field; /* of the status event */
	double unit;       /* what one of the field is */
} metrics[] = {
	{ "wherry_state_bytes", "gauge", "Memory that a migration moves.", "state_bytes", 1 },
	{ "wherry_migration_rounds", "gauge", "Rounds of the migration under way, or of the last.",
		"rounds", 1 },
	{ "wherry_migration_sent_bytes", "gauge", "Bytes it has put on the wire.", "bytes_sent",
		1 },
	{ "wherry_migration_filtered_pages", "gauge",
		"Pages it never sent, as they were worthless.", "filtered_pages", 1 },
	{ "wherry_migration_late_frames", "gauge",
		"Frames that came after the application stopped.", "late_frames", 1 },
	{ "wherry_migration_blackout_seconds", "gauge", "Last burst there to first burst here.",
		"blackout_ms", 1e-3 },
	{ "wherry_migration_seconds", "gauge", "How long it took.", "total_ms", 1e-3 },
};
#define N_METRICS (sizeof(metrics) / sizeof(metrics[0]))

/* Of every socket's application its status; one that does not answer in time is null. */
static json_t *
ask_all(const glob_t *found)
{
	json_t *all = json_object();

	for (size_t i = 0; i < found->gl_pathc; i++) {
		struct target target = { .control = found->gl_pathv[i] };
		struct client *c = client_open(&target);
		json_t *status = NULL;

		if (c != NULL && client_request(c, json_pack("{ss}", "cmd", "status")))
			status = client_next(c, ANSWER_MS, NULL);
		client_close(c);
		json_object_set_new(all, found->gl_pathv[i], status != NULL ? status : json_null());
	}
	return all;
}

/* Backslash, quote and newline are the three that have to be escaped in a label. */
static void
put_label(FILE *to, const char *name, const char *value)
{
	fprintf(to, "%s=\"", name);
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			putc('\\', to);
		if (*value == '\n')
			fputs("\\n", to);
		else
			putc(*value, to);
	}
	putc('"', to);
}

static void
put_head(FILE *to, const char *name, const char *type, const char *help)
{
	fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
put_sample(FILE *to, const char *name, const json_t *status, double value)
{
	fprintf(to, "%s{", name);
	put_label(to, "app", get_text(status, "name"));
	fprintf(to, "} %.17g\n", value);
}

/* 1 for the state it is in; the label says which. */
static void
put_states(FILE *to, json_t *all)
{
	const char *path;
	json_t *status;

	put_head(
		to, "wherry_up", "gauge", "Whether the application answers on its control socket.");
	json_object_foreach(all, path, status)
	{
		fputs("wherry_up{", to);
		put_label(to, "control", path);
		fprintf(to, "} %d\n", json_is_object(status));
	}
	put_head(to, "wherry_state", "gauge", "The state of the application's agent.");
	json_object_foreach(all, path, status)
	{
		if (!json_is_object(status))
			continue;
		fputs("wherry_state{", to);
		put_label(to, "app", get_text(status, "name"));
		putc(',', to);
		put_label(to, "state", get_text(status, "state"));
		fputs("} 1\n", to);
	}
}

static void
put_metric(FILE *to, const struct metric *m, json_t *all)
{
	const char *path;
	json_t *status;

	put_head(to, m->name, m->type, m->help);
	json_object_foreach(all, path, status)
	{
		if (json_is_object(status))
			put_sample(to, m->name, status, get_real(status, m->field) * m->unit);
	}
}

char *
metrics_text(const char *folder, size_t *ret_len)
{
	char pattern[PATH_MAX];
	glob_t found = { .gl_pathc = 0 };
	char *text = NULL;
	FILE *to = open_memstream(&text, ret_len);
	json_t *all;

	if (to == NULL)
		return NULL;
	snprintf(pattern, sizeof(pattern), "%s/*.sock", folder);
	glob(pattern, 0, NULL, &found);
	all = ask_all(&found);
	put_states(to, all);
	for (size_t i = 0; i < N_METRICS; i++)
		put_metric(to, &metrics[i], all);
	json_decref(all);
	globfree(&found);
	if (fclose(to) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
