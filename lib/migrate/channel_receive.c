/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receiving decodes what the socket has. A record that was met while sending is kept for the
 * next receive; only one can be, and while it is, nothing more is read: the peer's own
 * timeout stands behind that.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base_priv.h"
#include "channel_ends_priv.h"
#include "socket_priv.h"

static int
fail_refused(struct mig_channel *ch)
{
	struct wherry_stream_error e = wherry_decoder_error(ch->dec);
	char field[32] = "";

	if (e.field != 0)
		snprintf(field, sizeof(field), " (field %u)", e.field);
	return mig_fail(&ch->reason, -EPROTO,
		"record %llu (%s) at byte %llu of what the peer sent was refused: %s%s",
		(unsigned long long)e.number, wherry_record_name(e.type),
		(unsigned long long)e.offset, e.why, field);
}

/* The peer's own words. Its code becomes ours if it is one. */
static int
fail_aborted(struct mig_channel *ch, const struct wherry_record *rec)
{
	uint64_t code = wherry_field_u64(rec->payload, rec->len, WHERRY_ABORT_CODE, 0);
	char why[sizeof(ch->reason.text)];

	ch->aborted = true;
	wherry_field_text(rec->payload, rec->len, WHERRY_ABORT_REASON, why, sizeof(why));
	return mig_fail(&ch->reason, code > 0 && code < 4096 ? -(int)code : -EPROTO,
		"the peer gave up: %.230s", why);
}

/* 1: a record, in *ret_rec; 0: more bytes are needed. */
static int
decode(struct mig_channel *ch, struct wherry_record *ret_rec)
{
	for (;;) {
		int rc = wherry_decoder_next(ch->dec, ret_rec);

		if (rc == 0)
			return 0;
		if (rc < 0)
			return fail_refused(ch);
		if (ret_rec->type == WHERRY_REC_ABORT)
			return fail_aborted(ch, ret_rec);
		if (ret_rec->type != WHERRY_REC_PULSE)
			return 1;
	}
}

static int
end_of_stream(struct mig_channel *ch)
{
	if (wherry_decoder_end(ch->dec) != 0)
		return mig_fail(&ch->reason, -ECONNRESET,
			"the peer closed the connection within record %llu: did it crash?",
			(unsigned long long)wherry_decoder_error(ch->dec).number);
	return mig_fail(&ch->reason, -ECONNRESET,
		"the peer closed the connection without a word: did it crash?");
}

/* Take what the socket has. 1: there was something; 0: nothing. */
static int
feed(struct mig_channel *ch)
{
	size_t cap;
	struct iovec space = { .iov_base = wherry_decoder_space(ch->dec, &cap) };
	ssize_t n;

	space.iov_len = cap;
	n = wherry_fault("channel.receive") ? -ECONNRESET : mig_conn_recv(&ch->conn, &space, 1);
	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return mig_channel_fail(ch, (int)n);
	if (n == 0)
		return end_of_stream(ch);
	wherry_decoder_fed(ch->dec, (size_t)n);
	ch->heard = mig_now();
	return 1;
}

int
mig_channel_listen_in(struct mig_channel *ch)
{
	int rc = 1;

	while (rc == 1 && !ch->kept_is_set) {
		rc = decode(ch, &ch->kept);
		if (rc == 1)
			ch->kept_is_set = true;
		else if (rc == 0)
			rc = feed(ch);
	}
	return rc < 0 ? rc : 0;
}

/* Until there is something to read; at most until end, ns. */
static int
wait_to_receive(struct mig_channel *ch, uint64_t end)
{
	uint64_t now = mig_now();
	int rc;

	if (ch->until != 0 && ch->until < end)
		end = ch->until;
	if (now >= end)
		return mig_channel_fail(ch, -ETIMEDOUT);
	if (mig_conn_has_more(&ch->conn)) {
		rc = mig_wait(-1, 0, ch->cancel_fd, 0);
		return rc < 0 ? mig_channel_fail(ch, rc) : 1;
	}
	rc = mig_wait(
		ch->conn.fd, POLLIN, ch->cancel_fd, (unsigned int)((end - now + 999999) / 1000000));
	return rc < 0 ? mig_channel_fail(ch, rc) : rc;
}

