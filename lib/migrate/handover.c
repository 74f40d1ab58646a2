/* SPDX-License-Identifier: BSD-3-Clause */
#define LOG_PREFIX "migrate/handover"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base_priv.h"
#include "conn_priv.h"
#include "handover_priv.h"
#include "porter_priv.h"
#include "socket_priv.h"

#define FILES_MAX (MIG_REGIONS_MAX + 64u)

/* One file on the connection; the last has no name and no file. */
struct parcel {
	uint8_t token[MIG_SESSION_LEN];
	char name[64];
};

union ancillary {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr aligned;
};

bool
mig_peer_is_ours(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int domain;
	socklen_t domain_len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len) != 0)
		return false;
	if (domain != AF_UNIX)
		return true;
	if (wherry_fault("handover.peer") ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return false;
	return peer.uid == geteuid() || peer.uid == 0;
}

/* A parcel is far smaller than a socket's buffer: it goes whole or not at all. */
static int
send_parcel(int sock, const struct parcel *parcel, int fd, int cancel_fd, unsigned int timeout_ms)
{
	union ancillary room = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)parcel, .iov_len = sizeof(*parcel) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;
	int rc = mig_wait(sock, POLLOUT, cancel_fd, timeout_ms);

	if (rc <= 0)
		return rc == 0 ? -ETIMEDOUT : rc;
	if (fd >= 0) {
		msg.msg_control = room.bytes;
		msg.msg_controllen = sizeof(room.bytes);
		room.aligned.cmsg_level = SOL_SOCKET;
		room.aligned.cmsg_type = SCM_RIGHTS;
		room.aligned.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&room.aligned), &fd, sizeof(fd));
	}
	n = wherry_fault("handover.send") ? (errno = EPIPE, -1) : sendmsg(sock, &msg, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(*parcel) ? 0 : -ECONNRESET;
}

static int
lend_all(struct wherry_agent *agent, int sock, const struct mig_hello *self)
{
	struct parcel parcel = { .name = "" };
	struct wherry_lent lent;
	int rc = 0;

	memcpy(parcel.token, self->token, sizeof(parcel.token));
	for (unsigned int i = 0; rc == 0 && i <= FILES_MAX; i++) {
		int more = agent->ops.lend(agent->ops.ctx, i, &lent);

		if (more < 0)
			return more;
		memset(parcel.name, 0, sizeof(parcel.name));
		if (more == 1)
			memcpy(parcel.name, lent.name, strnlen(lent.name, sizeof(lent.name) - 1));
		rc = send_parcel(sock, &parcel, more == 1 ? lent.fd : -1, agent->cancel_fd,
			self->timeout_ms);
		if (more == 0)
			return rc;
	}
	return rc == 0 ? -E2BIG : rc;
}

int
mig_handover_lend(struct wherry_agent *agent, const struct mig_uri *uri,
	const struct mig_hello *self, struct mig_reason *reason)
{
	int sock = mig_connect(uri, agent->cancel_fd, self->timeout_ms, reason), rc;

	if (sock < 0)
		return sock;
	rc = lend_all(agent, sock, self);
	close(sock);
	if (rc == -ECANCELED)
		return mig_fail(reason, rc, "cancelled");
	return rc == 0 ? 0
		       : mig_fail(reason, rc, "memory could not be handed over: %s", strerror(-rc));
}

/* The file that came along, or -1. More than one does not fit into the room. */
static int
file_of(struct msghdr *msg)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int fd = -1;

	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* The next parcel, whole; its file in *ret_fd, -1: none. */
static int
receive_parcel(int sock, struct parcel *parcel, int *ret_fd, int cancel_fd, unsigned int timeout_ms)
{
	union ancillary room;
	struct iovec iov = { .iov_base = parcel, .iov_len = sizeof(*parcel) };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room.bytes,
		.msg_controllen = sizeof(room.bytes) };
	ssize_t n;
	int rc = mig_wait(sock, POLLIN, cancel_fd, timeout_ms);

	*ret_fd = -1;
	if (rc <= 0)
		return rc == 0 ? -ETIMEDOUT : rc;
	n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	*ret_fd = file_of(&msg);
	if (n != (ssize_t)sizeof(*parcel) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
		return n == 0 ? -ECONNRESET : -EPROTO;
	parcel->name[sizeof(parcel->name) - 1] = '\0';
	return 0;
}

