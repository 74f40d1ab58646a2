/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: a client that says what the input makes of requests, right, almost
 * right or nothing at all, in pieces of any length, while a migration begins, goes on and
 * ends. What must hold: each whole line has one answer; the answer is refused exactly
 * where the rules of doc/control.rst, said again below, are broken; every line that comes
 * back is one JSON object, with the fields that are promised, whatever a peer or a file
 * system has put into a reason.
 *
 * No thread runs: the model calls what the control thread would, and plays the worker.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_priv.h"
#include "fuzz.h"
#include "models.h"

#define LINE 1024u
#define BUFFER (2 * MIG_OUT_MAX)

/* What the rules say to a line. */
enum verdict { REFUSED, TAKEN, EITHER };

struct rig {
	struct wherry_tracker *tracker;
	struct wherry_agent *agent;
	struct mig_control control;
	struct mig_client *client; /* of control */
	int far;                   /* its other end */
	uint64_t told[3]; /* answers: to a broken rule, to a sound request; events of status */
};

static int
never(void *ctx, uint64_t *ret_ns)
{
	(void)ctx;
	(void)ret_ns;
	return -EPERM;
}

static bool
setup(struct rig *r)
{
	static const struct wherry_agent_ops ops = { .quiesce = never, .takeover = never };
	struct wherry_tracker_opts how = { .cpu = WHERRY_CPU_NONE };
	struct wherry_agent_opts opts = { .name = "model", .ops = &ops };
	char path[64];
	int ends[2];

	*r = (struct rig){ .far = -1 };
	snprintf(path, sizeof(path), "/tmp/wherry-model-%d.sock", (int)getpid());
	opts.control = path;
	if (wherry_tracker_create(&how, &r->tracker) != 0)
		return false;
	opts.tracker = r->tracker;
	if (wherry_agent_create(&opts, &r->agent) != 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
		return false;
	r->control.agent = r->agent;
	r->client = &r->control.clients[0];
	mig_client_open(r->client, ends[0]);
	r->far = ends[1];
	return true;
}

static void
teardown(struct rig *r)
{
	if (r->client != NULL)
		mig_client_close(r->client);
	if (r->far >= 0)
		close(r->far);
	wherry_agent_destroy(r->agent);
	wherry_tracker_destroy(r->tracker);
}

/* ---- lines, and what the rules say to them ---- */

struct line {
	char text[LINE];
	size_t len;
	enum verdict verdict;
};

static void
put(struct line *l, const char *text)
{
	size_t n = strlen(text);

	if (l->len + n < LINE) {
		memcpy(l->text + l->len, text, n);
		l->len += n;
	}
}

/* A value of the kind that is wanted, or of another. */
static void
put_value(struct fuzz_input *in, struct line *l, char kind)
{
	static const char *const values[] = { "7", "true", "\"x\"", "null", "-1", "1.5", "[]",
		"{}" };
	static const char kinds[] = "nbs.....";
	uint64_t which = fuzz_below(in, 16);

	if (which >= sizeof(values) / sizeof(values[0]))
		which = (uint64_t)(strchr(kinds, kind) - kinds);
	put(l, values[which]);
	if (kinds[which] != kind)
		l->verdict = REFUSED;
}

struct field {
	const char *name;
	char kind; /* n whole number, b boolean, s string */
	bool unknown;
};

static const struct field migrate_fields[] = { { "max_bandwidth", 'n' },
	{ "downtime_limit_ms", 'n' }, { "max_rounds", 'n' }, { "timeout_ms", 'n' },
	{ "total_timeout_ms", 'n' }, { "pause_limit_ms", 'n' }, { "channels", 'n' },
	{ "verify", 'b' }, { "compress", 'b' }, { "copy", 'b' }, { "insecure", 'b' },
	{ "auto_converge", 'b' }, { "colour", 'n', true } };

static void
put_fields(struct fuzz_input *in, struct line *l)
{
	/* each once at most: ascending from a place on */
	for (uint64_t at = fuzz_below(in, 16);
		at < sizeof(migrate_fields) / sizeof(migrate_fields[0]);
		at += 1 + fuzz_below(in, 6)) {
		const struct field *f = &migrate_fields[at];

		put(l, ",\"");
		put(l, f->name);
		put(l, "\":");
		if (f->unknown)
			l->verdict = REFUSED;
		put_value(in, l, f->kind);
	}
}

static void
put_migrate(struct fuzz_input *in, struct line *l)
{
	static const char *const uris[] = { "\"unix:/x\"", "\"tcp:127.0.0.1:9\"", "\"tcp:[::1]:1\"",
		"\"tcp:h\"", "\"\"", "3", "null", "\"pigeon:coop\"" };
	uint64_t which = fuzz_below(in, 8);

	put(l, "{\"cmd\":\"migrate\",\"uri\":");
	put(l, uris[which]);
	if (which > 2)
		l->verdict = REFUSED;
	put_fields(in, l);
}

static void
put_other(struct fuzz_input *in, struct line *l)
{
	static const struct {
		const char *text;
		enum verdict verdict;
	} all[] = {
		{ "{\"cmd\":\"cancel\"", TAKEN },
		{ "{\"cmd\":\"reload\"", TAKEN },
		{ "{\"cmd\":\"recover\"", TAKEN },
		{ "{\"cmd\":\"recover\",\"uri\":\"unix:/y\"", TAKEN },
		{ "{\"cmd\":\"recover\",\"uri\":5", REFUSED },
		{ "{\"cmd\":\"resolve\",\"serve\":true", TAKEN },
		{ "{\"cmd\":\"resolve\",\"serve\":1", REFUSED },
		{ "{\"cmd\":\"resolve\"", REFUSED },
		{ "{\"cmd\":\"watch\"", TAKEN },
		{ "{\"cmd\":\"watch\",\"interval_ms\":50", TAKEN },
		{ "{\"cmd\":\"watch\",\"interval_ms\":49", REFUSED },
		{ "{\"cmd\":\"watch\",\"interval_ms\":3600001", REFUSED },
		{ "{\"cmd\":\"dance\"", REFUSED },
		{ "{\"cmd\":7", REFUSED },
		{ "{\"com\":\"status\"", REFUSED },
		{ "{\"cmd\":\"cancel\",\"cmd\":\"cancel\"", REFUSED },
		{ "[{\"cmd\":\"cancel\"", REFUSED },
	};
	uint64_t which = fuzz_below(in, sizeof(all) / sizeof(all[0]));

	put(l, all[which].text);
	l->verdict = all[which].verdict;
	if (fuzz_below(in, 8) == 0) {
		put(l, ",\"colour\":7");
		l->verdict = REFUSED;
	}
}

/* Change bytes, which may or may not matter; a newline would make two lines of it. */
static void
spoil(struct fuzz_input *in, struct line *l)
{
	for (uint64_t n = 1 + fuzz_below(in, 3); n > 0 && l->len > 0; n--) {
		char c = (char)fuzz_take(in, 1);

		if (c != '\n')
			l->text[fuzz_below(in, l->len)] = c;
	}
	l->verdict = EITHER;
}

static void
make_line(struct fuzz_input *in, struct line *l)
{
	*l = (struct line){ .verdict = TAKEN };
	switch (fuzz_below(in, 8)) {
	case 0:
	case 1:
	case 2:
		put_migrate(in, l);
		break;
	case 3: /* answered with an event */
		put(l, "{\"cmd\":\"status\"");
		l->verdict = EITHER;
		break;
	case 4:
		for (uint64_t n = fuzz_below(in, 100); n > 0; n--)
			put(l, "[");
		spoil(in, l);
		return;
	default:
		put_other(in, l);
		break;
	}
	put(l, "}");
	if (fuzz_below(in, 8) == 0)
		spoil(in, l);
}

/* ---- what comes back ---- */

static bool
has_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL && text[0] != '\0';
}

