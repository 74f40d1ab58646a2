/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread: one poll loop over the socket, the clients and the agent's news. */
#define LOG_PREFIX "migrate/control"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control_priv.h"
#include "socket_priv.h"

#define TICK_MS 100   /* while somebody follows or watches */
#define FLUSH_MS 1000 /* how long leaving clients may take to read their last lines */

/* The folder of the default path is made; any other must be there. */
static void
make_folder(const char *path)
{
	static const char folder[] = "/run/wherry";

	if (strncmp(path, folder, strlen(folder)) == 0 && mkdir(folder, 0755) != 0 &&
		errno != EEXIST)
		LOG_WARN("cannot make %s: %s", folder, strerror(errno));
}

static int
open_socket(const char *path)
{
	struct mig_uri uri = { .is_unix = true };
	struct mig_reason reason;
	int fd;

	if (strlen(path) >= sizeof(uri.path)) {
		LOG_ERR("%s is too long for a control socket", path);
		return -EINVAL;
	}
	memcpy(uri.path, path, strlen(path));
	make_folder(path);
	fd = mig_listen(&uri, &reason);
	if (fd < 0)
		LOG_ERR("control socket: %s", reason.text);
	return fd;
}

int
mig_control_create(struct wherry_agent *agent, const char *path, struct mig_control **ret_control)
{
	struct mig_control *control =
		wherry_fault("control.alloc") ? NULL : calloc(1, sizeof(*control));
	int rc;

	if (control == NULL)
		return -ENOMEM;
	for (unsigned int i = 0; i < MIG_CLIENTS_MAX; i++)
		control->clients[i].fd = -1;
	control->agent = agent;
	control->path = strdup(path);
	rc = control->path == NULL ? -ENOMEM : open_socket(path);
	if (rc < 0)
		goto free_control;
	control->listen_fd = rc;
	*ret_control = control;
	return 0;
free_control:
	free(control->path);
	free(control);
	return rc;
}

