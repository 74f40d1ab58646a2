/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection lost in pre-copy, at the destination. What came stays where it is; the
 * destination listens again, and only the source of this migration, known by its id and
 * proved by the same key as before, is let in: whoever else connects is sent away and
 * nothing has changed. It may have come to say that all is over. Asked by the source
 * it hashes its memory, so that both know what has arrived. Digests begin anew: from here
 * on they prove what is sent now, and the hashes prove what was sent before.
 */
#define LOG_PREFIX "migrate/dest"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "dest_priv.h"
#include "recover_priv.h"

#define RECOVER_MS 2000u /* for the first record of whoever connects */

bool
mig_dest_can_pause(const struct mig_dest *d, int rc)
{
	return d->peer.pause_ms != 0 && !d->final_seen && mig_channel_is_lost(d->ch, rc);
}

static int
disconnect(struct mig_dest *d)
{
	mig_dest_lanes_destroy(d->lanes);
	mig_placer_fini(&d->placer);
	mig_channel_destroy(d->ch);
	mig_stop_fini(&d->stop);
	d->lanes = NULL;
	d->ch = NULL;
	d->bytes_before += d->bytes_now;
	d->bytes_now = 0;
	mig_placer_init(&d->placer, d->map, d->n_map, d->peer.key);
	if (mig_stop_init(&d->stop, d->agent->cancel_fd) != 0)
		return mig_no_memory(&d->reason);
	return 0;
}

/* Say that this is the migration meant. */
static int
answer(struct mig_dest *d)
{
	uint8_t rec[WHERRY_STREAM_HEADER + 64];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 64 };
	int rc;

	wherry_table_put_bytes(&t, WHERRY_RECOVER_ID, d->id, sizeof(d->id));
	mig_channel_set_timeout(d->ch, d->peer.timeout_ms);
	rc = mig_channel_send(d->ch, WHERRY_REC_RECOVER, t.buf, t.len);
	return rc == 0 ? 0 : mig_dest_channel_failed(d, rc);
}

/* The session of its further connections. */
static bool
read_session(struct mig_dest *d, const struct wherry_record *rec)
{
	struct wherry_field session;

	if (!wherry_field_find(rec->payload, rec->len, WHERRY_RECOVER_SESSION, &session) ||
		session.len != sizeof(d->peer.session))
		return false;
	memcpy(d->peer.session, session.bytes, session.len);
	return true;
}

static int
send_away(struct mig_dest *d, const char *why)
{
	mig_channel_abort(d->ch, -EPERM,
		"this destination holds a part of another migration, and waits for its source");
	return mig_fail(&d->reason, -EPROTO, "%s", why);
}

/* The source has given up, and says so. */
static int
end_with_source(struct mig_dest *d, const struct wherry_record *rec)
{
	char why[128];

	wherry_field_text(rec->payload, rec->len, WHERRY_RECOVER_OVER, why, sizeof(why));
	return mig_fail(&d->reason, -ECANCELED, "the source ended it while it was held: %s", why);
}

/* Somebody has connected: is it the source? The channel is left in d. */
static int
greet(struct mig_dest *d, struct mig_conn *conn)
{
	struct wherry_record rec;
	struct wherry_field over;
	int rc;

	if (mig_channel_create_on(conn, d->stop.fd, &d->ch) != 0)
		return mig_no_memory(&d->reason);
	mig_channel_set_limit(d->ch, RECOVER_MS);
	rc = mig_channel_receive(d->ch, &rec);
	if (rc != 0) {
		mig_dest_channel_failed(d, rc);
		return mig_channel_is_cancelled(d->ch, rc) ? rc : -EPROTO; /* it ends nothing */
	}
	if (!mig_channel_is(d->ch, &d->source))
		return send_away(d, "its key is not that of the source of this migration");
	if (!mig_recover_is(&rec, d->id))
		return send_away(d, "not the source of this migration");
	if (wherry_field_find(rec.payload, rec.len, WHERRY_RECOVER_OVER, &over))
		return end_with_source(d, &rec);
	if (!read_session(d, &rec))
		return send_away(d, "it does not say how its connections are known");
	rc = answer(d);
	return rc == 0 ? mig_dest_open_lanes(d) : rc;
}

