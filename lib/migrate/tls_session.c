/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection. OpenSSL reads from the socket and writes into the buffer of what is
 * owed through a BIO of ours: it never blocks, and no signal comes of a peer that has gone.
 * A record is only made when the buffer has room for all of it, so making one never has
 * to be tried again.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base_priv.h"
#include "tls_session_priv.h"

#define RECORD ((size_t)16384) /* bytes of the caller's in a record */
#define ROOM (RECORD + 1024)   /* for a record, and a change of keys before it */
#define OWED_FIRST (2 * ROOM)  /* while it is not known who it is */
#define OWED_MAX (8 * ROOM)

struct mig_tls_session {
	SSL *ssl;
	struct mig_tls_keys *keys;
	int fd;
	bool is_server;
	bool drained;  /* OpenSSL has given all it had: the socket tells when there is more */
	bool end;      /* the peer has closed */
	int rc;        /* of the socket, when it failed */
	int broken;    /* what receiving came to */
	uint8_t *owed; /* from begin to end of cap bytes */
	size_t begin, end_at, cap;
	uint64_t rekey_bytes, since_rekey;
	struct mig_identity identity;
	char peer[160];
	struct mig_reason why;
};

/* ---- between OpenSSL and the socket ---- */

static int
bio_read(BIO *bio, char *buf, int len)
{
	struct mig_tls_session *s = BIO_get_data(bio);
	ssize_t n = wherry_fault("tls.read") ? (errno = ECONNRESET, -1)
					     : recv(s->fd, buf, (size_t)len, MSG_DONTWAIT);

	BIO_clear_retry_flags(bio);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (n < 0)
		s->rc = -errno;
	else if (n == 0)
		s->end = true;
	return (int)n;
}

static int
bio_write(BIO *bio, const char *buf, int len)
{
	struct mig_tls_session *s = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if ((size_t)len > s->cap - s->end_at) {
		BIO_set_retry_write(bio);
		return -1;
	}
	memcpy(s->owed + s->end_at, buf, (size_t)len);
	s->end_at += (size_t)len;
	return len;
}

static long
bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void
make_method(void)
{
	method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "wherry");
	if (method == NULL)
		return;
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
}

static BIO *
new_bio(struct mig_tls_session *s)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio;

	pthread_once(&once, make_method);
	bio = method != NULL ? BIO_new(method) : NULL;
	if (bio == NULL)
		return NULL;
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	return bio;
}

