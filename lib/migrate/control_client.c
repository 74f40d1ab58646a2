/* SPDX-License-Identifier: BSD-3-Clause */
/* One client: its lines in, its lines out, and what it has been told of a migration. */
#define LOG_PREFIX "migrate/control"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_priv.h"

void
mig_client_open(struct mig_client *c, int fd)
{
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	c->heard = mig_now();
}

void
mig_client_close(struct mig_client *c)
{
	close(c->fd);
	free(c->out);
	memset(c, 0, sizeof(*c));
	c->fd = -1;
}

void
mig_client_writable(struct mig_client *c)
{
	ssize_t n;

	if (c->out_len == 0)
		return;
	n = send(c->fd, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			c->out_len = 0;
			c->closing = true;
		}
		return;
	}
	c->out_len -= (size_t)n;
	memmove(c->out, c->out + n, c->out_len);
}

/* The line and a newline into out; false: it does not read, or there is no memory. */
static bool
queue(struct mig_client *c, const char *line)
{
	size_t len = strlen(line);
	char *out;

	if (c->out_len + len + 1 > MIG_OUT_MAX)
		return false;
	out = realloc(c->out, c->out_len + len + 1);
	if (out == NULL)
		return false;
	memcpy(out + c->out_len, line, len + 1);
	out[c->out_len + len] = '\n';
	c->out = out;
	c->out_len += len + 1;
	return true;
}

void
mig_client_send(struct mig_client *c, json_t *object)
{
	char *line = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;

	if (!c->closing && (line == NULL || !queue(c, line))) {
		LOG_WARN("a client that does not read is let go");
		c->out_len = 0;
		c->closing = true;
	}
	free(line);
	json_decref(object);
	mig_client_writable(c);
}

/* Each whole line is a request. */
static void
handle_lines(struct mig_control *control, struct mig_client *c)
{
	char *begin = c->in, *end;

	while (!c->closing &&
		(end = memchr(begin, '\n', c->in_len - (size_t)(begin - c->in))) != NULL) {
		mig_request(control, c, begin, (size_t)(end - begin));
		begin = end + 1;
	}
	c->in_len -= (size_t)(begin - c->in);
	memmove(c->in, begin, c->in_len);
	if (c->in_len == sizeof(c->in)) {
		mig_client_send(c, mig_json_error(-EINVAL, "the line is too long"));
		c->closing = true;
	}
}

void
mig_client_readable(struct mig_control *control, struct mig_client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		c->out_len = 0;
		c->closing = true;
		return;
	}
	c->heard = mig_now();
	c->in_len += (size_t)n;
	handle_lines(control, c);
}

void
mig_client_follow(struct mig_control *control, struct mig_client *c, bool once)
{
	struct wherry_agent *agent = control->agent;

	wherry_mutex_lock(&agent->lock);
	c->follows = true;
	c->once = once;
	c->migration = agent->migrations;
	c->rounds = c->pauses = 0;
	/* what ended before it asked is no news */
	c->end_told = !once && (agent->ended || agent->job == MIG_JOB_NONE);
	c->state = WHERRY_STATE_SERVING;
	wherry_mutex_unlock(&agent->lock);
}

/* One round it has not been told; NULL: none. */
static json_t *
next_round(struct wherry_agent *agent, struct mig_client *c)
{
	json_t *object = NULL;

	wherry_mutex_lock(&agent->lock);
	if (c->migration != agent->migrations) { /* another has begun */
		c->migration = agent->migrations;
		c->rounds = c->pauses = 0;
		c->end_told = false;
	}
	if (!c->end_told && c->rounds < agent->status.rounds) {
		object = mig_json_round(&agent->rounds[c->rounds], agent->heat[c->rounds]);
		c->rounds++;
	}
	wherry_mutex_unlock(&agent->lock);
	return object;
}

/* Once for each connection lost, and for each attempt to recover that failed. */
static void
tell_pause(struct wherry_agent *agent, struct mig_client *c)
{
	unsigned int pauses;
	bool paused;

	wherry_mutex_lock(&agent->lock);
	pauses = agent->status.pauses;
	paused = agent->status.state == WHERRY_STATE_PAUSED ||
		agent->status.state == WHERRY_STATE_HELD;
	wherry_mutex_unlock(&agent->lock);
	if (!paused || pauses == c->pauses)
		return;
	c->pauses = pauses;
	mig_client_send(c, mig_json_paused(agent));
}

static void
tell_progress(struct wherry_agent *agent, struct mig_client *c, uint64_t now)
{
	enum wherry_state state;
	bool ended;

	wherry_mutex_lock(&agent->lock);
	state = agent->status.state;
	ended = agent->ended;
	wherry_mutex_unlock(&agent->lock);
	if (!ended && (state != c->state || now >= c->progress_due)) {
		c->state = state;
		c->progress_due = now + MIG_PROGRESS_NS;
		mig_client_send(c, mig_json_progress(agent));
	}
	if (ended) {
		mig_client_send(c, mig_json_end(agent));
		c->end_told = true;
		c->follows = !c->once;
	}
}

static void
tell_rates(struct wherry_agent *agent, struct mig_client *c, uint64_t now)
{
	c->watch_due = now + c->watch_ns;
	mig_client_send(c, mig_json_watch(agent));
}

void
mig_client_update(struct mig_control *control, struct mig_client *c, uint64_t now)
{
	json_t *round;

	while (c->follows && !c->closing && (round = next_round(control->agent, c)) != NULL)
		mig_client_send(c, round);
	if (c->follows && !c->end_told && !c->closing)
		tell_pause(control->agent, c);
	if (c->follows && !c->end_told && !c->closing)
		tell_progress(control->agent, c, now);
	if (c->watch_ns != 0 && now >= c->watch_due && !c->closing)
		tell_rates(control->agent, c, now);
	if (!c->follows && c->watch_ns == 0 && now - c->heard > MIG_IDLE_NS)
		c->closing = true;
}
