/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a migratable application: made, started, polled, ended. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "app_priv.h"
#include "base_priv.h"
#include "iommu_section_priv.h"

#define LOG_PREFIX "dpdk/app"
#define LOOK_MS 200 /* how often a waiting destination looks whether its agent gave up */

static int
create_tracker(struct wherry_app *app)
{
	const struct wherry_tracker_opts opts = {
		.cpu = app->opts->cpu,
		.period_ms = app->opts->harvest_ms,
	};

	return wherry_tracker_create(&opts, &app->tracker);
}

/*
 * The first thing that a source does, before the first page: ctx is the ports of an app. They
 * are saved once more when it has stopped, and then the destination of a handover has its
 * memory mapped, which is as it should be.
 */
static int
save_if_alone(void *ctx, void *buf, size_t cap)
{
	struct wherry_app *app = RTE_PTR_SUB(ctx, offsetof(struct wherry_app, ports));
	struct wherry_status now;
	int rc;

	wherry_agent_get_status(app->agent, &now);
	rc = now.state == WHERRY_STATE_SETUP ? app_memory_alone(app) : 0;
	return rc == 0 ? ports_save(ctx, buf, cap) : rc;
}

static int
iommu_save(void *ctx, void *buf, size_t cap)
{
	const struct wherry_app *app = ctx;
	struct wherry_domain_caps caps;

	wherry_domain_get_caps(app->dom, &caps);
	return iommu_encode(&caps, buf, cap);
}

/* Regions have the same addresses at both ends when this is asked. */
static int
iommu_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	struct wherry_app *app = ctx;
	struct wherry_domain_caps caps;
	struct app_memory *m;
	int rc;

	wherry_domain_get_caps(app->dom, &caps);
	rc = iommu_compare(buf, len, &caps, ret_why);
	STAILQ_FOREACH(m, &app->memory, next)
		if (rc == 0)
			rc = iommu_reaches(buf, len, &caps, m->name, m->span, ret_why);
	return rc;
}

/* What is no memory, in the order in which it is loaded. */
static int
add_sections(struct wherry_app *app)
{
	const struct wherry_section sections[] = {
		{ PORTS_SECTION, PORTS_SECTION_VERSION, save_if_alone, ports_check, ports_load,
			&app->ports },
		{ PORTS_STATS_SECTION, PORTS_STATS_SECTION_VERSION, ports_stats_save,
			ports_stats_check, ports_stats_load, &app->ports },
		{ FILTERS_SECTION, FILTERS_SECTION_VERSION, filters_save, filters_check,
			filters_load, &app->ports },
		{ IOMMU_SECTION, IOMMU_SECTION_VERSION, iommu_save, iommu_check, NULL, app },
		{ FLOWS_SECTION, FLOWS_SECTION_VERSION, flows_save, flows_check, flows_load,
			&app->ports },
	};
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < RTE_DIM(sections); i++)
		rc = wherry_agent_add_section(app->agent, &sections[i]);
	return rc;
}

static int
create_agent(struct wherry_app *app)
{
	struct wherry_agent_ops ops = app_agent_ops;
	const struct wherry_agent_opts opts = {
		.name = app->name,
		.control = app->opts->control,
		.incoming = app->opts->incoming,
		.arbiter = app->opts->arbiter,
		.tls = app->opts->tls,
		.insecure = app->opts->insecure,
		.tracker = app->tracker,
		.ops = &ops,
	};
	int rc;

	ops.ctx = app;
	rc = wherry_agent_create(&opts, &app->agent);
	if (rc != 0)
		return rc;
	rc = add_sections(app);
	if (rc != 0)
		wherry_agent_destroy(app->agent);
	return rc;
}

static int
create_threads(struct wherry_app *app)
{
	int rc = create_tracker(app);

	if (rc != 0)
		return rc;
	rc = create_agent(app);
	if (rc != 0)
		wherry_tracker_destroy(app->tracker);
	return rc;
}

static struct wherry_app *
alloc_app(const struct wherry_app_opts *opts)
{
	struct wherry_app *app = wherry_fault("app.alloc") ? NULL : calloc(1, sizeof(*app));

	if (app == NULL)
		return NULL;
	app->name = wherry_fault("app.name") ? NULL : strdup(opts->name);
	if (app->name == NULL) {
		free(app);
		return NULL;
	}
	app->opts = opts;
	app->incoming = opts->incoming != NULL;
	app->harvest_ms = opts->harvest_ms;
	app->ops = opts->ops;
	STAILQ_INIT(&app->memory);
	secondaries_init(&app->secondaries);
	return app;
}

