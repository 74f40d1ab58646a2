/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef KEYS_H
#define KEYS_H

/*
 * Keys made for a test, in a folder of its own: two authorities, "ca" and "other", and
 * what they sign. keys_drop takes all of it away.
 */

#include "wherry_migrate.h"

struct keys;

struct keys *keys_make(void);
void keys_drop(struct keys *keys);

/* A certificate NAME.pem and its NAME.key, over those that are there. */
struct keys_leaf {
	const char *by;  /* authority; NULL: "ca" */
	const char *san; /* as openssl.cnf(5) has it; NULL: "IP:127.0.0.1" */
	int days;        /* that it is good for, from yesterday; 0: 30 */
};
void keys_sign(struct keys *keys, const char *name, const struct keys_leaf *leaf);
/* A revocation list BY.crl, over the one that is there. */
struct keys_list {
	const char *by;      /* authority; NULL: "ca" */
	const char *revoked; /* NAME of a certificate; NULL: none */
	int days;            /* that it is good for, from yesterday; 0: 30 */
};
void keys_revoke(struct keys *keys, const struct keys_list *list);
/* A file NAME.psk with this text, for its owner only. */
void keys_psk(struct keys *keys, const char *name, const char *text);
/* A file of any name with this text. */
void keys_write(struct keys *keys, const char *file, const char *text);
/* The path of a file in the folder; lives as long as the keys. */
const char *keys_path(struct keys *keys, const char *file);
/* What an agent is given: NAME's certificate, and the "ca"; or the pre-shared key NAME. */
struct wherry_tls keys_of(struct keys *keys, const char *name);
struct wherry_tls keys_psk_of(struct keys *keys, const char *name);

#endif /* KEYS_H */
