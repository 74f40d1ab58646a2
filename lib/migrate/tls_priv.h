/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TLS_PRIV_H
#define TLS_PRIV_H

/*
 * TLS 1.3 on a connected socket, both sides authenticated, by certificates or by a
 * pre-shared key. mig_tls is what one agent, or one migration, has been given: names of
 * files. They are looked at anew for each connection, so that new keys need no restart;
 * new files that are no good are said to be, and those before them stay in use.
 *
 * A session is one connection. Nothing in here waits: who calls waits for the socket.
 * Bytes are decrypted straight into the memory they are for. What is sent is encrypted
 * into a buffer of the session first, up to eight records, and goes out with one call to
 * the kernel: while the session owes, what it has taken has not all been handed over.
 * No ticket, no resumption, no early data; after 32 GiB in one direction the key changes.
 *
 * mig_tls may be used by any thread, a session by one at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "reason_priv.h"
#include "wherry_migrate.h"

struct mig_tls;
struct mig_tls_session;

/* Who somebody has proved to be: a hash of the key; all zeroes: it did not have to. */
struct mig_identity {
	uint8_t hash[32];
};

/* Is a set of files given at all, and one that makes sense? NULL, or what does not. */
bool mig_tls_is_wanted(const struct wherry_tls *files);
const char *mig_tls_check(const struct wherry_tls *files);

/* Remember the names; nothing is read yet. *ret_tls is NULL if none is given. -EINVAL, -ENOMEM. */
int mig_tls_create(const struct wherry_tls *files, struct mig_tls **ret_tls);
/* NULL is fine; sessions go on. */
void mig_tls_destroy(struct mig_tls *tls);
/* Read the files if they are not those that were read last. An error only if none was ever good. */
int mig_tls_refresh(struct mig_tls *tls, struct mig_reason *reason);
/* From here on connections go by the keys in use now, until let_go. NULL is fine; as is twice. */
void mig_tls_hold(struct mig_tls *tls);
void mig_tls_let_go(struct mig_tls *tls);
/*
 * Read the files now, and use what they say from the next migration on. An error with the
 * reason: something is wrong with them, and those before stay in use. NULL: -ENOENT.
 */
int mig_tls_reload(struct mig_tls *tls, struct mig_reason *reason);
/* For tests: keys change after so many bytes. */
void mig_tls_set_rekey(struct mig_tls *tls, uint64_t bytes);

/*
 * Begin on a socket, which stays the caller's and outlives the session. host: we have
 * connected to it, and its certificate has to be for that name unless another was given;
 * NULL: it has connected to us. Errors of refresh.
 */
int mig_tls_session_create(struct mig_tls *tls, int fd, const char *host,
	struct mig_tls_session **ret_session, struct mig_reason *reason);
/* Forget it. NULL is fine. */
void mig_tls_session_destroy(struct mig_tls_session *s);
/*
 * Go on with the handshake. 0: both are who they should be; POLLIN, POLLOUT or both: when
 * the socket is ready for that; -EKEYREJECTED: one is not, or it is no TLS 1.3;
 * -ECONNRESET: it has gone; -ENOMEM. A peer that has connected hears why ours failed
 * only after it: the first bytes received fail then.
 */
int mig_tls_handshake(struct mig_tls_session *s);
/* Some of len bytes, and what is owed; how many of them, -EAGAIN: nothing moved, -errno. */
ssize_t mig_tls_send(struct mig_tls_session *s, const void *bytes, size_t len);
bool mig_tls_owes(const struct mig_tls_session *s);
/* As recvmsg: bytes there are, into n pieces; 0: the end; -EAGAIN: none now; -errno. */
ssize_t mig_tls_recv(struct mig_tls_session *s, const struct iovec *iov, size_t n);
/* There may be bytes which the socket does not know of: do not wait for it. */
bool mig_tls_has_more(const struct mig_tls_session *s);
/* Why the last call failed, for people. "": it is no matter of TLS. */
const char *mig_tls_why(const struct mig_tls_session *s);
/* Who it is, once the handshake is done, for people. */
const char *mig_tls_peer(const struct mig_tls_session *s);
/* Which key proved it, once the handshake is done. */
void mig_tls_identity(const struct mig_tls_session *s, struct mig_identity *ret_identity);

#endif /* TLS_PRIV_H */
