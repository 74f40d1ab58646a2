/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key files into what OpenSSL wants. A file is read whole before it is parsed, from the
 * descriptor whose mode was checked; the copy is wiped. Nobody is ever asked for a
 * passphrase: a server has no terminal.
 */
#define LOG_PREFIX "migrate/tls"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "tls_keys_priv.h"

/* The hash of the first is the one that a pre-shared key goes with. */
#define SUITES "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
#define CHAIN_MAX 32768 /* bytes of a peer's certificates */
#define CHAIN_DEPTH 4
#define READ_AHEAD 131072

struct text {
	char *bytes; /* ends with a 0 */
	size_t len;
};

static void
wipe(struct text *text)
{
	if (text->bytes != NULL)
		OPENSSL_cleanse(text->bytes, text->len);
	free(text->bytes);
}

/* Who may read a secret, besides root: its owner, and that is us. */
static int
check_mode(int fd, const char *path, mode_t forbidden, struct mig_reason *reason)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return mig_fail(reason, -EACCES, "%.200s is no file that can be read", path);
	if ((st.st_mode & forbidden) != 0)
		return mig_fail(
			reason, -EACCES, "others may read %.150s: chmod 600 is needed", path);
	if (forbidden != 0 && st.st_uid != geteuid() && st.st_uid != 0)
		return mig_fail(
			reason, -EACCES, "%.150s belongs to another user: chown is needed", path);
	return 0;
}

static int
read_all(int fd, struct text *text)
{
	ssize_t n = 1;

	text->bytes = wherry_fault("tls.file") ? NULL : calloc(1, MIG_TLS_FILE_MAX + 1);
	if (text->bytes == NULL)
		return -ENOMEM;
	while (n > 0 && text->len < MIG_TLS_FILE_MAX) {
		n = wherry_sys->pread(fd, text->bytes + text->len, MIG_TLS_FILE_MAX - text->len,
			(off_t)text->len);
		if (n < 0)
			return (int)n;
		text->len += (size_t)n;
	}
	return text->len < MIG_TLS_FILE_MAX ? 0 : -EINVAL;
}

/* forbidden: bits that its mode may not have. The text is the caller's to wipe, also on failure. */
static int
read_file(const char *path, mode_t forbidden, struct text *text, struct mig_reason *reason)
{
	int fd = wherry_sys->open(path, O_RDONLY | O_NONBLOCK);
	int rc = fd < 0 ? fd : check_mode(fd, path, forbidden, reason);

	if (fd < 0)
		return mig_fail(reason, rc, "cannot read %.200s: %s", path, strerror(-rc));
	if (rc == 0) {
		rc = read_all(fd, text);
		if (rc != 0)
			mig_fail(reason, rc, "cannot read %.200s: %s", path,
				rc == -EINVAL ? "it is too long" : strerror(-rc));
	}
	wherry_sys->close(fd);
	return rc;
}

static int
no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)ctx;
	return -1;
}

/* The first certificate is ours, the others lead to the CA. */
static int
use_certificates(SSL_CTX *ctx, BIO *bio)
{
	X509 *x = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	int ok = x != NULL && SSL_CTX_use_certificate(ctx, x) == 1;

	if (ok && X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
		LOG_WARN("our certificate has expired: peers will refuse it");
	X509_free(x);
	while (ok && (x = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
		ok = SSL_CTX_add1_chain_cert(ctx, x) == 1;
		X509_free(x);
	}
	return ok;
}

static int
use_key(SSL_CTX *ctx, BIO *bio)
{
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	int ok = key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
		SSL_CTX_check_private_key(ctx) == 1;

	EVP_PKEY_free(key);
	return ok;
}

static int
use_authorities(SSL_CTX *ctx, BIO *bio)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509 *x;
	int n = 0, ok = 1;

	while (ok && (x = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
		ok = X509_STORE_add_cert(store, x);
		X509_free(x);
		n++;
	}
	return ok && n > 0;
}

/* Every authority of a peer's chain has to have one here from then on, and a valid one. */
static int
use_revocations(SSL_CTX *ctx, BIO *bio)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509_CRL *crl;
	int n = 0, ok = 1;

	while (ok && (crl = PEM_read_bio_X509_CRL(bio, NULL, no_passphrase, NULL)) != NULL) {
		ok = X509_STORE_add_crl(store, crl);
		X509_CRL_free(crl);
		n++;
	}
	return ok && n > 0 &&
		X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx),
			X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
}

struct pem {
	const char *path; /* NULL: there is none */
	mode_t forbidden;
	int (*use)(SSL_CTX *ctx, BIO *bio);
	const char *wrong; /* what is, if use fails */
};

static int
load_pem(SSL_CTX *ctx, const struct pem *pem, struct mig_reason *reason)
{
	struct text text = { 0 };
	int rc = read_file(pem->path, pem->forbidden, &text, reason);
	BIO *bio = rc == 0 ? BIO_new_mem_buf(text.bytes, (int)text.len) : NULL;

	if (rc == 0 && bio == NULL)
		rc = mig_no_memory(reason);
	if (rc == 0 && !pem->use(ctx, bio))
		rc = mig_fail(reason, -EINVAL, "%.150s: %s", pem->path, pem->wrong);
	BIO_free(bio);
	wipe(&text);
	ERR_clear_error();
	return rc;
}

