/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry status, cancel and reload: one request, one answer. */
#include <stdio.h>
#include <string.h>

#include "wherry.h"

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = state->input;
		return 0;
	}
	if (key == ARGP_KEY_ARG)
		argp_usage(state);
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_child children[] = { { &target_argp, 0, NULL, 0 }, { 0 } };

json_t *
ask(const struct target *target, json_t *request)
{
	struct client *c = client_open(target);
	json_t *answer = NULL;

	if (c == NULL) {
		json_decref(request);
		return NULL;
	}
	if (client_request(c, request)) {
		answer = client_next(c, -1, NULL);
		if (answer == NULL)
			client_is_ok(NULL);
	}
	client_close(c);
	return answer;
}

static void
show_status(const json_t *s)
{
	char sent[32], total[32];

	printf("application  %s (wherry %s)\n", get_text(s, "name"), get_text(s, "version"));
	printf("state        %s\n", get_text(s, "state"));
	if (*get_text(s, "reason") != '\0')
		printf("reason       %s\n", get_text(s, "reason"));
	if (get_count(s, "rounds") == 0)
		return;
	printf("rounds       %llu\n", (unsigned long long)get_count(s, "rounds"));
	printf("sent         %s for %s of state\n",
		show_bytes(get_real(s, "bytes_sent"), sent, sizeof(sent)),
		show_bytes(get_real(s, "state_bytes"), total, sizeof(total)));
	printf("forecast     %.1f ms of blackout\n",
		get_real(json_object_get(s, "round"), "forecast_ms"));
	if (get_real(s, "blackout_ms") > 0)
		printf("blackout     %.1f ms\n", get_real(s, "blackout_ms"));
	printf("time         %.1f s\n", get_real(s, "total_ms") / 1e3);
}

int
cmd_status(int argc, char **argv)
{
	static const struct argp argp = { NULL, parse, "",
		"Say how the application and its migration stand.", children, NULL, NULL };
	struct target target = { .app = NULL };
	json_t *status;

	argp_parse(&argp, argc, argv, 0, NULL, &target);
	status = ask(&target, json_pack("{ss}", "cmd", "status"));
	if (status == NULL)
		return 1;
	if (target.json)
		write_json(stdout, status);
	else
		show_status(status);
	json_decref(status);
	return 0;
}

/* Something that is done or not: the exit status. */
static int
order(const struct target *target, const char *cmd)
{
	json_t *answer = ask(target, json_pack("{ss}", "cmd", cmd));
	bool ok;

	if (answer == NULL)
		return 1;
	if (target->json)
		write_json(stdout, answer);
	ok = client_is_ok(answer);
	json_decref(answer);
	return ok ? 0 : 1;
}

int
cmd_cancel(int argc, char **argv)
{
	static const struct argp argp = { NULL, parse, "",
		"Give the migration up that is under way; the application goes on where it is.",
		children, NULL, NULL };
	struct target target = { .app = NULL };

	argp_parse(&argp, argc, argv, 0, NULL, &target);
	return order(&target, "cancel");
}

int
cmd_reload(int argc, char **argv)
{
	static const struct argp argp = { NULL, parse, "",
		"Let the application read its keys, certificates and revocation lists again, and say "
		"what is wrong with them.\vWhat is no good is not used: the exit status is 1 then, and "
		"those before stay in use. A migration under way goes on with what it began with.",
		children, NULL, NULL };
	struct target target = { .app = NULL };

	argp_parse(&argp, argc, argv, 0, NULL, &target);
	return order(&target, "reload");
}
