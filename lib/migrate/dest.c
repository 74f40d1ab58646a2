/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The destination: waits for a source, compares, lets dest_place.c put pages where they
 * belong, proves them, and runs when it holds COMMIT. Whoever connects and does not
 * begin with a hello is sent away, and nothing has changed; after that a failure is final,
 * and what was received is discarded.
 */
#define LOG_PREFIX "migrate/dest"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dest_priv.h"
#include "handover_priv.h"
#include "late_priv.h"
#include "owner_priv.h"
#include "sections_priv.h"

#define HELLO_MS 10000u

int
mig_dest_channel_failed(struct mig_dest *d, int rc)
{
	return mig_fail(&d->reason, rc, "%s", mig_channel_reason(d->ch));
}

int
mig_dest_move(struct mig_dest *d, enum wherry_state to)
{
	int rc = mig_agent_move(d->agent, to);

	return rc == 0 ? 0 : mig_fail(&d->reason, rc, "cancelled");
}

int
mig_dest_prepare(struct mig_dest *d)
{
	if (mig_regions_init(&d->regions, d->agent->tracker) != 0)
		return mig_no_memory(&d->reason);
	if (mig_stop_init(&d->stop, d->agent->cancel_fd) != 0)
		return mig_no_memory(&d->reason);
	d->map = calloc(MIG_REGIONS_MAX, sizeof(struct mig_region *));
	d->skip = calloc(MIG_REGIONS_MAX, sizeof(struct wherry_bitmap *));
	if (d->map == NULL || d->skip == NULL)
		return mig_no_memory(&d->reason);
	mig_agent_set_state_bytes(d->agent, d->regions.bytes);
	mig_hello_init(&d->self, d->agent->name);
	if (d->agent->ops.rehearse != NULL)
		d->self.takeover_ns = d->agent->ops.rehearse(d->agent->ops.ctx);
	return 0;
}

/* It has been promised nothing; one that may be a source of another kind is told why. */
static void
send_away(struct mig_dest *d, int rc)
{
	LOG_WARN("a stranger connected and was sent away: %s", mig_channel_reason(d->ch));
	if (rc == -EPROTO)
		mig_channel_abort(d->ch, rc, mig_channel_reason(d->ch));
	mig_channel_destroy(d->ch);
	d->ch = NULL;
}

/* The next connection that begins with a hello. */
static int
await_source(struct mig_dest *d, struct wherry_record *ret_hello)
{
	for (;;) {
		struct mig_conn conn;
		int rc = mig_porter_next(d->agent->porter, d->agent->cancel_fd, UINT64_MAX, &conn);

		if (rc < 0)
			return mig_fail(&d->reason, rc,
				rc == -ECANCELED ? "cancelled" : "no source can connect: %s",
				strerror(-rc));
		if (!mig_peer_is_ours(conn.fd)) {
			LOG_WARN("another user's process connected and was sent away");
			mig_conn_close(&conn);
			continue;
		}
		if (mig_channel_create_on(&conn, d->stop.fd, &d->ch) != 0)
			return mig_no_memory(&d->reason);
		mig_channel_set_limit(d->ch, HELLO_MS);
		rc = mig_channel_expect(d->ch, WHERRY_REC_HELLO, ret_hello);
		if (rc == 0)
			return 0;
		if (mig_channel_is_cancelled(d->ch, rc))
			return mig_dest_channel_failed(d, rc);
		send_away(d, rc);
	}
}

static int
send_hello(struct mig_dest *d)
{
	uint8_t *rec = malloc(WHERRY_STREAM_HEADER + WHERRY_STREAM_PAYLOAD_MAX);
	struct wherry_table t = { .cap = WHERRY_STREAM_PAYLOAD_MAX };
	int rc;

	if (rec == NULL)
		return mig_no_memory(&d->reason);
	t.buf = rec + WHERRY_STREAM_HEADER;
	mig_hello_put(&t, &d->self, &d->regions);
	rc = mig_sections_put(d->agent, &t, false, &d->reason);
	if (rc == 0) {
		rc = mig_channel_send(d->ch, WHERRY_REC_HELLO, t.buf, t.len);
		if (rc != 0)
			mig_dest_channel_failed(d, rc);
	}
	free(rec);
	return rc;
}

