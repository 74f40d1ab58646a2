/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base_priv.h"
#include "socket_priv.h"

#define BACKLOG 64
#define SOCK_FLAGS (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
#define NEAR_SEND (512 << 10)
#define NEAR_RECEIVE (256 << 10)
#define NEAR_CONGESTION "reno" /* every kernel has it, and anybody may ask for it */

int
mig_wait(int fd, short events, int cancel_fd, unsigned int timeout_ms)
{
	struct pollfd fds[2] = {
		{ .fd = cancel_fd, .events = POLLIN },
		{ .fd = fd, .events = events },
	};
	uint64_t end = mig_now() + timeout_ms * UINT64_C(1000000);
	int n;

	do {
		uint64_t now = mig_now();
		uint64_t left = now < end ? (end - now + 999999) / 1000000 : 0;

		n = poll(fds, 2, (int)(left < INT32_MAX ? left : INT32_MAX));
		if (n < 0 && errno != EINTR)
			return -errno;
	} while (n < 0);
	if (fds[0].revents != 0)
		return -ECANCELED;
	return fds[1].revents;
}

static int
new_socket(int family)
{
	int fd = wherry_fault("socket.new") ? (errno = EMFILE, -1) : socket(family, SOCK_FLAGS, 0);

	return fd < 0 ? -errno : fd;
}

static struct sockaddr_un
unix_address(const struct mig_uri *uri)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	memcpy(un.sun_path, uri->path, sizeof(uri->path));
	return un;
}

/* Does anybody answer there? A socket file outlives its owner. */
static bool
is_answered(const struct sockaddr_un *un)
{
	int fd = new_socket(AF_UNIX);
	bool answered;

	if (fd < 0)
		return true; /* not known: leave the file alone */
	answered =
		connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno != ECONNREFUSED;
	close(fd);
	return answered;
}

int
mig_move_socket(const char *from, const char *to)
{
	struct mig_uri uri = { .is_unix = true };
	struct sockaddr_un un;

	if (strlen(to) >= sizeof(uri.path))
		return -EINVAL;
	memcpy(uri.path, to, strlen(to));
	un = unix_address(&uri);
	if (access(to, F_OK) == 0 && is_answered(&un))
		return -EADDRINUSE;
	return rename(from, to) != 0 ? -errno : 0;
}

static int
bind_unix(int fd, const struct mig_uri *uri)
{
	struct sockaddr_un un = unix_address(uri);
	const struct sockaddr *sa = (const struct sockaddr *)&un;

	if (bind(fd, sa, sizeof(un)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	if (is_answered(&un))
		return -EADDRINUSE;
	unlink(un.sun_path);
	return bind(fd, sa, sizeof(un)) == 0 ? 0 : -errno;
}

static int
explain_listen(const char *where, int rc, struct mig_reason *reason)
{
	const char *remedy = "";

	if (rc == -EADDRINUSE)
		remedy = ": another process answers there; end it or choose another";
	else if (rc == -EACCES)
		remedy = ": run as its owner or root, or choose another";
	else if (rc == -ENOENT)
		remedy = ": its directory does not exist";
	else if (rc == -EADDRNOTAVAIL)
		remedy = ": this machine has no such address";
	return mig_fail(reason, rc, "cannot listen on %s: %s%s", where, strerror(-rc), remedy);
}

static int
listen_unix(const struct mig_uri *uri, struct mig_reason *reason)
{
	int fd = new_socket(AF_UNIX);
	int rc = fd < 0 ? fd : bind_unix(fd, uri);

	if (rc != 0)
		goto close;
	/* nobody can connect between bind and listen */
	if (chmod(uri->path, 0600) != 0 || listen(fd, BACKLOG) != 0) {
		rc = -errno;
		unlink(uri->path);
		goto close;
	}
	return fd;
close:
	if (fd >= 0)
		close(fd);
	return explain_listen(uri->path, rc, reason);
}

static bool
is_loopback(const struct sockaddr *sa)
{
	const struct in6_addr *in6;

	if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
		return false;
	if (sa->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr) >>
			24 ==
			IN_LOOPBACKNET;
	in6 = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
}

/* Without keys nobody knows who listens, on the way or at the end of it. */
static int
check_loopback(const struct mig_uri *uri, const struct addrinfo *list, struct mig_reason *reason)
{
	for (const struct addrinfo *ai = list; ai != NULL && uri->only_loopback; ai = ai->ai_next)
		if (!is_loopback(ai->ai_addr))
			return mig_fail(reason, -EACCES,
				"\"%.60s\" is not loopback, and there are no keys: give certificates or a pre-shared key for TLS, or --insecure",
				uri->host);
	return 0;
}

static int
resolve(const struct mig_uri *uri, int flags, struct addrinfo **ret_list, struct mig_reason *reason)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags };
	const char *host = uri->host[0] != '\0' ? uri->host : NULL;
	int rc = getaddrinfo(host, uri->port, &hints, ret_list);

	if (rc == 0) {
		rc = check_loopback(uri, *ret_list, reason);
		if (rc != 0)
			freeaddrinfo(*ret_list);
		return rc;
	}
	return mig_fail(
		reason, -ENOENT, "cannot find the host \"%s\": %s", uri->host, gai_strerror(rc));
}