/* Hand over what is owed. 1: some of it went; 0: none; -errno. */
static int
flush(struct mig_tls_session *s)
{
	ssize_t n;

	if (s->begin == s->end_at)
		return 0;
	n = wherry_fault("tls.write") ? (errno = EPIPE, -1)
				      : send(s->fd, s->owed + s->begin, s->end_at - s->begin,
						MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	s->begin += (size_t)n;
	if (s->begin == s->end_at)
		s->begin = s->end_at = 0;
	return 1;
}

/* ---- pre-shared keys ---- */

static SSL_SESSION *
psk_session(SSL *ssl, const struct mig_psk *psk)
{
	static const unsigned char suite[] = { 0x13, 0x01 }; /* TLS_AES_128_GCM_SHA256 */
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suite);
	SSL_SESSION *session = SSL_SESSION_new();

	if (session != NULL && cipher != NULL &&
		SSL_SESSION_set1_master_key(session, psk->key, psk->len) == 1 &&
		SSL_SESSION_set_cipher(session, cipher) == 1 &&
		SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
		return session;
	SSL_SESSION_free(session);
	return NULL;
}

static int
know_psk(struct mig_tls_session *s, const struct mig_psk *psk)
{
	snprintf(s->peer, sizeof(s->peer), "the pre-shared key \"%s\"", psk->identity);
	return EVP_Digest(
		psk->identity, strlen(psk->identity), s->identity.hash, NULL, EVP_sha256(), NULL);
}

/* We have connected: the first key of the file is ours. */
static int
use_psk(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *idlen, SSL_SESSION **ret)
{
	struct mig_tls_session *s = SSL_get_app_data(ssl);
	const struct mig_psk *psk = &s->keys->psk[0];

	*ret = NULL;
	*id = NULL;
	*idlen = 0;
	if (md != NULL && !EVP_MD_is_a(md, "SHA256"))
		return 1; /* it wants another hash than the keys are for: without one */
	*ret = psk_session(ssl, psk);
	if (*ret == NULL || know_psk(s, psk) != 1)
		return 0;
	*id = (const unsigned char *)psk->identity;
	*idlen = strlen(psk->identity);
	return 1;
}

static int
find_psk(SSL *ssl, const unsigned char *id, size_t idlen, SSL_SESSION **ret)
{
	struct mig_tls_session *s = SSL_get_app_data(ssl);
	const struct mig_psk *psk = mig_tls_keys_find(s->keys, id, idlen);

	*ret = psk != NULL ? psk_session(ssl, psk) : NULL;
	return psk == NULL || (*ret != NULL && know_psk(s, psk) == 1);
}

/* ---- from nothing to a proved peer ---- */

/* An address has to stand in the certificate as one. */
static int
expect_name(SSL *ssl, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
		return 1;
	ERR_clear_error();
	return X509_VERIFY_PARAM_set1_host(param, name, 0);
}

static int
set_up(struct mig_tls_session *s, const struct mig_tls_session_opts *opts)
{
	static const unsigned char context[] =
		"wherry"; /* a server has one, though it keeps none */
	BIO *bio;

	s->ssl = wherry_fault("tls.ssl") ? NULL : SSL_new(s->keys->ctx);
	if (s->ssl == NULL || SSL_set_app_data(s->ssl, s) != 1)
		return -ENOMEM;
	bio = new_bio(s);
	if (bio == NULL)
		return -ENOMEM;
	SSL_set_bio(s->ssl, bio, bio);
	if (s->keys->n_psk > 0) {
		SSL_set_psk_use_session_callback(s->ssl, use_psk);
		SSL_set_psk_find_session_callback(s->ssl, find_psk);
	} else if (opts->name != NULL && expect_name(s->ssl, opts->name) != 1) {
		return -ENOMEM;
	}
	if (!opts->is_server) {
		SSL_set_connect_state(s->ssl);
		return 0;
	}
	SSL_set_accept_state(s->ssl);
	return SSL_set_session_id_context(s->ssl, context, sizeof(context)) == 1 ? 0 : -ENOMEM;
}

int
mig_tls_session_begin(struct mig_tls_keys *keys, const struct mig_tls_session_opts *opts,
	struct mig_tls_session **ret_session)
{
	struct mig_tls_session *s = wherry_fault("tls.session") ? NULL : calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->keys = mig_tls_keys_get(keys);
	s->fd = opts->fd;
	s->is_server = opts->is_server;
	s->rekey_bytes = opts->rekey_bytes;
	s->cap = OWED_FIRST;
	s->owed = malloc(s->cap);
	if (s->owed == NULL || set_up(s, opts) != 0) {
		mig_tls_session_destroy(s);
		ERR_clear_error();
		return -ENOMEM;
	}
	*ret_session = s;
	return 0;
}

void
mig_tls_session_destroy(struct mig_tls_session *s)
{
	if (s == NULL)
		return;
	SSL_free(s->ssl);
	mig_tls_keys_put(s->keys);
	free(s->owed);
	free(s);
}

/* What the other side has against us, as it says; NULL: it says nothing of the kind. */
static const char *
its_objection(int reason)
{
	switch (reason) {
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
		return "it does not accept our certificate: is it signed by its CA, and for the name it expects?";
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
		return "it says that our certificate has expired";
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return "it wants a certificate of us, and we have none";
	case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
	case SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER:
		return "it does not accept our key: is the pre-shared key the same on both sides?";
	case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
		return "it has nothing in common with us: certificates on one side and a pre-shared key on the other, or an identity it does not know?";
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		return "it does not speak TLS 1.3";
	default:
		return NULL;
	}
}

/* What we have against it; NULL: it is not known in our words. */
static const char *
our_objection(int reason)
{
	switch (reason) {
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_PACKET_LENGTH_TOO_LONG:
	case SSL_R_BAD_RECORD_TYPE:
	case SSL_R_UNEXPECTED_MESSAGE:
		return "it does not speak TLS: was one side started without keys?";
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
		return "it does not speak TLS 1.3";
	case SSL_R_BINDER_DOES_NOT_VERIFY:
		return "its pre-shared key is another one than ours of that identity";
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return "it has shown no certificate";
	case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
	case SSL_R_NO_SHARED_CIPHER:
	case SSL_R_NO_CERTIFICATE_SET:
		return "it has nothing in common with us: certificates on one side and a pre-shared key on the other, or an identity we do not know?";
	default:
		return NULL;
	}
}

/* SSL failed: -EKEYREJECTED with why, or what became of the socket. */
static int
explain(struct mig_tls_session *s)
{
	unsigned long error = ERR_peek_error();
	long verdict = SSL_get_verify_result(s->ssl);
	int reason = ERR_GET_REASON(error);
	const char *why = its_objection(reason);

	why = why != NULL ? why : our_objection(reason);
	ERR_clear_error();
	if (s->rc != 0)
		return mig_fail(&s->why, s->rc, "%s", strerror(-s->rc));
	if (verdict != X509_V_OK)
		return mig_fail(&s->why, -EKEYREJECTED, "its certificate is not accepted: %s",
			X509_verify_cert_error_string(verdict));
	if (why != NULL)
		return mig_fail(&s->why, -EKEYREJECTED, "%s", why);
	if (s->end || error == 0)
		return mig_fail(&s->why, -ECONNRESET, "it has closed the connection");
	why = ERR_reason_error_string(error);
	return mig_fail(&s->why, -EKEYREJECTED, "%s", why != NULL ? why : "broken");
}

static int
know_certificate(struct mig_tls_session *s)
{
	X509 *x = SSL_get1_peer_certificate(s->ssl);
	int ok = x != NULL && SSL_get_verify_result(s->ssl) == X509_V_OK &&
		X509_pubkey_digest(x, EVP_sha256(), s->identity.hash, NULL) == 1;

	if (ok)
		X509_NAME_oneline(X509_get_subject_name(x), s->peer, sizeof(s->peer));
	X509_free(x);
	return ok;
}

/* OpenSSL has been told all of this; a mistake here would be the worst there is. */
static int
check_peer(struct mig_tls_session *s)
{
	bool ok = SSL_version(s->ssl) == TLS1_3_VERSION &&
		(s->keys->n_psk > 0 ? SSL_session_reused(s->ssl) == 1 : know_certificate(s) == 1);
	uint8_t *owed;

	if (!ok || wherry_fault("tls.peer"))
		return mig_fail(&s->why, -EKEYREJECTED, "it has not proved who it is");
	owed = wherry_fault("tls.grow") ? NULL : realloc(s->owed, OWED_MAX);
	if (owed == NULL)
		return mig_no_memory(&s->why);
	s->owed = owed;
	s->cap = OWED_MAX;
	return 0;
}

int
mig_tls_handshake(struct mig_tls_session *s)
{
	int done, error, rc;

	ERR_clear_error();
	done = SSL_do_handshake(s->ssl);
	error = SSL_get_error(s->ssl, done);
	rc = flush(s); /* also what it should hear of a failure */
	if (done != 1 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
		return explain(s);
	if (rc < 0)
		return mig_fail(&s->why, rc, "%s", strerror(-rc));
	if (mig_tls_owes(s) || error == SSL_ERROR_WANT_WRITE)
		return POLLOUT;
	return done == 1 ? check_peer(s) : POLLIN;
}

/* ---- bytes ---- */

static int
change_key_if_due(struct mig_tls_session *s)
{
	if (s->since_rekey < s->rekey_bytes)
		return 1;
	s->since_rekey = 0;
	return SSL_key_update(s->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
}

/* One record more. How many bytes it took; 0: there is no room; -errno. */
static ssize_t
seal(struct mig_tls_session *s, const uint8_t *bytes, size_t len)
{
	size_t n = 0;

	if (len == 0 || s->cap - s->end_at < ROOM)
		return 0;
	ERR_clear_error();
	if (change_key_if_due(s) != 1 ||
		SSL_write_ex(s->ssl, bytes, len < RECORD ? len : RECORD, &n) != 1)
		return explain(s);
	s->since_rekey += n;
	return (ssize_t)n;
}

ssize_t
mig_tls_send(struct mig_tls_session *s, const void *bytes, size_t len)
{
	const uint8_t *from = bytes;
	size_t taken = 0;
	bool moved = false;
	int rc;

	do {
		ssize_t n;

		while ((n = seal(s, from + taken, len - taken)) > 0)
			taken += (size_t)n;
		if (n < 0)
			return n;
		rc = flush(s);
		if (rc < 0)
			return mig_fail(&s->why, rc, "%s", strerror(-rc));
		moved = moved || rc == 1;
	} while (taken < len && !mig_tls_owes(s));
	return taken > 0 || moved ? (ssize_t)taken : -EAGAIN;
}

bool
mig_tls_owes(const struct mig_tls_session *s)
{
	return s->begin != s->end_at;
}

/* Into one piece; less than it wants: there is no more, or *ret_rc. */
static size_t
open_piece(struct mig_tls_session *s, struct iovec piece, int *ret_rc)
{
	uint8_t *to = piece.iov_base;
	size_t got = 0, n;
	int error;

	while (got < piece.iov_len && SSL_read_ex(s->ssl, to + got, piece.iov_len - got, &n) == 1)
		got += n;
	if (got == piece.iov_len)
		return got;
	error = SSL_get_error(s->ssl, 0);
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
		s->drained = true;
		*ret_rc = -EAGAIN;
	} else if (error == SSL_ERROR_ZERO_RETURN || (s->end && s->rc == 0)) {
		s->end = true;
		*ret_rc = 0;
	} else {
		*ret_rc = s->broken = explain(s);
	}
	return got;
}

ssize_t
mig_tls_recv(struct mig_tls_session *s, const struct iovec *iov, size_t n)
{
	size_t total = 0;
	int rc = -EAGAIN;

	if (s->broken != 0)
		return s->broken;
	s->drained = false;
	ERR_clear_error();
	for (size_t i = 0; i < n; i++) {
		size_t got = open_piece(s, iov[i], &rc);

		total += got;
		if (got < iov[i].iov_len)
			break;
	}
	ERR_clear_error();
	return total > 0 ? (ssize_t)total : rc;
}

bool
mig_tls_has_more(const struct mig_tls_session *s)
{
	return !s->drained;
}

const char *
mig_tls_why(const struct mig_tls_session *s)
{
	return s->why.text;
}

const char *
mig_tls_peer(const struct mig_tls_session *s)
{
	return s->peer;
}

void
mig_tls_identity(const struct mig_tls_session *s, struct mig_identity *ret_identity)
{
	*ret_identity = s->identity;
}
