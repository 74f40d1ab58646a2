/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source: phases in order, each with the state it stands for. Until COMMIT has been
 * handed to the network a failure goes back to SERVING and undoes quiesce; after that it
 * ends in UNKNOWN, and nothing is undone. With an arbiter the digest takes COMMIT's place,
 * and a failure after it asks the arbiter who owns.
 */
#define LOG_PREFIX "migrate/source"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "late_priv.h"
#include "owner_priv.h"
#include "sections_priv.h"
#include "source_priv.h"
#include "verify_priv.h"

/* The destination may take its time to start: RUNNING is waited for at least so long. */
#define RUNNING_MS 60000u

int
mig_source_move(struct mig_source *s, enum wherry_state to)
{
	int rc = mig_agent_move(s->agent, to);

	return rc == 0 ? 0 : mig_fail(&s->reason, rc, "cancelled");
}

static struct wherry_bitmap **
create_bitmaps(const struct mig_regions *regions)
{
	struct wherry_bitmap **list = calloc(regions->n + 1, sizeof(struct wherry_bitmap *));

	for (uint32_t i = 0; list != NULL && i < regions->n; i++)
		if (wherry_bitmap_create(regions->list[i].span, WHERRY_STREAM_PAGE, &list[i]) != 0)
			goto destroy;
	return list;
destroy:
	for (uint32_t i = 0; i < regions->n; i++)
		wherry_bitmap_destroy(list[i]);
	free(list);
	return NULL;
}

static void
destroy_bitmaps(struct wherry_bitmap **list, uint32_t n)
{
	for (uint32_t i = 0; list != NULL && i < n; i++)
		wherry_bitmap_destroy(list[i]);
	free(list);
}

static bool
can_pause(const struct mig_source *s)
{
	return s->params.pause_limit_ms != WHERRY_NO_PAUSE;
}

/* What is needed later is allocated now: nothing in the blackout can fail for memory. */
static int
prepare(struct mig_source *s)
{
	int rc = mig_regions_init(&s->regions, s->agent->tracker);

	if (rc == -E2BIG)
		return mig_fail(&s->reason, rc, "more than %d regions", MIG_REGIONS_MAX);
	if (rc != 0)
		return mig_no_memory(&s->reason);
	s->taken = create_bitmaps(&s->regions);
	if (s->params.verify)
		s->worthless = create_bitmaps(&s->regions);
	s->numbers = calloc(s->regions.n + 1, sizeof(struct mig_region *));
	if (mig_known_create(&s->regions, &s->known) != 0)
		return mig_no_memory(&s->reason);
	if (s->taken == NULL || s->numbers == NULL || (s->params.verify && s->worthless == NULL))
		return mig_no_memory(&s->reason);
	for (uint32_t i = 0; i < s->regions.n; i++)
		s->numbers[i] = &s->regions.list[i];
	mig_agent_set_state_bytes(s->agent, s->regions.bytes);
	mig_hello_init(&s->self, s->agent->name);
	s->self.verify = s->params.verify;
	s->self.timeout_ms = s->params.timeout_ms;
	s->self.channels = s->params.channels;
	s->self.has_key = s->self.has_session = true;
	s->self.pause_ms = can_pause(s) ? s->params.pause_limit_ms : 0;
	if (getrandom(s->self.key, sizeof(s->self.key), 0) != (ssize_t)sizeof(s->self.key))
		return mig_fail(&s->reason, -EIO, "the kernel gives no random numbers");
	rc = mig_source_new_session(s);
	memcpy(s->id, s->self.session, sizeof(s->id));
	return rc;
}

/* Only who owns may give away, and the destination has to know in which epoch. */
static int
ask_arbiter(struct mig_source *s)
{
	struct wherry_agent *agent = s->agent;
	uint64_t begin = mig_now();
	int rc = mig_owner_check(agent, &s->self.owner, &s->reason);

	if (agent->arbiter != NULL)
		s->arbiter_ns = mig_now() - begin;
	if (agent->arbiter != NULL)
		snprintf(s->self.arbiter, sizeof(s->self.arbiter), "%s",
			wherry_arbiter_name(agent->arbiter));
	return rc;
}

