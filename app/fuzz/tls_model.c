/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS between two of our own sessions, with somebody between them who passes bytes on, or
 * changes, drops, repeats or makes up some, and with peers that have other keys, or are no
 * TLS at all. What must hold: with the right keys and nothing changed both are through, and bytes
 * come; who has not got the key is never through, whatever is done to the bytes; what comes
 * out is what went in, from its beginning, and never anything else; a failure says why in text.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "models.h"
#include "tls_priv.h"

#define STEPS 40u
#define PIECE 3000u /* bytes, sent in one step */

/* Who has which keys; the first one is what the server has. */
enum { PSK, PSK_OTHER_KEY, PSK_OTHER_NAME, CERT, CERT_OTHER, SETS };

struct end {
	int fd, far; /* the session's, and ours: of a pair */
	struct mig_tls_session *tls;
	bool through, dead;
	uint64_t sent, got;
	/* bytes on their way from it to the other */
	uint8_t way[65536];
	size_t on_way;
};

struct talk {
	struct fuzz_input *in;
	struct end ends[2]; /* client, server */
	bool changed;       /* something was done to the bytes */
};

/* ---- keys, made once ---- */

static const char *
keep(const void *bytes, size_t len)
{
	static char paths[8][32];
	static unsigned int n;
	int fd = memfd_create("keys", MFD_CLOEXEC);

	if (fd < 0 || fchmod(fd, 0600) != 0 || write(fd, bytes, len) != (ssize_t)len)
		return NULL;
	snprintf(paths[n], sizeof(paths[n]), "/proc/self/fd/%d", fd);
	return paths[n++];
}

static const char *
keep_pem(BIO *bio)
{
	char *bytes;
	long len = BIO_get_mem_data(bio, &bytes);
	const char *path = keep(bytes, (size_t)len);

	BIO_free(bio);
	return path;
}

/* One that signs itself: its own authority. */
static struct wherry_tls
make_cert(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	BIO *cert = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_mem());
	struct wherry_tls files = { .peer = "model" };

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -86400);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400L * 365);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
		(const unsigned char *)"model", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_set_pubkey(x, key);
	X509_sign(x, key, EVP_sha256());
	PEM_write_bio_X509(cert, x);
	PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL);
	files.cert = files.ca = keep_pem(cert);
	files.key = keep_pem(secret);
	X509_free(x);
	EVP_PKEY_free(key);
	return files;
}

static struct mig_tls *
make_tls(unsigned int set)
{
	static const char *const psks[] = { "model:000102030405060708090a0b0c0d0e0f",
		"model:ff0102030405060708090a0b0c0d0e0f",
		"other:000102030405060708090a0b0c0d0e0f" };
	struct wherry_tls files = { 0 };
	struct mig_tls *tls = NULL;

	if (set >= CERT)
		files = make_cert();
	else
		files.psk = keep(psks[set], strlen(psks[set]));
	return mig_tls_create(&files, &tls) == 0 ? tls : NULL;
}

static struct mig_tls *
tls_of(unsigned int set)
{
	static struct mig_tls *made[SETS];

	if (made[set] == NULL)
		made[set] = make_tls(set);
	return made[set];
}

/* ---- one end ---- */

static void
open_end(struct talk *t, unsigned int i, struct mig_tls *tls)
{
	struct end *e = &t->ends[i];
	struct mig_reason why;
	int fds[2] = { -1, -1 };

	FUZZ_EXPECT(t->in,
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	*e = (struct end){ .fd = fds[0], .far = fds[1] };
	FUZZ_EXPECT(t->in,
		tls != NULL &&
			mig_tls_session_create(
				tls, e->fd, i == 0 ? "elsewhere" : NULL, &e->tls, &why) == 0);
}

static void
close_end(struct end *e)
{
	mig_tls_session_destroy(e->tls);
	close(e->fd);
	if (e->far >= 0)
		close(e->far);
}

static void
failed(struct talk *t, struct end *e, int rc)
{
	const char *why = mig_tls_why(e->tls);

	FUZZ_EXPECT(t->in, rc == -EKEYREJECTED || rc == -ECONNRESET || rc == -EPIPE);
	FUZZ_EXPECT(t->in, fuzz_is_utf8(why));
	e->dead = true;
}

static uint8_t
byte_at(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 8));
}

static void
send_some(struct talk *t, struct end *e)
{
	uint8_t bytes[PIECE];
	ssize_t n;

	for (unsigned int i = 0; i < PIECE; i++)
		bytes[i] = byte_at(e->sent + i);
	n = mig_tls_send(e->tls, bytes, 1 + fuzz_below(t->in, PIECE));
	if (n >= 0)
		e->sent += (uint64_t)n;
	else if (n != -EAGAIN)
		failed(t, e, (int)n);
}

