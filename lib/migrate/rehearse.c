/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a blackout would cost, asked for while nothing is migrated: quiesce is tried by the worker,
 * as a migration tries it, so that the two never meet; harvests are timed as they are made.
 */
#include "agent_priv.h"

void
mig_agent_rehearse(struct wherry_agent *agent)
{
	wherry_mutex_lock(&agent->lock);
	if (agent->ops.rehearse != NULL && agent->status.state == WHERRY_STATE_SERVING) {
		agent->rehearse = true;
		pthread_cond_broadcast(&agent->changed);
	}
	wherry_mutex_unlock(&agent->lock);
}

void
mig_rehearse_run(struct wherry_agent *agent)
{
	struct wherry_status st;
	uint64_t ns;

	wherry_agent_get_status(agent, &st);
	if (st.state != WHERRY_STATE_SERVING) /* nobody else leaves that but this thread */
		return;
	ns = agent->ops.rehearse(agent->ops.ctx);
	wherry_mutex_lock(&agent->lock);
	agent->quiesce_ns = ns;
	wherry_mutex_unlock(&agent->lock);
	mig_agent_notify(agent);
}

void
mig_agent_set_harvest(struct wherry_agent *agent, uint64_t ns)
{
	wherry_mutex_lock(&agent->lock);
	agent->harvest_ns = ns;
	wherry_mutex_unlock(&agent->lock);
}

void
mig_agent_measured(struct wherry_agent *agent, uint64_t *ret_quiesce_ns, uint64_t *ret_harvest_ns)
{
	wherry_mutex_lock(&agent->lock);
	*ret_quiesce_ns = agent->quiesce_ns;
	*ret_harvest_ns = agent->harvest_ns;
	wherry_mutex_unlock(&agent->lock);
}
