/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A cable between two ports, in one process or in two: a sequenced-packet socket on the
 * abstract address "wherry-pair-NAME". Both ends *dial*: who finds the address free
 * listens there, the other connects. An end that loses its peer dials again, so either
 * side may come back; a third port is turned away.
 *
 * wire.fd is an epoll of the listener, the line and a timer for the next dial.
 * One thread but for `line_up`, which any thread may read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include <rte_common.h>

#include "emu_log.h"
#include "emu_regs.h"
#include "emu_wire.h"

#define REDIAL_MS 50
#define LINE_BYTES (4 << 20) /* frames in flight on the cable */

struct pair {
	struct wire wire;
	struct sockaddr_un at;
	socklen_t at_len;
	int listener; /* -1: the other end listens */
	int line;     /* -1: no peer */
	int timer;
	bool line_up; /* __atomic */
	char frame[EMU_MAX_FRAME] __attribute__((aligned(16)));
};

static struct pair *
pair_of(struct wire *wire)
{
	return container_of(wire, struct pair, wire);
}

static int
pair_socket(void)
{
	const int bytes = LINE_BYTES;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	/* more room than is usual if we may, as much as we can if not */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return fd;
}

static int
pair_watch(struct pair *pair, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data = { .fd = fd } };

	return epoll_ctl(pair->wire.fd, EPOLL_CTL_ADD, fd, &event) != 0 ? -errno : 0;
}

static void
pair_set_timer(struct pair *pair, long ms)
{
	struct itimerspec when = { .it_value = { .tv_nsec = ms * 1000000 } };

	timerfd_settime(pair->timer, 0, &when, NULL);
}

/* Takes the socket; on failure it is closed and the line stays down. */
static void
pair_connected(struct pair *pair, int fd)
{
	if (pair_watch(pair, fd) != 0) {
		close(fd);
		return;
	}
	pair->line = fd;
	__atomic_store_n(&pair->line_up, true, __ATOMIC_RELEASE);
}

static void
pair_hang_up(struct pair *pair)
{
	if (pair->line < 0)
		return;
	__atomic_store_n(&pair->line_up, false, __ATOMIC_RELEASE);
	close(pair->line); /* leaves the epoll by itself */
	pair->line = -1;
	if (pair->listener < 0)
		pair_set_timer(pair, REDIAL_MS);
}

/* 0, or -EADDRINUSE: the other end listens; fd is used up if 0. */
static int
pair_listen(struct pair *pair, int fd)
{
	int rc;

	if (bind(fd, (const struct sockaddr *)&pair->at, pair->at_len) != 0)
		return -errno;
	rc = listen(fd, 1) != 0 ? -errno : pair_watch(pair, fd);
	if (rc == 0)
		pair->listener = fd;
	return rc;
}

/* Listen or connect; -ECONNREFUSED and -EAGAIN: the other end is coming or going. */
static int
pair_dial(struct pair *pair)
{
	int fd = pair_socket();
	int rc = fd;

	if (rc < 0)
		return rc;
	rc = pair_listen(pair, fd);
	if (rc == 0)
		return 0;
	if (rc != -EADDRINUSE)
		goto close_socket;
	rc = connect(fd, (const struct sockaddr *)&pair->at, pair->at_len) != 0 ? -errno : 0;
	if (rc != 0)
		goto close_socket;
	pair_connected(pair, fd);
	return 0;
close_socket:
	close(fd);
	return rc;
}

static void
pair_redial(struct pair *pair)
{
	pair_set_timer(pair, 0);
	if (pair->listener >= 0 || pair->line >= 0)
		return;
	if (pair_dial(pair) != 0)
		pair_set_timer(pair, REDIAL_MS);
}

static void
pair_accept(struct pair *pair)
{
	int fd = accept4(pair->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (pair->line >= 0) {
		EMU_LOG(WARNING, "wire=pair=%s: a third port was turned away",
			pair->at.sun_path + 1);
		close(fd);
		return;
	}
	pair_connected(pair, fd);
}

static int
pair_address(struct pair *pair, const char *name)
{
	const size_t room = sizeof(pair->at.sun_path) - 1;
	int n = snprintf(pair->at.sun_path + 1, room, "wherry-pair-%s", name);

	if (n < 0 || (size_t)n >= room)
		return -EINVAL;
	pair->at.sun_family = AF_UNIX; /* path[0] stays 0: no name in the file system */
	pair->at_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	return 0;
}

static int
pair_open(const char *arg, struct wire **ret_wire)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int rc;

	if (pair == NULL)
		return -ENOMEM;
	pair->wire.ops = &wire_pair_ops;
	pair->line = pair->listener = -1;
	rc = pair_address(pair, arg);
	if (rc != 0)
		goto free_pair;
	pair->wire.fd = epoll_create1(EPOLL_CLOEXEC);
	rc = pair->wire.fd < 0 ? -errno : 0;
	if (rc != 0)
		goto free_pair;
	pair->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	rc = pair->timer < 0 ? -errno : pair_watch(pair, pair->timer);
	if (rc != 0)
		goto close_fds;
	pair_redial(pair);
	*ret_wire = &pair->wire;
	return 0;
close_fds:
	if (pair->timer >= 0)
		close(pair->timer);
	close(pair->wire.fd);
free_pair:
	EMU_LOG(ERR, "wire=pair=%s: %s", arg, strerror(-rc));
	free(pair);
	return rc;
}

static void
pair_close(struct wire *wire)
{
	struct pair *pair = pair_of(wire);

	if (pair->listener >= 0)
		close(pair->listener);
	if (pair->line >= 0)
		close(pair->line);
	close(pair->timer);
	close(wire->fd);
	free(pair);
}

static int
pair_send(struct wire *wire, const void *frame, size_t len)
{
	struct pair *pair = pair_of(wire);
	int rc;

	if (pair->line < 0)
		return -ENOTCONN;
	rc = send(pair->line, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
	if (rc == -EPIPE || rc == -ECONNRESET)
		pair_hang_up(pair);
	return rc;
}

/* -1: the peer is gone; else frames received. */
static int
pair_drain(struct pair *pair, int budget)
{
	int n;

	for (n = 0; n < budget; n++) {
		ssize_t len = recv(pair->line, pair->frame, sizeof(pair->frame), 0);

		if (len == 0 || (len < 0 && errno != EAGAIN))
			return -1;
		if (len < 0)
			break;
		pair->wire.input(pair->wire.ctx, pair->frame, (size_t)len);
	}
	return n;
}

/* The line first and without asking: it is what is busy. */
static unsigned int
pair_receive(struct wire *wire, unsigned int budget)
{
	struct pair *pair = pair_of(wire);
	struct epoll_event events[3];
	int n = pair->line >= 0 ? pair_drain(pair, (int)budget) : 0;

	if (n > 0)
		return (unsigned int)n;
	if (n < 0)
		pair_hang_up(pair);
	n = epoll_wait(wire->fd, events, 3, 0);
	for (int i = 0; i < n; i++) {
		if (events[i].data.fd == pair->timer)
			pair_redial(pair);
		else if (events[i].data.fd == pair->listener)
			pair_accept(pair);
	}
	return 0;
}

static bool
pair_link_up(struct wire *wire)
{
	return __atomic_load_n(&pair_of(wire)->line_up, __ATOMIC_ACQUIRE);
}

const struct wire_ops wire_pair_ops = {
	.name = "pair",
	.has_arg = true,
	.open = pair_open,
	.close = pair_close,
	.send = pair_send,
	.receive = pair_receive,
	.link_up = pair_link_up,
};