int
mig_source_prepare(struct mig_source *s)
{
	int rc = prepare(s);

	return rc == 0 ? ask_arbiter(s) : rc;
}

/* Tracking was on for somebody else, and pages were taken before: all count as dirty. */
static void
mark_all(struct mig_source *s)
{
	for (uint32_t i = 0; i < s->regions.n; i++) {
		wherry_bitmap_mark(s->taken[i], s->regions.list[i].span);
		wherry_watch_give_back(s->regions.list[i].watch, s->taken[i]);
		wherry_bitmap_clear(s->taken[i]);
	}
}

int
mig_source_start_tracking(struct mig_source *s)
{
	bool fresh;
	int rc = wherry_fault("source.track") ? -EIO : mig_agent_tracker_get(s->agent, &fresh);
	struct wherry_watch_stats stats;

	if (rc != 0)
		return mig_fail(
			&s->reason, rc, "dirty tracking could not be started: %s", strerror(-rc));
	s->tracking = true;
	if (!fresh)
		mark_all(s);
	for (uint32_t i = 0; i < s->regions.n; i++) {
		wherry_watch_get_stats(s->regions.list[i].watch, &stats);
		s->iommu_seen += stats.iommu_pages;
		s->cpu_seen += stats.cpu_pages;
	}
	return 0;
}

int
mig_source_quiesce(struct mig_source *s)
{
	int rc = wherry_fault("source.quiesce")
		? -EBUSY
		: s->agent->ops.quiesce(s->agent->ops.ctx, &s->last_burst);

	if (rc != 0)
		return mig_fail(
			&s->reason, rc, "the application could not be stopped: %s", strerror(-rc));
	s->quiesced = true;
	if (s->params.verify) /* hashes are of memory that stands still */
		mig_late_silence(s->agent);
	return 0;
}

/* Hash all memory while the destination does; what is worthless is skipped on both sides. */
static int
verify(struct mig_source *s, struct mig_digest *d)
{
	struct mig_verify v = { .regions = s->numbers, .skip = s->worthless, .n = s->regions.n };
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->regions.n; i++) {
		const struct mig_region *r = &s->regions.list[i];

		wherry_watch_worthless(r->watch, true, s->worthless[i]);
		rc = mig_sender_runs(s->sender, WHERRY_REC_SKIP, i, s->worthless[i]);
	}
	if (rc == 0)
		rc = mig_channel_send_empty(s->ch, WHERRY_REC_VERIFY);
	if (rc == 0)
		rc = mig_verify_hash(&v, s->ch, d, &s->verify_ns);
	return rc == 0 ? 0 : mig_source_channel_failed(s, rc);
}

static int
send_digest(struct mig_source *s)
{
	uint8_t rec[WHERRY_STREAM_HEADER + 256];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 256 };
	struct mig_digest sent;
	int rc;

	mig_sender_digest(s->sender, &sent);
	wherry_table_put_u64(&t, WHERRY_DIGEST_LOW, sent.low);
	wherry_table_put_u64(&t, WHERRY_DIGEST_HIGH, sent.high);
	wherry_table_put_u64(&t, WHERRY_DIGEST_PAGES, sent.pages);
	wherry_table_put_u64(&t, WHERRY_DIGEST_LAST_BURST, s->last_burst);
	if (s->params.verify) {
		wherry_table_put_u64(&t, WHERRY_DIGEST_VERIFY_LOW, s->memory.low);
		wherry_table_put_u64(&t, WHERRY_DIGEST_VERIFY_HIGH, s->memory.high);
		wherry_table_put_u64(&t, WHERRY_DIGEST_VERIFY_NS, s->verify_ns);
	}
	rc = mig_channel_send(s->ch, WHERRY_REC_DIGEST, t.buf, t.len);
	return rc == 0 ? 0 : mig_source_channel_failed(s, rc);
}

