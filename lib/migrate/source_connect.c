/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source's connections: made, compared over, taken down. A migration may go through
 * several sets of them: source_recover.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base_priv.h"
#include "sections_priv.h"
#include "source_priv.h"

int
mig_source_new_session(struct mig_source *s)
{
	if (getrandom(s->self.session, sizeof(s->self.session), 0) ==
		(ssize_t)sizeof(s->self.session))
		return 0;
	return mig_fail(&s->reason, -EIO, "the kernel gives no random numbers");
}

uint64_t
mig_source_deadline(const struct mig_source *s)
{
	return s->params.total_timeout_ms == 0
		? UINT64_MAX
		: s->begun + s->params.total_timeout_ms * UINT64_C(1000000);
}

int
mig_source_open_stop(struct mig_source *s)
{
	int rc = mig_stop_init(&s->stop, s->agent->cancel_fd);

	if (rc == 0)
		rc = mig_stop_at(&s->stop, mig_source_deadline(s));
	return rc == 0 ? 0 : mig_no_memory(&s->reason);
}

uint64_t
mig_source_bytes(const struct mig_source *s)
{
	return s->bytes_before + (s->sender != NULL ? mig_sender_bytes(s->sender) : 0);
}

void
mig_source_disconnect(struct mig_source *s)
{
	s->bytes_before = mig_source_bytes(s);
	mig_sender_destroy(s->sender);
	mig_channel_destroy(s->ch);
	mig_stop_fini(&s->stop);
	s->sender = NULL;
	s->ch = NULL;
}

void
mig_source_on_progress(void *ctx)
{
	struct mig_source *s = ctx;
	struct mig_sent sent;

	mig_sender_get_sent(s->sender, &sent);
	mig_agent_set_progress(s->agent, sent.counts.pages, s->round_pages, mig_source_bytes(s));
}

/* Another one of the same name has not what this one has been sent. */
static int
check_identity(struct mig_source *s, const struct mig_channel *ch)
{
	if (s->met && !mig_channel_is(ch, &s->dest))
		return mig_fail(&s->reason, -EKEYREJECTED,
			"it proves itself with another key than the destination that this migration began with");
	mig_channel_identity(ch, &s->dest);
	s->met = true;
	mig_tls_hold(s->tls);
	return 0;
}

static int
connect_channel(struct mig_source *s, const struct mig_uri *uri, struct mig_channel **ret_ch)
{
	struct mig_conn conn;
	int rc = mig_conn_dial(
		uri, s->tls, s->agent->cancel_fd, s->params.timeout_ms, &conn, &s->reason);

	if (rc == -ECANCELED)
		return mig_fail(&s->reason, rc, "cancelled");
	if (rc < 0)
		return rc;
	if (mig_channel_create_on(&conn, s->stop.fd, ret_ch) != 0)
		return mig_no_memory(&s->reason);
	mig_channel_set_timeout(*ret_ch, s->params.timeout_ms);
	return check_identity(s, *ret_ch);
}

int
mig_source_connect(struct mig_source *s, const struct mig_uri *uri)
{
	struct mig_sender_opts opts = {
		.key = s->self.key,
		.regions = &s->regions,
		.known = s->known,
		.stop = &s->stop,
		.compress = s->params.compress,
		.progress = mig_source_on_progress,
		.progress_ctx = s,
	};
	int rc = mig_source_open_stop(s);

	if (rc != 0)
		return rc;
	rc = connect_channel(s, uri, &s->ch);
	if (rc == 0 && mig_sender_create(s->ch, &opts, &s->sender) != 0)
		rc = mig_no_memory(&s->reason);
	return rc;
}

/* One connection more, which says what it belongs to. */
static int
join(struct mig_source *s, const struct mig_uri *uri, unsigned int i)
{
	uint8_t rec[WHERRY_STREAM_HEADER + 128];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 128 };
	struct mig_channel *ch = NULL;
	int rc = connect_channel(s, uri, &ch);

	if (rc != 0) {
		mig_channel_destroy(ch);
		return rc;
	}
	mig_channel_share_bandwidth(ch, s->ch);
	wherry_table_put_bytes(&t, WHERRY_JOIN_SESSION, s->self.session, sizeof(s->self.session));
	wherry_table_put_u64(&t, WHERRY_JOIN_CHANNEL, i);
	rc = mig_channel_send(ch, WHERRY_REC_JOIN, t.buf, t.len);
	if (rc != 0) {
		mig_fail(&s->reason, rc, "%s", mig_channel_reason(ch));
		mig_channel_destroy(ch);
		return rc;
	}
	rc = mig_sender_add(s->sender, ch);
	return rc != 0 ? mig_fail(&s->reason, rc, "no thread or memory for channel %u", i) : 0;
}

int
mig_source_open_lanes(struct mig_source *s, const struct mig_uri *uri)
{
	int rc = 0;

	for (unsigned int i = 1; rc == 0 && i < s->params.channels; i++)
		rc = join(s, uri, i);
	return rc;
}

static int
send_hello(struct mig_source *s)
{
	uint8_t *rec = malloc(WHERRY_STREAM_HEADER + WHERRY_STREAM_PAYLOAD_MAX);
	struct wherry_table t = { .cap = WHERRY_STREAM_PAYLOAD_MAX };
	int rc;

	if (rec == NULL)
		return mig_no_memory(&s->reason);
	t.buf = rec + WHERRY_STREAM_HEADER;
	mig_hello_put(&t, &s->self, &s->regions);
	rc = mig_sections_put(s->agent, &t, true, &s->reason);
	if (rc == 0) {
		rc = mig_channel_send(s->ch, WHERRY_REC_HELLO, t.buf, t.len);
		if (rc != 0)
			mig_source_channel_failed(s, rc);
	}
	free(rec);
	return rc;
}

int
mig_source_compare(struct mig_source *s)
{
	struct wherry_record rec;
	uint32_t n;
	int rc = send_hello(s);

	if (rc != 0)
		return rc;
	rc = mig_channel_expect(s->ch, WHERRY_REC_HELLO, &rec);
	if (rc != 0)
		return mig_source_channel_failed(s, rc);
	rc = mig_hello_compare(&rec, &s->regions, &s->peer, NULL, &n, &s->reason);
	if (rc == 0)
		rc = mig_sections_compare(s->agent, &rec, &s->reason);
	if (rc == 0)
		mig_channel_set_bandwidth(s->ch, s->params.max_bandwidth);
	return rc;
}