/* Until the source is here, or the time is up. */
static int
await_source(struct mig_dest *d, uint64_t end)
{
	const struct mig_reason why = d->reason;

	for (;;) {
		struct mig_conn conn;
		int rc = mig_porter_next(d->agent->porter, d->agent->cancel_fd, end, &conn);

		if (rc == -ETIMEDOUT)
			return mig_fail(&d->reason, rc, "not recovered within %u ms: %.180s",
				d->peer.pause_ms, why.text);
		if (rc < 0)
			return mig_fail(&d->reason, rc,
				rc == -ECANCELED ? "cancelled" : "no source can connect: %s",
				strerror(-rc));
		rc = greet(d, &conn);
		if (rc == 0 || rc == -ECANCELED)
			return rc;
		LOG_WARN("somebody connected and was sent away: %s", d->reason.text);
		if (disconnect(d) != 0)
			return -ENOMEM;
	}
}

int
mig_dest_pause(struct mig_dest *d)
{
	uint64_t end = mig_now() + d->peer.pause_ms * UINT64_C(1000000);
	struct mig_reason why = d->reason;
	int rc = disconnect(d);

	if (rc == 0)
		rc = mig_agent_open_listener(d->agent, &d->reason);
	if (rc != 0)
		return rc;
	if (mig_agent_pause(d->agent, WHERRY_STATE_HELD, why.text) != 0)
		return mig_fail(&d->reason, -ECANCELED, "cancelled");
	return await_source(d, end);
}

static void
put_hashes(const struct mig_dest *d, const struct wherry_record *want, uint8_t *to)
{
	struct wherry_runs runs;

	wherry_runs_get(want, &runs);
	for (uint32_t i = 0; i < runs.n; i++) {
		struct wherry_run run = wherry_runs_get_run(want, i);
		uint64_t at = d->map[runs.region]->span.iova + run.first * WHERRY_STREAM_PAGE;

		for (uint64_t k = 0; k < run.count; k++, to += MIG_HASH_LEN) {
			uint64_t hash[2];

			mig_digest_hash(&d->placer.digest,
				(const void *)(uintptr_t)(at + k * WHERRY_STREAM_PAGE), hash);
			hash[0] = htole64(hash[0]);
			hash[1] = htole64(hash[1]);
			memcpy(to, hash, MIG_HASH_LEN);
		}
	}
}

static int
send_hashes(struct mig_dest *d, const struct wherry_record *want, uint64_t pages)
{
	size_t len = pages * MIG_HASH_LEN, cap = len + 64;
	uint8_t *hashes = malloc(len), *rec = malloc(WHERRY_STREAM_HEADER + cap);
	struct wherry_table t = { .cap = cap };
	int rc = -ENOMEM;

	if (hashes == NULL || rec == NULL) {
		mig_no_memory(&d->reason);
		goto free;
	}
	t.buf = rec + WHERRY_STREAM_HEADER;
	put_hashes(d, want, hashes);
	wherry_table_put_bytes(&t, WHERRY_HAVE_HASHES, hashes, len);
	rc = mig_channel_send(d->ch, WHERRY_REC_HAVE, t.buf, t.len);
	if (rc != 0)
		mig_dest_channel_failed(d, rc);
free:
	free(rec);
	free(hashes);
	return rc;
}

int
mig_dest_have(struct mig_dest *d, const struct wherry_record *want)
{
	int rc = mig_place_check(&d->placer, want);

	if (rc != 0) {
		d->reason = d->placer.reason;
		return rc;
	}
	if (mig_place_pages(want) > MIG_WANT_PAGES_MAX)
		return mig_place_refuse(&d->reason, want, "it asks for too much at once");
	return send_hashes(d, want, mig_place_pages(want));
}
