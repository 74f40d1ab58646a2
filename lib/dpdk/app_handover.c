/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An application's memory as files, and its lines to the network, to and from another process
 * on this machine. The
 * destination has another's memory in the place of its own, read-only for the CPU, from before
 * the source stops; devices are mapped to it then, too, and receive queues are stopped, so
 * that nothing writes there before takeover. It never looks at the memory it had made.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app_priv.h"
#include "base_priv.h"
#include "line_priv.h"

#define LOG_PREFIX "dpdk/handover"
#define LINE "@line." /* and the number of the port, in the order both sides know */

static struct app_memory *
nth(struct wherry_app *app, unsigned int i)
{
	struct app_memory *m = STAILQ_FIRST(&app->memory);

	while (m != NULL && i-- > 0)
		m = STAILQ_NEXT(m, next);
	return m;
}

/* The n-th line that is a file. 1 or 0, as wherry_agent_ops.lend. */
static int
lend_line(const struct wherry_app *app, unsigned int n, struct wherry_lent *ret_lent)
{
	for (unsigned int i = 0; i < app->ports.n; i++) {
		int fd = line_lend(&app->ports, i);

		if (fd < 0 || n-- > 0)
			continue;
		snprintf(ret_lent->name, sizeof(ret_lent->name), LINE "%u", i);
		ret_lent->fd = fd;
		return 1;
	}
	return 0;
}

static unsigned int
count(const struct wherry_app *app)
{
	const struct app_memory *m;
	unsigned int n = 0;

	STAILQ_FOREACH(m, &app->memory, next) {
		n++;
	}
	return n;
}

int
app_lend(void *ctx, unsigned int i, struct wherry_lent *ret_lent)
{
	struct wherry_app *app = ctx;
	struct app_memory *m = nth(app, i);
	struct wherry_region_info info;

	if (m == NULL)
		return lend_line(app, i - count(app), ret_lent);
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

static int
borrow_line(struct wherry_app *app, const struct wherry_lent *lent)
{
	char *end;
	unsigned long i = strtoul(lent->name + strlen(LINE), &end, 10);

	return *end == '\0' && i < app->ports.n
		? line_borrow(&app->ports, (unsigned int)i, lent->fd)
		: -ENOENT;
}

int
app_borrow(void *ctx, const struct wherry_lent *lent)
{
	struct wherry_app *app = ctx;
	struct app_memory *m;
	int rc;

	if (strncmp(lent->name, LINE, strlen(LINE)) == 0)
		return borrow_line(app, lent);

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
		if (m->borrowed) /* by remap(), before the source stopped */
			app->mappings = WHERRY_MAPPINGS_REBUILT;
		m->renew |= m->borrowed;
		m->borrowed = false;
	}
	return 0;
}

enum wherry_mappings
app_mappings(void *ctx)
{
	const struct wherry_app *app = ctx;

	return app->mappings;
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