static int
compare(struct mig_dest *d, const struct wherry_record *hello)
{
	int rc = mig_hello_compare(hello, &d->regions, &d->peer, d->map, &d->n_map, &d->reason);

	d->self.handover = d->peer.handover && d->agent->ops.borrow != NULL;
	memcpy(d->self.token, d->peer.token, sizeof(d->self.token));

	if (rc == 0 && !d->peer.has_key)
		rc = mig_fail(&d->reason, -EPROTO, "the source sent no key for the digest");
	if (rc == 0)
		rc = mig_owner_compare(d->agent, &d->peer, &d->reason);
	if (rc == 0)
		rc = mig_sections_compare(d->agent, hello, &d->reason);
	if (rc == 0)
		rc = mig_sections_check(d->agent, hello, &d->reason);
	if (rc != 0)
		return rc;
	memcpy(d->id, d->peer.session, sizeof(d->id));
	mig_channel_identity(d->ch, &d->source);
	mig_tls_hold(d->agent->tls);
	mig_placer_init(&d->placer, d->map, d->n_map, d->peer.key);
	if (d->peer.timeout_ms == 0)
		d->peer.timeout_ms = HELLO_MS;
	mig_channel_set_timeout(d->ch, d->peer.timeout_ms);
	return 0;
}

/* Then nobody else is wanted. */
int
mig_dest_open_lanes(struct mig_dest *d)
{
	struct mig_dest_lanes_opts opts = { .map = d->map,
		.n_map = d->n_map,
		.peer = &d->peer,
		.stop = &d->stop,
		.source = &d->source };
	struct mig_dest_door door = { .porter = d->agent->porter, .first = d->ch };
	int rc;

	if (mig_dest_lanes_create(&opts, &d->lanes) != 0)
		return mig_no_memory(&d->reason);
	rc = mig_dest_lanes_accept(d->lanes, &door, &d->reason);
	if (rc == 0)
		mig_agent_close_listener(d->agent);
	return rc;
}

/* All of it, over as many connections as it takes. */
static int
receive(struct mig_dest *d)
{
	for (;;) {
		int rc = mig_dest_receive(d);

		if (rc == 0 || !mig_dest_can_pause(d, rc))
			return rc;
		rc = mig_dest_pause(d);
		if (rc != 0)
			return rc;
	}
}

/* All is there and proved: look whether it can be taken over. */
int
mig_dest_get_ready(struct mig_dest *d)
{
	const struct wherry_agent_ops *ops = &d->agent->ops;
	int rc = wherry_fault("dest.verify") ? -EIO
		: ops->verify != NULL        ? ops->verify(ops->ctx)
					     : 0;

	if (rc != 0)
		return mig_fail(&d->reason, rc,
			"the destination's application cannot take over: %s, its log says why",
			strerror(-rc));
	rc = mig_agent_close_gate(d->agent);
	if (rc == 0)
		rc = mig_dest_move(d, WHERRY_STATE_VERIFIED);
	if (rc != 0)
		return mig_fail(&d->reason, rc, "cancelled");
	if (d->ch != NULL)
		mig_channel_ignore_cancel(d->ch);
	return 0;
}

static int
send_ready(struct mig_dest *d)
{
	uint8_t rec[WHERRY_STREAM_HEADER + 64];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 64 };
	int rc;

	wherry_table_put_u64(&t, WHERRY_READY_VERIFY_NS, d->verify_ns);
	rc = mig_channel_send(d->ch, WHERRY_REC_READY, t.buf, t.len);
	return rc == 0 ? 0 : mig_dest_channel_failed(d, rc);
}

/*
 * A source sends it as soon as it has READY, and nothing else. One that only gives signs of life
 * could hold this process for ever, for nobody can cancel any more: it has as long as a silent one.
 */
static int
await_commit(struct mig_dest *d)
{
	int rc = send_ready(d);

	if (rc == 0) {
		mig_channel_set_limit(d->ch, d->peer.timeout_ms);
		rc = mig_channel_expect(d->ch, WHERRY_REC_COMMIT, NULL);
		if (rc != 0)
			mig_dest_channel_failed(d, rc);
	}
	return rc;
}

/* The compare-and-swap is COMMIT. That the source is gone is no reason not to: then nobody would run. */
static int
become_owner(struct mig_dest *d)
{
	struct wherry_owner now;
	int rc = send_ready(d);

	if (rc != 0)
		LOG_WARN("%s; the arbiter decides", d->reason.text);
	rc = mig_owner_settle(d->agent, &d->peer.owner, &now, 0);
	if (rc != 0)
		return mig_fail(&d->reason, rc, "ended before the arbiter had said who owns");
	if (!mig_owner_is(d->agent, &now))
		return mig_fail(&d->reason, -ECANCELED,
			"the arbiter says that %.150s owns the state: the source took it back",
			now.id);
	return 0;
}

static void
reckon_blackout(struct mig_dest *d, uint64_t first_burst)
{
	d->clock_shared =
		d->self.boot_id[0] != '\0' && strcmp(d->self.boot_id, d->peer.boot_id) == 0;
	if (!d->clock_shared || first_burst <= d->last_burst)
		return;
	d->blackout = first_burst - d->last_burst;
	d->blackout -= d->verify_ns < d->blackout ? d->verify_ns : d->blackout - 1;
}

