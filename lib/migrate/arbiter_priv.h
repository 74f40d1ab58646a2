/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ARBITER_PRIV_H
#define ARBITER_PRIV_H

/*
 * What a kind of arbiter provides: read and swap as in wherry_arbiter.h. The record is
 * one line of text everywhere, "ID EPOCH", so that an operator can read it.
 */

#include <stdbool.h>
#include <stddef.h>

#include "wherry_arbiter.h"

#define MIG_RECORD_MAX (WHERRY_OWNER_MAX + 32)

struct mig_arbiter_kind {
	const char *prefix; /* of the spec */
	/* what follows the prefix: its own, the ops' first argument; -EINVAL with *ret_why */
	int (*open)(const char *rest, void **ret_ctx, const char **ret_why);
	void (*close)(void *ctx);
	const char *(*name)(const void *ctx);
	int (*read)(void *ctx, struct wherry_owner *ret_now);
	int (*swap)(void *ctx, const struct wherry_owner *known, const struct wherry_owner *next,
		struct wherry_owner *ret_now);
};

extern const struct mig_arbiter_kind mig_arbiter_lock, mig_arbiter_etcd;

/* Is it an id that a record can carry: not empty, no spaces or control characters? */
bool mig_owner_id_is_sound(const char *id);
/* The record as text into buf; its length. */
size_t mig_record_put(const struct wherry_owner *owner, char buf[MIG_RECORD_MAX]);
/* And back, from len bytes. -EPROTO: it is none. */
int mig_record_get(const char *text, size_t len, struct wherry_owner *ret_owner);

#endif /* ARBITER_PRIV_H */
