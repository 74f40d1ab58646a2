/* SPDX-License-Identifier: BSD-3-Clause */
/* What the worker tells the rest of the agent: states, rounds, the end. */
#define LOG_PREFIX "migrate"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent_priv.h"
#include "heat_priv.h"
#include "socket_priv.h"

void
mig_agent_notify(struct wherry_agent *agent)
{
	uint64_t one = 1;

	if (write(agent->notify_fd, &one, sizeof(one)) < 0)
		LOG_DEBUG("the control thread has news waiting already");
}

int
mig_agent_move(struct wherry_agent *agent, enum wherry_state to)
{
	enum wherry_state from;
	bool stopped;

	wherry_mutex_lock(&agent->lock);
	from = agent->status.state;
	stopped = agent->cancelled && !agent->gate;
	assert(mig_state_may(from, to, agent->knows));
	if (!stopped)
		agent->status.state = to;
	wherry_mutex_unlock(&agent->lock);
	if (stopped)
		return -ECANCELED;
	LOG_DEBUG("%s -> %s", wherry_state_name(from), wherry_state_name(to));
	mig_agent_notify(agent);
	return 0;
}

int
mig_agent_pause(struct wherry_agent *agent, enum wherry_state to, const char *why)
{
	struct wherry_status *st = &agent->status;
	bool stopped;

	wherry_mutex_lock(&agent->lock);
	stopped = agent->cancelled;
	assert(st->state == to || mig_state_may(st->state, to, agent->knows));
	if (!stopped) {
		st->state = to;
		st->pauses++;
		snprintf(st->reason, sizeof(st->reason), "%s", why);
	}
	agent->recovering = false;
	wherry_mutex_unlock(&agent->lock);
	if (stopped)
		return -ECANCELED;
	LOG_WARN("%s: %s", wherry_state_name(to), why);
	mig_agent_notify(agent);
	return 0;
}

int
mig_agent_await_recover(
	struct wherry_agent *agent, unsigned int timeout_ms, struct mig_uri *ret_uri)
{
	int rc = mig_wait(agent->recover_fd, POLLIN, agent->cancel_fd, timeout_ms);
	uint64_t drained;

	if (rc <= 0)
		return rc == 0 ? -ETIMEDOUT : rc;
	if (read(agent->recover_fd, &drained, sizeof(drained)) < 0)
		LOG_DEBUG("nobody asks any more");
	wherry_mutex_lock(&agent->lock);
	*ret_uri = agent->uri;
	wherry_mutex_unlock(&agent->lock);
	return 0;
}

int
mig_agent_unpause(struct wherry_agent *agent, enum wherry_state to)
{
	int rc = mig_agent_move(agent, to);

	wherry_mutex_lock(&agent->lock);
	agent->recovering = false;
	if (rc == 0)
		agent->status.reason[0] = '\0';
	wherry_mutex_unlock(&agent->lock);
	return rc;
}

int
mig_agent_close_gate(struct wherry_agent *agent)
{
	int rc;

	wherry_mutex_lock(&agent->lock);
	rc = agent->cancelled ? -ECANCELED : 0;
	agent->gate = rc == 0;
	wherry_mutex_unlock(&agent->lock);
	return rc;
}

void
mig_agent_know(struct wherry_agent *agent, enum mig_when knows)
{
	wherry_mutex_lock(&agent->lock);
	agent->knows = knows;
	wherry_mutex_unlock(&agent->lock);
}

enum wherry_state
mig_agent_on_failure(struct wherry_agent *agent)
{
	enum wherry_state to;

	wherry_mutex_lock(&agent->lock);
	to = mig_state_on_failure(agent->status.state, agent->knows);
	wherry_mutex_unlock(&agent->lock);
	return to;
}

static void
set_outcome_locked(struct wherry_agent *agent, const struct mig_outcome *outcome)
	WHERRY_REQUIRES(&agent->lock)
{
	struct wherry_status *st = &agent->status;

	if (outcome->rc == 0) {
		assert(mig_state_may(st->state, outcome->done, agent->knows));
		st->state = outcome->done;
	} else {
		st->state = mig_state_on_failure(st->state, agent->knows);
		snprintf(st->reason, sizeof(st->reason), "%s", outcome->reason);
	}
	st->blackout_ns = outcome->blackout_ns;
	st->total_ns = mig_now() - agent->begun;
	agent->owner = st->state == WHERRY_STATE_SERVING;
	agent->clock_shared = outcome->clock_shared;
}

void
mig_agent_end(struct wherry_agent *agent, const struct mig_outcome *outcome)
{
	wherry_mutex_lock(&agent->lock);
	set_outcome_locked(agent, outcome);
	agent->ended = true;
	agent->job = MIG_JOB_NONE;
	pthread_cond_broadcast(&agent->changed);
	wherry_mutex_unlock(&agent->lock);
	mig_agent_notify(agent);
}

void
mig_agent_let_go(struct wherry_agent *agent, int rc)
{
	wherry_mutex_lock(&agent->lock);
	agent->result = rc;
	agent->dest_over = true;
	pthread_cond_broadcast(&agent->changed);
	wherry_mutex_unlock(&agent->lock);
}

