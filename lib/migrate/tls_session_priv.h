/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TLS_SESSION_PRIV_H
#define TLS_SESSION_PRIV_H

/* How the files' half (tls.c) begins what the connection's half (tls_session.c) goes on with. */

#include "tls_keys_priv.h"
#include "tls_priv.h"

struct mig_tls_session_opts {
	int fd;
	bool is_server;
	const char
		*name; /* that its certificate has to be for; NULL: any; outlives the call only */
	uint64_t rekey_bytes;
};

/* Takes a reference of keys. -ENOMEM. */
int mig_tls_session_begin(struct mig_tls_keys *keys, const struct mig_tls_session_opts *opts,
	struct mig_tls_session **ret_session);

#endif /* TLS_SESSION_PRIV_H */
