/* SPDX-License-Identifier: BSD-3-Clause */
/* Objects of the control socket. Their fields are a promise: doc/control.rst. */
#include <string.h>

#include "control_priv.h"
#include "heat_priv.h"

static json_t *
number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *
ms(uint64_t ns)
{
	return json_real((double)ns / 1e6);
}

/* Names the object's kind; fields of more are added to it. Takes more over. */
static json_t *
event(const char *name, json_t *more)
{
	json_t *object = json_pack("{ss}", "event", name);

	if (object != NULL && more != NULL)
		json_object_update(object, more);
	json_decref(more);
	return object;
}

static json_t *
round_fields(const struct wherry_round *r)
{
	return json_pack("{si sb so so so so so so so sf sf si}", "n", (int)r->n, "final", r->final,
		"iommu_dirty_pages", number(r->iommu_dirty_pages), "cpu_dirty_pages",
		number(r->cpu_dirty_pages), "pages", number(r->pages), "zero_pages",
		number(r->zero_pages), "same_pages", number(r->same_pages), "bytes",
		number(r->bytes), "ms", ms(r->ns), "bandwidth", r->bandwidth, "forecast_ms",
		r->forecast_ms, "throttle_percent", (int)r->throttle_percent);
}

json_t *
mig_json_round(const struct wherry_round *round, const struct mig_heat *heat)
{
	json_t *object = event("round", round_fields(round));

	json_object_set_new(object, "heat", mig_heat_json(heat));
	return object;
}

static json_t *
result_fields(const struct wherry_status *st)
{
	return json_pack("{ss ss so so so so sf so sf si si si ss}", "state",
		wherry_state_name(st->state), "reason", st->reason, "state_bytes",
		number(st->state_bytes), "bytes_sent", number(st->bytes_sent), "filtered_pages",
		number(st->filtered_pages), "late_frames", number(st->late_frames), "blackout_ms",
		(double)st->blackout_ns / 1e6, "arbiter_ms", ms(st->arbiter_ns), "total_ms",
		(double)st->total_ns / 1e6, "rounds", (int)st->rounds, "pauses", (int)st->pauses,
		"throttle_percent", (int)st->throttle_percent, "mappings",
		wherry_mappings_name(st->mappings));
}

json_t *
mig_json_status(struct wherry_agent *agent)
{
	struct wherry_status st;
	json_t *object;

	wherry_agent_get_status(agent, &st);
	object = event("status", result_fields(&st));
	json_object_set_new(object, "name", json_string(agent->name));
	json_object_set_new(object, "version", json_string(wherry_version()));
	json_object_set_new(object, "strangers", number(st.strangers));
	json_object_set_new(object, "refused_clients", number(st.refused_clients));
	if (st.rounds > 0)
		json_object_set_new(object, "round", round_fields(&st.round));
	return object;
}

json_t *
mig_json_progress(struct wherry_agent *agent)
{
	struct wherry_status st;
	uint64_t done, total;

	wherry_mutex_lock(&agent->lock);
	st = agent->status;
	done = agent->round_done;
	total = agent->round_total;
	wherry_mutex_unlock(&agent->lock);
	return event("progress",
		json_pack("{ss si so so so so}", "state", wherry_state_name(st.state), "round",
			(int)st.rounds + 1, "round_pages", number(total), "round_done",
			number(done), "bytes_sent", number(st.bytes_sent), "state_bytes",
			number(st.state_bytes)));
}

json_t *
mig_json_paused(struct wherry_agent *agent)
{
	struct wherry_status st;

	wherry_agent_get_status(agent, &st);
	return event("paused", result_fields(&st));
}

static const char *
result_name(const struct wherry_status *st, bool cancelled, bool serves)
{
	if (st->state == WHERRY_STATE_RELEASED ||
		(serves && st->state == WHERRY_STATE_SERVING && st->reason[0] == '\0'))
		return "completed";
	return cancelled && st->state != WHERRY_STATE_UNKNOWN ? "cancelled" : "failed";
}

json_t *
mig_json_end(struct wherry_agent *agent)
{
	struct wherry_status st;
	bool cancelled, shared, serves;
	json_t *object;

	wherry_mutex_lock(&agent->lock);
	st = agent->status;
	cancelled = agent->cancelled;
	shared = agent->clock_shared;
	serves = agent->incoming != NULL || agent->uri.is_file; /* after success */
	wherry_mutex_unlock(&agent->lock);
	object = event("end", json_pack("{ss}", "result", result_name(&st, cancelled, serves)));
	json_object_update_new(object, result_fields(&st));
	json_object_set_new(object, "blackout_by",
		json_string(shared ? "burst to burst, one clock" : "burst to answer"));
	return object;
}

static int
add_region(void *ctx, struct wherry_watch *w)
{
	struct wherry_watch_stats s;
	json_t *region;

	wherry_watch_get_stats(w, &s);
	region = json_pack("{ss so so sf sf so so so}", "name", wherry_watch_name(w), "base",
		number(wherry_watch_span(w).iova), "bytes", number(wherry_watch_span(w).len),
		"iommu_pages_per_s", s.iommu_rate, "cpu_pages_per_s", s.cpu_rate, "pending_pages",
		number(s.pending_pages), "filtered_pages", number(s.filtered_pages), "harvests",
		number(s.harvests));
	json_array_append_new(ctx, region);
	return 0;
}

json_t *
mig_json_watch(struct wherry_agent *agent)
{
	json_t *regions = json_array(), *object;
	uint64_t quiesce_ns, harvest_ns;
	struct wherry_status st;

	if (regions != NULL)
		wherry_tracker_each(agent->tracker, add_region, regions);
	wherry_agent_get_status(agent, &st);
	object = event("watch", NULL);
	json_object_set_new(object, "state", json_string(wherry_state_name(st.state)));
	json_object_set_new(object, "regions", regions);
	mig_agent_measured(agent, &quiesce_ns, &harvest_ns);
	json_object_set_new(object, "quiesce_ms", json_real((double)quiesce_ns / 1e6));
	json_object_set_new(object, "harvest_ms", json_real((double)harvest_ns / 1e6));
	return object;
}

json_t *
mig_json_error(int rc, const char *reason)
{
	const char *code = strerrorname_np(-rc);

	return json_pack("{sb s{ss ss}}", "ok", false, "error", "code", code != NULL ? code : "EIO",
		"reason", reason);
}
