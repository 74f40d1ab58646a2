/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OWNER_PRIV_H
#define OWNER_PRIV_H

/*
 * Ownership as an agent sees it. All do nothing, and succeed, for an agent without an
 * arbiter, but settle. The arbiter is used by the worker's thread, and by start before
 * there is one.
 */

#include "agent_priv.h"
#include "hello_priv.h"

/* How the id of a snapshot that owns begins; random digits follow. */
#define MIG_OWNER_SNAPSHOT "snapshot:"

/* The agent's arbiter and the id it is known by there. Errors as wherry_arbiter_open(). */
int mig_owner_init(struct wherry_agent *agent, const char *spec);
/* A process that begins to serve: the record is made, or was ours. -EPERM: another's. */
int mig_owner_claim(struct wherry_agent *agent, struct mig_reason *reason);
/* A source that begins: it is still ours, and in which epoch. */
int mig_owner_check(
	struct wherry_agent *agent, struct wherry_owner *ret_now, struct mig_reason *reason);
/* A destination: does the source use the arbiter that we use? */
int mig_owner_compare(
	struct wherry_agent *agent, const struct mig_hello *peer, struct mig_reason *reason);
/*
 * Ask to own, at most so many times (0: no end), until the epoch is no longer the known
 * one. 0: *ret_now says who owns. -ECANCELED: the agent ends. Otherwise not known.
 */
int mig_owner_settle(struct wherry_agent *agent, const struct wherry_owner *known,
	struct wherry_owner *ret_now, unsigned int tries);
/* The same for @p id, which need not be this process. */
int mig_owner_settle_for(struct wherry_agent *agent, const char *id,
	const struct wherry_owner *known, struct wherry_owner *ret_now, unsigned int tries);
/*
 * A destination that has a snapshot, taken when @p then owned: may it become owner? Yes if
 * nobody does, if the snapshot itself does, or this process did in an earlier life.
 * *ret_known: what to ask with. -EPERM: another owns; -EPROTO: other arbiters are used.
 */
int mig_owner_may_restore(struct wherry_agent *agent, const struct mig_hello *then,
	struct wherry_owner *ret_known, struct mig_reason *reason);
/* Does the record name this agent? */
bool mig_owner_is(const struct wherry_agent *agent, const struct wherry_owner *now);

#endif /* OWNER_PRIV_H */