static int
bind_tcp(const struct addrinfo *ai)
{
	int fd = new_socket(ai->ai_family), one = 1, rc;

	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static int
listen_tcp(const struct mig_uri *uri, struct mig_reason *reason)
{
	struct addrinfo *list;
	char where[320];
	int rc = resolve(uri, AI_PASSIVE, &list, reason);

	if (rc != 0)
		return rc;
	rc = -EADDRNOTAVAIL;
	for (const struct addrinfo *ai = list; ai != NULL && rc < 0; ai = ai->ai_next)
		rc = bind_tcp(ai);
	freeaddrinfo(list);
	if (rc >= 0)
		return rc;
	snprintf(where, sizeof(where), "%s port %s", uri->host, uri->port);
	return explain_listen(where, rc, reason);
}

int
mig_listen(const struct mig_uri *uri, struct mig_reason *reason)
{
	return uri->is_unix ? listen_unix(uri, reason) : listen_tcp(uri, reason);
}

/* Finish what connect has begun. */
static int
await_connect(int fd, int cancel_fd, unsigned int timeout_ms)
{
	socklen_t len = sizeof(int);
	int error = 0, rc = mig_wait(fd, POLLOUT, cancel_fd, timeout_ms);

	if (rc <= 0)
		return rc < 0 ? rc : -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		return -errno;
	return -error;
}

/* A dead peer is noticed, a small record is sent at once. */
static void
tune_tcp(int fd)
{
	int on = 1, idle = 5, interval = 2, count = 3;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* If these fail, the kernel's own choice will do. Pacing, once begun, outlasts a change. */
static void
send_near(int fd)
{
	int bytes = NEAR_SEND;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, NEAR_CONGESTION, strlen(NEAR_CONGESTION));
}

void
mig_receive_near(int fd)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(ss);
	int bytes = NEAR_RECEIVE;

	if (getpeername(fd, (struct sockaddr *)&ss, &len) == 0 &&
		is_loopback((struct sockaddr *)&ss))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static int
connect_one(const struct sockaddr *sa, socklen_t len, int cancel_fd, unsigned int timeout_ms)
{
	int fd = new_socket(sa->sa_family), rc = 0;

	if (fd < 0)
		return fd;
	if (is_loopback(sa))
		send_near(fd);
	if (connect(fd, sa, len) != 0)
		rc = errno == EINPROGRESS ? await_connect(fd, cancel_fd, timeout_ms) : -errno;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

static int
connect_tcp(const struct mig_uri *uri, int cancel_fd, unsigned int timeout_ms,
	struct mig_reason *reason)
{
	struct addrinfo *list;
	int rc = resolve(uri, 0, &list, reason);

	if (rc != 0)
		return rc;
	rc = -ENOENT;
	for (const struct addrinfo *ai = list; ai != NULL && rc < 0 && rc != -ECANCELED;
		ai = ai->ai_next)
		rc = connect_one(ai->ai_addr, ai->ai_addrlen, cancel_fd, timeout_ms);
	freeaddrinfo(list);
	if (rc >= 0) {
		tune_tcp(rc);
		return rc;
	}
	if (rc == -ECONNREFUSED)
		return mig_fail(reason, rc,
			"connection refused: is the destination started with --incoming tcp:%s:%s?",
			uri->host, uri->port);
	return mig_fail(
		reason, rc, "cannot reach %s port %s: %s", uri->host, uri->port, strerror(-rc));
}

static int
connect_unix(const struct mig_uri *uri, int cancel_fd, unsigned int timeout_ms,
	struct mig_reason *reason)
{
	struct sockaddr_un un = unix_address(uri);
	int rc = connect_one((const struct sockaddr *)&un, sizeof(un), cancel_fd, timeout_ms);

	if (rc >= 0)
		return rc;
	if (rc == -ECONNREFUSED || rc == -ENOENT)
		return mig_fail(reason, rc,
			"nobody listens on %s: is the destination started with --incoming unix:%s?",
			uri->path, uri->path);
	return mig_fail(reason, rc, "cannot connect to %s: %s", uri->path, strerror(-rc));
}

int
mig_connect(const struct mig_uri *uri, int cancel_fd, unsigned int timeout_ms,
	struct mig_reason *reason)
{
	if (wherry_fault("socket.connect"))
		return mig_fail(reason, -ECONNREFUSED, "fault");
	return uri->is_unix ? connect_unix(uri, cancel_fd, timeout_ms, reason)
			    : connect_tcp(uri, cancel_fd, timeout_ms, reason);
}