/* The application is stopped: what is left. */
static int
finish(struct mig_source *s)
{
	int rc = mig_source_final_round(s);

	if (rc == 0)
		rc = mig_sections_send(s->agent, s->ch, &s->reason);
	mig_digest_init(&s->memory, s->self.key);
	if (rc == 0 && s->params.verify)
		rc = verify(s, &s->memory);
	return rc;
}

/* The proof of it, and the destination's word that it agrees. */
static int
prove(struct mig_source *s)
{
	struct wherry_record ready;
	uint64_t ns;
	int rc = send_digest(s);

	if (rc != 0)
		return rc;
	rc = mig_channel_expect(s->ch, WHERRY_REC_READY, &ready);
	if (rc != 0)
		return mig_source_channel_failed(s, rc);
	ns = wherry_field_u64(ready.payload, ready.len, WHERRY_READY_VERIFY_NS, 0);
	if (s->params.verify && ns > s->verify_ns)
		s->verify_ns = ns;
	return 0;
}

/* The same running kernel on both sides: one CLOCK_MONOTONIC. */
static bool
clock_is_shared(const struct mig_source *s)
{
	return s->self.boot_id[0] != '\0' && strcmp(s->self.boot_id, s->peer.boot_id) == 0;
}

static void
reckon_blackout(struct mig_source *s, const struct wherry_record *running)
{
	uint64_t end = mig_now();

	if (clock_is_shared(s))
		end = wherry_field_u64(
			running->payload, running->len, WHERRY_RUNNING_FIRST_BURST, end);
	s->blackout = end > s->last_burst ? end - s->last_burst : 1;
	s->blackout -= s->verify_ns < s->blackout ? s->verify_ns : s->blackout - 1;
}

/* From here on nobody can cancel. */
static int
close_gate(struct mig_source *s)
{
	int rc = mig_agent_close_gate(s->agent);

	if (rc != 0)
		return mig_fail(&s->reason, rc, "cancelled");
	mig_channel_ignore_cancel(s->ch);
	return 0;
}

static int
await_running(struct mig_source *s, unsigned int timeout_ms)
{
	struct wherry_record running;
	int rc = mig_late_until_running(s->agent, s->ch, timeout_ms, &running);

	if (rc != 0)
		return mig_source_channel_failed(s, rc);
	mig_agent_know(s->agent, MIG_GIVEN);
	mig_agent_set_arbiter_ns(s->agent,
		wherry_field_u64(running.payload, running.len, WHERRY_RUNNING_ARBITER_NS, 0));
	mig_agent_set_mappings(s->agent,
		wherry_field_u64(running.payload, running.len, WHERRY_RUNNING_MAPPINGS, 0));
	reckon_blackout(s, &running);
	return 0;
}

/* Whoever has the digest may become owner: from here on only the arbiter knows who is. */
static int
switch_over_by_arbiter(struct mig_source *s)
{
	int rc = close_gate(s);

	if (rc != 0)
		return rc;
	mig_agent_know(s->agent, MIG_ALWAYS);
	rc = mig_source_move(s, WHERRY_STATE_SWITCHOVER);
	if (rc == 0)
		rc = prove(s);
	return rc == 0 ? await_running(s, s->params.timeout_ms) : rc;
}

/* A COMMIT that the network did not take was not sent. */
static int
switch_over(struct mig_source *s)
{
	int rc = prove(s);

	if (rc == 0)
		rc = close_gate(s);
	if (rc != 0)
		return rc;
	s->committed = true;
	rc = mig_channel_send_empty(s->ch, WHERRY_REC_COMMIT);
	if (rc != 0)
		return mig_source_channel_failed(s, rc);
	mig_agent_know(s->agent, MIG_ALWAYS); /* who owns is no longer known */
	rc = mig_source_move(s, WHERRY_STATE_SWITCHOVER);
	if (rc != 0)
		return rc;
	return await_running(
		s, s->params.timeout_ms < RUNNING_MS ? RUNNING_MS : s->params.timeout_ms);
}

