/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef HANDOVER_PRIV_H
#define HANDOVER_PRIV_H

/*
 * Files from one process to another on this machine (doc/handover.rst): over a connection
 * of their own to the destination's socket, one after the other, each with its name and
 * the token of the migration's hello, by SCM_RIGHTS. The peer has to be of our user, or root.
 */

#include "agent_priv.h"
#include "hello_priv.h"

/* Is who has connected of our user, or root? Connections that are not local are not asked. */
bool mig_peer_is_ours(int fd);

/* Source: hand all that ops->lend gives to who listens at uri. -errno with the reason. */
int mig_handover_lend(struct wherry_agent *agent, const struct mig_uri *uri,
	const struct mig_hello *self, struct mig_reason *reason);
/* Destination: take it, and see that each of our regions was among it. */
int mig_handover_borrow(struct wherry_agent *agent, const struct mig_hello *peer,
	const struct mig_regions *regions, struct mig_reason *reason);

#endif /* HANDOVER_PRIV_H */
