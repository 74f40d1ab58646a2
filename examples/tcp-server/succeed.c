/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The new server's side: have the old one hand over to us, and take its control socket when
 * it has ended. A thread, because the server waits for the handover meanwhile.
 */

#include "succeed.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include "server.h"
#include "upgrade.h"

struct upgrade {
	struct server *server;
	pthread_t thread;
	int quit; /* eventfd: readable when the server ends */
	int old;  /* pidfd of whom we succeed */
	FILE *lines;
	int control; /* under lines */
	bool done;   /* by the thread: it has handed over to us */
};

void
succeed_path(const struct options *opts, char path[SUCCEED_PATH])
{
	if (opts->control != NULL)
		snprintf(path, SUCCEED_PATH, "%s", opts->control);
	else
		snprintf(path, SUCCEED_PATH, "/run/wherry/%s.sock", opts->name);
}

int
succeed_connect(const char *path, int *ret_pid)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0) {
		*ret_pid = peer.pid;
		return fd;
	}
	rc = -errno;
	close(fd);
	return rc;
}

/* False: we are to end. */
static bool
wait_for(const struct upgrade *u, int fd)
{
	struct pollfd fds[2] = { { .fd = u->quit, .events = POLLIN },
		{ .fd = fd, .events = POLLIN } };

	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	return fds[0].revents == 0;
}

static bool
ask(const struct upgrade *u)
{
	const char *uri = u->server->opts.incoming;

	return dprintf(u->control, "{\"cmd\":\"migrate\",\"uri\":\"%s\"}\n", uri) > 0;
}

/* The next object, or NULL: the old server has closed, or we are to end. */
static json_t *
next(const struct upgrade *u)
{
	char *line = NULL;
	size_t cap = 0;
	json_t *object = NULL;

	if (wait_for(u, u->control) && getline(&line, &cap, u->lines) > 0)
		object = json_loads(line, 0, NULL);
	free(line);
	return object;
}

/* Until it is over. Why it failed has been said by our own agent, unless nobody came to it. */
static bool
follow(const struct upgrade *u)
{
	json_t *o = next(u);
	const char *why = NULL, *result = NULL;
	bool done = false;

	if (o != NULL && json_is_false(json_object_get(o, "ok"))) {
		json_unpack(o, "{s:{s:s}}", "error", "reason", &why);
		complain("the server that runs does not hand over: %s", why != NULL ? why : "?");
	}
	while (o != NULL && json_is_false(json_object_get(o, "ok")) == 0 && result == NULL) {
		json_decref(o);
		o = next(u);
		if (o != NULL &&
			json_unpack(o, "{s:s, s?s}", "result", &result, "reason", &why) == 0)
			done = strcmp(result, "completed") == 0;
	}
	if (result != NULL && !done)
		complain("no handover, the server that ran goes on: %s", why != NULL ? why : "?");
	json_decref(o);
	return done;
}

/* It is out of the way when it has ended, and not before. */
static void
take_its_place(const struct upgrade *u)
{
	const char *path = u->server->opts.succeed;
	int rc;

	if (!wait_for(u, u->old))
		return;
	rc = wherry_agent_move_control(wherry_app_agent(u->server->app), path);
	if (rc != 0)
		complain("the control socket stays at %s: %s: %s", u->server->opts.control, path,
			strerror(-rc));
	printf("took the place of the server that ran\n");
	fflush(stdout);
}

static void *
succeed(void *arg)
{
	struct upgrade *u = arg;

	u->done = ask(u) && follow(u);
	if (u->done)
		take_its_place(u);
	else
		wherry_app_quit(u->server->app);
	return NULL;
}

static int
open_all(struct upgrade *u)
{
	int pid = 0;

	u->control = succeed_connect(u->server->opts.succeed, &pid);
	if (u->control < 0)
		return u->control;
	u->quit = eventfd(0, EFD_CLOEXEC);
	u->old = (int)syscall(SYS_pidfd_open, pid, 0);
	u->lines = u->quit < 0 || u->old < 0 ? NULL : fdopen(u->control, "r");
	if (u->lines == NULL)
		return -errno;
	setvbuf(u->lines, NULL, _IONBF, 0); /* what is buffered would not be readable */
	return -pthread_create(&u->thread, NULL, succeed, u);
}

static void
close_all(struct upgrade *u)
{
	if (u->lines != NULL)
		fclose(u->lines);
	else if (u->control >= 0)
		close(u->control);
	if (u->quit >= 0)
		close(u->quit);
	if (u->old >= 0)
		close(u->old);
	free(u);
}

struct upgrade *
upgrade_begin(struct server *server)
{
	struct upgrade *u = calloc(1, sizeof(*u));
	int rc;

	if (u == NULL)
		return NULL;
	*u = (struct upgrade){ .server = server, .quit = -1, .old = -1, .control = -1 };
	rc = open_all(u);
	if (rc == 0)
		return u;
	complain("no server answers on %s: %s", server->opts.succeed, strerror(-rc));
	close_all(u);
	return NULL;
}

int
upgrade_end(struct upgrade *u)
{
	const uint64_t one = 1;
	int rc;

	if (write(u->quit, &one, sizeof(one)) < 0)
		complain("%s", strerror(errno));
	pthread_join(u->thread, NULL);
	rc = u->done ? 0 : -ECANCELED;
	close_all(u);
	return rc;
}
