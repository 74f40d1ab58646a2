/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry recover [URI]: lets a paused migration go on, and shows it until it has ended. */
#include "wherry.h"

struct options {
	struct target target;
	const char *uri;
};

static const char doc[] =
	"Let a migration go on whose connection was lost, from where it was: over URI if that is "
	"another than before."
	"\vThe exit status is 0 only if the destination runs. An attempt that fails leaves the "
	"migration paused: it can be tried again until the limit passes (wherry migrate "
	"--pause-limit), and wherry cancel ends it.";

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->target;
		return 0;
	case ARGP_KEY_ARG:
		if (o->uri != NULL)
			argp_usage(state);
		o->uri = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int
cmd_recover(int argc, char **argv)
{
	static const struct argp_child children[] = { { &target_argp, 0, NULL, 0 }, { 0 } };
	static const struct argp argp = { NULL, parse, "[URI]", doc, children, NULL, NULL };
	struct options o = { .uri = NULL };
	json_t *request;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	request = json_pack("{ss}", "cmd", "recover");
	if (o.uri != NULL)
		json_object_set_new(request, "uri", json_string(o.uri));
	return follow_migration(request, &(struct follow){ &o.target, NULL, true });
}
