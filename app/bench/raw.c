/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The raw baseline: the same cold memory, sent and received into place over as many
 * connections, with no format, no checks and no tracking. What a migration costs beyond
 * this is Wherry's own. Near: with the sockets set as a migration sets its own on the loopback device.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "side.h"

#define PIECE ((size_t)512 << 10)
#define CHANNELS_MAX 16
#define NEAR_SEND (512 << 10)
#define NEAR_RECEIVE (256 << 10)

struct raw {
	char *memory;
	int listener, port;
	int fds[CHANNELS_MAX];
	bool sends, near;
};

/* One connection's share of the memory. */
struct share {
	const struct raw *raw;
	unsigned int i;
	int rc;
	pthread_t thread;
};

static void *
move_share(void *arg)
{
	struct share *share = arg;
	const struct raw *raw = share->raw;
	size_t len = bench_size / bench_channels;
	char *at = raw->memory + len * share->i;
	char done = 0;

	while (len > 0) {
		size_t want = len < PIECE ? len : PIECE;
		ssize_t n = raw->sends ? send(raw->fds[share->i], at, want, MSG_NOSIGNAL)
				       : recv(raw->fds[share->i], at, want, 0);

		if (n <= 0) {
			share->rc = -EIO;
			return NULL;
		}
		at += n;
		len -= (size_t)n;
	}
	/* the receiver says when it has all */
	if (raw->sends ? read(raw->fds[share->i], &done, 1) != 1
		       : write(raw->fds[share->i], &done, 1) != 1)
		share->rc = -EIO;
	return NULL;
}

static int
move_all(const struct raw *raw)
{
	struct share shares[CHANNELS_MAX];
	int rc = 0;

	for (unsigned int i = 0; i < bench_channels; i++) {
		shares[i] = (struct share){ .raw = raw, .i = i };
		if (pthread_create(&shares[i].thread, NULL, move_share, &shares[i]) != 0)
			return -EAGAIN; /* the process ends soon, and they with it */
	}
	for (unsigned int i = 0; i < bench_channels; i++) {
		pthread_join(shares[i].thread, NULL);
		rc = shares[i].rc != 0 ? shares[i].rc : rc;
	}
	return rc;
}

static void
set_near(int fd, int which, int bytes)
{
	setsockopt(fd, SOL_SOCKET, which, &bytes, sizeof(bytes));
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
}

static int
nothing(void *ctx)
{
	(void)ctx;
	return 0;
}

static int
receive_all(void *ctx)
{
	struct raw *raw = ctx;

	for (unsigned int i = 0; i < bench_channels; i++) {
		raw->fds[i] = accept(raw->listener, NULL, NULL);
		if (raw->fds[i] < 0)
			return -errno;
		if (raw->near)
			set_near(raw->fds[i], SO_RCVBUF, NEAR_RECEIVE);
	}
	raw->sends = false;
	return move_all(raw);
}

static struct sockaddr_in
address(const struct raw *raw)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = htons((uint16_t)raw->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int
listen_here(struct raw *raw)
{
	struct sockaddr_in at = address(raw);

	raw->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (raw->listener < 0 || bind(raw->listener, (struct sockaddr *)&at, sizeof(at)) != 0 ||
		listen(raw->listener, CHANNELS_MAX) != 0)
		return -errno;
	return 0;
}

static int
connect_all(struct raw *raw)
{
	struct sockaddr_in at = address(raw);

	for (unsigned int i = 0; i < bench_channels; i++) {
		raw->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (raw->fds[i] >= 0 && raw->near)
			set_near(raw->fds[i], SO_SNDBUF, NEAR_SEND);
		if (raw->fds[i] < 0 ||
			connect(raw->fds[i], (struct sockaddr *)&at, sizeof(at)) != 0)
			return -errno;
	}
	return 0;
}

static void
close_all(struct raw *raw)
{
	for (unsigned int i = 0; i < bench_channels; i++)
		if (raw->fds[i] > 0)
			close(raw->fds[i]);
	if (raw->listener >= 0)
		close(raw->listener);
}

int
raw_transfer(char *memory, const struct raw_opts *opts, double *ret_seconds, double *ret_cpu)
{
	struct raw raw = {
		.memory = memory, .port = bench_free_port(), .sends = true, .near = opts->near
	};
	double cpu = 0, theirs = 0;
	struct receiver r = { .told = -1, .cold = opts->cold };
	uint64_t begin;
	int rc = listen_here(&raw);

	if (rc == 0)
		rc = receiver_start(&r, memory, nothing, receive_all, &raw);
	if (rc != 0)
		goto close;
	cpu = bench_cpu();
	begin = bench_now_ns();
	rc = connect_all(&raw);
	if (rc == 0)
		rc = move_all(&raw);
	*ret_seconds = (double)(bench_now_ns() - begin) / 1e9;
	cpu = bench_cpu() - cpu;
	rc = receiver_end(&r, rc != 0, &theirs) != 0 ? -EIO : rc;
	*ret_cpu = cpu + theirs;
close:
	close_all(&raw);
	return rc;
}
