/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an agent asks its arbiter. The rule that doc/model/switchover.pml proves: whoever
 * has asked for ownership asks again until the epoch is no longer the one it knew. A lost
 * answer is no answer, and a request that nobody waits for may still be done.
 */
#define LOG_PREFIX "migrate/owner"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent_priv.h"
#include "owner_priv.h"
#include "socket_priv.h"

#define AGAIN_MS 200u

int
mig_owner_init(struct wherry_agent *agent, const char *spec)
{
	char host[256] = "";
	int n;

	if (spec == NULL)
		return 0;
	if (gethostname(host, sizeof(host) - 1) != 0)
		return -errno;
	n = snprintf(agent->id, sizeof(agent->id), "%s:%s", host, agent->control_path);
	if (n >= (int)sizeof(agent->id))
		return -EINVAL;
	return wherry_arbiter_open(spec, &agent->arbiter);
}

static bool
is_ours(const struct wherry_agent *agent, const struct wherry_owner *owner)
{
	return owner->epoch != 0 && strcmp(owner->id, agent->id) == 0;
}

static int
no_answer(struct mig_reason *reason, int rc)
{
	return mig_fail(reason, rc,
		"the arbiter does not answer: %s; is it up, and --arbiter right?", strerror(-rc));
}

static int
another_owns(struct mig_reason *reason, const struct wherry_owner *now)
{
	return mig_fail(reason, -EPERM,
		"the arbiter says that %.150s owns the state, in epoch %llu; if that is wrong: wherry resolve",
		now->epoch != 0 ? now->id : "nobody", (unsigned long long)now->epoch);
}

int
mig_owner_claim(struct wherry_agent *agent, struct mig_reason *reason)
{
	struct wherry_owner known, now;
	int rc;

	if (agent->arbiter == NULL)
		return 0;
	rc = wherry_arbiter_read(agent->arbiter, &known);
	if (rc != 0)
		return no_answer(reason, rc);
	if (known.epoch != 0 && !is_ours(agent, &known))
		return another_owns(reason, &known);
	/* a new epoch: what an earlier life of this process has begun must not end in ours */
	rc = mig_owner_settle(agent, &known, &now, 1);
	if (rc != 0)
		return no_answer(reason, rc);
	return is_ours(agent, &now) ? 0 : another_owns(reason, &now);
}

int
mig_owner_check(struct wherry_agent *agent, struct wherry_owner *ret_now, struct mig_reason *reason)
{
	int rc;

	*ret_now = (struct wherry_owner){ .epoch = 0 };
	if (agent->arbiter == NULL)
		return 0;
	rc = wherry_arbiter_read(agent->arbiter, ret_now);
	if (rc != 0)
		return no_answer(reason, rc);
	return is_ours(agent, ret_now) ? 0 : another_owns(reason, ret_now);
}

/* Both use one arbiter or none, and what it says is what the source believes. */
int
mig_owner_compare(
	struct wherry_agent *agent, const struct mig_hello *peer, struct mig_reason *reason)
{
	struct wherry_owner now;
	int rc;

	if ((agent->arbiter != NULL) != (peer->arbiter[0] != '\0'))
		return mig_fail(reason, -EPROTO,
			"arbiter: only the %s has one: start both with the same --arbiter",
			agent->arbiter != NULL ? "destination" : "source");
	if (agent->arbiter == NULL)
		return 0;
	if (strcmp(peer->arbiter, wherry_arbiter_name(agent->arbiter)) != 0)
		return mig_fail(reason, -EPROTO,
			"arbiter: the source's is %.80s, the destination's %.80s: start both with the same",
			peer->arbiter, wherry_arbiter_name(agent->arbiter));
	rc = wherry_arbiter_read(agent->arbiter, &now);
	if (rc != 0)
		return no_answer(reason, rc);
	if (now.epoch != peer->owner.epoch || strcmp(now.id, peer->owner.id) != 0)
		return mig_fail(reason, -EPROTO,
			"arbiter: it does not say here what it says to the source: is it the same one?");
	return 0;
}

int
mig_owner_settle_for(struct wherry_agent *agent, const char *id, const struct wherry_owner *known,
	struct wherry_owner *ret_now, unsigned int tries)
{
	uint64_t begin = mig_now();
	int rc;

	for (unsigned int i = 1;; i++) {
		rc = wherry_arbiter_swap(agent->arbiter, known, id, ret_now);
		if (rc == 0 && ret_now->epoch != known->epoch) {
			mig_agent_set_arbiter_ns(agent, mig_now() - begin);
			return 0;
		}
		if (i == tries)
			return rc == 0 ? -EPROTO : rc;
		if (mig_wait(-1, 0, agent->cancel_fd, AGAIN_MS) == -ECANCELED)
			return -ECANCELED;
	}
}

int
mig_owner_settle(struct wherry_agent *agent, const struct wherry_owner *known,
	struct wherry_owner *ret_now, unsigned int tries)
{
	return mig_owner_settle_for(agent, agent->id, known, ret_now, tries);
}

/* A snapshot of a process that had an arbiter names it: without it nothing fences the two. */
int
mig_owner_may_restore(struct wherry_agent *agent, const struct mig_hello *then,
	struct wherry_owner *ret_known, struct mig_reason *reason)
{
	const char *ours = agent->arbiter != NULL ? wherry_arbiter_name(agent->arbiter) : "";
	int rc;

	if (then->arbiter[0] != '\0' && strcmp(then->arbiter, ours) != 0)
		return mig_fail(reason, -EPROTO,
			"the snapshot is of an application whose arbiter was %.150s: give the same to --arbiter",
			then->arbiter);
	*ret_known = (struct wherry_owner){ .epoch = 0 };
	if (agent->arbiter == NULL)
		return 0;
	rc = wherry_arbiter_read(agent->arbiter, ret_known);
	if (rc != 0)
		return no_answer(reason, rc);
	if (ret_known->epoch == 0 || is_ours(agent, ret_known) ||
		(strncmp(ret_known->id, MIG_OWNER_SNAPSHOT, strlen(MIG_OWNER_SNAPSHOT)) == 0 &&
			strcmp(ret_known->id, then->owner.id) == 0 &&
			ret_known->epoch == then->owner.epoch))
		return 0;
	return another_owns(reason, ret_known);
}

bool
mig_owner_is(const struct wherry_agent *agent, const struct wherry_owner *now)
{
	return is_ours(agent, now);
}

void
mig_resolve_run(struct wherry_agent *agent)
{
	const struct wherry_agent_ops *ops = &agent->ops;
	bool serve = mig_agent_on_failure(agent) == WHERRY_STATE_SERVING;

	LOG_WARN("an operator says that %s", serve ? "this process runs" : "another process runs");
	if (serve && ops->resume != NULL)
		ops->resume(ops->ctx);
	mig_agent_end(agent,
		&(struct mig_outcome){
			.done = serve ? WHERRY_STATE_SERVING : WHERRY_STATE_RELEASED });
	if (!serve && ops->released != NULL)
		ops->released(ops->ctx);
}
