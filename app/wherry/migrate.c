/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry migrate URI: asks for a migration and shows it until it has ended. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry.h"

/*
 * Options by their kind. What each is called in the request (doc/control.rst) stands in the
 * table of its kind, in this order.
 */
enum {
	OPT_BANDWIDTH = 0x100,
	OPT_DOWNTIME,
	OPT_ROUNDS,
	OPT_TIMEOUT,
	OPT_TOTAL,
	OPT_CHANNELS,
	OPT_PAUSE,
	END_OF_NUMBERS
};
static const char *const numbers[] = { "max_bandwidth", "downtime_limit_ms", "max_rounds",
	"timeout_ms", "total_timeout_ms", "channels", "pause_limit_ms" };

enum {
	OPT_VERIFY = 0x200,
	OPT_COMPRESS,
	OPT_RELEASE,
	OPT_INSECURE,
	OPT_CONVERGE,
	OPT_COPY,
	END_OF_FLAGS
};
static const char *const flags[] = { "verify", "compress", "release", "insecure", "auto_converge",
	"copy" };

enum { OPT_TLS_CERT = 0x300, OPT_TLS_KEY, OPT_TLS_CA, OPT_TLS_CRL, OPT_TLS_PSK, END_OF_FILES };
static const char *const files[] = { "tls_cert", "tls_key", "tls_ca", "tls_crl", "tls_psk" };

enum { OPT_TLS_PEER = 0x400, OPT_LOG };

struct options {
	struct target target;
	json_t *request; /* all but target and log go in there */
	FILE *log;       /* events as JSON lines, beside what is shown */
};

static const char doc[] =
	"Move the application to the destination that waits at URI: tcp:HOST:PORT or unix:PATH; "
	"or write a snapshot of it to file:PATH, from which a destination can start, while it goes on. "
	"To another machine TCP needs keys for TLS, of the application or given here."
	"\vCtrl-C cancels: the application goes on where it is. The exit status is 0 only if the "
	"destination runs, or the snapshot is written.";

static const struct argp_option option_list[] = {
	{ "max-bandwidth", OPT_BANDWIDTH, "BYTES", 0,
		"bytes per second at most; K, M and G are 2^10, 2^20 and 2^30 (default: no limit)",
		0 },
	{ "downtime-limit", OPT_DOWNTIME, "MS", 0,
		"switch over when the predicted blackout is below (default: 50)", 0 },
	{ "max-rounds", OPT_ROUNDS, "N", 0,
		"give up if that is not reached after so many rounds (default: 30)", 0 },
	{ "timeout", OPT_TIMEOUT, "MS", 0,
		"give up when the peer is silent for so long (default: 10000)", 0 },
	{ "verify", OPT_VERIFY, NULL, 0,
		"hash all memory on both sides while the application is stopped", 0 },
	{ "channels", OPT_CHANNELS, "N", 0, "connections (default: one for each CPU, at most 4)",
		0 },
	{ "compress", OPT_COMPRESS, NULL, 0, "send with zstd what it makes shorter", 0 },
	{ "release", OPT_RELEASE, NULL, 0,
		"file: end the application with its snapshot, which then owns the state", 0 },
	{ "copy", OPT_COPY, NULL, 0, "unix: send pages even where memory could be handed over", 0 },
	{ "tls-cert", OPT_TLS_CERT, "FILE", 0,
		"TLS: the application's certificate (default: what it was started with)", 0 },
	{ "tls-key", OPT_TLS_KEY, "FILE", 0, "TLS: its private key", 0 },
	{ "tls-ca", OPT_TLS_CA, "FILE", 0, "TLS: who signs the destination's certificate", 0 },
	{ "tls-crl", OPT_TLS_CRL, "FILE", 0, "TLS: which certificates they have revoked", 0 },
	{ "tls-peer", OPT_TLS_PEER, "NAME", 0,
		"TLS: whom the destination's certificate is for (default: the URI's host)", 0 },
	{ "tls-psk", OPT_TLS_PSK, "FILE", 0,
		"TLS: a pre-shared key, IDENTITY:HEX, instead of certificates", 0 },
	{ "insecure", OPT_INSECURE, NULL, 0,
		"go without TLS to another machine: who is in between can read and change all", 0 },
	{ "total-timeout", OPT_TOTAL, "MS", 0,
		"give up when it is not switched over by then (default: never)", 0 },
	{ "auto-converge", OPT_CONVERGE, NULL, 0,
		"let the application take in less, more so each round, until that helps", 0 },
	{ "pause-limit", OPT_PAUSE, "MS", 0,
		"how long a lost connection may be recovered, with wherry recover (default: 60000; 0: it may not)",
		0 },
	{ "log", OPT_LOG, "FILE", 0, "write the migration's events to FILE too, as with --json",
		0 },
	{ 0 },
};

static void
set(struct options *o, const char *field, json_t *value)
{
	json_object_set_new(o->request, field, value);
}

static void
set_number(struct argp_state *state, int key, const char *arg)
{
	uint64_t value = 0;

	if (!parse_number(arg, key == OPT_BANDWIDTH, &value))
		argp_error(state, "\"%s\" is no whole number%s", arg,
			key == OPT_BANDWIDTH ? " (100M, 1G)" : "");
	set(state->input, numbers[key - OPT_BANDWIDTH], json_integer((json_int_t)value));
}

/* The application has another working directory. */
static void
set_file(struct argp_state *state, int key, const char *arg)
{
	char *path = arg[0] == '/' ? strdup(arg) : realpath(arg, NULL);

	if (path == NULL)
		argp_failure(state, 2, errno, "cannot find %s", arg);
	set(state->input, files[key - OPT_TLS_CERT], json_string(path));
	free(path);
}

static void
open_log(struct argp_state *state, const char *arg)
{
	struct options *o = state->input;

	o->log = fopen(arg, "we");
	if (o->log == NULL)
		argp_failure(state, 2, errno, "cannot write %s", arg);
}

/* What is not about one option of a kind. */
static error_t
parse_others(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->target;
		return 0;
	case OPT_TLS_PEER:
		set(o, "tls_peer", json_string(arg));
		return 0;
	case OPT_LOG:
		open_log(state, arg);
		return 0;
	case ARGP_KEY_ARG:
		if (json_object_get(o->request, "uri") != NULL)
			argp_usage(state);
		set(o, "uri", json_string(arg));
		return 0;
	case ARGP_KEY_END:
		if (json_object_get(o->request, "uri") == NULL)
			argp_error(state, "the URI is missing, as in tcp:HOST:PORT");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	if (key >= OPT_BANDWIDTH && key < END_OF_NUMBERS)
		set_number(state, key, arg);
	else if (key >= OPT_VERIFY && key < END_OF_FLAGS)
		set(state->input, flags[key - OPT_VERIFY], json_true());
	else if (key >= OPT_TLS_CERT && key < END_OF_FILES)
		set_file(state, key, arg);
	else
		return parse_others(key, arg, state);
	return 0;
}

int
cmd_migrate(int argc, char **argv)
{
	static const struct argp_child children[] = { { &target_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = { option_list, parse, "URI", doc, children, NULL, NULL };
	struct options o = { .request = json_pack("{ss}", "cmd", "migrate") };

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	return follow_migration(o.request, &(struct follow){ &o.target, o.log, false });
}
