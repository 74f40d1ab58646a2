/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PORTER_PRIV_H
#define PORTER_PRIV_H

/*
 * Stands at a listening socket and lets in who may: with keys, who has proved to be what
 * it should be; without, who has said something. All who have connected are waited for
 * at once, so nobody holds up another by saying nothing or by being slow. A stranger
 * costs a descriptor and, once it speaks, one TLS session, for five seconds at most; 64
 * of them are there at a time. When one more comes, the oldest that has said nothing goes;
 * if all speak, the oldest of the address that has most of them. Strangers are counted,
 * and at most one a second is logged; they learn nothing but what TLS itself tells.
 *
 * Used by one thread.
 */

#include "conn_priv.h"

struct mig_porter;

/*
 * listen_fd and tls, which may be NULL, stay the caller's and outlive the porter, as does
 * *strangers: those sent away are added there, atomically. -ENOMEM.
 */
int mig_porter_create(
	int listen_fd, struct mig_tls *tls, uint64_t *strangers, struct mig_porter **ret_porter);
/* Sends away who waits. NULL is fine. */
void mig_porter_destroy(struct mig_porter *porter);
/* The next one in; at most until end, ns. -ETIMEDOUT, -ECANCELED, -errno. */
int mig_porter_next(
	struct mig_porter *porter, int cancel_fd, uint64_t end, struct mig_conn *ret_conn);

#endif /* PORTER_PRIV_H */
