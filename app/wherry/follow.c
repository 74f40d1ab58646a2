/* SPDX-License-Identifier: BSD-3-Clause */
/* A migration as it goes, shown until it has ended; Ctrl-C cancels it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wherry.h"

static volatile sig_atomic_t interrupts;

static void
on_interrupt(int sig)
{
	(void)sig;
	if (++interrupts > 2)
		_exit(130);
}

static void
catch_interrupts(void)
{
	struct sigaction sa = { .sa_handler = on_interrupt };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

#define BAR 24

/* One line that is written over and over; nothing if nobody looks at a terminal. */
static void
show_progress(const json_t *p)
{
	uint64_t total = get_count(p, "round_pages"), done = get_count(p, "round_done");
	unsigned int filled = total != 0 && done <= total ? (unsigned int)(done * BAR / total) : 0;
	char sent[32];

	if (!isatty(STDOUT_FILENO))
		return;
	printf("\r\033[K%-10s round %-3llu [%.*s%*s] %3.0f%%  %s sent", get_text(p, "state"),
		(unsigned long long)get_count(p, "round"), (int)filled, "########################",
		(int)(BAR - filled), "", total != 0 ? 100.0 * (double)done / (double)total : 0.0,
		show_bytes(get_real(p, "bytes_sent"), sent, sizeof(sent)));
	fflush(stdout);
}

static void
show_round(const json_t *r)
{
	char bytes[32], rate[32], ahead[96] = "application stopped";
	unsigned long long throttle = get_count(r, "throttle_percent");

	if (!json_is_true(json_object_get(r, "final")))
		snprintf(ahead, sizeof(ahead), "blackout forecast %.1f ms",
			get_real(r, "forecast_ms"));
	if (throttle != 0)
		snprintf(ahead + strlen(ahead), sizeof(ahead) - strlen(ahead),
			"; intake throttled by %llu %%", throttle);
	printf("%sround %-3llu dirty: %llu by devices, %llu by the CPU; sent %llu pages (%llu zero), %s in %.1f ms, %s/s; %s\n",
		isatty(STDOUT_FILENO) ? "\r\033[K" : "", (unsigned long long)get_count(r, "n"),
		(unsigned long long)get_count(r, "iommu_dirty_pages"),
		(unsigned long long)get_count(r, "cpu_dirty_pages"),
		(unsigned long long)get_count(r, "pages"),
		(unsigned long long)get_count(r, "zero_pages"),
		show_bytes(get_real(r, "bytes"), bytes, sizeof(bytes)), get_real(r, "ms"),
		show_bytes(get_real(r, "bandwidth"), rate, sizeof(rate)), ahead);
	fflush(stdout);
}

static void
show_paused(const json_t *e)
{
	printf("%spaused: %s; what has arrived is kept: wherry recover [URI], or wherry cancel\n",
		isatty(STDOUT_FILENO) ? "\r\033[K" : "", get_text(e, "reason"));
	fflush(stdout);
}

/* Only where memory was handed over is there anything to say. */
static bool
has_mappings(const json_t *e)
{
	const char *mappings = get_text(e, "mappings");

	return *mappings != '\0' && strcmp(mappings, "none") != 0;
}

static void
show_end(const json_t *e)
{
	bool completed = strcmp(get_text(e, "result"), "completed") == 0;
	char state[32], sent[32];

	printf("%s%s", isatty(STDOUT_FILENO) ? "\r\033[K" : "", get_text(e, "result"));
	if (completed)
		printf(": blackout %.1f ms (%s)%s%s", get_real(e, "blackout_ms"),
			get_text(e, "blackout_by"), has_mappings(e) ? ", DMA mappings " : "",
			has_mappings(e) ? get_text(e, "mappings") : "");
	else if (strcmp(get_text(e, "result"), "cancelled") == 0)
		printf(": the application goes on where it is");
	else
		printf(": %s", get_text(e, "reason"));
	printf("; %.1f s, %llu rounds, %s sent for %s of state\n", get_real(e, "total_ms") / 1e3,
		(unsigned long long)get_count(e, "rounds"),
		show_bytes(get_real(e, "bytes_sent"), sent, sizeof(sent)),
		show_bytes(get_real(e, "state_bytes"), state, sizeof(state)));
}

/* A log that cannot be written is said once, and is no reason to end a migration. */
static void
log_event(FILE *log, const json_t *line)
{
	if (ferror(log))
		return;
	write_json(log, line);
	if (ferror(log))
		fprintf(stderr, "\nwherry: the log could not be written, and is not complete: %s\n",
			strerror(errno));
}

/* Returns true at the end, with the exit status. */
static bool
handle(const struct follow *f, const json_t *line, int *ret_status)
{
	const char *event = client_event(line);

	if (*event == '\0') { /* the answer to cancel */
		if (!json_is_true(json_object_get(line, "ok")))
			fprintf(stderr, "\nwherry: cannot cancel: %s\n",
				get_text(json_object_get(line, "error"), "reason"));
		return false;
	}
	if (f->log != NULL)
		log_event(f->log, line);
	if (f->target->json)
		write_json(stdout, line);
	else if (strcmp(event, "progress") == 0)
		show_progress(line);
	else if (strcmp(event, "round") == 0)
		show_round(line);
	else if (strcmp(event, "paused") == 0)
		show_paused(line);
	else if (strcmp(event, "end") == 0)
		show_end(line);
	*ret_status = strcmp(get_text(line, "result"), "completed") == 0 ? 0 : 1;
	return strcmp(event, "end") == 0 || (f->until_paused && strcmp(event, "paused") == 0);
}

static int
follow(const struct follow *f, struct client *c)
{
	bool ended = false, timed_out;
	int asked = 0, status = 1;

	while (!ended) {
		json_t *line = client_next(c, 100, &timed_out);

		if (interrupts > asked) {
			asked = interrupts;
			if (!client_request(c, json_pack("{ss}", "cmd", "cancel")))
				return 1;
		}
		if (line == NULL && timed_out)
			continue;
		if (line == NULL) {
			fputs("\nwherry: the application closed its control socket before the migration had ended: did it crash?\n",
				stderr);
			return 1;
		}
		ended = handle(f, line, &status);
		json_decref(line);
	}
	return status;
}

int
follow_migration(json_t *request, const struct follow *f)
{
	struct client *c = client_open(f->target);
	json_t *answer;
	int status = 1;

	if (c == NULL) {
		json_decref(request);
		return 1;
	}
	catch_interrupts();
	if (client_request(c, request)) {
		answer = client_next(c, -1, NULL);
		if (client_is_ok(answer))
			status = follow(f, c);
		json_decref(answer);
	}
	client_close(c);
	return status;
}