int
mig_channel_receive(struct mig_channel *ch, struct wherry_record *ret_rec)
{
	uint64_t end = mig_now() + ch->timeout_ms * UINT64_C(1000000);
	int rc = 1;

	if (ch->kept_is_set) {
		ch->kept_is_set = false;
		*ret_rec = ch->kept;
	} else {
		while ((rc = decode(ch, ret_rec)) == 0) {
			rc = wait_to_receive(ch, end);
			rc = rc <= 0 ? rc : feed(ch);
			if (rc < 0)
				return rc;
			if (rc == 1)
				end = ch->heard + ch->timeout_ms * UINT64_C(1000000);
		}
	}
	if (rc < 0)
		return rc;
	ch->body = ret_rec->body;
	return 0;
}

/* As many bytes as are there; 0: none yet. */
static ssize_t
read_some(struct mig_channel *ch, struct iovec *iov, size_t n)
{
	ssize_t got = wherry_fault("channel.body") ? -ECONNRESET : mig_conn_recv(&ch->conn, iov, n);

	if (got == -EAGAIN)
		return 0;
	if (got < 0)
		return mig_channel_fail(ch, (int)got);
	if (got == 0)
		return end_of_stream(ch);
	ch->heard = mig_now();
	ch->body -= (size_t)got;
	wherry_decoder_took(ch->dec, (size_t)got);
	return got;
}

int
mig_channel_read_body(struct mig_channel *ch, struct iovec *iov, size_t n)
{
	uint64_t end = mig_now() + ch->timeout_ms * UINT64_C(1000000);

	while (n > 0) {
		ssize_t got = read_some(ch, iov, n);

		if (got < 0)
			return (int)got;
		if (got == 0) {
			int rc = wait_to_receive(ch, end);

			if (rc < 0)
				return rc;
			continue;
		}
		end = ch->heard + ch->timeout_ms * UINT64_C(1000000);
		mig_iov_advance(&iov, &n, (size_t)got);
	}
	return 0;
}

static int
drop_body(struct mig_channel *ch)
{
	uint8_t sink[4096];
	int rc = 0;

	while (rc == 0 && ch->body > 0) {
		struct iovec iov = { .iov_base = sink,
			.iov_len = ch->body < sizeof(sink) ? ch->body : sizeof(sink) };

		rc = mig_channel_read_body(ch, &iov, 1);
	}
	return rc;
}

int
mig_channel_last_words(struct mig_channel *ch)
{
	struct mig_reason before = ch->reason;
	struct wherry_record rec;
	int rc;

	mig_channel_ignore_cancel(ch);
	mig_channel_set_limit(
		ch, ch->timeout_ms < MIG_LAST_WORDS_MS ? ch->timeout_ms : MIG_LAST_WORDS_MS);
	do {
		rc = drop_body(ch);
		if (rc == 0)
			rc = mig_channel_receive(ch, &rec);
	} while (rc == 0);
	if (ch->aborted)
		return rc;
	ch->reason = before;
	return 0;
}

int
mig_channel_expect(
	struct mig_channel *ch, enum wherry_record_type type, struct wherry_record *ret_rec)
{
	struct wherry_record rec;
	int rc = mig_channel_receive(ch, &rec);

	if (rc != 0)
		return rc;
	if (rec.type != (unsigned int)type)
		return mig_fail(&ch->reason, -EPROTO,
			"the peer sent record %llu (%s) at byte %llu where %s was due",
			(unsigned long long)rec.number, wherry_record_name(rec.type),
			(unsigned long long)rec.offset, wherry_record_name((unsigned int)type));
	if (ret_rec != NULL)
		*ret_rec = rec;
	return 0;
}