int
wherry_app_create(const struct wherry_app_opts *opts, struct wherry_app **ret_app)
{
	unsigned int pollers = opts->pollers != 0 ? opts->pollers : 1;
	struct wherry_app *app;
	int rc = -ENOMEM;

	if (opts->name == NULL || pollers > PARK_COUNT_MASK)
		return -EINVAL;
	app = alloc_app(opts);
	if (app == NULL)
		return -ENOMEM;
	rc = park_init(&app->park, pollers);
	if (rc != 0)
		goto free_app;
	if (opts->late_frames)
		app->late = late_create(&app->park, &app->ports);
	app->throttle = throttle_create(&app->ports);
	if (app->throttle == NULL || (opts->late_frames && app->late == NULL)) {
		rc = -ENOMEM;
		goto destroy_late;
	}
	rc = wherry_dpdk_domain_get(opts->iommu, &app->dom);
	if (rc != 0)
		goto destroy_late;
	rc = app_as_control(app, create_threads);
	if (rc != 0)
		goto put_domain;
	app->opts = NULL;
	app_telemetry_add(app);
	app_serve_secondaries();
	*ret_app = app;
	return 0;
put_domain:
	wherry_dpdk_domain_put(app->dom);
destroy_late:
	throttle_destroy(app->throttle);
	ports_fini(&app->ports);
	late_destroy(app->late);
	park_fini(&app->park);
free_app:
	secondaries_fini(&app->secondaries);
	free(app->name);
	free(app);
	return rc;
}

void
wherry_app_destroy(struct wherry_app *app)
{
	if (app == NULL)
		return;
	app_telemetry_remove(app);
	park_quit(&app->park); /* whatever waits for cores waits no longer */
	wherry_agent_destroy(app->agent);
	adopt_fini(&app->adopt);
	ports_stop(&app->ports);
	late_destroy(app->late);
	throttle_destroy(app->throttle);
	secondaries_fini(&app->secondaries);
	app_memory_drop_all(app);
	wherry_tracker_destroy(app->tracker);
	wherry_dpdk_domain_put(app->dom);
	park_fini(&app->park);
	free(app->name);
	free(app);
}

int
wherry_app_add_port(struct wherry_app *app, uint16_t port)
{
	return ports_add(&app->ports, port);
}

static struct port *
find_port(struct wherry_app *app, uint16_t id)
{
	for (unsigned int i = 0; i < app->ports.n; i++)
		if (app->ports.port[i].id == id)
			return &app->ports.port[i];
	return NULL;
}

int
wherry_app_set_multicast(
	struct wherry_app *app, uint16_t port, const struct rte_ether_addr *addrs, unsigned int n)
{
	struct port *p = find_port(app, port);

	return p != NULL ? port_set_multicast(p, addrs, n) : -ENODEV;
}

int
wherry_app_set_vlan(struct wherry_app *app, uint16_t port, uint16_t vlan, bool on)
{
	struct port *p = find_port(app, port);

	return p != NULL ? port_set_vlan(p, vlan, on) : -ENODEV;
}

int /* rte_flow_create(), and a number: NOLINTNEXTLINE(readability-function-size) */
wherry_app_create_flow(struct wherry_app *app, uint16_t port, const struct rte_flow_attr *attr,
	const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
	unsigned int *ret_id, struct rte_flow_error *error)
{
	struct port *p = find_port(app, port);

	return p != NULL ? port_create_flow(p, attr, pattern, actions, ret_id, error) : -ENODEV;
}

int
wherry_app_destroy_flow(struct wherry_app *app, uint16_t port, unsigned int id)
{
	struct port *p = find_port(app, port);

	return p != NULL ? port_destroy_flow(p, id) : -ENODEV;
}

static int
start_threads(struct wherry_app *app)
{
	bool harvest = app->harvest_ms != 0 && !app->incoming;
	int rc = harvest ? wherry_tracker_start(app->tracker) : 0;

	if (rc != 0)
		return rc;
	rc = wherry_agent_start(app->agent);
	if (rc != 0 && harvest)
		wherry_tracker_stop(app->tracker);
	return rc;
}

static int
start_serving(struct wherry_app *app)
{
	int rc = ports_start(&app->ports);

	if (rc != 0)
		return rc;
	rc = app_as_control(app, start_threads);
	if (rc != 0)
		ports_stop(&app->ports);
	else
		park_resume(&app->park);
	return rc;
}

/* Until takeover has let the cores run, the agent gave up, or the application quits. */
static int
wait_for_takeover(struct wherry_app *app)
{
	struct wherry_status status;
	int rc;

	while ((rc = park_wait_running(&app->park, LOOK_MS)) == -ETIMEDOUT) {
		wherry_agent_get_status(app->agent, &status);
		if (status.state == WHERRY_STATE_FAILED) {
			LOG_ERR("no migration: %s", status.reason);
			return wherry_agent_wait(app->agent);
		}
	}
	return rc;
}

static int
start_incoming(struct wherry_app *app)
{
	int rc = ports_warm(&app->ports);

	if (rc != 0)
		return rc;
	rc = app_as_control(app, start_threads);
	if (rc == 0)
		rc = wait_for_takeover(app);
	if (rc != 0)
		ports_stop(&app->ports);
	return rc;
}

int
wherry_app_start(struct wherry_app *app)
{
	return app->incoming ? start_incoming(app) : start_serving(app);
}

bool
wherry_app_poll(struct wherry_app *app)
{
	return park_poll(&app->park);
}

int
wherry_app_wake_fd(struct wherry_app *app)
{
	return app->park.wake_fd;
}

void
wherry_app_quit(struct wherry_app *app)
{
	park_quit(&app->park);
}

struct wherry_agent *
wherry_app_agent(struct wherry_app *app)
{
	return app->agent;
}

struct wherry_domain *
wherry_app_domain(struct wherry_app *app)
{
	return app->dom;
}
