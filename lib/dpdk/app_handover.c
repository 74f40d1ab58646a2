/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An application's memory as files, to and from another process on this machine. The
 * destination has another's memory in the place of its own, read-only for the CPU, from before
 * the source stops; devices are mapped to it then, too, and receive queues are stopped, so
 * that nothing writes there before takeover. It never looks at the memory it had made.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "app_priv.h"
#include "base_priv.h"

#define LOG_PREFIX "dpdk/handover"

static struct app_memory *
nth(struct wherry_app *app, unsigned int i)
{
	struct app_memory *m = STAILQ_FIRST(&app->memory);

	while (m != NULL && i-- > 0)
		m = STAILQ_NEXT(m, next);
	return m;
}

int
app_lend(void *ctx, unsigned int i, struct wherry_lent *ret_lent)
{
	struct wherry_app *app = ctx;
	struct app_memory *m = nth(app, i);
	struct wherry_region_info info;

	if (m == NULL)
		return 0;
	if (m->region == NULL) /* EAL's: no other EAL could go on with it */
		return -EOPNOTSUPP;
	wherry_region_get_info(m->region, &info);
	snprintf(ret_lent->name, sizeof(ret_lent->name), "%s", m->name);
	ret_lent->fd = info.fd;
	return 1;
}

/* The same addresses, other memory: for devices, too. */
static int
remap(struct wherry_app *app, struct app_memory *m)
{
	struct wherry_region_info info;
	int rc = wherry_domain_unmap(app->dom, m->span);

	wherry_region_get_info(m->region, &info);
	if (rc == 0 || rc == -ENOENT) /* a try before this one may have left a hole */
		rc = wherry_domain_map_file(
			app->dom, info.fd, 0, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &m->span);
	return rc;
}

/* And for the tracker, which is off. */
static void
track_anew(struct app_memory *m)
{
	int rc = wherry_watch_renew(m->watch);

	if (rc != 0)
		LOG_WARN("%s: writes of the CPU will not be seen, so it cannot be copied: %s",
			m->name, strerror(-rc));
}

int
app_borrow(void *ctx, const struct wherry_lent *lent)
{
	struct wherry_app *app = ctx;
	struct app_memory *m;
	int rc;

	STAILQ_FOREACH(m, &app->memory, next) {
		if (strcmp(m->name, lent->name) == 0)
			break;
	}
	if (m == NULL || m->region == NULL)
		return -ENOENT;
	rc = wherry_region_borrow(m->region, lent->fd);
	if (rc != 0)
		return rc;
	m->borrowed = true;
	m->unreachable = remap(app, m);
	return 0; /* the fd is the region's now: app_check_borrowed() tells */
}

int
app_check_borrowed(struct wherry_app *app)
{
	struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next) {
		if (!m->borrowed || m->unreachable == 0)
			continue;
		LOG_ERR("%s: devices cannot reach the memory handed over: %s", m->name,
			strerror(-m->unreachable));
		return m->unreachable;
	}
	return 0;
}

int
app_own_borrowed(struct wherry_app *app)
{
	struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next) {
		int rc = m->borrowed ? wherry_region_own(m->region) : 0;

		if (rc != 0) {
			LOG_ERR("%s: memory handed over cannot be written: %s", m->name,
				strerror(-rc));
			return rc;
		}
		m->renew |= m->borrowed;
		m->borrowed = false;
	}
	return 0;
}

void
app_track_owned(struct wherry_app *app)
{
	struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next) {
		if (m->renew)
			track_anew(m);
		m->renew = false;
	}
}

void
app_give_back_borrowed(struct wherry_app *app)
{
	struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next) {
		if (!m->borrowed)
			continue;
		wherry_region_give_back(m->region);
		m->borrowed = false;
		if (remap(app, m) != 0)
			LOG_WARN("%s: devices do not reach it any more", m->name);
		track_anew(m);
	}
}

/* Whoever has it now must not see what this process does while it ends. */
void
app_let_go(struct wherry_app *app)
{
	struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next) {
		int rc = m->region != NULL ? wherry_region_let_go(m->region) : 0;

		if (rc != 0)
			LOG_WARN("%s: still shared with the process that owns it: %s", m->name,
				strerror(-rc));
	}
}