static void
turn_away(int fd, const char *line)
{
	if (send(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		LOG_DEBUG("who was turned away is gone already");
	close(fd);
}

/* The socket's mode says the same, but a folder or an operator may have changed it. */
static bool
is_one_of_us(struct mig_control *control, int fd)
{
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
		(peer.uid == geteuid() || peer.uid == 0))
		return true;
	if (__atomic_fetch_add(&control->agent->refused_clients, 1, __ATOMIC_RELAXED) % 100 == 0)
		LOG_WARN("process %d of user %u was refused at the control socket", (int)peer.pid,
			(unsigned int)peer.uid);
	return false;
}

static void
accept_client(struct mig_control *control)
{
	int fd = accept4(control->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	static const char full[] =
		"{\"ok\":false,\"error\":{\"code\":\"EBUSY\",\"reason\":\"too many clients\"}}\n";
	static const char foreign[] =
		"{\"ok\":false,\"error\":{\"code\":\"EACCES\",\"reason\":\"this socket is for the application's user and for root\"}}\n";

	if (fd < 0)
		return;
	if (!is_one_of_us(control, fd)) {
		turn_away(fd, foreign);
		return;
	}
	for (unsigned int i = 0; i < MIG_CLIENTS_MAX; i++) {
		if (control->clients[i].fd < 0) {
			mig_client_open(&control->clients[i], fd);
			return;
		}
	}
	turn_away(fd, full);
}

/* Is a client there that watches; due: and whose next report is due? */
static bool
is_watched(const struct mig_control *control, bool due, uint64_t now)
{
	for (unsigned int i = 0; i < MIG_CLIENTS_MAX; i++) {
		const struct mig_client *c = &control->clients[i];

		if (c->fd >= 0 && c->watch_ns != 0 && (!due || now >= c->watch_due))
			return true;
	}
	return false;
}

/* Rates need harvests: tracking is on while somebody watches a process that serves. */
static void
follow_watchers(struct mig_control *control)
{
	struct wherry_status st;
	bool wanted, fresh;

	wherry_agent_get_status(control->agent, &st);
	wanted = is_watched(control, false, 0) && st.state <= WHERRY_STATE_FINAL;
	if (wanted && !control->tracking) {
		control->tracking = mig_agent_tracker_get(control->agent, &fresh) == 0;
	} else if (!wanted && control->tracking) {
		mig_agent_tracker_put(control->agent);
		control->tracking = false;
	}
}

static void
harvest_if_due(struct mig_control *control, uint64_t now)
{
	if (!is_watched(control, true, now) || !control->tracking)
		return;
	if (wherry_tracker_harvest(control->agent->tracker) == 0)
		mig_agent_set_harvest(control->agent, mig_now() - now);
	else
		LOG_WARN("dirty pages could not be asked for");
}

/* Returns whether somebody waits for something that time brings. */
static bool
update_clients(struct mig_control *control)
{
	uint64_t now = mig_now();
	bool waiting = false;

	follow_watchers(control);
	harvest_if_due(control, now);
	for (unsigned int i = 0; i < MIG_CLIENTS_MAX; i++) {
		struct mig_client *c = &control->clients[i];

		if (c->fd < 0)
			continue;
		mig_client_update(control, c, now);
		if (c->closing && c->out_len == 0)
			mig_client_close(c);
		else
			waiting = true;
	}
	follow_watchers(control); /* the last one may have gone */
	return waiting;
}

static unsigned int
fill_pollfds(const struct mig_control *control, struct pollfd *fds)
{
	fds[0] = (struct pollfd){ .fd = control->agent->notify_fd, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = control->listen_fd, .events = POLLIN };
	for (unsigned int i = 0; i < MIG_CLIENTS_MAX; i++) {
		const struct mig_client *c = &control->clients[i];
		short events = c->closing ? 0 : POLLIN;

		if (c->out_len != 0)
			events |= POLLOUT;
		fds[2 + i] = (struct pollfd){ .fd = c->fd, .events = events };
	}
	return 2 + MIG_CLIENTS_MAX;
}

static void
serve_once(struct mig_control *control, bool waiting)
{
	struct pollfd fds[2 + MIG_CLIENTS_MAX];
	unsigned int n = fill_pollfds(control, fds);
	uint64_t news;

	if (poll(fds, n, waiting ? TICK_MS : -1) <= 0)
		return;
	if (fds[0].revents != 0 && read(fds[0].fd, &news, sizeof(news)) < 0)
		LOG_DEBUG("the news was read before");
	for (unsigned int i = 0; i < MIG_CLIENTS_MAX; i++) {
		struct mig_client *c = &control->clients[i];

		if (c->fd < 0)
			continue;
		if ((fds[2 + i].revents & POLLOUT) != 0)
			mig_client_writable(c);
		if ((fds[2 + i].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
			mig_client_readable(control, c);
	}
	if (fds[1].revents != 0)
		accept_client(control);
}

/* Somebody without a connection of its own wants it: what comes of it is in the log. */
static void
reload_if_wanted(struct wherry_agent *agent)
{
	struct mig_reason reason;

	/* pairs with wherry_agent_reload */
	if (!__atomic_exchange_n(&agent->reload, false, __ATOMIC_ACQUIRE))
		return;
	if (mig_tls_reload(agent->tls, &reason) == -ENOENT && agent->tls == NULL)
		LOG_WARN("keys are to be read again: %s", reason.text);
}

static void *
control_main(void *arg)
{
	struct mig_control *control = arg;
	bool waiting = false;

	while (!__atomic_load_n(&control->quit, __ATOMIC_RELAXED)) {
		serve_once(control, waiting);
		reload_if_wanted(control->agent);
		waiting = update_clients(control);
	}
	return NULL;
}

int
mig_control_move(struct mig_control *control, const char *path)
{
	char *copy = strdup(path);
	int rc = copy == NULL ? -ENOMEM : mig_move_socket(control->path, path);

	if (rc != 0) {
		free(copy);
		return rc;
	}
	free(control->path);
	control->path = copy;
	return 0;
}

int
mig_control_start(struct mig_control *control)
{
	int rc = wherry_fault("control.thread")
		? EAGAIN
		: pthread_create(&control->thread, NULL, control_main, control);

	control->running = rc == 0;
	return -rc;
}

/* The last lines of those who wait for an end. */
static void
flush(struct mig_control *control)
{
	uint64_t end = mig_now() + FLUSH_MS * UINT64_C(1000000);

	update_clients(control);
	for (unsigned int i = 0; i < MIG_CLIENTS_MAX; i++) {
		struct mig_client *c = &control->clients[i];

		while (c->fd >= 0 && c->out_len != 0 && mig_now() < end &&
			mig_wait(c->fd, POLLOUT, -1, 100) >= 0)
			mig_client_writable(c);
	}
}

void
mig_control_stop(struct mig_control *control)
{
	if (!control->running)
		return;
	__atomic_store_n(&control->quit, true, __ATOMIC_RELAXED);
	mig_agent_notify(control->agent);
	pthread_join(control->thread, NULL);
	control->running = false;
	control->quit = false;
	flush(control);
}

void
mig_control_destroy(struct mig_control *control)
{
	if (control == NULL)
		return;
	mig_control_stop(control);
	for (unsigned int i = 0; i < MIG_CLIENTS_MAX; i++)
		if (control->clients[i].fd >= 0)
			mig_client_close(&control->clients[i]);
	if (control->tracking)
		mig_agent_tracker_put(control->agent);
	close(control->listen_fd);
	unlink(control->path);
	free(control->path);
	free(control);
}
