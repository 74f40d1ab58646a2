/* SPDX-License-Identifier: BSD-3-Clause */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "keys.h"
#include "test.h"

#define FILES_MAX 64

struct authority {
	const char *name;
	EVP_PKEY *key;
	X509 *cert;
};

struct keys {
	char folder[48];
	char paths[FILES_MAX][96]; /* of the files there are */
	struct authority authorities[2];
	long serial;
};

const char *
keys_path(struct keys *keys, const char *file)
{
	char path[96];
	int i = 0;

	snprintf(path, sizeof(path), "%s/%.40s", keys->folder, file);
	while (i < FILES_MAX && keys->paths[i][0] != '\0' && strcmp(keys->paths[i], path) != 0)
		i++;
	CHECK(i < FILES_MAX);
	snprintf(keys->paths[i], sizeof(keys->paths[i]), "%s", path);
	return keys->paths[i];
}

static FILE *
create(struct keys *keys, const char *name, const char *suffix)
{
	char file[64];
	FILE *f;

	snprintf(file, sizeof(file), "%s%s", name, suffix);
	f = fopen(keys_path(keys, file), "we");
	CHECK(f != NULL);
	CHECK_EQ(fchmod(fileno(f), 0600), 0);
	return f;
}

void
keys_write(struct keys *keys, const char *file, const char *text)
{
	FILE *f = create(keys, file, "");

	CHECK(fputs(text, f) >= 0);
	CHECK_EQ(fclose(f), 0);
}

void
keys_psk(struct keys *keys, const char *name, const char *text)
{
	char file[64];

	snprintf(file, sizeof(file), "%s.psk", name);
	keys_write(keys, file, text);
}

