/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base_priv.h"
#include "conn_priv.h"
#include "socket_priv.h"

/* Until the proof is done; -ETIMEDOUT, -ECANCELED or what it failed of. */
static int
shake_hands(struct mig_conn *conn, int cancel_fd, unsigned int timeout_ms)
{
	uint64_t end = mig_now() + timeout_ms * UINT64_C(1000000);
	int rc = mig_tls_handshake(conn->tls);

	while (rc > 0) {
		uint64_t now = mig_now();

		rc = now < end ? mig_wait(conn->fd, (short)rc, cancel_fd,
					 (unsigned int)((end - now + 999999) / 1000000))
			       : 0;
		if (rc == 0)
			return -ETIMEDOUT;
		if (rc > 0)
			rc = mig_tls_handshake(conn->tls);
	}
	return rc;
}

static int
fail_handshake(
	const struct mig_uri *uri, const struct mig_conn *conn, int rc, struct mig_reason *reason)
{
	const char *why = mig_tls_why(conn->tls);

	if (rc == -ECANCELED)
		return mig_fail(reason, rc, "cancelled");
	if (rc == -ETIMEDOUT)
		why = "it is silent: was it started without keys?";
	return mig_fail(reason, rc, "no TLS with the destination at %.60s port %s: %s", uri->host,
		uri->port, *why != '\0' ? why : strerror(-rc));
}

int
mig_conn_dial(const struct mig_uri *uri, struct mig_tls *tls, int cancel_fd,
	unsigned int timeout_ms, struct mig_conn *ret_conn, struct mig_reason *reason)
{
	struct mig_conn conn = { .fd = mig_connect(uri, cancel_fd, timeout_ms, reason) };
	int rc;

	if (conn.fd < 0)
		return conn.fd;
	if (tls != NULL && !uri->is_unix) {
		rc = mig_tls_session_create(tls, conn.fd, uri->host, &conn.tls, reason);
		if (rc != 0)
			goto close;
		rc = shake_hands(&conn, cancel_fd, timeout_ms);
		if (rc != 0) {
			fail_handshake(uri, &conn, rc, reason);
			goto close;
		}
	}
	*ret_conn = conn;
	return 0;
close:
	mig_conn_close(&conn);
	return rc;
}

void
mig_conn_close(struct mig_conn *conn)
{
	mig_tls_session_destroy(conn->tls);
	if (conn->fd >= 0)
		close(conn->fd);
	*conn = (struct mig_conn){ .fd = -1 };
}

ssize_t
mig_conn_send(struct mig_conn *conn, const void *bytes, size_t len)
{
	ssize_t n;

	if (conn->tls != NULL)
		return mig_tls_send(conn->tls, bytes, len);
	n = send(conn->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	return errno == EINTR ? -EAGAIN : -errno;
}

ssize_t
mig_conn_send_pieces(struct mig_conn *conn, struct iovec *iov, size_t n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t sent = sendmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent >= 0)
		return sent;
	return errno == EINTR ? -EAGAIN : -errno;
}

bool
mig_conn_owes(const struct mig_conn *conn)
{
	return conn->tls != NULL && mig_tls_owes(conn->tls);
}

ssize_t
mig_conn_recv(struct mig_conn *conn, struct iovec *iov, size_t n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t got;

	if (conn->tls != NULL)
		return mig_tls_recv(conn->tls, iov, n);
	got = recvmsg(conn->fd, &msg, MSG_DONTWAIT);
	if (got >= 0)
		return got;
	return errno == EINTR ? -EAGAIN : -errno;
}

bool
mig_conn_has_more(const struct mig_conn *conn)
{
	return conn->tls != NULL && mig_tls_has_more(conn->tls);
}

const char *
mig_conn_why(const struct mig_conn *conn)
{
	return conn->tls != NULL ? mig_tls_why(conn->tls) : "";
}

void
mig_conn_identity(const struct mig_conn *conn, struct mig_identity *ret_identity)
{
	*ret_identity = (struct mig_identity){ { 0 } };
	if (conn->tls != NULL)
		mig_tls_identity(conn->tls, ret_identity);
}