/* Which of our regions; n: none. */
static uint32_t
region_named(const struct mig_regions *regions, const char *name)
{
	uint32_t i = 0;

	while (i < regions->n && strcmp(regions->list[i].name, name) != 0)
		i++;
	return i;
}

static int
take(struct wherry_agent *agent, const struct mig_regions *regions, const struct parcel *parcel,
	int fd, bool *seen, struct mig_reason *reason)
{
	struct wherry_lent lent = { .fd = fd };
	uint32_t i = region_named(regions, parcel->name);
	int rc = fd < 0 || (i < regions->n && seen[i]) ? -EPROTO : 0;

	memcpy(lent.name, parcel->name, sizeof(lent.name));
	if (rc == 0)
		rc = wherry_fault("handover.borrow") ? -ENOMEM
						     : agent->ops.borrow(agent->ops.ctx, &lent);
	if (rc != 0)
		return mig_fail(reason, rc, "\"%s\" cannot be taken from the source: %s", lent.name,
			strerror(-rc));
	if (i < regions->n)
		seen[i] = true;
	return 0;
}

static int
check_complete(const struct mig_regions *regions, const bool *seen, struct mig_reason *reason)
{
	for (uint32_t i = 0; i < regions->n; i++)
		if (!seen[i])
			return mig_fail(reason, -EPROTO,
				"region \"%.64s\" was not handed over by the source",
				regions->list[i].name);
	return 0;
}

/* All parcels of a connection. -EACCES: it is a stranger's, and nothing was taken. */
static int
borrow_all(struct wherry_agent *agent, int sock, const struct mig_hello *peer,
	const struct mig_regions *regions, struct mig_reason *reason)
{
	bool seen[MIG_REGIONS_MAX] = { false };
	struct parcel parcel;

	for (unsigned int n = 0; n <= FILES_MAX; n++) {
		int fd;
		int rc = receive_parcel(sock, &parcel, &fd, agent->cancel_fd, peer->timeout_ms);

		if (rc != 0)
			mig_fail(reason, rc, "the source hands nothing over: %s", strerror(-rc));
		else if (memcmp(parcel.token, peer->token, sizeof(parcel.token)) != 0)
			rc = n == 0 ? -EACCES : mig_fail(reason, -EPROTO, "a wrong token");
		else if (parcel.name[0] != '\0')
			rc = take(agent, regions, &parcel, fd, seen, reason);
		else
			return check_complete(regions, seen, reason);
		if (rc != 0 && fd >= 0)
			close(fd);
		if (rc != 0)
			return rc;
	}
	return mig_fail(reason, -E2BIG, "the source hands over too much");
}

int
mig_handover_borrow(struct wherry_agent *agent, const struct mig_hello *peer,
	const struct mig_regions *regions, struct mig_reason *reason)
{
	uint64_t end = mig_now() + peer->timeout_ms * UINT64_C(1000000);
	struct mig_conn conn;
	int rc;

	do {
		rc = mig_porter_next(agent->porter, agent->cancel_fd, end, &conn);
		if (rc < 0)
			return mig_fail(reason, rc,
				rc == -ECANCELED ? "cancelled"
						 : "the source hands nothing over: %s",
				strerror(-rc));
		rc = mig_peer_is_ours(conn.fd) ? borrow_all(agent, conn.fd, peer, regions, reason)
					       : -EACCES;
		mig_conn_close(&conn);
		if (rc == -EACCES)
			LOG_WARN("a stranger connected and was sent away");
	} while (rc == -EACCES && mig_now() < end);
	return rc == -EACCES ? mig_fail(reason, rc, "only strangers connect") : rc;
}