/* Rounds, over as many connections as it takes. */
static int
precopy(struct mig_source *s)
{
	for (;;) {
		int rc = mig_source_precopy(s);

		if (rc == 0 || !s->lost || !can_pause(s))
			return rc;
		rc = mig_source_pause(s);
		if (rc != 0)
			return rc;
	}
}

static int
decide(struct mig_source *s)
{
	return s->agent->arbiter != NULL ? switch_over_by_arbiter(s) : switch_over(s);
}

/* A connection within a machine is not lost and recovered. */
static void
offer_handover(struct mig_source *s)
{
	s->self.handover = true;
	memcpy(s->self.token, s->self.session, sizeof(s->self.token));
	s->self.channels = s->params.channels = 1;
	s->self.pause_ms = 0;
	s->params.pause_limit_ms = WHERRY_NO_PAUSE;
}

static int
hand_over(struct mig_source *s, const struct mig_uri *uri)
{
	int rc = mig_source_handover(s, uri);

	return rc == 0 ? decide(s) : rc;
}

static int
run(struct mig_source *s, const struct mig_uri *uri)
{
	int rc = mig_source_prepare(s);

	if (rc == 0)
		rc = mig_source_connect(s, uri);
	if (rc == 0 && mig_source_can_lend(s, uri))
		offer_handover(s);
	if (rc == 0)
		rc = mig_source_compare(s);
	if (rc == 0 && s->self.handover && s->peer.handover)
		return hand_over(s, uri);
	if (rc == 0)
		rc = mig_source_open_lanes(s, uri);
	if (rc == 0)
		rc = mig_source_start_tracking(s);
	if (rc == 0)
		rc = mig_source_move(s, WHERRY_STATE_PRECOPY);
	if (rc == 0)
		rc = precopy(s);
	if (rc == 0)
		rc = mig_source_move(s, WHERRY_STATE_QUIESCE);
	if (rc == 0)
		rc = mig_source_quiesce(s);
	if (rc == 0)
		mig_source_throttle(s, 0); /* late frames are all wanted */
	if (rc == 0)
		rc = mig_source_move(s, WHERRY_STATE_FINAL);
	if (rc == 0)
		rc = finish(s);
	return rc == 0 ? decide(s) : rc;
}

/* Until the arbiter says who owns, this process is nobody. */
static int
settle(struct mig_source *s, struct wherry_owner *ret_now)
{
	int rc = mig_owner_settle(s->agent, &s->self.owner, ret_now, 1);

	if (rc == 0)
		return 0;
	LOG_WARN("%s; the arbiter does not say who owns: asking on", s->reason.text);
	if (mig_source_move(s, WHERRY_STATE_UNKNOWN) != 0)
		return -ECANCELED;
	return mig_owner_settle(s->agent, &s->self.owner, ret_now, 0);
}

/*
 * No RUNNING after the digest: take ownership back in a new epoch, or learn that the
 * destination has it, and that all is well. rc is why RUNNING did not come.
 */
static int
take_back(struct mig_source *s, int rc)
{
	struct wherry_owner now;

	if (s->agent->arbiter == NULL || s->ch == NULL ||
		mig_agent_on_failure(s->agent) != WHERRY_STATE_UNKNOWN || settle(s, &now) != 0)
		return rc;
	if (mig_owner_is(s->agent, &now)) {
		mig_agent_know(s->agent, MIG_OWNED);
		return rc;
	}
	mig_agent_know(s->agent, MIG_GIVEN);
	LOG_WARN("%s; the arbiter says that %s owns", s->reason.text, now.id);
	return 0;
}

