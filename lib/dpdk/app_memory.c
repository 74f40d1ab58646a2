/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of an application that moves: mapped for devices where the CPU sees it, and watched. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>

#include "app_priv.h"
#include "base_priv.h"

#define LOG_PREFIX "dpdk/app"

static struct app_memory *
find(struct wherry_app *app, const char *name)
{
	struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next) {
		if (strcmp(m->name, name) == 0)
			return m;
	}
	return NULL;
}

int
app_memory_watch(struct wherry_app *app, struct app_memory *m, uint64_t page)
{
	int rc = wherry_watch_create(app->tracker, m->name, m->span, page, &m->watch);

	if (rc != 0)
		return rc;
	rc = wherry_watch_add_domain(m->watch, app->dom);
	if (rc != 0)
		wherry_watch_destroy(m->watch);
	else
		STAILQ_INSERT_TAIL(&app->memory, m, next);
	return rc;
}

/* Take a region in; on failure it is as it was, and the caller's. */
static int
add(struct wherry_app *app, struct wherry_region *region, struct app_memory **ret_m)
{
	struct wherry_region_info info;
	struct app_memory *m;
	int rc;

	wherry_region_get_info(region, &info);
	if (find(app, info.name) != NULL)
		return -EEXIST;
	m = wherry_fault("app.memory") ? NULL : calloc(1, sizeof(*m));
	if (m == NULL)
		return -ENOMEM;
	m->region = region;
	m->name = info.name;
	m->span = (struct wherry_span){ .iova = (uintptr_t)info.vaddr, .len = info.len };
	rc = wherry_domain_map_file(
		app->dom, info.fd, 0, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &m->span);
	if (rc != 0)
		goto free_memory;
	rc = app_memory_watch(app, m, info.page);
	if (rc != 0)
		goto unmap;
	*ret_m = m;
	return 0;
unmap:
	(void)wherry_domain_unmap(app->dom, m->span);
free_memory:
	free(m);
	return rc;
}

static void
drop(struct wherry_app *app, struct app_memory *m)
{
	STAILQ_REMOVE(&app->memory, m, app_memory, next);
	wherry_watch_destroy(m->watch);
	if (!m->is_eal)
		(void)wherry_domain_unmap(app->dom, m->span);
	wherry_arena_close(m->arena);
	if (m->made_here)
		wherry_region_destroy(m->region);
	free(m);
}

void
app_memory_drop_eal(struct wherry_app *app)
{
	struct app_memory *m, *following;

	for (m = STAILQ_FIRST(&app->memory); m != NULL; m = following) {
		following = STAILQ_NEXT(m, next);
		if (m->is_eal)
			drop(app, m);
	}
}

void
app_memory_drop_all(struct wherry_app *app)
{
	while (!STAILQ_EMPTY(&app->memory))
		drop(app, STAILQ_FIRST(&app->memory));
}

int
wherry_app_add_region(struct wherry_app *app, struct wherry_region *region)
{
	struct app_memory *m;

	return add(app, region, &m);
}

int
wherry_app_add_arena(struct wherry_app *app, const struct wherry_region_opts *opts,
	struct wherry_arena **ret_arena)
{
	struct wherry_region *region;
	struct app_memory *m;
	int rc;

	if (opts->vaddr == NULL)
		return -EINVAL;
	rc = wherry_region_create(opts, &region);
	if (rc != 0)
		return rc;
	rc = add(app, region, &m);
	if (rc != 0) {
		wherry_region_destroy(region);
		return rc;
	}
	m->made_here = true;
	rc = app->incoming ? 0 : wherry_arena_create(region, &m->arena);
	if (rc != 0) {
		drop(app, m);
		return rc;
	}
	*ret_arena = m->arena;
	return 0;
}

/*
 * A process that reaches EAL's memory: as a secondary it has EAL's configuration mapped for writing, and
 * all memory that this describes, whether it has attached to an application or not.
 */
static int
find_secondary(void)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/config", rte_eal_get_runtime_dir());
	return wherry_file_find_sharer(path);
}

int
app_memory_alone(struct wherry_app *app)
{
	const struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next) {
		int rc = m->is_eal ? find_secondary()
				   : wherry_region_find_writer(
					     m->region, secondaries_known, &app->secondaries);

		if (rc > 0 && m->is_eal) {
			LOG_ERR("process %d is a secondary of this EAL, whose memory moves, and what it writes there is not tracked: it has to end",
				rc);
			return -EBUSY;
		}
		if (rc > 0) {
			LOG_ERR("process %d has \"%s\" mapped for writing, and what it writes is not tracked: it has to end or to map it for reading only",
				rc, m->name);
			return -EBUSY;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

struct wherry_watch *
wherry_app_watch(struct wherry_app *app, const char *name)
{
	struct app_memory *m = find(app, name);

	return m != NULL ? m->watch : NULL;
}

struct wherry_arena *
wherry_app_arena(struct wherry_app *app, const char *name)
{
	struct app_memory *m = find(app, name);

	return m != NULL ? m->arena : NULL;
}
