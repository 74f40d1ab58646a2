/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TLS_KEYS_PRIV_H
#define TLS_KEYS_PRIV_H

/*
 * What one set of key files said when it was read: certificates with their private key,
 * or pre-shared keys. Never changed, so connections that began with it go on with it
 * while newer ones use newer files. What is secret is wiped when the last one is done.
 */

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "reason_priv.h"

#define MIG_PSK_MAX 16         /* lines of the file that count */
#define MIG_PSK_ID_MAX 128     /* characters of an identity */
#define MIG_PSK_KEY_MIN 16     /* bytes of a key */
#define MIG_PSK_KEY_MAX 64     /* likewise */
#define MIG_TLS_FILE_MAX 65536 /* bytes of a file */

/* Which files, by their paths: all of cert, key and ca, and crl if there is one; or psk. */
struct mig_tls_files {
	char *cert, *key, *ca, *crl, *psk;
};

struct mig_psk {
	char identity[MIG_PSK_ID_MAX + 1];
	uint8_t key[MIG_PSK_KEY_MAX];
	size_t len;
};

struct mig_tls_keys {
	unsigned int refs;  /* atomic */
	SSL_CTX *ctx;       /* for either side of a connection */
	unsigned int n_psk; /* 0: certificates */
	struct mig_psk psk[MIG_PSK_MAX];
};

/*
 * Read the files. -EACCES: one cannot be read, or others can read what is secret;
 * -ENOENT: one is not there; -EINVAL: what one says is no key, or they do not belong
 * together; -ENOMEM. Each with the reason, which never has a secret in it.
 */
int mig_tls_keys_load(const struct mig_tls_files *files, struct mig_tls_keys **ret_keys,
	struct mig_reason *reason);
struct mig_tls_keys *mig_tls_keys_get(struct mig_tls_keys *keys);
/* NULL is fine. */
void mig_tls_keys_put(struct mig_tls_keys *keys);
/* The key of an identity, or NULL. */
const struct mig_psk *mig_tls_keys_find(
	const struct mig_tls_keys *keys, const void *identity, size_t len);

#endif /* TLS_KEYS_PRIV_H */
