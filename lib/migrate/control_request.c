/* SPDX-License-Identifier: BSD-3-Clause */
/* One line of a client: understood, done, answered. */
#include <errno.h>
#include <string.h>

#include "control_priv.h"
#include "hello_priv.h"

#define WATCH_MS_MIN 50
#define WATCH_MS_MAX 3600000

static void
answer_ok(struct mig_client *c)
{
	mig_client_send(c, json_pack("{sb}", "ok", true));
}

static void
answer_error(struct mig_client *c, int rc, const char *reason)
{
	mig_client_send(c, mig_json_error(rc, reason));
}

/* A whole number of 0 to max in field name, otherwise left as it is. False: something else. */
static bool
read_number(const json_t *request, const char *name, uint64_t max, uint64_t *value)
{
	const json_t *field = json_object_get(request, name);

	if (field == NULL)
		return true;
	if (!json_is_integer(field) || json_integer_value(field) < 0 ||
		(uint64_t)json_integer_value(field) > max)
		return false;
	*value = (uint64_t)json_integer_value(field);
	return true;
}

/* Fields nobody knows are typing errors, or of a newer client: neither may be ignored. */
static bool
only_has(json_t *request, const char *const *names)
{
	const char *key;
	json_t *value;

	json_object_foreach(request, key, value)
	{
		const char *const *name = names;

		while (*name != NULL && strcmp(*name, key) != 0)
			name++;
		if (*name == NULL)
			return false;
	}
	return true;
}

/* A string, or left out. */
static bool
read_string(const json_t *request, const char *name, const char **ret_text)
{
	const json_t *field = json_object_get(request, name);

	*ret_text = json_string_value(field);
	return field == NULL || *ret_text != NULL;
}

/* A boolean, or left out. */
static bool
read_flag(const json_t *request, const char *name, bool *ret_flag)
{
	const json_t *field = json_object_get(request, name);

	*ret_flag = json_is_true(field);
	return field == NULL || json_is_boolean(field);
}

/* The strings are the request's. */
static bool
read_tls(const json_t *request, struct wherry_tls *tls)
{
	return read_string(request, "tls_cert", &tls->cert) &&
		read_string(request, "tls_key", &tls->key) &&
		read_string(request, "tls_ca", &tls->ca) &&
		read_string(request, "tls_crl", &tls->crl) &&
		read_string(request, "tls_psk", &tls->psk) &&
		read_string(request, "tls_peer", &tls->peer);
}

static bool
read_params(json_t *request, struct wherry_migrate_params *p)
{
	static const char *const names[] = { "cmd", "uri", "max_bandwidth", "downtime_limit_ms",
		"max_rounds", "timeout_ms", "verify", "channels", "compress", "release", "copy",
		"tls_cert", "tls_key", "tls_ca", "tls_crl", "tls_psk", "tls_peer", "insecure",
		"pause_limit_ms", "total_timeout_ms", "auto_converge", NULL };
	uint64_t bandwidth = 0, downtime = 0, rounds = 0, timeout = 0, channels = 0;
	uint64_t pause = UINT64_MAX, total = 0;
	bool verify, compress, release, copy, insecure, converge;
	struct wherry_tls tls;

	if (!only_has(request, names) || !read_flag(request, "verify", &verify) ||
		!read_flag(request, "compress", &compress) ||
		!read_flag(request, "release", &release) || !read_flag(request, "copy", &copy) ||
		!read_flag(request, "insecure", &insecure) ||
		!read_flag(request, "auto_converge", &converge) ||
		!read_number(request, "total_timeout_ms", 86400000, &total) ||
		!read_tls(request, &tls) ||
		!read_number(request, "channels", MIG_CHANNELS_MAX, &channels) ||
		!read_number(request, "max_bandwidth", INT64_MAX, &bandwidth) ||
		!read_number(request, "downtime_limit_ms", 3600000, &downtime) ||
		!read_number(request, "max_rounds", MIG_ROUNDS_MAX, &rounds) ||
		!read_number(request, "pause_limit_ms", 86400000, &pause) ||
		!read_number(request, "timeout_ms", 3600000, &timeout))
		return false;
	*p = (struct wherry_migrate_params){
		.max_bandwidth = bandwidth,
		.downtime_limit_ms = (unsigned int)downtime,
		.max_rounds = (unsigned int)rounds,
		.timeout_ms = (unsigned int)timeout,
		.verify = verify,
		.channels = (unsigned int)channels,
		.compress = compress,
		.release = release,
		.copy = copy,
		.tls = tls,
		.insecure = insecure,
		.total_timeout_ms = (unsigned int)total,
		.auto_converge = converge,
		/* absent: the default; 0: no pause */
		.pause_limit_ms = pause == UINT64_MAX ? 0
			: pause == 0                  ? WHERRY_NO_PAUSE
						      : (unsigned int)pause,
	};
	return true;
}

static const char *
explain_migrate(int rc)
{
	switch (rc) {
	case -EINVAL:
		return "the URI is not tcp:HOST:PORT, unix:PATH or file:PATH, or an option does not go with it";
	case -EBUSY:
		return "a migration is under way: wait, or cancel it";
	default:
		return "this process does not own its state: it was migrated away, or has not received it yet";
	}
}

