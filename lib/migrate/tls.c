/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of an agent or a migration, and when they are read again. */
#define LOG_PREFIX "migrate/tls"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base_priv.h"
#include "tls_session_priv.h"

#define REKEY_BYTES (UINT64_C(32) << 30)
#define N_FILES 5

/* What tells a file from the one that was there before. */
struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct mig_tls {
	struct mig_tls_files files;
	char *peer; /* NULL: the host of the URI, or anybody */
	uint64_t rekey_bytes;

	struct wherry_mutex lock; /* a leaf */
	/* all under lock */
	struct mig_tls_keys *keys;    /* the last good ones; NULL: none so far */
	struct mig_tls_keys *held;    /* of a migration under way; NULL: there is none */
	struct stamp stamps[N_FILES]; /* of the files read last, good or not */
};

bool
mig_tls_is_wanted(const struct wherry_tls *files)
{
	return files->cert != NULL || files->key != NULL || files->ca != NULL ||
		files->crl != NULL || files->psk != NULL || files->peer != NULL;
}

const char *
mig_tls_check(const struct wherry_tls *files)
{
	bool any = files->cert != NULL || files->key != NULL || files->ca != NULL;
	bool all = files->cert != NULL && files->key != NULL && files->ca != NULL;

	if (!mig_tls_is_wanted(files))
		return NULL;
	if (files->psk != NULL && (any || files->crl != NULL || files->peer != NULL))
		return "TLS goes by certificates or by a pre-shared key, not by both";
	if (files->psk == NULL && !all)
		return "TLS needs certificate, key and CA, all three, or a pre-shared key";
	return NULL;
}

/* false: no memory */
static bool
copy(const char *from, char **to)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

int
mig_tls_create(const struct wherry_tls *files, struct mig_tls **ret_tls)
{
	struct mig_tls *tls;

	*ret_tls = NULL;
	if (mig_tls_check(files) != NULL)
		return -EINVAL;
	if (!mig_tls_is_wanted(files))
		return 0;
	tls = wherry_fault("tls.alloc") ? NULL : calloc(1, sizeof(*tls));
	if (tls == NULL)
		return -ENOMEM;
	wherry_mutex_init(&tls->lock);
	tls->rekey_bytes = REKEY_BYTES;
	if (!copy(files->cert, &tls->files.cert) || !copy(files->key, &tls->files.key) ||
		!copy(files->ca, &tls->files.ca) || !copy(files->crl, &tls->files.crl) ||
		!copy(files->psk, &tls->files.psk) || !copy(files->peer, &tls->peer)) {
		mig_tls_destroy(tls);
		return -ENOMEM;
	}
	*ret_tls = tls;
	return 0;
}

void
mig_tls_destroy(struct mig_tls *tls)
{
	if (tls == NULL)
		return;
	mig_tls_keys_put(tls->held);
	mig_tls_keys_put(tls->keys);
	wherry_mutex_fini(&tls->lock);
	free(tls->files.cert);
	free(tls->files.key);
	free(tls->files.ca);
	free(tls->files.crl);
	free(tls->files.psk);
	free(tls->peer);
	free(tls);
}

void
mig_tls_set_rekey(struct mig_tls *tls, uint64_t bytes)
{
	tls->rekey_bytes = bytes;
}

/* A file that is not there has the stamp of zeroes. */
static void
take_stamps(const struct mig_tls *tls, struct stamp *stamps)
{
	const char *const paths[N_FILES] = { tls->files.cert, tls->files.key, tls->files.ca,
		tls->files.crl, tls->files.psk };
	struct stat st;

	memset(stamps, 0, N_FILES * sizeof(*stamps));
	for (int i = 0; i < N_FILES; i++) {
		if (paths[i] == NULL || stat(paths[i], &st) != 0)
			continue;
		stamps[i].dev = st.st_dev;
		stamps[i].ino = st.st_ino;
		stamps[i].size = st.st_size;
		stamps[i].mtime = st.st_mtim;
		stamps[i].ctime = st.st_ctim;
	}
}

