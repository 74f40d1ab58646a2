/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the agent has an application do. Source: cores leave the PMDs before ports
 * stop, and ports run before cores come back. Destination: all that can fail is done
 * in verify, before READY, while the source can still go on.
 */
#include <errno.h>

#include "app_priv.h"
#include "base_priv.h"
#include "line_priv.h"

#define LOG_PREFIX "dpdk/app"
#define PARK_MS 1000        /* a core that takes longer for one burst loop holds up everything */
#define SECONDARIES_MS 1500 /* those in a secondary process, and the way there and back */
#define FIRST_MS 2000       /* cores may be launched only when start returns */

/* Adopted ports tell who polls them; where nobody does there is nobody to wait for. */
static int
park_cores(struct wherry_app *app, uint64_t *ret_last_burst_ns)
{
	int rc = app->adopt.n != 0 ? adopt_count(&app->adopt, &app->park.pollers) : 0;

	if (rc == 0)
		rc = park_all(&app->park, PARK_MS, ret_last_burst_ns);
	if (rc == 0 && app->park.pollers == 0)
		*ret_last_burst_ns = park_now_ns();
	return rc;
}

/* What comes from now on waits in the lines, for this process or another. */
static int
stop_ports(struct wherry_app *app)
{
	int rc;

	lines_hold(&app->ports, true);
	if (app->late != NULL)
		late_keep(app->late);
	rc = ports_quiesce(&app->ports);
	if (rc != 0)
		lines_hold(&app->ports, false);
	return rc;
}

static int
quiesce(void *ctx, uint64_t *ret_last_burst_ns)
{
	struct wherry_app *app = ctx;
	int rc;

	secondaries_ask(&app->secondaries);
	rc = park_cores(app, ret_last_burst_ns);
	if (rc == 0) {
		rc = secondaries_wait(&app->secondaries, SECONDARIES_MS, ret_last_burst_ns);
		if (rc != 0)
			park_resume(&app->park);
	}
	if (rc != 0) {
		secondaries_resume(&app->secondaries);
		return rc;
	}
	cpus_borrow(&app->cpus);
	if (app->ops.parked != NULL)
		app->ops.parked(app->ops.ctx);
	if (app->late != NULL) /* they stop with silence() */
		return 0;
	rc = stop_ports(app);
	if (rc != 0) {
		cpus_give_back(&app->cpus);
		park_resume(&app->park);
		secondaries_resume(&app->secondaries);
	}
	return rc;
}

/* Cores park and go on; that secondaries do takes no longer. */
static uint64_t
dry_quiesce(struct wherry_app *app)
{
	uint64_t begin = park_now_ns(), last;
	int rc;

	if (app->late == NULL && app->ports.n != 0) /* a port that is stopped for it is not tried */
		return 0;
	rc = park_cores(app, &last);
	park_resume(&app->park);
	return rc == 0 ? park_now_ns() - begin : 0;
}

static uint64_t
rehearse(void *ctx)
{
	struct wherry_app *app = ctx;
	struct wherry_status now;

	wherry_agent_get_status(app->agent, &now);
	return now.state == WHERRY_STATE_LISTEN ? ports_takeover_ns(&app->ports) : dry_quiesce(app);
}

static void
throttle(void *ctx, unsigned int percent)
{
	struct wherry_app *app = ctx;

	throttle_set(app->throttle, percent);
	secondaries_throttle(&app->secondaries, percent);
}

static int
next_late(void *ctx, struct wherry_late_frame *ret_frame)
{
	struct wherry_app *app = ctx;

	return app->late != NULL ? late_receive(app->late, ret_frame) : 0;
}

/* A port that does not stop is logged; its buffers are nobody's. */
static void
silence(void *ctx)
{
	struct wherry_app *app = ctx;

	if (app->late != NULL)
		(void)stop_ports(app);
}

static void
inject(void *ctx, const struct wherry_late_frame *frame)
{
	struct wherry_app *app = ctx;

	if (app->late != NULL)
		late_inject(app->late, frame);
}

