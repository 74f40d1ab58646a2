/* SPDX-License-Identifier: BSD-3-Clause */
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy.h"
#include "relay.h"
#include "test.h"

struct relay {
	struct relay_plan plan;
	struct sockaddr_in dest;
	int listen_fd, fd[2]; /* fd[0]: source, fd[1]: destination */
	int quit[2];          /* a pipe */
	uint64_t passed[2];
	bool struck;
	pthread_t thread;
};

/* What has come from fd[i] goes to the other; false: that was all. */
static bool
pass(struct relay *r, int i)
{
	uint8_t buf[16384];
	ssize_t n = recv(r->fd[i], buf, sizeof(buf), 0);
	uint64_t at = r->plan.at - r->passed[i];

	if (n <= 0)
		return false;
	if (i == (int)r->plan.back && !r->struck && at < (uint64_t)n) {
		r->struck = true;
		buf[at] ^= 0x10;
		if (r->plan.kind == RELAY_CUT)
			n = (ssize_t)at;
	}
	proxy_write_all(r->fd[1 - i], buf, (size_t)n);
	r->passed[i] += (uint64_t)n;
	return !r->struck || r->plan.kind != RELAY_CUT;
}

static bool
open_both(struct relay *r)
{
	struct pollfd fds[2] = { { .fd = r->quit[0], .events = POLLIN },
		{ .fd = r->listen_fd, .events = POLLIN } };

	if (poll(fds, 2, -1) <= 0 || fds[0].revents != 0)
		return false;
	r->fd[0] = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	r->fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return r->fd[0] >= 0 &&
		connect(r->fd[1], (struct sockaddr *)&r->dest, sizeof(r->dest)) == 0;
}

static void *
relay_main(void *arg)
{
	struct relay *r = arg;
	bool go_on = open_both(r);

	while (go_on) {
		struct pollfd fds[3] = { { .fd = r->quit[0], .events = POLLIN },
			{ .fd = r->fd[0], .events = POLLIN },
			{ .fd = r->fd[1], .events = POLLIN } };

		go_on = poll(fds, 3, -1) > 0 && fds[0].revents == 0;
		for (int i = 0; go_on && i < 2; i++)
			if (fds[1 + i].revents != 0)
				go_on = pass(r, i);
	}
	for (int i = 0; i < 2; i++)
		if (r->fd[i] >= 0)
			close(r->fd[i]);
	return NULL;
}

struct relay *
relay_create(const char *dest, const struct relay_plan *plan, char *ret_uri, size_t cap)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct relay *r = calloc(1, sizeof(*r));
	socklen_t len = sizeof(in);

	CHECK(r != NULL);
	r->plan = *plan;
	r->fd[0] = r->fd[1] = -1;
	r->dest = in;
	r->dest.sin_port = htons((uint16_t)strtoul(strrchr(dest, ':') + 1, NULL, 10));
	r->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(bind(r->listen_fd, (struct sockaddr *)&in, sizeof(in)), 0);
	CHECK_EQ(listen(r->listen_fd, 1), 0);
	CHECK_EQ(getsockname(r->listen_fd, (struct sockaddr *)&in, &len), 0);
	snprintf(ret_uri, cap, "tcp:127.0.0.1:%u", ntohs(in.sin_port));
	CHECK_EQ(pipe(r->quit), 0);
	CHECK_EQ(pthread_create(&r->thread, NULL, relay_main, r), 0);
	return r;
}

bool
relay_destroy(struct relay *r)
{
	bool struck;

	close(r->quit[1]);
	pthread_join(r->thread, NULL);
	close(r->quit[0]);
	close(r->listen_fd);
	struck = r->struck;
	free(r);
	return struck;
}