void
mig_agent_set_heat(struct wherry_agent *agent, struct mig_heat *heat)
{
	struct mig_heat **at = NULL;

	wherry_mutex_lock(&agent->lock);
	if (agent->status.rounds <= MIG_ROUNDS_MAX)
		at = &agent->heat[agent->status.rounds];
	if (at != NULL) {
		mig_heat_free(*at);
		*at = heat;
	}
	wherry_mutex_unlock(&agent->lock);
	if (at == NULL)
		mig_heat_free(heat);
}

void
mig_agent_forget_heat(struct wherry_agent *agent)
{
	for (size_t i = 0; i <= MIG_ROUNDS_MAX; i++) {
		mig_heat_free(agent->heat[i]);
		agent->heat[i] = NULL;
	}
}

void
mig_agent_set_round(struct wherry_agent *agent, const struct wherry_round *round)
{
	wherry_mutex_lock(&agent->lock);
	if (agent->status.rounds <= MIG_ROUNDS_MAX)
		agent->rounds[agent->status.rounds++] = *round;
	agent->status.round = *round;
	agent->round_done = agent->round_total = 0;
	wherry_mutex_unlock(&agent->lock);
	mig_agent_notify(agent);
}

void
mig_agent_set_progress(
	struct wherry_agent *agent, uint64_t done_pages, uint64_t total_pages, uint64_t bytes_sent)
{
	wherry_mutex_lock(&agent->lock);
	agent->round_done = done_pages;
	agent->round_total = total_pages;
	agent->status.bytes_sent = bytes_sent;
	wherry_mutex_unlock(&agent->lock);
}

void
mig_agent_set_state_bytes(struct wherry_agent *agent, uint64_t bytes)
{
	wherry_mutex_lock(&agent->lock);
	agent->status.state_bytes = bytes;
	wherry_mutex_unlock(&agent->lock);
}

void
mig_agent_set_throttle(struct wherry_agent *agent, unsigned int percent)
{
	wherry_mutex_lock(&agent->lock);
	agent->status.throttle_percent = percent;
	wherry_mutex_unlock(&agent->lock);
}

void
mig_agent_count_late(struct wherry_agent *agent)
{
	wherry_mutex_lock(&agent->lock);
	agent->status.late_frames++;
	wherry_mutex_unlock(&agent->lock);
}

bool
mig_agent_is_cancelled(struct wherry_agent *agent)
{
	bool cancelled;

	wherry_mutex_lock(&agent->lock);
	cancelled = agent->cancelled;
	wherry_mutex_unlock(&agent->lock);
	return cancelled;
}

bool
mig_agent_is_wanted(struct wherry_agent *agent)
{
	bool wanted;

	wherry_mutex_lock(&agent->lock);
	wanted = agent->quit || agent->job != MIG_JOB_NONE;
	wherry_mutex_unlock(&agent->lock);
	return wanted;
}

void
mig_agent_set_arbiter_ns(struct wherry_agent *agent, uint64_t ns)
{
	wherry_mutex_lock(&agent->lock);
	agent->status.arbiter_ns = ns;
	wherry_mutex_unlock(&agent->lock);
}

void
mig_agent_set_mappings(struct wherry_agent *agent, uint64_t mappings)
{
	wherry_mutex_lock(&agent->lock);
	agent->status.mappings = mappings <= WHERRY_MAPPINGS_REBUILT
		? (enum wherry_mappings)mappings
		: WHERRY_MAPPINGS_NONE;
	wherry_mutex_unlock(&agent->lock);
}

void
mig_agent_set_filtered(struct wherry_agent *agent, uint64_t pages)
{
	wherry_mutex_lock(&agent->lock);
	agent->status.filtered_pages = pages;
	wherry_mutex_unlock(&agent->lock);
}

void
wherry_agent_get_status(struct wherry_agent *agent, struct wherry_status *ret_status)
{
	wherry_mutex_lock(&agent->lock);
	*ret_status = agent->status;
	ret_status->strangers = __atomic_load_n(&agent->strangers, __ATOMIC_RELAXED);
	ret_status->refused_clients = __atomic_load_n(&agent->refused_clients, __ATOMIC_RELAXED);
	if (!agent->ended && agent->job != MIG_JOB_NONE)
		ret_status->total_ns = mig_now() - agent->begun;
	wherry_mutex_unlock(&agent->lock);
}

int
mig_agent_tracker_get(struct wherry_agent *agent, bool *ret_fresh)
{
	int rc = 0;

	wherry_mutex_lock(&agent->tracker_lock);
	*ret_fresh = false;
	if (agent->tracker_users == 0) {
		rc = wherry_tracker_start(agent->tracker);
		agent->tracker_ours = *ret_fresh = rc == 0;
		rc = rc == -EALREADY ? 0 : rc; /* it was on before us, and stays on after us */
	}
	if (rc == 0)
		agent->tracker_users++;
	wherry_mutex_unlock(&agent->tracker_lock);
	return rc;
}

void
mig_agent_tracker_put(struct wherry_agent *agent)
{
	wherry_mutex_lock(&agent->tracker_lock);
	if (--agent->tracker_users == 0 && agent->tracker_ours)
		wherry_tracker_stop(agent->tracker);
	wherry_mutex_unlock(&agent->tracker_lock);
}