/* What ended all connections was the clock, and nobody else. */
static int
name_timeout(struct mig_source *s)
{
	if (mig_agent_is_cancelled(s->agent) || mig_now() < mig_source_deadline(s))
		return -ECANCELED;
	return mig_fail(&s->reason, -ETIMEDOUT,
		"not switched over within %u ms (--total-timeout): forecast %.0f ms, limit %u ms",
		s->params.total_timeout_ms, s->forecast_ms, s->params.downtime_limit_ms);
}

/* COMMIT is out: who runs is not known here, and nothing may be undone. */
static void
say_unknown(struct mig_source *s)
{
	struct mig_reason why = s->reason;

	if (s->agent->arbiter != NULL)
		return;
	mig_fail(&s->reason, 0,
		"COMMIT was sent and no answer came; the destination may be running, this process will not run again by itself: %.120s",
		why.text);
	LOG_ERR("%s", s->reason.text);
}

/* The application goes on first, and only then is the peer told: that may take a second. */
static void
undo(struct mig_source *s, int rc)
{
	if (mig_agent_on_failure(s->agent) == WHERRY_STATE_UNKNOWN) {
		say_unknown(s);
		return;
	}
	if (s->quiesced && s->agent->ops.resume != NULL)
		s->agent->ops.resume(s->agent->ops.ctx);
	LOG_WARN("migration failed, this process goes on: %s", s->reason.text);
	if (s->ch != NULL && !s->committed && !s->held)
		mig_channel_abort(s->ch, rc, s->reason.text);
}

/* Nothing is tracked or sent any more but late frames. */
static void
settle_accounts(struct mig_source *s)
{
	if (s->tracking)
		mig_agent_tracker_put(s->agent);
	mig_agent_set_progress(s->agent, 0, 0, mig_source_bytes(s));
}

static void
fini(struct mig_source *s)
{
	mig_source_disconnect(s);
	mig_known_destroy(s->known);
	free(s->numbers);
	destroy_bitmaps(s->worthless, s->regions.n);
	destroy_bitmaps(s->taken, s->regions.n);
	mig_regions_fini(&s->regions);
}

void
mig_source_run(struct wherry_agent *agent)
{
	struct mig_source s = { .agent = agent, .stop = MIG_STOP_NONE };
	struct mig_uri uri;
	int rc;

	wherry_mutex_lock(&agent->lock);
	s.params = agent->params;
	uri = agent->uri;
	s.tls = agent->migration_tls != NULL ? agent->migration_tls : agent->tls;
	wherry_mutex_unlock(&agent->lock);
	uri.only_loopback = s.tls == NULL && !s.params.insecure;
	s.begun = mig_now();
	rc = uri.is_file ? mig_source_snapshot(&s, uri.file) : run(&s, &uri);
	mig_source_throttle(&s, 0);
	if (rc == -ECANCELED)
		rc = name_timeout(&s);
	if (rc != 0)
		rc = take_back(&s, rc);
	if (rc != 0)
		undo(&s, rc);
	settle_accounts(&s);
	if (rc != 0 && s.held)
		mig_source_tell_held(&s);
	mig_tls_let_go(s.tls); /* the next migration may bring others */
	mig_agent_end(agent,
		&(struct mig_outcome){ .rc = rc,
			.done = s.stays ? WHERRY_STATE_SERVING : WHERRY_STATE_RELEASED,
			.reason = s.reason.text,
			.blackout_ns = s.blackout,
			.clock_shared = rc == 0 && (uri.is_file || clock_is_shared(&s)) });
	if (rc == 0 && s.ch != NULL)
		mig_late_linger(agent, s.ch);
	else if (rc == 0 && !s.stays)
		mig_late_silence(agent);
	fini(&s);
	if (rc == 0 && !s.stays && agent->ops.released != NULL)
		agent->ops.released(agent->ops.ctx);
}
