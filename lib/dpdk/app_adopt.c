/* SPDX-License-Identifier: BSD-3-Clause */
/* What an application gives that does not know Wherry: its running ports and EAL's memory. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_memory.h>

#include "app_priv.h"
#include "base_priv.h"

#define LOG_PREFIX "dpdk/app"

int
wherry_app_adopt_port(struct wherry_app *app, uint16_t port)
{
	int rc;

	app->adopt.park = &app->park;
	__atomic_store_n(&app->adopt.discard, app->incoming, __ATOMIC_RELEASE);
	rc = ports_add(&app->ports, port);
	if (rc != 0)
		return rc;
	rc = adopt_port(&app->adopt, port);
	if (rc != 0) {
		app->ports.n--;
		return rc;
	}
	app->ports.port[app->ports.n - 1].adopted = true;
	app->ports.port[app->ports.n - 1].at = PORT_RUNNING;
	return 0;
}

/* Runs of EAL memory: collected under EAL's lock, watched after it. */
struct runs {
	unsigned int n;
	bool is_static;
	struct {
		struct wherry_span span;
		uint64_t page;
	} run[64];
};

static int
collect(const struct rte_memseg_list *msl, const struct rte_memseg *ms, size_t len, void *arg)
{
	struct runs *runs = arg;

	if (msl->external)
		return 0;
	if (runs->n == RTE_DIM(runs->run))
		return -ENOSPC;
	runs->run[runs->n].span = (struct wherry_span){ .iova = ms->addr_64, .len = len };
	runs->run[runs->n++].page = msl->page_sz;
	return 0;
}

static void
ignore_event(enum rte_mem_event event, const void *addr, size_t len, void *arg)
{
	(void)event;
	(void)addr;
	(void)len;
	(void)arg;
}

/* EAL refuses callbacks where memory cannot come or go. */
static bool
is_static(void)
{
	if (rte_mem_event_callback_register("wherry-static", ignore_event, NULL) != 0)
		return true;
	(void)rte_mem_event_callback_unregister("wherry-static", NULL);
	return false;
}

static int
watch_run(struct wherry_app *app, unsigned int i, struct wherry_span span, uint64_t page)
{
	struct app_memory *m = wherry_fault("app.eal") ? NULL : calloc(1, sizeof(*m));
	int rc;

	if (m == NULL)
		return -ENOMEM;
	m->is_eal = true;
	m->span = span;
	snprintf(m->eal_name, sizeof(m->eal_name), "eal.%u", i);
	m->name = m->eal_name;
	rc = app_memory_watch(app, m, page);
	if (rc != 0)
		free(m);
	return rc;
}

int
wherry_app_add_eal(struct wherry_app *app)
{
	struct runs runs = { .n = 0 };
	int rc = 0;

	if (!is_static()) {
		LOG_ERR("EAL memory comes and goes: start with --no-huge or --legacy-mem");
		return -EOPNOTSUPP;
	}
	if (rte_memseg_contig_walk(collect, &runs) != 0)
		return -ENOSPC;
	for (unsigned int i = 0; rc == 0 && i < runs.n; i++)
		rc = watch_run(app, i, runs.run[i].span, runs.run[i].page);
	if (rc != 0)
		app_memory_drop_eal(app);
	return rc;
}