/* From the beginning, in order, and no more than was sent. */
static void
receive_all(struct talk *t, struct end *e, const struct end *from)
{
	uint8_t bytes[2 * PIECE] = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	ssize_t n;

	while (!e->dead && (n = mig_tls_recv(e->tls, &iov, 1)) != -EAGAIN) {
		if (n <= 0) {
			if (n < 0)
				failed(t, e, (int)n);
			e->dead = true;
			return;
		}
		for (ssize_t i = 0; i < n; i++)
			FUZZ_EXPECT(t->in, bytes[i] == byte_at(e->got + (uint64_t)i));
		e->got += (uint64_t)n;
		FUZZ_EXPECT(t->in, e->got <= from->sent);
	}
}

static void
step(struct talk *t, struct end *e, const struct end *other)
{
	int rc;

	if (e->tls == NULL || e->dead)
		return;
	if (!e->through) {
		rc = mig_tls_handshake(e->tls);
		if (rc < 0)
			failed(t, e, rc);
		e->through = rc == 0;
		return;
	}
	send_some(t, e);
	receive_all(t, e, other);
}

/* ---- between them ---- */

static void
change(struct talk *t, struct end *from)
{
	size_t len = from->on_way;
	uint64_t how = fuzz_below(t->in, 24);

	if (how < 1 || how > 5)
		return;
	t->changed = true;
	if (how == 1 && len > 0)
		from->way[fuzz_take(t->in, 2) % len] ^= (uint8_t)(1u << fuzz_below(t->in, 8));
	else if (how == 2 && len > 0)
		from->on_way -= fuzz_take(t->in, 2) % len;
	else if (how == 3)
		for (uint64_t n = fuzz_below(t->in, 64); n > 0; n--)
			from->way[from->on_way++] = (uint8_t)fuzz_take(t->in, 1);
	else if (how == 4 && 2 * len <= sizeof(from->way) / 2)
		memcpy(from->way + len, from->way, len), from->on_way += len;
}

/* All, or the first of it. */
static void
pass_on(struct talk *t, struct end *from, struct end *to)
{
	ssize_t n;

	if (from->far >= 0 && from->on_way < sizeof(from->way) / 4) {
		n = recv(from->far, from->way + from->on_way, sizeof(from->way) / 4, 0);
		if (n > 0) {
			from->on_way += (size_t)n;
			change(t, from);
		}
	}
	if (from->on_way == 0 || to->far < 0)
		return;
	n = send(to->far, from->way,
		fuzz_below(t->in, 8) == 1 ? 1 + fuzz_take(t->in, 2) % from->on_way : from->on_way,
		MSG_NOSIGNAL);
	if (n > 0) {
		from->on_way -= (size_t)n;
		memmove(from->way, from->way + n, from->on_way);
	}
}

/* Anything at all, and no TLS. */
static void
be_a_stranger(struct talk *t)
{
	struct end *e = &t->ends[0];

	for (uint64_t n = fuzz_take(t->in, 1); n > 0; n--)
		e->way[e->on_way++] = (uint8_t)fuzz_take(t->in, 1);
	t->changed = true;
}

static void
talk(struct talk *t, bool stranger)
{
	for (unsigned int i = 0; i < STEPS && t->in->failed == NULL; i++) {
		if (stranger && fuzz_more(t->in))
			be_a_stranger(t);
		if (!stranger)
			step(t, &t->ends[0], &t->ends[1]);
		pass_on(t, &t->ends[0], &t->ends[1]);
		step(t, &t->ends[1], &t->ends[0]);
		pass_on(t, &t->ends[1], &t->ends[0]);
		if (t->ends[0].dead && t->ends[1].dead)
			break;
	}
}

static void
check(struct talk *t, unsigned int client, unsigned int server, bool stranger)
{
	const struct end *c = &t->ends[0], *s = &t->ends[1];

	if (stranger || client != server)
		FUZZ_EXPECT(t->in, !s->through);
	if (!stranger && client != server && server >= CERT)
		FUZZ_EXPECT(t->in, !c->through);
	if (!stranger && client == server && !t->changed) {
		FUZZ_EXPECT(t->in, c->through && s->through && !c->dead && !s->dead);
		FUZZ_EXPECT(t->in, c->got > 0 && s->got > 0);
	}
}

const char *
tls_model_run(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { .next = data, .end = data + len };
	static struct talk t;
	bool stranger = fuzz_below(&in, 8) == 1;
	unsigned int server = fuzz_below(&in, 4) == 1 ? CERT : PSK, client = server;

	if (fuzz_below(&in, 4) == 1)
		client = (unsigned int)fuzz_below(&in, SETS);
	t.in = &in;
	t.changed = false;
	open_end(&t, 0, tls_of(client));
	open_end(&t, 1, tls_of(server));
	if (in.failed == NULL) {
		talk(&t, stranger);
		check(&t, client, server, stranger);
	}
	close_end(&t.ends[0]);
	close_end(&t.ends[1]);
	t.in = NULL;
	return in.failed;
}
