/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry resolve: what is known of who owns, and an operator's word where nobody knows. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wherry.h"
#include "wherry_arbiter.h"

struct options {
	struct target target;
	const char *arbiter, *owner;
	bool serve, release;
};

enum { OPT_SERVE = 256, OPT_RELEASE, OPT_ARBITER, OPT_OWNER };

static const char doc[] =
	"Say what is known of who owns the state, or settle it."
	"\vWithout an arbiter a source that sent COMMIT and got no answer never runs again by itself. "
	"Look whether the destination runs; if it does not, and never will, --serve lets the source go "
	"on; if it does, --release ends the source. Two that run at once destroy what they share. With "
	"an arbiter nothing of this is needed, but an owner that is gone for good can be replaced: "
	"--arbiter SPEC --owner ID.";

static const struct argp_option option_list[] = {
	{ "serve", OPT_SERVE, NULL, 0, "no other process runs: this application is to", 0 },
	{ "release", OPT_RELEASE, NULL, 0, "another process runs: this application is not to", 0 },
	{ "arbiter", OPT_ARBITER, "SPEC", 0,
		"ask the arbiter, lock:PATH or etcd:URL, and no application", 0 },
	{ "owner", OPT_OWNER, "HOST:SOCKET", 0,
		"make this the owner there; what the present owner has begun is void", 0 },
	{ 0 },
};

static void
check(const struct options *o, struct argp_state *state)
{
	if (o->serve && o->release)
		argp_error(state, "--serve and --release exclude each other");
	if (o->arbiter != NULL && (o->serve || o->release))
		argp_error(state, "where there is an arbiter it decides: --owner tells it");
	if (o->owner != NULL && o->arbiter == NULL)
		argp_error(state, "--owner needs --arbiter");
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->target;
		return 0;
	case OPT_SERVE:
		o->serve = true;
		return 0;
	case OPT_RELEASE:
		o->release = true;
		return 0;
	case OPT_ARBITER:
		o->arbiter = arg;
		return 0;
	case OPT_OWNER:
		o->owner = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_usage(state);
		return 0;
	case ARGP_KEY_END:
		check(o, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void
show_record(const struct options *o, const struct wherry_owner *now)
{
	if (o->target.json) {
		json_t *record =
			json_pack("{ss sI}", "owner", now->id, "epoch", (json_int_t)now->epoch);

		write_json(stdout, record);
		json_decref(record);
	} else if (now->epoch == 0) {
		puts("owner        nobody has been yet");
	} else {
		printf("owner        %s\nepoch        %llu\n", now->id,
			(unsigned long long)now->epoch);
	}
}

/* Read, and swap if an owner is named; somebody else may be faster. */
static int
ask_arbiter(const struct options *o, struct wherry_arbiter *arbiter)
{
	struct wherry_owner known, now;
	int rc = wherry_arbiter_read(arbiter, &known);

	now = known;
	if (rc == 0 && o->owner != NULL)
		rc = wherry_arbiter_swap(arbiter, &known, o->owner, &now);
	if (rc != 0) {
		fprintf(stderr, "wherry: the arbiter does not answer: %s\n", strerror(-rc));
		return 1;
	}
	show_record(o, &now);
	if (o->owner != NULL && strcmp(now.id, o->owner) != 0) {
		fputs("wherry: ownership moved at the same moment; look again\n", stderr);
		return 1;
	}
	return 0;
}

static int
resolve_at_arbiter(const struct options *o)
{
	struct wherry_arbiter *arbiter;
	int rc = wherry_arbiter_open(o->arbiter, &arbiter);

	if (rc != 0) {
		fprintf(stderr,
			"wherry: \"%s\" is no arbiter: lock:PATH or etcd:http://HOST:2379/KEY\n",
			o->arbiter);
		return 1;
	}
	rc = ask_arbiter(o, arbiter);
	wherry_arbiter_close(arbiter);
	return rc;
}

/* What an operator should know and do, by state. */
static const char *
advice(const char *state)
{
	if (strcmp(state, "unknown") == 0)
		return "COMMIT was sent and nothing came back: look whether the destination runs\n"
		       "(wherry status there, its log, does the service answer?). If it runs:\n"
		       "wherry resolve --release. If it does not and never will: wherry resolve --serve";
	if (strcmp(state, "released") == 0)
		return "the destination owns the state; this application has nothing to do any more";
	if (strcmp(state, "failed") == 0)
		return "this destination gave up before COMMIT: the source owns the state";
	if (strcmp(state, "verified") == 0)
		return "everything has come; who owns is being decided just now";
	if (strcmp(state, "listen") == 0 || strcmp(state, "prepared") == 0 ||
		strcmp(state, "receiving") == 0 || strcmp(state, "held") == 0)
		return "this destination does not own the state: the source does";
	if (strcmp(state, "switchover") == 0)
		return "the switchover is under way: ask again in a moment";
	return "this application owns the state";
}

static void
show_state(const struct options *o, const json_t *status)
{
	const char *state = get_text(status, "state");

	if (o->target.json) {
		write_json(stdout, status);
		return;
	}
	printf("application  %s\nstate        %s\n", get_text(status, "name"), state);
	if (*get_text(status, "reason") != '\0')
		printf("reason       %s\n", get_text(status, "reason"));
	puts(advice(state));
}

static int
resolve_at_application(const struct options *o)
{
	bool decide = o->serve || o->release;
	json_t *answer = ask(&o->target,
		decide ? json_pack("{ss sb}", "cmd", "resolve", "serve", o->serve)
		       : json_pack("{ss}", "cmd", "status"));
	bool ok = answer != NULL;

	if (ok && decide)
		ok = client_is_ok(answer);
	else if (ok)
		show_state(o, answer);
	json_decref(answer);
	return ok ? 0 : 1;
}

int
cmd_resolve(int argc, char **argv)
{
	static const struct argp_child children[] = { { &target_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = { option_list, parse, "", doc, children, NULL, NULL };
	struct options o = { .arbiter = NULL };

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	return o.arbiter != NULL ? resolve_at_arbiter(&o) : resolve_at_application(&o);
}