/* What the files say, good or not. Stamps are taken first: a file that changes while it is read is read again. */
static int
load_locked(struct mig_tls *tls, const struct stamp *stamps, struct mig_reason *reason)
	WHERRY_REQUIRES(&tls->lock)
{
	struct mig_tls_keys *keys;
	int rc = mig_tls_keys_load(&tls->files, &keys, reason);

	if (rc != 0 && tls->keys == NULL)
		return rc;
	memcpy(tls->stamps, stamps, sizeof(tls->stamps));
	if (rc != 0) {
		LOG_WARN("new keys are no good, those before stay in use: %s", reason->text);
		return rc;
	}
	if (tls->keys != NULL)
		LOG_INFO("new keys are in use");
	mig_tls_keys_put(tls->keys);
	tls->keys = keys;
	return 0;
}

static int
refresh_locked(struct mig_tls *tls, struct mig_reason *reason) WHERRY_REQUIRES(&tls->lock)
{
	struct stamp stamps[N_FILES];
	int rc;

	take_stamps(tls, stamps);
	if (tls->keys != NULL && memcmp(stamps, tls->stamps, sizeof(stamps)) == 0)
		return 0;
	rc = load_locked(tls, stamps, reason);
	return tls->keys != NULL ? 0 : rc;
}

int
mig_tls_refresh(struct mig_tls *tls, struct mig_reason *reason)
{
	int rc;

	wherry_mutex_lock(&tls->lock);
	rc = refresh_locked(tls, reason);
	wherry_mutex_unlock(&tls->lock);
	return rc;
}

int
mig_tls_reload(struct mig_tls *tls, struct mig_reason *reason)
{
	struct stamp stamps[N_FILES];
	int rc;

	if (tls == NULL)
		return mig_fail(reason, -ENOENT, "this application was given no keys");
	take_stamps(tls, stamps);
	wherry_mutex_lock(&tls->lock);
	rc = load_locked(tls, stamps, reason);
	wherry_mutex_unlock(&tls->lock);
	return rc;
}

void
mig_tls_hold(struct mig_tls *tls)
{
	if (tls == NULL)
		return;
	wherry_mutex_lock(&tls->lock);
	if (tls->held == NULL && tls->keys != NULL)
		tls->held = mig_tls_keys_get(tls->keys);
	wherry_mutex_unlock(&tls->lock);
}

void
mig_tls_let_go(struct mig_tls *tls)
{
	if (tls == NULL)
		return;
	wherry_mutex_lock(&tls->lock);
	mig_tls_keys_put(tls->held);
	tls->held = NULL;
	wherry_mutex_unlock(&tls->lock);
}

static int
begin_locked(struct mig_tls *tls, const struct mig_tls_session_opts *opts,
	struct mig_tls_session **ret_session, struct mig_reason *reason) WHERRY_REQUIRES(&tls->lock)
{
	int rc = tls->held != NULL ? 0 : refresh_locked(tls, reason);

	if (rc != 0)
		return rc;
	if (mig_tls_session_begin(tls->held != NULL ? tls->held : tls->keys, opts, ret_session) ==
		0)
		return 0;
	return mig_no_memory(reason);
}

int
mig_tls_session_create(struct mig_tls *tls, int fd, const char *host,
	struct mig_tls_session **ret_session, struct mig_reason *reason)
{
	const struct mig_tls_session_opts opts = {
		.fd = fd,
		.is_server = host == NULL,
		.name = tls->peer != NULL ? tls->peer : host,
		.rekey_bytes = tls->rekey_bytes,
	};
	int rc;

	wherry_mutex_lock(&tls->lock);
	rc = begin_locked(tls, &opts, ret_session, reason);
	wherry_mutex_unlock(&tls->lock);
	return rc;
}
