/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONN_PRIV_H
#define CONN_PRIV_H

/*
 * One connection of a migration: a socket, and TLS on it if there are keys and it is TCP.
 * A channel owns one; nobody above it knows which kind it is. Small, and moved about by
 * value; nothing in here waits but dial.
 */

#include <sys/types.h>

#include "tls_priv.h"
#include "uri_priv.h"

struct mig_conn {
	int fd;
	struct mig_tls_session *tls; /* NULL: plain */
};

/*
 * Connect, and prove who both are, within timeout_ms for each address and as long for the
 * proof. tls: NULL if there are no keys. Errors of mig_connect and mig_tls_handshake, with
 * the reason.
 */
int mig_conn_dial(const struct mig_uri *uri, struct mig_tls *tls, int cancel_fd,
	unsigned int timeout_ms, struct mig_conn *ret_conn, struct mig_reason *reason);
void mig_conn_close(struct mig_conn *conn);

/* Some of len bytes, and what is owed; how many of them, -EAGAIN: nothing moved, -errno. */
ssize_t mig_conn_send(struct mig_conn *conn, const void *bytes, size_t len);
/* The same of n pieces, plain connections only. */
ssize_t mig_conn_send_pieces(struct mig_conn *conn, struct iovec *iov, size_t n);
/* It has taken bytes that have not been handed over: send, if with 0 bytes. */
bool mig_conn_owes(const struct mig_conn *conn);
/* Into n pieces what is there; 0: the end; -EAGAIN: nothing now; -errno. */
ssize_t mig_conn_recv(struct mig_conn *conn, struct iovec *iov, size_t n);
/* There may be bytes that the socket does not know of. */
bool mig_conn_has_more(const struct mig_conn *conn);
/* Why the last call failed, for people; "": the errno says all. */
const char *mig_conn_why(const struct mig_conn *conn);
/* Who is at the other end, as far as it had to prove that. */
void mig_conn_identity(const struct mig_conn *conn, struct mig_identity *ret_identity);

#endif /* CONN_PRIV_H */
