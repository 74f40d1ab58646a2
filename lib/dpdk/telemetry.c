/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The extra view through DPDK's telemetry: /wherry/status, /wherry/domain,
 * /wherry/ports and /wherry/watches. Commands are registered for good when the library is loaded, for
 * telemetry cannot take one back; they answer for the application named as parameter,
 * or for the first there is. Handlers run on telemetry's threads and hold the lock
 * while they read, so that no application goes away under them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_common.h>
#include <rte_telemetry.h>
#include <rte_version.h>

#include "app_priv.h"
#include "base_priv.h"

static struct wherry_mutex lock = { .m = PTHREAD_MUTEX_INITIALIZER };
static LIST_HEAD(, wherry_app) apps = LIST_HEAD_INITIALIZER(apps); /* under lock */

void
app_telemetry_add(struct wherry_app *app)
{
	wherry_mutex_lock(&lock);
	LIST_INSERT_HEAD(&apps, app, next);
	wherry_mutex_unlock(&lock);
}

void
app_telemetry_remove(struct wherry_app *app)
{
	wherry_mutex_lock(&lock);
	LIST_REMOVE(app, next);
	wherry_mutex_unlock(&lock);
}

/* What cannot be added for want of room is left out: telemetry answers are short. */
static void
add_uint(struct rte_tel_data *d, const char *name, uint64_t value)
{
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
	rte_tel_data_add_dict_uint(d, name, value);
#else
	rte_tel_data_add_dict_u64(d, name, value);
#endif
}

/* What is being done so that it ends. */
static void
add_convergence(struct wherry_app *app, const struct wherry_status *s, struct rte_tel_data *d)
{
	add_uint(d, "round_bytes_per_s", (uint64_t)s->round.bandwidth);
	add_uint(d, "forecast_us", (uint64_t)(s->round.forecast_ms * 1000));
	add_uint(d, "pauses", s->pauses);
	add_uint(d, "late_frames", s->late_frames);
	add_uint(d, "throttle_percent", s->throttle_percent);
	add_uint(d, "throttle_dropped", throttle_dropped(app->throttle));
}

static void
add_status(struct wherry_app *app, struct rte_tel_data *d)
{
	struct wherry_status s;

	wherry_agent_get_status(app->agent, &s);
	rte_tel_data_add_dict_string(d, "application", app->name);
	rte_tel_data_add_dict_string(d, "state", wherry_state_name(s.state));
	rte_tel_data_add_dict_string(d, "reason", s.reason);
	add_uint(d, "pollers", app->park.pollers);
	add_uint(d, "ports", app->ports.n);
	add_uint(d, "secondaries", secondaries_count(&app->secondaries));
	add_uint(d, "state_bytes", s.state_bytes);
	add_uint(d, "bytes_sent", s.bytes_sent);
	add_uint(d, "filtered_pages", s.filtered_pages);
	add_uint(d, "rounds", s.rounds);
	add_uint(d, "round_iommu_dirty_pages", s.round.iommu_dirty_pages);
	add_uint(d, "round_cpu_dirty_pages", s.round.cpu_dirty_pages);
	add_uint(d, "round_pages", s.round.pages);
	add_uint(d, "blackout_us", s.blackout_ns / 1000);
	add_uint(d, "total_ms", s.total_ns / 1000000);
	add_convergence(app, &s, d);
}

static void
add_domain(struct wherry_app *app, struct rte_tel_data *d)
{
	static const char *const dirty[] = { "none", "perpetual", "tracked" };
	static const char *const exact[] = { "fence", "content", "assuming" };
	struct wherry_domain_caps caps;

	wherry_domain_get_caps(app->dom, &caps);
	rte_tel_data_add_dict_string(d, "backend", wherry_domain_backend(app->dom));
	rte_tel_data_add_dict_string(d, "dirty", dirty[caps.dirty]);
	rte_tel_data_add_dict_string(d, "exact_unmap", exact[caps.exact_by]);
	rte_tel_data_add_dict_string(d, "reason", caps.reason);
	add_uint(d, "granule", caps.granule);
	add_uint(d, "page_sizes", caps.page_sizes);
}

