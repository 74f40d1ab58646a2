/* SPDX-License-Identifier: BSD-3-Clause */
/* Secondary processes attach to an application: EAL's thread in the primary asks for them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "app_priv.h"
#include "attach_priv.h"
#include "base_priv.h"

#define LOG_PREFIX "dpdk/attach"

/* The memory that another process can map: EAL's it has already, but there nobody tracks it. */
static struct app_memory *
nth_region(struct wherry_app *app, unsigned int i)
{
	struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next)
		if (m->region != NULL && i-- == 0)
			break;
	return m;
}

/* Once it migrates nobody comes, and until it is ours nobody writes. */
static int
check_serving(struct wherry_app *app)
{
	struct wherry_status now;
	struct app_memory *m;

	STAILQ_FOREACH(m, &app->memory, next)
		if (m->is_eal)
			return -EOPNOTSUPP;
	wherry_agent_get_status(app->agent, &now);
	return now.state == WHERRY_STATE_SERVING ? 0 : -EBUSY;
}

static int
tell_region(struct wherry_app *app, unsigned int index, struct rte_mp_msg *reply,
	struct attach_answer *answer)
{
	struct app_memory *m = nth_region(app, index);
	struct wherry_region_info info;

	if (m == NULL)
		return -ENOENT;
	wherry_region_get_info(m->region, &info);
	snprintf(answer->name, sizeof(answer->name), "%s", info.name);
	answer->vaddr = (uintptr_t)info.vaddr;
	answer->len = info.len;
	answer->page = info.page;
	answer->node = info.node;
	answer->root = m->arena != NULL ? (uintptr_t)wherry_arena_root(m->arena) : 0;
	reply->num_fds = 1;
	reply->fds[0] = info.fd;
	return 0;
}

static int
let_join(struct wherry_app *app, const struct rte_mp_msg *msg)
{
	const struct wherry_writer_fds fds = { .uffd = msg->fds[0], .pagemap = msg->fds[1] };
	struct wherry_watch *watches[SECONDARY_WATCHES];
	const struct app_memory *m;
	unsigned int n = 0;

	while ((m = nth_region(app, n)) != NULL) {
		if (n == SECONDARY_WATCHES)
			return -ENOSPC;
		watches[n++] = m->watch;
	}
	return secondaries_add(&app->secondaries, &fds, msg->fds[2], watches, n);
}

struct request {
	const struct rte_mp_msg *msg;
	struct rte_mp_msg *reply;
	struct attach_ask ask;
	struct attach_answer answer;
	bool taken; /* the descriptors that came are somebody's now */
};

static int
serve(struct wherry_app *app, void *ctx)
{
	struct request *r = ctx;
	int rc = check_serving(app);

	if (rc != 0)
		return rc;
	if (r->ask.what == ATTACH_REGION)
		return tell_region(app, r->ask.index, r->reply, &r->answer);
	if (r->ask.what != ATTACH_JOIN || r->msg->num_fds != ATTACH_FDS)
		return -EPROTO;
	rc = let_join(app, r->msg);
	r->taken = rc == 0;
	if (r->taken)
		LOG_INFO("a secondary process is attached to \"%s\"", app->name);
	return rc;
}

static int
on_ask(const struct rte_mp_msg *msg, const void *peer)
{
	struct rte_mp_msg reply = { .len_param = sizeof(struct attach_answer) };
	struct request r = { .msg = msg, .reply = &reply };

	r.answer.rc = -EPROTO;
	if (msg->len_param == (int)sizeof(r.ask)) {
		memcpy(&r.ask, msg->param, sizeof(r.ask));
		r.ask.app[sizeof(r.ask.app) - 1] = '\0';
		r.answer.rc = app_with(r.ask.app, serve, &r);
	}
	for (int i = 0; i < msg->num_fds && !r.taken; i++)
		close(msg->fds[i]);
	snprintf(reply.name, sizeof(reply.name), "%s", ATTACH_MESSAGE);
	memcpy(reply.param, &r.answer, sizeof(r.answer));
	return rte_mp_reply(&reply, peer);
}

/* Without shared memory there are no secondaries. */
void
app_serve_secondaries(void)
{
	if (rte_eal_process_type() == RTE_PROC_PRIMARY &&
		rte_mp_action_register(ATTACH_MESSAGE, on_ask) != 0 && rte_errno != EEXIST &&
		rte_errno != ENOTSUP)
		LOG_WARN("secondary processes cannot attach: %s", rte_strerror(rte_errno));
}