static void
check_answer(struct fuzz_input *in, struct rig *r, const json_t *object)
{
	const json_t *error = json_object_get(object, "error");
	bool ok = json_is_true(json_object_get(object, "ok"));
	const char *code = json_string_value(json_object_get(error, "code"));

	FUZZ_EXPECT(in, ok == (error == NULL));
	FUZZ_EXPECT(in, ok || (has_text(error, "code") && has_text(error, "reason")));
	if (in->failed != NULL)
		return;
	r->told[!ok && strcmp(code, "EINVAL") == 0 ? REFUSED : TAKEN]++;
}

static void
check_event(struct fuzz_input *in, struct rig *r, const json_t *object)
{
	const char *event = json_string_value(json_object_get(object, "event"));

	FUZZ_EXPECT(in, event != NULL);
	if (in->failed != NULL)
		return;
	if (strcmp(event, "round") == 0)
		FUZZ_EXPECT(in, json_is_integer(json_object_get(object, "pages")));
	else
		FUZZ_EXPECT(in, has_text(object, "state"));
	if (strcmp(event, "end") == 0 || strcmp(event, "paused") == 0 ||
		strcmp(event, "status") == 0)
		FUZZ_EXPECT(in, json_is_string(json_object_get(object, "reason")));
	if (strcmp(event, "status") == 0)
		r->told[EITHER]++;
}