static int
load_certificates(SSL_CTX *ctx, const struct mig_tls_files *files, struct mig_reason *reason)
{
	const struct pem pems[] = {
		{ files->cert, 0, use_certificates, "no certificate in PEM that is fit for use" },
		{ files->key, S_IRWXO, use_key,
			"not the private key of the certificate, in PEM and without a passphrase" },
		{ files->ca, 0, use_authorities, "no certificate of a CA, in PEM" },
		{ files->crl, 0, use_revocations, "no revocation list, in PEM" },
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(pems) / sizeof(pems[0]); i++)
		rc = pems[i].path != NULL ? load_pem(ctx, &pems[i], reason) : 0;
	return rc;
}

static int
digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c != '\0' ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

/* How many bytes; 0: these are no hex digits, too few or too many. */
static size_t
read_hex(const char *hex, uint8_t *key)
{
	size_t len = strlen(hex);

	if (len % 2 != 0 || len < (size_t)2 * MIG_PSK_KEY_MIN || len > (size_t)2 * MIG_PSK_KEY_MAX)
		return 0;
	for (size_t i = 0; i < len / 2; i++) {
		int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return 0;
		key[i] = (uint8_t)(high << 4 | low);
	}
	return len / 2;
}

/* IDENTITY:HEX */
static bool
read_psk(char *line, struct mig_psk *psk)
{
	char *colon = strchr(line, ':');
	size_t len = colon != NULL ? (size_t)(colon - line) : 0;

	if (len == 0 || len > MIG_PSK_ID_MAX)
		return false;
	memcpy(psk->identity, line, len);
	psk->identity[len] = '\0';
	psk->len = read_hex(colon + 1, psk->key);
	return psk->len != 0;
}

static int
parse_psks(struct mig_tls_keys *keys, const char *path, char *text, struct mig_reason *reason)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\r\n", &rest); line != NULL;
		line = strtok_r(NULL, "\r\n", &rest)) {
		if (line[0] == '#')
			continue;
		if (keys->n_psk == MIG_PSK_MAX || !read_psk(line, &keys->psk[keys->n_psk]))
			return mig_fail(reason, -EINVAL,
				"%.150s: key %u is not IDENTITY:HEX with 32 to 128 hex digits, or one too many",
				path, keys->n_psk + 1);
		keys->n_psk++;
	}
	return keys->n_psk > 0 ? 0 : mig_fail(reason, -EINVAL, "%.150s: no key in it", path);
}

static int
load_psks(struct mig_tls_keys *keys, const char *path, struct mig_reason *reason)
{
	struct text text = { 0 };
	int rc = read_file(path, S_IRWXG | S_IRWXO, &text, reason);

	if (rc == 0)
		rc = parse_psks(keys, path, text.bytes, reason);
	wipe(&text);
	return rc;
}

/* TLS 1.3 and nothing else; nothing is kept for later connections. */
static SSL_CTX *
new_context(void)
{
	SSL_CTX *ctx = wherry_fault("tls.context") ? NULL : SSL_CTX_new(TLS_method());

	if (ctx == NULL)
		return NULL;
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_ciphersuites(ctx, SUITES) != 1 ||
		SSL_CTX_set_num_tickets(ctx, 0) != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH);
	SSL_CTX_set_max_cert_list(ctx, CHAIN_MAX);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_AHEAD);
	return ctx;
}

int
mig_tls_keys_load(const struct mig_tls_files *files, struct mig_tls_keys **ret_keys,
	struct mig_reason *reason)
{
	struct mig_tls_keys *keys = wherry_fault("tls.keys") ? NULL : calloc(1, sizeof(*keys));
	int rc;

	if (keys == NULL)
		return mig_no_memory(reason);
	keys->refs = 1;
	keys->ctx = new_context();
	if (keys->ctx == NULL)
		rc = mig_fail(reason, -ENOMEM, "OpenSSL offers no TLS 1.3");
	else if (files->psk != NULL)
		rc = load_psks(keys, files->psk, reason);
	else
		rc = load_certificates(keys->ctx, files, reason);
	if (rc != 0)
		goto put;
	*ret_keys = keys;
	return 0;
put:
	mig_tls_keys_put(keys);
	return rc;
}

struct mig_tls_keys *
mig_tls_keys_get(struct mig_tls_keys *keys)
{
	__atomic_fetch_add(&keys->refs, 1, __ATOMIC_RELAXED);
	return keys;
}

void
mig_tls_keys_put(struct mig_tls_keys *keys)
{
	/* pairs with itself: who frees has seen what the others did */
	if (keys == NULL || __atomic_sub_fetch(&keys->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	SSL_CTX_free(keys->ctx);
	OPENSSL_cleanse(keys->psk, sizeof(keys->psk));
	free(keys);
}

const struct mig_psk *
mig_tls_keys_find(const struct mig_tls_keys *keys, const void *identity, size_t len)
{
	for (unsigned int i = 0; i < keys->n_psk; i++)
		if (strlen(keys->psk[i].identity) == len &&
			memcmp(keys->psk[i].identity, identity, len) == 0)
			return &keys->psk[i];
	return NULL;
}