static void
resume(void *ctx)
{
	struct wherry_app *app = ctx;

	ports_resume(&app->ports);
	lines_hold(&app->ports, false);
	if (app->late != NULL)
		late_put_back(app->late);
	cpus_give_back(&app->cpus);
	park_resume(&app->park);
	secondaries_resume(&app->secondaries);
}

static void
released(void *ctx)
{
	struct wherry_app *app = ctx;

	cpus_give_back(&app->cpus);
	secondaries_quit(&app->secondaries);
	app_let_go(app);
	if (app->adopt.n == 0) /* who does not know of us would go on with stopped ports */
		park_quit(&app->park);
}

static void
discard(void *ctx)
{
	struct wherry_app *app = ctx;
	struct app_memory *m;

	cpus_give_back(&app->cpus);
	STAILQ_FOREACH(m, &app->memory, next) {
		if (m->made_here)
			wherry_arena_close(m->arena);
		m->arena = NULL;
	}
	app_give_back_borrowed(app);
	lines_give_back(&app->ports);
}

/* Nobody polls here before takeover. */
static void
prepare(void *ctx)
{
	struct wherry_app *app = ctx;

	cpus_borrow(&app->cpus);
}

static int
open_arenas(struct wherry_app *app)
{
	struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next) {
		int rc = m->made_here ? wherry_arena_open(m->region, &m->arena) : 0;

		if (rc != 0) {
			LOG_ERR("what has come is no sound arena \"%s\"", m->name);
			return rc;
		}
	}
	return 0;
}

static int
verify(void *ctx)
{
	struct wherry_app *app = ctx;
	int rc = app_check_borrowed(app);

	if (rc == 0)
		rc = lines_check(&app->ports);
	if (rc == 0)
		rc = open_arenas(app);
	if (rc == 0 && app->ops.verify != NULL)
		rc = app->ops.verify(app->ops.ctx);
	if (rc != 0)
		discard(app);
	return rc;
}

static int
rebind(struct wherry_app *app)
{
	int rc = app->ops.rebind != NULL ? app->ops.rebind(app->ops.ctx) : 0;

	if (rc != 0)
		ports_stop(&app->ports);
	return rc;
}

/* The cores run; when one has handled a burst is for the record only. */
static uint64_t
first_burst(struct wherry_app *app)
{
	uint64_t first = 0;
	int rc = park_wait_first(&app->park, FIRST_MS, &first);

	if (rc == -ETIMEDOUT)
		LOG_WARN("no core has polled %u ms after takeover: the blackout goes on",
			(unsigned int)FIRST_MS);
	return rc == 0 ? first : park_now_ns();
}

/* What is not tracked now is tracked when this process migrates: no reason not to run. */
static void
start_harvest(struct wherry_app *app)
{
	int rc = app->harvest_ms != 0 ? wherry_tracker_start(app->tracker) : 0;

	if (rc != 0 && rc != -EALREADY)
		LOG_WARN("periodic harvest does not start (%d)", rc);
}

static int
takeover(void *ctx, uint64_t *ret_first_burst_ns)
{
	struct wherry_app *app = ctx;
	int rc = app_own_borrowed(app);

	if (rc == 0)
		rc = ports_takeover(&app->ports);
	if (rc == 0)
		rc = rebind(app);
	if (rc != 0)
		return rc;
	__atomic_store_n(&app->adopt.discard, false, __ATOMIC_RELEASE); /* pairs with on_burst() */
	if (app->late != NULL)
		late_attach(app->late);
	lines_hold(&app->ports, false);
	park_go(&app->park);
	*ret_first_burst_ns = first_burst(app);
	cpus_give_back(&app->cpus);
	app_track_owned(app);
	start_harvest(app); /* takes its time, and cores run already */
	return 0;
}

const struct wherry_agent_ops app_agent_ops = {
	.quiesce = quiesce,
	.rehearse = rehearse,
	.throttle = throttle,
	.resume = resume,
	.late = next_late,
	.silence = silence,
	.inject = inject,
	.prepare = prepare,
	.released = released,
	.verify = verify,
	.takeover = takeover,
	.discard = discard,
	.mappings = app_mappings,
	.lend = app_lend,
	.borrow = app_borrow,
};
