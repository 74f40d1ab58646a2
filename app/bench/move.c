/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "move.h"

#define PATIENCE_MS 120000

int
move_stamp(void *ctx, uint64_t *ret_burst_ns)
{
	(void)ctx;
	*ret_burst_ns = bench_now_ns();
	return 0;
}

static const struct wherry_agent_ops stamping = { .quiesce = move_stamp, .takeover = move_stamp };

/* The destination, which the child makes of what the parent has said. */
struct destination {
	char *memory;
	char uri[64];
	const char *arbiter;
	struct side *side;
};

static int
child_ready(void *ctx)
{
	struct destination *d = ctx;
	struct side_opts opts = { .ops = &stamping, .incoming = d->uri, .arbiter = d->arbiter };

	d->side = calloc(1, sizeof(*d->side));
	return d->side == NULL ? -ENOMEM : side_init(d->side, d->memory, &opts);
}

/* Until it runs: a destination goes on then. */
static int
child_main(void *ctx)
{
	struct destination *d = ctx;

	return wherry_agent_wait(d->side->agent);
}

/* It has told its source that it runs; what taking it apart costs is no part of a migration. */
static void
child_end(void *ctx)
{
	struct destination *d = ctx;

	side_fini(d->side);
}

static bool
ended(enum wherry_state state)
{
	return state == WHERRY_STATE_SERVING || state == WHERRY_STATE_RELEASED ||
		state == WHERRY_STATE_UNKNOWN;
}

int
move_once(struct side *side, const char *uri, const struct wherry_migrate_params *params,
	struct wherry_status *ret_status)
{
	int rc = wherry_agent_migrate(side->agent, uri, params);

	for (unsigned int ms = 0; rc == 0 && ms < PATIENCE_MS; ms += 10) {
		usleep(10000);
		wherry_agent_get_status(side->agent, ret_status);
		if (ended(ret_status->state))
			return ret_status->state == WHERRY_STATE_RELEASED
				? 0
				: bench_cannot(-EIO, "%s", ret_status->reason);
	}
	return rc != 0 ? rc : -ETIMEDOUT;
}

int
move_to_child(char *memory, const struct move_opts *opts, struct moved *ret_moved)
{
	struct side_opts how = { .ops = opts->ops != NULL ? opts->ops : &stamping,
		.arbiter = opts->arbiter };
	struct destination d = { .memory = memory, .arbiter = opts->arbiter };
	struct receiver r = { .told = -1, .cold = opts->cold, .end = child_end };
	struct side side = { 0 };
	double begin, theirs = 0;
	int rc;

	snprintf(d.uri, sizeof(d.uri), "tcp:127.0.0.1:%d", bench_free_port());
	rc = receiver_start(&r, memory, child_ready, child_main, &d);
	if (rc != 0)
		return bench_cannot(rc, "no destination on %s", d.uri);
	rc = side_init(&side, memory, &how);
	begin = bench_cpu();
	if (rc == 0)
		wherry_watch_set_filter(side.watch, opts->filter, NULL);
	if (rc == 0)
		rc = move_once(&side, d.uri, &opts->params, &ret_moved->status);
	ret_moved->cpu = bench_cpu() - begin;
	side_fini(&side);
	rc = receiver_end(&r, rc != 0, &theirs) != 0 && rc == 0 ? -EIO : rc;
	ret_moved->cpu += theirs;
	return rc;
}