/* What the source will be told. Of the status, which the next migration resets. */
static void
put_running(struct mig_dest *d, uint64_t first_burst)
{
	struct wherry_table t = { .buf = d->running + WHERRY_STREAM_HEADER,
		.cap = sizeof(d->running) - WHERRY_STREAM_HEADER };
	struct wherry_status st;

	wherry_agent_get_status(d->agent, &st);
	wherry_table_put_u64(&t, WHERRY_RUNNING_FIRST_BURST, first_burst);
	wherry_table_put_u64_skippable(&t, WHERRY_RUNNING_MAPPINGS, st.mappings);
	wherry_table_put_u64(&t, WHERRY_RUNNING_ARBITER_NS, st.arbiter_ns);
	d->running_len = t.len;
}

/* COMMIT is held: this process runs, whether or not the source can be told. */
int
mig_dest_take_over(struct mig_dest *d)
{
	uint64_t first_burst = 0;
	int rc;

	d->committed = true;
	mig_agent_know(d->agent, MIG_OWNED);
	rc = wherry_fault("dest.takeover")
		? -EIO
		: d->agent->ops.takeover(d->agent->ops.ctx, &first_burst);
	if (rc != 0)
		return mig_fail(&d->reason, rc,
			"the state is here and owned, but the application could not take over: %s",
			strerror(-rc));
	if (first_burst == 0)
		first_burst = mig_now();
	reckon_blackout(d, first_burst);
	if (d->agent->ops.mappings != NULL)
		mig_agent_set_mappings(d->agent, d->agent->ops.mappings(d->agent->ops.ctx));
	put_running(d, first_burst);
	return 0;
}

/* This process serves by now: whoever learns it from the source may ask for the next migration at once. */
static void
say_running(struct mig_dest *d)
{
	uint8_t *payload = d->running + WHERRY_STREAM_HEADER;

	if (mig_channel_send(d->ch, WHERRY_REC_RUNNING, payload, d->running_len) != 0)
		LOG_WARN(
			"running, but the source could not be told: %s", mig_channel_reason(d->ch));
}

static int
run(struct mig_dest *d)
{
	struct wherry_record hello;
	int rc = mig_dest_prepare(d);

	if (rc == 0)
		rc = await_source(d, &hello);
	if (rc == 0)
		rc = compare(d, &hello);
	if (rc == 0)
		rc = send_hello(d);
	if (rc == 0 && d->agent->ops.prepare != NULL)
		d->agent->ops.prepare(d->agent->ops.ctx);
	if (rc == 0 && d->self.handover)
		rc = mig_handover_borrow(d->agent, &d->peer, &d->regions, &d->reason);
	if (rc == 0)
		rc = mig_dest_open_lanes(d);
	if (rc == 0)
		rc = mig_dest_move(d, WHERRY_STATE_PREPARED);
	if (rc == 0)
		rc = receive(d);
	if (rc == 0)
		rc = mig_dest_get_ready(d);
	if (rc == 0)
		rc = d->agent->arbiter != NULL ? become_owner(d) : await_commit(d);
	return rc == 0 ? mig_dest_take_over(d) : rc;
}

static void
undo(struct mig_dest *d, int rc)
{
	LOG_ERR("gave up: %s", d->reason.text);
	if (d->ch != NULL)
		mig_channel_abort(d->ch, rc, d->reason.text);
	if (!d->committed && d->agent->ops.discard != NULL)
		d->agent->ops.discard(d->agent->ops.ctx);
}

static void
fini(struct mig_dest *d)
{
	mig_dest_lanes_destroy(d->lanes);
	mig_placer_fini(&d->placer);
	mig_channel_destroy(d->ch);
	mig_agent_close_listener(d->agent);
	mig_tls_let_go(d->agent->tls);
	mig_stop_fini(&d->stop);
	for (uint32_t i = 0; i < d->n_map; i++)
		wherry_bitmap_destroy(d->skip[i]);
	free(d->skip);
	free(d->map);
	mig_regions_fini(&d->regions);
}

void
mig_dest_run(struct wherry_agent *agent)
{
	struct mig_dest d = { .agent = agent, .stop = MIG_STOP_NONE };
	struct mig_uri uri;
	const char *why;
	int rc = mig_uri_parse(agent->incoming, &uri, &why);

	if (rc == 0)
		rc = uri.is_file ? mig_dest_restore(&d, uri.file) : run(&d);
	if (rc != 0)
		undo(&d, rc);
	mig_agent_end(agent,
		&(struct mig_outcome){ .rc = rc,
			.done = WHERRY_STATE_SERVING,
			.reason = d.reason.text,
			.blackout_ns = d.blackout,
			.clock_shared = d.clock_shared });
	if (rc == 0 && d.ch != NULL)
		say_running(&d);
	mig_agent_let_go(agent, rc);
	if (rc == 0 && d.ch != NULL)
		mig_late_receive(agent, d.ch);
	fini(&d);
}
