/* SPDX-License-Identifier: BSD-3-Clause */
/* Both ends on one machine: how much is on the way, and where lanes begin to run. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "free_port.h"
#include "socket_priv.h"
#include "spread_priv.h"
#include "test.h"

#define ON_THE_WAY_MAX ((size_t)2 << 20) /* the kernel alone lets 4 MiB wait at the sender */
#define PATIENCE_MS 10000

struct line {
	int listener, sender, receiver;
};

static void
open_line(struct line *line)
{
	struct mig_reason reason;
	struct mig_uri uri;
	const char *why;
	char text[64];

	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u", free_port());
	CHECK_EQ(mig_uri_parse(text, &uri, &why), 0);
	line->listener = mig_listen(&uri, &reason);
	CHECK(line->listener >= 0);
	line->sender = mig_connect(&uri, -1, PATIENCE_MS, &reason);
	CHECK(line->sender >= 0);
	CHECK_EQ(mig_wait(line->listener, POLLIN, -1, PATIENCE_MS), POLLIN);
	line->receiver = accept(line->listener, NULL, NULL);
	CHECK(line->receiver >= 0);
	mig_receive_near(line->receiver);
}

static void
close_line(struct line *line)
{
	close(line->receiver);
	close(line->sender);
	close(line->listener);
}

/* What goes without anybody reading; it may take the kernel a moment to pass bytes on. */
static size_t
fill(int fd)
{
	static const char bytes[65536];
	size_t sent = 0;

	while (mig_wait(fd, POLLOUT, -1, 200) == POLLOUT) {
		ssize_t n = send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
	}
	return sent;
}

TEST(migrate_near_connection_keeps_no_more_on_the_way_than_caches_hold)
{
	struct line line;
	size_t sent;

	open_line(&line);
	sent = fill(line.sender);
	CHECK(sent > 0);
	CHECK(sent < ON_THE_WAY_MAX);
	close_line(&line);
}

static int
room(int fd)
{
	int bytes = 0;
	socklen_t len = sizeof(bytes);

	CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len), 0);
	return bytes;
}

TEST(migrate_near_is_of_the_loopback_device_only)
{
	int fds[2], before;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	before = room(fds[0]);
	mig_receive_near(fds[0]);
	CHECK_EQ(room(fds[0]), before);
	close(fds[0]);
	close(fds[1]);
}

/* Whatever this machine's default is, BBR or another. */
TEST(migrate_near_connection_is_not_paced)
{
	struct line line;
	char name[16] = "";
	socklen_t len = sizeof(name);

	open_line(&line);
	CHECK_EQ(getsockopt(line.sender, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	CHECK(strcmp(name, "reno") == 0);
	close_line(&line);
}

TEST(migrate_lanes_are_spread_and_free_to_be_moved)
{
	cpu_set_t before, after;

	CHECK_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
	for (unsigned int n = 0; n < 5; n++) {
		mig_spread(n);
		CHECK_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
		CHECK(CPU_EQUAL(&before, &after));
	}
}
