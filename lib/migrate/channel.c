/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending writes what the socket takes, in pieces no longer than the bandwidth limit
 * wants, and waits for room or for the peer's bytes, whichever comes first. The record
 * that was met while sending is kept for the next receive; only one can be, and while it
 * is, nothing more is read: the peer's own timeout stands behind that.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base_priv.h"
#include "channel_priv.h"
#include "socket_priv.h"

#define DEFAULT_TIMEOUT_MS 10000
#define PULSE_NS UINT64_C(300000000)
#define LINGER_MS 1000 /* how long an abort waits at most for the peer to read it */

struct mig_channel {
	struct mig_conn conn;
	int cancel_fd;
	unsigned int timeout_ms;
	struct mig_pace own, *pace; /* pace: own, or another channel's */
	uint64_t number;            /* of the next record sent */
	uint64_t sent;              /* bytes; atomic */
	size_t body;                /* bytes of the last record's body that have not been read */
	uint64_t said;              /* when the last record was sent, ns */
	uint64_t heard;             /* when the peer's last byte came, or was waited for from, ns */
	bool kept_is_set;           /* kept has not been received yet */
	bool is_wherry;
	bool aborted; /* the peer gave up */
	struct wherry_record kept;
	uint8_t *rest; /* of a record that was given up half-way: abort has to end it */
	size_t rest_len;
	struct wherry_decoder *dec;
	struct mig_reason reason;
};

int
mig_channel_create_on(struct mig_conn *conn, int cancel_fd, struct mig_channel **ret_ch)
{
	struct mig_channel *ch = wherry_fault("channel.alloc") ? NULL : calloc(1, sizeof(*ch));
	int rc = ch == NULL ? -ENOMEM : wherry_decoder_create(&ch->dec);

	if (rc != 0)
		goto close;
	ch->conn = *conn;
	ch->cancel_fd = cancel_fd;
	ch->timeout_ms = DEFAULT_TIMEOUT_MS;
	ch->pace = &ch->own;
	*ret_ch = ch;
	return 0;
close:
	mig_conn_close(conn);
	free(ch);
	return rc;
}

int
mig_channel_create(int fd, int cancel_fd, struct mig_channel **ret_ch)
{
	struct mig_conn plain = { .fd = fd };

	return mig_channel_create_on(&plain, cancel_fd, ret_ch);
}

void
mig_channel_destroy(struct mig_channel *ch)
{
	if (ch == NULL)
		return;
	mig_conn_close(&ch->conn);
	wherry_decoder_destroy(ch->dec);
	free(ch->rest);
	free(ch);
}

void
mig_channel_set_timeout(struct mig_channel *ch, unsigned int ms)
{
	ch->timeout_ms = ms;
}

void
mig_channel_set_bandwidth(struct mig_channel *ch, uint64_t bandwidth)
{
	mig_pace_set(ch->pace, bandwidth);
}

void
mig_channel_share_bandwidth(struct mig_channel *ch, struct mig_channel *first)
{
	ch->pace = first->pace;
}

void
mig_channel_ignore_cancel(struct mig_channel *ch)
{
	ch->cancel_fd = -1;
}

const char *
mig_channel_reason(const struct mig_channel *ch)
{
	return ch->reason.text;
}

bool
mig_channel_is_lost(const struct mig_channel *ch, int rc)
{
	return (rc == -ECONNRESET || rc == -ETIMEDOUT) && !ch->aborted;
}

uint64_t
mig_channel_sent(const struct mig_channel *ch)
{
	return __atomic_load_n(&ch->sent, __ATOMIC_RELAXED);
}

void
mig_channel_identity(const struct mig_channel *ch, struct mig_identity *ret_identity)
{
	mig_conn_identity(&ch->conn, ret_identity);
}

bool
mig_channel_is(const struct mig_channel *ch, const struct mig_identity *identity)
{
	struct mig_identity its;

	mig_channel_identity(ch, &its);
	return memcmp(its.hash, identity->hash, sizeof(its.hash)) == 0;
}

bool
mig_channel_is_wherry(const struct mig_channel *ch)
{
	return ch->is_wherry;
}

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

static int
fail_wait(struct mig_channel *ch, int rc)
{
	if (rc == -ECANCELED)
		return mig_fail(&ch->reason, rc, "cancelled");
	if (rc == -ETIMEDOUT)
		return mig_fail(&ch->reason, rc,
			"the peer was silent for %u ms: is it alive, and the network up?",
			ch->timeout_ms);
	return mig_fail(&ch->reason, -ECONNRESET, "the connection was lost: %s",
		*mig_conn_why(&ch->conn) != '\0' ? mig_conn_why(&ch->conn) : strerror(-rc));
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
		ch->is_wherry = true;
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
		return fail_wait(ch, (int)n);
	if (n == 0)
		return end_of_stream(ch);
	wherry_decoder_fed(ch->dec, (size_t)n);
	ch->heard = mig_now();
	return 1;
}