static void
add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	CHECK(ext != NULL);
	CHECK_EQ(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

/* Good from two days ago on; unsigned. */
static X509 *
new_certificate(struct keys *keys, const char *name, EVP_PKEY *key, long days)
{
	X509 *x = X509_new();

	CHECK(x != NULL);
	CHECK_EQ(X509_set_version(x, X509_VERSION_3), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++keys->serial);
	X509_gmtime_adj(X509_getm_notBefore(x), -2L * 86400);
	X509_gmtime_adj(X509_getm_notAfter(x), days * 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
		(const unsigned char *)name, -1, -1, 0);
	CHECK_EQ(X509_set_pubkey(x, key), 1);
	return x;
}

static void
write_both(struct keys *keys, const char *name, X509 *x, EVP_PKEY *key)
{
	FILE *f = create(keys, name, ".pem");

	CHECK_EQ(PEM_write_X509(f, x), 1);
	CHECK_EQ(fclose(f), 0);
	f = create(keys, name, ".key");
	CHECK_EQ(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	CHECK_EQ(fclose(f), 0);
}

static void
make_authority(struct keys *keys, const char *name, struct authority *a)
{
	a->name = name;
	a->key = EVP_EC_gen("P-256");
	CHECK(a->key != NULL);
	a->cert = new_certificate(keys, name, a->key, 30);
	X509_set_issuer_name(a->cert, X509_get_subject_name(a->cert));
	add_extension(a->cert, a->cert, NID_basic_constraints, "critical,CA:TRUE");
	CHECK(X509_sign(a->cert, a->key, EVP_sha256()) > 0);
	write_both(keys, name, a->cert, a->key);
}

struct keys *
keys_make(void)
{
	struct keys *keys = calloc(1, sizeof(*keys));

	CHECK(keys != NULL);
	snprintf(keys->folder, sizeof(keys->folder), "/tmp/wherry-keys-XXXXXX");
	CHECK(mkdtemp(keys->folder) != NULL);
	make_authority(keys, "ca", &keys->authorities[0]);
	make_authority(keys, "other", &keys->authorities[1]);
	return keys;
}

static struct authority *
find_authority(struct keys *keys, const char *name)
{
	return &keys->authorities[name != NULL && strcmp(name, "other") == 0 ? 1 : 0];
}

void
keys_sign(struct keys *keys, const char *name, const struct keys_leaf *leaf)
{
	const struct keys_leaf usual = { 0 };
	const struct keys_leaf *l = leaf != NULL ? leaf : &usual;
	struct authority *a = find_authority(keys, l->by);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x;

	CHECK(key != NULL);
	x = new_certificate(keys, name, key, l->days != 0 ? l->days : 30);
	X509_set_issuer_name(x, X509_get_subject_name(a->cert));
	add_extension(x, a->cert, NID_subject_alt_name, l->san != NULL ? l->san : "IP:127.0.0.1");
	CHECK(X509_sign(x, a->key, EVP_sha256()) > 0);
	write_both(keys, name, x, key);
	X509_free(x);
	EVP_PKEY_free(key);
}

static X509_REVOKED *
new_entry(struct keys *keys, const char *name)
{
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_TIME *now = ASN1_TIME_set(NULL, time(NULL) - 3600);
	char file[64];
	X509 *x;
	FILE *f;

	snprintf(file, sizeof(file), "%.40s.pem", name);
	f = fopen(keys_path(keys, file), "re");
	CHECK(f != NULL);
	x = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	CHECK(x != NULL && entry != NULL && now != NULL);
	CHECK_EQ(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(x)), 1);
	CHECK_EQ(X509_REVOKED_set_revocationDate(entry, now), 1);
	ASN1_TIME_free(now);
	X509_free(x);
	return entry;
}

void
keys_revoke(struct keys *keys, const struct keys_list *list)
{
	struct authority *a = find_authority(keys, list->by);
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *at = ASN1_TIME_new();
	FILE *f = create(keys, a->name, ".crl");

	CHECK(crl != NULL && at != NULL);
	CHECK_EQ(X509_CRL_set_version(crl, X509_CRL_VERSION_2), 1);
	CHECK_EQ(X509_CRL_set_issuer_name(crl, X509_get_subject_name(a->cert)), 1);
	CHECK_EQ(X509_CRL_set1_lastUpdate(crl, X509_gmtime_adj(at, -2L * 86400)), 1);
	CHECK_EQ(X509_CRL_set1_nextUpdate(
			 crl, X509_gmtime_adj(at, (list->days != 0 ? list->days : 30) * 86400L)),
		1);
	if (list->revoked != NULL)
		CHECK_EQ(X509_CRL_add0_revoked(crl, new_entry(keys, list->revoked)), 1);
	CHECK(X509_CRL_sign(crl, a->key, EVP_sha256()) > 0);
	CHECK_EQ(PEM_write_X509_CRL(f, crl), 1);
	CHECK_EQ(fclose(f), 0);
	ASN1_TIME_free(at);
	X509_CRL_free(crl);
}

void
keys_drop(struct keys *keys)
{
	for (int i = 0; i < FILES_MAX && keys->paths[i][0] != '\0'; i++)
		unlink(keys->paths[i]);
	CHECK_EQ(rmdir(keys->folder), 0);
	for (int i = 0; i < 2; i++) {
		EVP_PKEY_free(keys->authorities[i].key);
		X509_free(keys->authorities[i].cert);
	}
	free(keys);
}

struct wherry_tls
keys_of(struct keys *keys, const char *name)
{
	char cert[48], key[48];

	snprintf(cert, sizeof(cert), "%.40s.pem", name);
	snprintf(key, sizeof(key), "%.40s.key", name);
	return (struct wherry_tls){ .cert = keys_path(keys, cert),
		.key = keys_path(keys, key),
		.ca = keys_path(keys, "ca.pem") };
}

struct wherry_tls
keys_psk_of(struct keys *keys, const char *name)
{
	char file[48];

	snprintf(file, sizeof(file), "%.40s.psk", name);
	return (struct wherry_tls){ .psk = keys_path(keys, file) };
}
