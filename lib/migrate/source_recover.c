/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection lost in pre-copy. The source goes on serving and tracking. When somebody
 * asks for it, it connects once more, says which migration it is, and asks for the hashes
 * of all pages that it believes the destination to have. A page whose hash is not the one
 * of the bytes that were sent last did not arrive: nothing is known of it any more, and it
 * joins those that were taken for the round that was not finished, and go with the next.
 * What the destination says is believed of its own memory only: one that lies has itself
 * to blame.
 *
 * An attempt that fails leaves the migration paused, until a limit passes. When it ends
 * while paused the destination is told so, if it can be reached; if not, its own limit
 * ends it there.
 */
#define LOG_PREFIX "migrate/source"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "recover_priv.h"
#include "socket_priv.h"
#include "source_priv.h"

#define AGAIN_MS 200u /* the destination may notice later than we */
#define RUNS 128u     /* in a question */
#define LAST_WORD_MS 1000u

/* Pages of one region, ascending. */
struct question {
	uint8_t rec[WHERRY_STREAM_HEADER + 8 + RUNS * 16];
	struct wherry_run runs[RUNS];
	uint32_t n;
	uint64_t pages;
};

/* The source never trusts what is not confirmed. */
static void
judge(struct mig_source *s, uint32_t i, uint64_t page, const uint8_t *said)
{
	struct wherry_span region = s->regions.list[i].span;
	uint64_t hash[2];

	memcpy(hash, said, sizeof(hash));
	hash[0] = le64toh(hash[0]);
	hash[1] = le64toh(hash[1]);
	if (mig_known_has(s->known, i, page, hash))
		return;
	mig_known_set(s->known, i, page, NULL);
	wherry_bitmap_mark(s->taken[i],
		(struct wherry_span){ .iova = region.iova + page * WHERRY_STREAM_PAGE,
			.len = WHERRY_STREAM_PAGE });
}

static int
read_answer(struct mig_source *s, uint32_t i, const struct question *q)
{
	struct wherry_record have;
	struct wherry_field hashes;
	const uint8_t *at;
	int rc = mig_channel_expect(s->ch, WHERRY_REC_HAVE, &have);

	if (rc != 0)
		return mig_source_channel_failed(s, rc);
	if (!wherry_field_find(have.payload, have.len, WHERRY_HAVE_HASHES, &hashes) ||
		hashes.len != q->pages * MIG_HASH_LEN)
		return mig_fail(&s->reason, -EPROTO,
			"the destination answers for other pages than it was asked for");
	at = hashes.bytes;
	for (uint32_t r = 0; r < q->n; r++)
		for (uint64_t k = 0; k < q->runs[r].count; k++, at += MIG_HASH_LEN)
			judge(s, i, q->runs[r].first + k, at);
	return 0;
}

static int
ask(struct mig_source *s, uint32_t i, struct question *q)
{
	uint8_t *payload = q->rec + WHERRY_STREAM_HEADER;
	int rc;

	if (q->n == 0)
		return 0;
	wherry_runs_put(payload, i, q->n);
	for (uint32_t r = 0; r < q->n; r++)
		wherry_runs_put_run(payload, r, q->runs[r]);
	rc = mig_channel_send(s->ch, WHERRY_REC_WANT, payload, wherry_runs_size(q->n));
	rc = rc == 0 ? read_answer(s, i, q) : mig_source_channel_failed(s, rc);
	q->n = 0;
	q->pages = 0;
	return rc;
}

static void
add(struct question *q, uint64_t page)
{
	struct wherry_run *last = q->n > 0 ? &q->runs[q->n - 1] : NULL;

	if (last != NULL && last->first + last->count == page)
		last->count++;
	else
		q->runs[q->n++] = (struct wherry_run){ .first = page, .count = 1 };
	q->pages++;
}

static int
ask_region(struct mig_source *s, uint32_t i)
{
	uint64_t pages = s->regions.list[i].span.len / WHERRY_STREAM_PAGE;
	struct question q = { .n = 0 };
	int rc = 0;

	for (uint64_t page = 0; rc == 0 && page < pages; page++) {
		if (!mig_known_any(s->known, i, page))
			continue;
		add(&q, page);
		if (q.n == RUNS || q.pages == MIG_WANT_PAGES_MAX)
			rc = ask(s, i, &q);
	}
	return rc == 0 ? ask(s, i, &q) : rc;
}

/* What has arrived, and what not. */
static int
compare_memory(struct mig_source *s)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->regions.n; i++)
		rc = ask_region(s, i);
	return rc;
}

/* It listens again when it has noticed. */
static int
connect_patiently(struct mig_source *s, const struct mig_uri *uri)
{
	uint64_t end = mig_now() + s->params.timeout_ms * UINT64_C(1000000);
	int rc;

	while ((rc = mig_source_connect(s, uri)) != 0 && rc != -ECANCELED && mig_now() < end) {
		mig_source_disconnect(s);
		if (mig_wait(-1, 0, s->agent->cancel_fd, AGAIN_MS) == -ECANCELED)
			return mig_fail(&s->reason, -ECANCELED, "cancelled");
	}
	return rc;
}

