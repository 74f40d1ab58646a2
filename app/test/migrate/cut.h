/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CUT_H
#define CUT_H

/* Connections of a pair that are lost without a proxy: over TLS, or several at once. */

#include "pair.h"

/* All connections of this process to the destination are reset. */
void cut_connections(const struct pair *pair);
/* Until the source has been paused so often; fails the test if it ends instead. */
void cut_await_paused(struct pair *pair, unsigned int pauses, struct wherry_status *ret_status);
/* Begin, and lose all connections as pre-copy goes on: the source is paused. */
void cut_begin(struct pair *pair, const struct wherry_migrate_params *params);

#endif /* CUT_H */