/* Each watch is a dictionary in the answer. */
static int
add_watch(void *ctx, struct wherry_watch *w)
{
	struct rte_tel_data *one = rte_tel_data_alloc();
	struct wherry_watch_stats s;

	if (one == NULL)
		return -ENOMEM;
	wherry_watch_get_stats(w, &s);
	rte_tel_data_start_dict(one);
	add_uint(one, "bytes", wherry_watch_span(w).len);
	add_uint(one, "harvests", s.harvests);
	add_uint(one, "iommu_pages", s.iommu_pages);
	add_uint(one, "cpu_pages", s.cpu_pages);
	add_uint(one, "always_pages", s.always_pages);
	add_uint(one, "pending_pages", s.pending_pages);
	add_uint(one, "filtered_pages", s.filtered_pages);
	add_uint(one, "iommu_pages_per_s", (uint64_t)s.iommu_rate);
	add_uint(one, "cpu_pages_per_s", (uint64_t)s.cpu_rate);
	add_uint(one, "footprint", s.footprint);
	if (rte_tel_data_add_dict_container(ctx, wherry_watch_name(w), one, 0) != 0)
		rte_tel_data_free(one); /* the name is none telemetry takes, or no room is left */
	return 0;
}

static void
add_watches(struct wherry_app *app, struct rte_tel_data *d)
{
	(void)wherry_tracker_each(app->tracker, add_watch, d);
}

/* Each port is a dictionary in the answer: what was counted here and wherever it ran before. */
static void
add_ports(struct wherry_app *app, struct rte_tel_data *d)
{
	for (unsigned int i = 0; i < app->ports.n; i++) {
		struct rte_tel_data *one = rte_tel_data_alloc();
		struct rte_eth_stats s;
		char name[16];

		if (one == NULL || port_total(&app->ports.port[i], &s) != 0) {
			rte_tel_data_free(one);
			return;
		}
		snprintf(name, sizeof(name), "%u", app->ports.port[i].id);
		rte_tel_data_start_dict(one);
		add_uint(one, "rx_packets", s.ipackets);
		add_uint(one, "tx_packets", s.opackets);
		add_uint(one, "rx_bytes", s.ibytes);
		add_uint(one, "tx_bytes", s.obytes);
		add_uint(one, "rx_missed", s.imissed);
		add_uint(one, "rx_errors", s.ierrors);
		add_uint(one, "tx_errors", s.oerrors);
		if (rte_tel_data_add_dict_container(d, name, one, 0) != 0)
			rte_tel_data_free(one);
	}
}

static struct wherry_app *
find_locked(const char *name) WHERRY_REQUIRES(&lock)
{
	struct wherry_app *app;

	LIST_FOREACH(app, &apps, next) {
		if (name == NULL || *name == '\0' || strcmp(app->name, name) == 0)
			return app;
	}
	return NULL;
}

int
app_with(const char *name, int (*fn)(struct wherry_app *app, void *ctx), void *ctx)
{
	struct wherry_app *app;
	int rc = -ENOENT;

	wherry_mutex_lock(&lock);
	app = find_locked(name);
	if (app != NULL)
		rc = fn(app, ctx);
	wherry_mutex_unlock(&lock);
	return rc;
}

static int
answer(const char *params, struct rte_tel_data *d,
	void (*add)(struct wherry_app *app, struct rte_tel_data *d))
{
	struct wherry_app *app;

	rte_tel_data_start_dict(d);
	wherry_mutex_lock(&lock);
	app = find_locked(params);
	if (app != NULL)
		add(app, d);
	wherry_mutex_unlock(&lock);
	return app != NULL ? 0 : -ENOENT;
}

static int
on_status(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	return answer(params, d, add_status);
}

static int
on_domain(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	return answer(params, d, add_domain);
}

static int
on_watches(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	return answer(params, d, add_watches);
}

static int
on_ports(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	return answer(params, d, add_ports);
}

RTE_INIT(telemetry_commands)
{
	rte_telemetry_register_cmd("/wherry/status", on_status,
		"How a migratable application stands. Parameter: its name, else the first");
	rte_telemetry_register_cmd(
		"/wherry/domain", on_domain, "Its I/O address space. Parameter: as above");
	rte_telemetry_register_cmd("/wherry/ports", on_ports,
		"What its ports have counted, before migrations too. Parameter: as above");
	rte_telemetry_register_cmd("/wherry/watches", on_watches,
		"Memory under watch: what was dirtied, by whom. Parameter: as above");
}