/* Say which migration it is; the destination says that it knows it. */
static int
introduce(struct mig_source *s)
{
	uint8_t rec[WHERRY_STREAM_HEADER + 128];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 128 };
	struct wherry_record answer;
	int rc = mig_source_new_session(s);

	if (rc != 0)
		return rc;
	wherry_table_put_bytes(&t, WHERRY_RECOVER_ID, s->id, sizeof(s->id));
	wherry_table_put_bytes(
		&t, WHERRY_RECOVER_SESSION, s->self.session, sizeof(s->self.session));
	rc = mig_channel_send(s->ch, WHERRY_REC_RECOVER, t.buf, t.len);
	if (rc == 0)
		rc = mig_channel_expect(s->ch, WHERRY_REC_RECOVER, &answer);
	if (rc != 0)
		return mig_source_channel_failed(s, rc);
	if (!mig_recover_is(&answer, s->id))
		return mig_fail(
			&s->reason, -EPROTO, "the destination answers for another migration");
	mig_channel_set_bandwidth(s->ch, s->params.max_bandwidth);
	return 0;
}

static int
recover(struct mig_source *s, const struct mig_uri *uri)
{
	int rc = connect_patiently(s, uri);

	if (rc == 0)
		rc = introduce(s);
	if (rc == 0)
		rc = mig_source_open_lanes(s, uri);
	if (rc == 0)
		rc = compare_memory(s);
	if (rc == 0 && mig_agent_unpause(s->agent, WHERRY_STATE_PRECOPY) != 0)
		rc = mig_fail(&s->reason, -ECANCELED, "cancelled");
	s->held = rc != 0;
	return rc;
}

static int
stand_still(struct mig_source *s)
{
	mig_source_disconnect(s);
	mig_source_throttle(s, 0);
	s->held = true;
	s->forecast_ms = 0;
	mig_agent_set_progress(s->agent, 0, 0, mig_source_bytes(s));
	if (mig_agent_pause(s->agent, WHERRY_STATE_PAUSED, s->reason.text) == 0)
		return 0;
	return mig_fail(&s->reason, -ECANCELED, "cancelled");
}

static int
await_recover(struct mig_source *s, uint64_t end, struct mig_uri *ret_uri)
{
	struct mig_reason why = s->reason;
	unsigned int left = mig_ms_until(end);
	int rc = left == 0 ? -ETIMEDOUT : mig_agent_await_recover(s->agent, left, ret_uri);

	if (rc == -ETIMEDOUT)
		return mig_fail(
			&s->reason, rc, "not recovered in time (--pause-limit): %.180s", why.text);
	if (rc != 0)
		return mig_fail(&s->reason, rc, "cancelled");
	ret_uri->only_loopback = s->tls == NULL && !s->params.insecure;
	return 0;
}

int
mig_source_pause(struct mig_source *s)
{
	uint64_t end = mig_now() + s->params.pause_limit_ms * UINT64_C(1000000),
		 deadline = mig_source_deadline(s);
	struct mig_uri uri;
	int rc = stand_still(s);

	while (rc == 0) {
		rc = await_recover(s, end < deadline ? end : deadline, &uri);
		if (rc != 0)
			break;
		rc = recover(s, &uri);
		if (rc == 0)
			return 0;
		if (rc != -ECANCELED)
			rc = stand_still(s);
	}
	return rc;
}

/* The word itself; the destination answers that it has given up, too. */
static void
say_over(struct mig_source *s, struct mig_channel *ch)
{
	uint8_t rec[WHERRY_STREAM_HEADER + 256];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 256 };
	struct wherry_record answer;
	char why[128];

	snprintf(why, sizeof(why), "%.120s", s->reason.text);
	wherry_table_put_bytes(&t, WHERRY_RECOVER_ID, s->id, sizeof(s->id));
	wherry_table_put_text(&t, WHERRY_RECOVER_OVER, *why != '\0' ? why : "no reason given");
	mig_channel_set_timeout(ch, LAST_WORD_MS);
	if (mig_channel_send(ch, WHERRY_REC_RECOVER, t.buf, t.len) != 0 ||
		mig_channel_receive(ch, &answer) != -ECANCELED)
		LOG_WARN("the destination has not said that it heard of the end: %s",
			mig_channel_reason(ch));
}

/* A connection that nobody can cancel: that has been done already. */
static int
connect_once_more(struct mig_source *s, struct mig_channel **ret_ch)
{
	struct mig_reason why;
	struct mig_conn conn;
	struct mig_uri uri;
	int rc;

	wherry_mutex_lock(&s->agent->lock);
	uri = s->agent->uri;
	wherry_mutex_unlock(&s->agent->lock);
	uri.only_loopback = s->tls == NULL && !s->params.insecure;
	rc = mig_conn_dial(&uri, s->tls, -1, LAST_WORD_MS, &conn, &why);
	return rc == 0 ? mig_channel_create_on(&conn, -1, ret_ch) : rc;
}

void
mig_source_tell_held(struct mig_source *s)
{
	uint64_t end = mig_now() + LAST_WORD_MS * UINT64_C(1000000);
	struct mig_channel *ch = NULL;

	mig_source_disconnect(s);
	while (connect_once_more(s, &ch) != 0 && mig_now() < end)
		mig_wait(-1, 0, -1, AGAIN_MS);
	if (ch != NULL && mig_channel_is(ch, &s->dest))
		say_over(s, ch);
	else
		LOG_WARN("the destination cannot be told; its own limit ends it there");
	mig_channel_destroy(ch);
}