/* While sending: has the peer something to say? An abort ends it, a record is kept. */
static int
listen_in(struct mig_channel *ch)
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

static void
account(struct mig_channel *ch, size_t n)
{
	uint64_t now = mig_now();

	__atomic_store_n(&ch->sent, ch->sent + n, __ATOMIC_RELAXED);
	ch->heard = now; /* taking bytes is a sign of life */
	mig_pace_sent(ch->pace, n, now);
}

/* Wait for room, for the limit, or for the peer. */
static int
wait_to_send(struct mig_channel *ch, unsigned int pause_ms)
{
	uint64_t silent_ms = (mig_now() - ch->heard) / 1000000;
	short events = (short)((ch->kept_is_set ? 0 : POLLIN) | (pause_ms != 0 ? 0 : POLLOUT));
	int rc;

	if (pause_ms == 0 && silent_ms >= ch->timeout_ms)
		return fail_wait(ch, -ETIMEDOUT);
	rc = mig_wait(ch->conn.fd, events, ch->cancel_fd,
		pause_ms != 0 ? pause_ms : ch->timeout_ms - (unsigned int)silent_ms);
	if (rc < 0)
		return fail_wait(ch, rc);
	return (rc & (POLLIN | POLLHUP)) != 0 ? listen_in(ch) : 0;
}

/* What is to be sent: pieces that are used up. */
struct outgoing {
	struct iovec *iov;
	size_t n;
};

