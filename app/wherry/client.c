/* SPDX-License-Identifier: BSD-3-Clause */
/* Finds an application's control socket and speaks JSON lines with it. */
#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "wherry.h"

#define LINE_MAX_LEN (1u << 20)

struct client {
	int fd;
	char *buf;
	size_t len, cap;
};

static const struct argp_option options[] = {
	{ "app", 'a', "NAME", 0, "the application of that name (" RUN_DIR "/NAME.sock)", 10 },
	{ "control", 'c', "PATH", 0, "the application whose control socket is PATH", 10 },
	{ "json", 'j', NULL, 0, "print JSON, one object per line", 10 },
	{ 0 },
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct target *target = state->input;

	switch (key) {
	case 'a':
		target->app = arg;
		return 0;
	case 'c':
		target->control = arg;
		return 0;
	case 'j':
		target->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp target_argp = { .options = options, .parser = parse };

/* A connection, or -errno. */
static int
try_connect(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd, rc;

	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static void
list_sockets(const glob_t *found)
{
	for (size_t i = 0; i < found->gl_pathc; i++)
		fprintf(stderr, "  %s\n", found->gl_pathv[i]);
}

static void
explain(const char *path, int rc)
{
	switch (-rc) {
	case ENOENT:
		fprintf(stderr,
			"wherry: no application has the control socket %s: is it running, and is the name right?\n",
			path);
		break;
	case ECONNREFUSED:
		fprintf(stderr,
			"wherry: nobody listens on %s: the application has ended; start it again\n",
			path);
		break;
	case EACCES:
		fprintf(stderr,
			"wherry: not permitted to use %s: run wherry as the application's user or as root\n",
			path);
		break;
	default:
		fprintf(stderr, "wherry: cannot connect to %s: %s\n", path, strerror(-rc));
	}
}

static int
connect_to(const char *path)
{
	int fd = try_connect(path);

	if (fd < 0)
		explain(path, fd);
	return fd;
}

/* The one application that answers; what is left of others does not count. */
static int
connect_to_any(const glob_t *found)
{
	int fd = -1, refused = 0;
	size_t answering = 0;

	for (size_t i = 0; i < found->gl_pathc; i++) {
		int rc = try_connect(found->gl_pathv[i]);

		if (rc < 0) {
			refused = rc == -EACCES ? rc : refused;
			continue;
		}
		answering++;
		if (fd >= 0)
			close(fd);
		fd = rc;
	}
	if (answering == 1)
		return fd;
	if (answering > 1) {
		close(fd);
		fputs("wherry: several applications are running, name one with --app or --control:\n",
			stderr);
		list_sockets(found);
	} else if (refused != 0) {
		explain(RUN_DIR, refused);
	} else {
		fputs("wherry: no application is running that has a socket in " RUN_DIR
		      ": start one, or name its socket with --control\n",
			stderr);
	}
	return -1;
}

static int
connect_to_only(void)
{
	glob_t found = { .gl_pathc = 0 };
	int fd;

	glob(RUN_DIR "/*.sock", 0, NULL, &found);
	fd = connect_to_any(&found);
	globfree(&found);
	return fd;
}

static int
connect_to_app(const char *app)
{
	char path[256];

	snprintf(path, sizeof(path), RUN_DIR "/%s.sock", app);
	return connect_to(path);
}

struct client *
client_open(const struct target *target)
{
	struct client *c;
	int fd;

	if (target->control != NULL)
		fd = connect_to(target->control);
	else if (target->app != NULL)
		fd = connect_to_app(target->app);
	else
		fd = connect_to_only();
	if (fd < 0)
		return NULL;
	c = calloc(1, sizeof(*c));
	if (c == NULL) {
		fputs("wherry: out of memory\n", stderr);
		close(fd);
		return NULL;
	}
	c->fd = fd;
	return c;
}

void
client_close(struct client *c)
{
	if (c == NULL)
		return;
	close(c->fd);
	free(c->buf);
	free(c);
}

bool
client_request(struct client *c, json_t *request)
{
	char *line = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t len = line != NULL ? strlen(line) : 0;
	bool sent = false;

	if (line != NULL) {
		line[len] = '\n'; /* in place of the final 0: send takes a length */
		sent = send(c->fd, line, len + 1, MSG_NOSIGNAL) == (ssize_t)len + 1;
	}
	if (!sent)
		fputs("wherry: the application has closed its control socket\n", stderr);
	free(line);
	json_decref(request);
	return sent;
}

static bool
make_room(struct client *c)
{
	size_t cap = c->cap != 0 ? c->cap * 2 : 8192;
	char *buf;

	if (c->len < c->cap)
		return true;
	if (cap > LINE_MAX_LEN)
		return false;
	buf = realloc(c->buf, cap);
	if (buf == NULL)
		return false;
	c->buf = buf;
	c->cap = cap;
	return true;
}

/* A whole line of buf, or NULL. */
static json_t *
take_line(struct client *c)
{
	char *end = c->len > 0 ? memchr(c->buf, '\n', c->len) : NULL;
	json_t *line;

	if (end == NULL)
		return NULL;
	line = json_loadb(c->buf, (size_t)(end - c->buf), 0, NULL);
	c->len -= (size_t)(end + 1 - c->buf);
	memmove(c->buf, end + 1, c->len);
	return line != NULL ? line : json_object();
}

json_t *
client_next(struct client *c, int timeout_ms, bool *ret_timed_out)
{
	struct pollfd pfd = { .fd = c->fd, .events = POLLIN };
	json_t *line;

	if (ret_timed_out != NULL)
		*ret_timed_out = false;
	while ((line = take_line(c)) == NULL) {
		int ready = poll(&pfd, 1, timeout_ms);
		ssize_t n;

		if (ready == 0 || (ready < 0 && errno == EINTR)) {
			if (ret_timed_out != NULL)
				*ret_timed_out = true;
			return NULL;
		}
		if (ready < 0 || !make_room(c))
			return NULL;
		n = recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
		if (n <= 0)
			return NULL;
		c->len += (size_t)n;
	}
	return line;
}

const char *
client_event(const json_t *line)
{
	return get_text(line, "event");
}

bool
client_is_ok(const json_t *answer)
{
	if (answer == NULL) {
		fputs("wherry: the application has closed its control socket\n", stderr);
		return false;
	}
	if (json_is_true(json_object_get(answer, "ok")))
		return true;
	fprintf(stderr, "wherry: %s\n", get_text(json_object_get(answer, "error"), "reason"));
	return false;
}