static void
check_line(struct fuzz_input *in, struct rig *r, const char *line, size_t len)
{
	json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);

	FUZZ_EXPECT(in, json_is_object(object));
	if (json_object_get(object, "ok") != NULL)
		check_answer(in, r, object);
	else
		check_event(in, r, object);
	json_decref(object);
}

/* Read all there is; the client's queue is emptied before. */
static void
read_lines(struct fuzz_input *in, struct rig *r)
{
	static char buffer[BUFFER];
	char *begin = buffer, *end;
	size_t len = 0;
	ssize_t n;

	while ((n = recv(r->far, buffer + len, BUFFER - len, 0)) > 0) {
		len += (size_t)n;
		mig_client_writable(r->client);
	}
	while ((end = memchr(begin, '\n', len - (size_t)(begin - buffer))) != NULL) {
		check_line(in, r, begin, (size_t)(end - begin));
		begin = end + 1;
	}
	FUZZ_EXPECT(in, begin == buffer + len); /* no half line */
}

/* ---- what happens ---- */

static void
say(struct fuzz_input *in, struct rig *r)
{
	struct line l;
	size_t cut;

	make_line(in, &l);
	l.text[l.len++] = '\n';
	memset(r->told, 0, sizeof(r->told));
	for (size_t at = 0; at < l.len; at += cut) {
		cut = fuzz_below(in, 4) == 0 ? 1 + fuzz_below(in, l.len - at) : l.len - at;
		FUZZ_EXPECT(in, send(r->far, l.text + at, cut, 0) == (ssize_t)cut);
		mig_client_readable(&r->control, r->client);
	}
	read_lines(in, r);
	FUZZ_EXPECT(in, r->told[REFUSED] + r->told[TAKEN] + r->told[EITHER] == 1);
	FUZZ_EXPECT(in, l.verdict == EITHER || r->told[l.verdict] == 1);
}

/* A reason as a peer may have sent it, or a path have made it. */
static void
make_reason(struct fuzz_input *in, struct mig_reason *why)
{
	char text[400];
	size_t len = fuzz_below(in, sizeof(text));

	memset(text, 'r', sizeof(text));
	for (size_t i = 0; i < 8 && i < len; i++)
		text[len - 1 - i] = (char)fuzz_take(in, 1);
	mig_fail(why, -EIO, "%.*s", (int)len, text);
}

/* The worker takes a step, if it has a job. */
static void
work(struct fuzz_input *in, struct rig *r)
{
	static unsigned int n;
	struct wherry_round round = { .pages = fuzz_take(in, 8), .bandwidth = 1 };
	struct mig_reason why;

	round.n = ++n;
	if (r->agent->job == MIG_JOB_RESOLVE)
		mig_resolve_run(r->agent);
	if (r->agent->job != MIG_JOB_SOURCE)
		return;
	make_reason(in, &why);
	switch (fuzz_below(in, 6)) {
	case 0:
		if (r->agent->status.state == WHERRY_STATE_SETUP)
			mig_agent_move(r->agent, WHERRY_STATE_PRECOPY);
		if (r->agent->status.state == WHERRY_STATE_PAUSED)
			mig_agent_unpause(r->agent, WHERRY_STATE_PRECOPY);
		break;
	case 1:
		if (r->agent->status.state == WHERRY_STATE_PRECOPY)
			mig_agent_set_round(r->agent, &round);
		break;
	case 2:
		if (r->agent->status.state == WHERRY_STATE_PRECOPY)
			mig_agent_pause(r->agent, WHERRY_STATE_PAUSED, why.text);
		break;
	case 3:
		mig_agent_end(r->agent,
			&(struct mig_outcome){
				.rc = -EIO, .done = WHERRY_STATE_RELEASED, .reason = why.text });
		break;
	default:
		mig_agent_set_progress(r->agent, fuzz_take(in, 2), fuzz_take(in, 2), 1);
		break;
	}
}

const char *
control_model_run(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { .next = data, .end = data + len };
	struct rig r;

	FUZZ_EXPECT(&in, setup(&r));
	while (fuzz_more(&in) && !r.client->closing) {
		switch (fuzz_below(&in, 4)) {
		case 0:
			work(&in, &r);
			break;
		case 1:
			mig_client_update(&r.control, r.client, mig_now() + fuzz_take(&in, 4));
			break;
		default:
			say(&in, &r);
			break;
		}
		read_lines(&in, &r);
	}
	FUZZ_EXPECT(&in, !r.client->closing);
	teardown(&r);
	return in.failed;
}