/* n bytes of the pieces are done: what is left of them. */
static void
advance(struct iovec **iov, size_t *n_iov, size_t n)
{
	while (*n_iov > 0 && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*n_iov)--;
	}
	if (n > 0 && *n_iov > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

static ssize_t
hand_over(struct mig_channel *ch, const struct outgoing *out)
{
	if (wherry_fault("channel.send"))
		return -EPIPE;
	if (out->n > 1)
		return mig_conn_send_pieces(&ch->conn, out->iov, out->n);
	if (out->n == 0)
		return mig_conn_send(&ch->conn, NULL, 0);
	return mig_conn_send(
		&ch->conn, out->iov->iov_base, mig_pace_piece(ch->pace, out->iov->iov_len));
}

/* As many of the bytes as go now; -EAGAIN: none, nor what is owed of those before. */
static ssize_t
send_some(struct mig_channel *ch, const struct outgoing *out)
{
	ssize_t n = hand_over(ch, out);

	if (n < 0 && n != -EAGAIN) {
		int heard = listen_in(ch); /* its last words, if there are any */

		return heard < 0 ? heard : fail_wait(ch, (int)n);
	}
	if (n >= 0)
		account(ch, (size_t)n);
	return n;
}

/* On failure *out is what was not taken. */
static int
send_all(struct mig_channel *ch, struct outgoing *out)
{
	int rc = listen_in(ch);

	ch->heard = mig_now();
	while (rc == 0 && (out->n > 0 || mig_conn_owes(&ch->conn))) {
		unsigned int pause_ms = mig_pace_wait_ms(ch->pace);
		ssize_t n = pause_ms == 0 ? send_some(ch, out) : -EAGAIN;

		if (n < 0 && n != -EAGAIN)
			return (int)n;
		if (n > 0)
			advance(&out->iov, &out->n, (size_t)n);
		else if (n == -EAGAIN)
			rc = wait_to_send(ch, pause_ms);
	}
	return rc;
}

static void
keep_rest(struct mig_channel *ch, const struct outgoing *out)
{
	size_t len = 0;

	for (size_t i = 0; i < out->n; i++)
		len += out->iov[i].iov_len;
	free(ch->rest);
	ch->rest = len > 0 ? malloc(len) : NULL;
	ch->rest_len = len;
	for (size_t i = 0, at = 0; ch->rest != NULL && i < out->n; i++) {
		memcpy(ch->rest + at, out->iov[i].iov_base, out->iov[i].iov_len);
		at += out->iov[i].iov_len;
	}
}

static int
send_pieces(struct mig_channel *ch, struct outgoing out)
{
	int rc = send_all(ch, &out);

	ch->said = ch->heard; /* send_all has looked at the clock */
	if (rc != 0)
		keep_rest(ch, &out);
	return rc;
}

int
mig_channel_send(struct mig_channel *ch, enum wherry_record_type type, uint8_t *payload, size_t len)
{
	struct iovec iov = { .iov_base = payload - WHERRY_STREAM_HEADER };

	if (mig_wait(-1, 0, ch->cancel_fd, 0) == -ECANCELED)
		return fail_wait(ch, -ECANCELED);
	iov.iov_len = wherry_record_seal(iov.iov_base, type, ch->number++, len);
	return send_pieces(ch, (struct outgoing){ .iov = &iov, .n = 1 });
}

int
mig_channel_send_batch(struct mig_channel *ch, uint8_t *payload, size_t len, struct iovec *iov,
	size_t n, size_t bytes)
{
	uint8_t *rec = payload - WHERRY_STREAM_HEADER;

	if (mig_wait(-1, 0, ch->cancel_fd, 0) == -ECANCELED)
		return fail_wait(ch, -ECANCELED);
	wherry_record_seal(rec, WHERRY_REC_PAGES, ch->number++, len + bytes);
	iov[0] = (struct iovec){ .iov_base = rec, .iov_len = WHERRY_STREAM_HEADER + len };
	return send_pieces(ch, (struct outgoing){ .iov = iov, .n = n + 1 });
}

int
mig_channel_send_empty(struct mig_channel *ch, enum wherry_record_type type)
{
	uint8_t rec[WHERRY_STREAM_HEADER];

	return mig_channel_send(ch, type, rec + sizeof(rec), 0);
}

int
mig_channel_pulse(struct mig_channel *ch)
{
	return mig_now() - ch->said < PULSE_NS ? 0 : mig_channel_send_empty(ch, WHERRY_REC_PULSE);
}

/* Wait until the peer has closed, so that what it has not read yet is not thrown away. */
static void
linger(struct mig_channel *ch)
{
	uint64_t end = mig_now() + ch->timeout_ms * UINT64_C(1000000);
	uint8_t sink[4096];

	shutdown(ch->conn.fd, SHUT_WR);
	while (mig_now() < end && mig_wait(ch->conn.fd, POLLIN, -1, ch->timeout_ms) > 0)
		if (recv(ch->conn.fd, sink, sizeof(sink), MSG_DONTWAIT) <= 0)
			return;
}

static int
finish_rest(struct mig_channel *ch)
{
	struct iovec iov = { .iov_base = ch->rest, .iov_len = ch->rest_len };
	struct outgoing out = { .iov = &iov, .n = 1 };
	int rc;

	if (ch->rest_len == 0)
		return 0; /* what is owed goes out before anything else */
	if (ch->rest == NULL)
		return -ENOMEM;
	rc = send_all(ch, &out);
	ch->rest_len = out.n > 0 ? iov.iov_len : 0;
	memmove(ch->rest, iov.iov_base, ch->rest_len);
	return rc;
}

void
mig_channel_abort(struct mig_channel *ch, int code, const char *why)
{
	uint8_t rec[WHERRY_STREAM_HEADER + 512];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER,
		.cap = sizeof(rec) - WHERRY_STREAM_HEADER };
	struct mig_reason reason = ch->reason;

	wherry_table_put_u64(&t, WHERRY_ABORT_CODE, code < 0 ? (uint64_t)-code : 0);
	wherry_table_put_text(&t, WHERRY_ABORT_REASON, *why != '\0' ? why : "no reason given");
	mig_channel_ignore_cancel(ch);
	ch->own = (struct mig_pace){ 0 };
	ch->pace = &ch->own;
	ch->kept_is_set = true; /* whatever it says now does not matter */
	if (ch->timeout_ms > LINGER_MS)
		ch->timeout_ms = LINGER_MS;
	if (finish_rest(ch) == 0 && mig_channel_send(ch, WHERRY_REC_ABORT, t.buf, t.len) == 0)
		linger(ch);
	ch->reason = reason;
}

/* Until there is something to read; at most until end, ns. */
static int
wait_to_receive(struct mig_channel *ch, uint64_t end)
{
	uint64_t now = mig_now();
	int rc;

	if (now >= end)
		return fail_wait(ch, -ETIMEDOUT);
	if (mig_conn_has_more(&ch->conn)) {
		rc = mig_wait(-1, 0, ch->cancel_fd, 0);
		return rc < 0 ? fail_wait(ch, rc) : 1;
	}
	rc = mig_wait(
		ch->conn.fd, POLLIN, ch->cancel_fd, (unsigned int)((end - now + 999999) / 1000000));
	return rc < 0 ? fail_wait(ch, rc) : rc;
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
		return fail_wait(ch, (int)got);
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
		advance(&iov, &n, (size_t)got);
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
	if (ch->timeout_ms > LINGER_MS)
		ch->timeout_ms = LINGER_MS;
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
