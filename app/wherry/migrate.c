/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry migrate URI: asks for a migration and shows it until it has ended. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry.h"

/* Options that name a file of keys. */
enum { TLS_CERT, TLS_KEY, TLS_CA, TLS_PSK, TLS_FILES };
static const char *const tls_fields[TLS_FILES] = { "tls_cert", "tls_key", "tls_ca", "tls_psk" };

struct options {
	struct target target;
	const char *uri;
	uint64_t max_bandwidth, downtime_limit_ms, max_rounds, timeout_ms, channels, pause_limit_ms,
		total_timeout_ms;
	bool verify, compress, release, insecure, auto_converge;
	char *tls[TLS_FILES];
	const char *tls_peer;
	FILE *log; /* events as JSON lines, beside what is shown */
};

static const char doc[] =
	"Move the application to the destination that waits at URI: tcp:HOST:PORT or unix:PATH; "
	"or write a snapshot of it to file:PATH, from which a destination can start, while it goes on. "
	"To another machine TCP needs keys for TLS, of the application or given here."
	"\vCtrl-C cancels: the application goes on where it is. The exit status is 0 only if the "
	"destination runs, or the snapshot is written.";

enum {
	OPT_BANDWIDTH = 256,
	OPT_DOWNTIME,
	OPT_ROUNDS,
	OPT_TIMEOUT,
	OPT_VERIFY,
	OPT_LOG,
	OPT_CHANNELS,
	OPT_COMPRESS,
	OPT_RELEASE,
	OPT_PAUSE,
	OPT_TOTAL,
	OPT_CONVERGE,
	OPT_TLS_PEER,
	OPT_INSECURE,
	OPT_TLS /* and those behind it: files */
};

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
	{ "tls-cert", OPT_TLS + TLS_CERT, "FILE", 0,
		"TLS: the application's certificate (default: what it was started with)", 0 },
	{ "tls-key", OPT_TLS + TLS_KEY, "FILE", 0, "TLS: its private key", 0 },
	{ "tls-ca", OPT_TLS + TLS_CA, "FILE", 0, "TLS: who signs the destination's certificate",
		0 },
	{ "tls-peer", OPT_TLS_PEER, "NAME", 0,
		"TLS: whom the destination's certificate is for (default: the URI's host)", 0 },
	{ "tls-psk", OPT_TLS + TLS_PSK, "FILE", 0,
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

/* The application has another working directory. */
static void
set_file(struct argp_state *state, char **file, const char *arg)
{
	free(*file);
	*file = arg[0] == '/' ? strdup(arg) : realpath(arg, NULL);
	if (*file == NULL)
		argp_failure(state, 2, errno, "cannot find %s", arg);
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	uint64_t *number = NULL;

	if (key >= OPT_TLS && key < OPT_TLS + TLS_FILES) {
		set_file(state, &o->tls[key - OPT_TLS], arg);
		return 0;
	}

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->target;
		return 0;
	case OPT_BANDWIDTH:
		number = &o->max_bandwidth;
		break;
	case OPT_DOWNTIME:
		number = &o->downtime_limit_ms;
		break;
	case OPT_ROUNDS:
		number = &o->max_rounds;
		break;
	case OPT_TIMEOUT:
		number = &o->timeout_ms;
		break;
	case OPT_CHANNELS:
		number = &o->channels;
		break;
	case OPT_CONVERGE:
		o->auto_converge = true;
		return 0;
	case OPT_TOTAL:
		number = &o->total_timeout_ms;
		break;
	case OPT_PAUSE:
		number = &o->pause_limit_ms;
		break;
	case OPT_VERIFY:
		o->verify = true;
		return 0;
	case OPT_COMPRESS:
		o->compress = true;
		return 0;
	case OPT_RELEASE:
		o->release = true;
		return 0;
	case OPT_INSECURE:
		o->insecure = true;
		return 0;
	case OPT_TLS_PEER:
		o->tls_peer = arg;
		return 0;
	case OPT_LOG:
		o->log = fopen(arg, "we");
		if (o->log == NULL)
			argp_failure(state, 2, errno, "cannot write %s", arg);
		return 0;
	case ARGP_KEY_ARG:
		if (o->uri != NULL)
			argp_usage(state);
		o->uri = arg;
		return 0;
	case ARGP_KEY_END:
		if (o->uri == NULL)
			argp_error(state, "the URI is missing, as in tcp:HOST:PORT");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (!parse_number(arg, key == OPT_BANDWIDTH, number))
		argp_error(state, "\"%s\" is no whole number%s", arg,
			key == OPT_BANDWIDTH ? " (100M, 1G)" : "");
	return 0;
}

static json_t *
make_request(const struct options *o)
{
	json_t *request = json_pack("{ss ss sb sb sb}", "cmd", "migrate", "uri", o->uri, "verify",
		(int)o->verify, "compress", (int)o->compress, "release", (int)o->release);
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "max_bandwidth", o->max_bandwidth },
		{ "downtime_limit_ms", o->downtime_limit_ms },
		{ "max_rounds", o->max_rounds },
		{ "timeout_ms", o->timeout_ms },
		{ "total_timeout_ms", o->total_timeout_ms },
		{ "channels", o->channels },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (numbers[i].value != 0)
			json_object_set_new(request, numbers[i].name,
				json_integer((json_int_t)numbers[i].value));
	for (size_t i = 0; i < TLS_FILES; i++)
		if (o->tls[i] != NULL)
			json_object_set_new(request, tls_fields[i], json_string(o->tls[i]));
	if (o->tls_peer != NULL)
		json_object_set_new(request, "tls_peer", json_string(o->tls_peer));
	if (o->insecure)
		json_object_set_new(request, "insecure", json_true());
	if (o->auto_converge)
		json_object_set_new(request, "auto_converge", json_true());
	if (o->pause_limit_ms != UINT64_MAX)
		json_object_set_new(
			request, "pause_limit_ms", json_integer((json_int_t)o->pause_limit_ms));
	return request;
}

int
cmd_migrate(int argc, char **argv)
{
	static const struct argp_child children[] = { { &target_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = { option_list, parse, "URI", doc, children, NULL, NULL };
	struct options o = { .pause_limit_ms = UINT64_MAX };
	int status;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	status = follow_migration(make_request(&o), &(struct follow){ &o.target, o.log, false });
	for (size_t i = 0; i < TLS_FILES; i++)
		free(o.tls[i]);
	return status;
}