static void
do_migrate(struct mig_control *control, struct mig_client *c, json_t *request)
{
	const char *uri = json_string_value(json_object_get(request, "uri"));
	struct wherry_migrate_params params;
	int rc;

	if (uri == NULL || !read_params(request, &params)) {
		answer_error(c, -EINVAL,
			"migrate takes uri and, if wanted, max_bandwidth, downtime_limit_ms, max_rounds, timeout_ms, total_timeout_ms, pause_limit_ms, channels (whole numbers), verify, compress, release, auto_converge, copy and insecure (true, false), tls_cert, tls_key, tls_ca, tls_crl, tls_peer and tls_psk (strings)");
		return;
	}
	if (mig_tls_check(&params.tls) != NULL) {
		answer_error(c, -EINVAL, mig_tls_check(&params.tls));
		return;
	}
	rc = wherry_agent_migrate(control->agent, uri, &params);
	if (rc != 0) {
		answer_error(c, rc, explain_migrate(rc));
		return;
	}
	answer_ok(c);
	mig_client_follow(control, c, true);
}

static const char *
explain_recover(int rc)
{
	switch (rc) {
	case -EINVAL:
		return "the URI is not tcp:HOST:PORT or unix:PATH";
	case -EBUSY:
		return "an attempt to recover is under way: wait";
	default:
		return "no migration is paused here";
	}
}

static void
do_recover(struct mig_control *control, struct mig_client *c, json_t *request)
{
	static const char *const names[] = { "cmd", "uri", NULL };
	const json_t *uri = json_object_get(request, "uri");
	struct wherry_status before;
	int rc;

	if (!only_has(request, names) || (uri != NULL && !json_is_string(uri))) {
		answer_error(c, -EINVAL, "recover takes uri, if it is another than before");
		return;
	}
	wherry_agent_get_status(control->agent, &before);
	rc = wherry_agent_recover(control->agent, json_string_value(uri));
	if (rc != 0) {
		answer_error(c, rc, explain_recover(rc));
		return;
	}
	answer_ok(c);
	mig_client_follow(control, c, true);
	c->rounds = before.rounds; /* it wants to know what comes now */
	c->pauses = before.pauses;
}

/* A request that takes no fields. */
static bool
is_bare(struct mig_client *c, json_t *request)
{
	static const char *const names[] = { "cmd", NULL };

	if (only_has(request, names))
		return true;
	answer_error(c, -EINVAL, "status and cancel take no fields");
	return false;
}

static void
do_status(struct mig_control *control, struct mig_client *c, json_t *request)
{
	if (is_bare(c, request))
		mig_client_send(c, mig_json_status(control->agent));
}

static void
do_cancel(struct mig_control *control, struct mig_client *c, json_t *request)
{
	int rc;

	if (!is_bare(c, request))
		return;
	rc = wherry_agent_cancel(control->agent);
	if (rc == 0)
		answer_ok(c);
	else
		answer_error(c, rc, "too late, or no migration is under way");
}

static void
do_reload(struct mig_control *control, struct mig_client *c, json_t *request)
{
	static const char *const names[] = { "cmd", NULL };
	struct mig_reason reason = { "" };
	int rc;

	if (!only_has(request, names)) {
		answer_error(c, -EINVAL, "reload takes nothing");
		return;
	}
	rc = mig_tls_reload(control->agent->tls, &reason);
	if (rc == 0)
		answer_ok(c);
	else
		answer_error(c, rc, reason.text);
}

static void
do_watch(struct mig_control *control, struct mig_client *c, json_t *request)
{
	static const char *const names[] = { "cmd", "interval_ms", "rehearse", NULL };
	const json_t *rehearse = json_object_get(request, "rehearse");
	uint64_t interval = 1000;

	if (!only_has(request, names) ||
		!read_number(request, "interval_ms", WATCH_MS_MAX, &interval) ||
		interval < WATCH_MS_MIN || (rehearse != NULL && !json_is_boolean(rehearse))) {
		answer_error(c, -EINVAL,
			"watch takes interval_ms, a whole number from 50, and rehearse, true or false");
		return;
	}
	c->watch_ns = interval * 1000000;
	c->watch_due = 0;
	answer_ok(c);
	mig_client_follow(control, c, false);
	if (json_is_true(rehearse))
		mig_agent_rehearse(control->agent);
}

static void
do_resolve(struct mig_control *control, struct mig_client *c, json_t *request)
{
	static const char *const names[] = { "cmd", "serve", NULL };
	const json_t *serve = json_object_get(request, "serve");
	int rc;

	if (!only_has(request, names) || !json_is_boolean(serve)) {
		answer_error(c, -EINVAL, "resolve takes serve, true or false");
		return;
	}
	rc = wherry_agent_resolve(control->agent, json_is_true(serve));
	if (rc == 0)
		answer_ok(c);
	else if (rc == -EPERM)
		answer_error(c, rc, "this application has an arbiter, and that decides");
	else
		answer_error(c, rc, "there is nothing to resolve: its state is not \"unknown\"");
}

void
mig_request(struct mig_control *control, struct mig_client *c, const char *line, size_t len)
{
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *cmd = json_string_value(json_object_get(request, "cmd"));

	if (cmd == NULL)
		answer_error(c, -EINVAL, "a request is a JSON object in one line, with \"cmd\"");
	else if (strcmp(cmd, "status") == 0)
		do_status(control, c, request);
	else if (strcmp(cmd, "migrate") == 0)
		do_migrate(control, c, request);
	else if (strcmp(cmd, "recover") == 0)
		do_recover(control, c, request);
	else if (strcmp(cmd, "cancel") == 0)
		do_cancel(control, c, request);
	else if (strcmp(cmd, "reload") == 0)
		do_reload(control, c, request);
	else if (strcmp(cmd, "watch") == 0)
		do_watch(control, c, request);
	else if (strcmp(cmd, "resolve") == 0)
		do_resolve(control, c, request);
	else
		answer_error(c, -EINVAL,
			"cmd is one of status, migrate, recover, cancel, reload, watch, resolve");
	json_decref(request);
}
