/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_H
#define WHERRY_H

/*
 * The command. main.c finds the subcommand; each of the others is one subcommand and
 * returns the exit status. client.c speaks to an application for those that do.
 */

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int cmd_info(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_recover(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_selftest(int argc, char **argv);
int cmd_resolve(int argc, char **argv);
int cmd_forecast(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_exporter(int argc, char **argv);

/* ---- client.c: which application, and lines to and from it ---- */

#define RUN_DIR "/run/wherry" /* where they are unless told otherwise */

/* Options that choose an application; children of each subcommand's argp. */
struct target {
	const char *app;     /* --app */
	const char *control; /* --control */
	bool json;           /* --json */
};
extern const struct argp target_argp; /* input: struct target */

struct client;

/* Connect, or say why not and how to help it, and return NULL. */
struct client *client_open(const struct target *target);
void client_close(struct client *c);
/* Send a request, taken over; false: said why. */
bool client_request(struct client *c, json_t *request);
/*
 * The next line, or NULL at the end. *ret_event is "" for an answer. Waits at most
 * timeout_ms (-1: for ever); *ret_timed_out, if not NULL, tells that from the end.
 */
json_t *client_next(struct client *c, int timeout_ms, bool *ret_timed_out);
/* "round" of {"event":"round",...}, "" of an answer. */
const char *client_event(const json_t *line);
/* The answer to a request: true if it is ok; else said why. */
bool client_is_ok(const json_t *answer);

/* status.c: one request, taken over, and its answer; NULL: said why. */
json_t *ask(const struct target *target, json_t *request);

/* ---- follow.c: a migration until it has ended ---- */

struct follow {
	const struct target *target;
	FILE *log;         /* its events as JSON lines, beside what is shown; NULL: nowhere */
	bool until_paused; /* being paused is an end, too */
};
/* Send the request, taken over, that begins it; the exit status. */
int follow_migration(json_t *request, const struct follow *f);

/* ---- show.c: numbers for people ---- */

double get_real(const json_t *object, const char *name);
uint64_t get_count(const json_t *object, const char *name);
const char *get_text(const json_t *object, const char *name);
/* "1.5 GiB" into buf, which is returned. */
const char *show_bytes(double bytes, char *buf, size_t cap);
/* A whole number, with units one that ends with K, M or G; false: something else. */
bool parse_number(const char *text, bool units, uint64_t *ret_value);
/* One line of JSON, at once. */
void write_json(FILE *to, const json_t *object);

#endif /* WHERRY_H */
