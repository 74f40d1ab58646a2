/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending writes what the socket takes, in pieces no longer than the bandwidth limit
 * wants, and waits for room or for the peer's bytes, whichever comes first. Of a record that
 * was given up half-way the rest is kept, for abort to end it.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base_priv.h"
#include "channel_ends_priv.h"
#include "socket_priv.h"

#define PULSE_NS UINT64_C(300000000)

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
		return mig_channel_fail(ch, -ETIMEDOUT);
	rc = mig_wait(ch->conn.fd, events, ch->cancel_fd,
		pause_ms != 0 ? pause_ms : ch->timeout_ms - (unsigned int)silent_ms);
	if (rc < 0)
		return mig_channel_fail(ch, rc);
	return (rc & (POLLIN | POLLHUP)) != 0 ? mig_channel_listen_in(ch) : 0;
}

/* What is to be sent: pieces that are used up. */
struct outgoing {
	struct iovec *iov;
	size_t n;
};

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
		int heard = mig_channel_listen_in(ch); /* its last words, if there are any */

		return heard < 0 ? heard : mig_channel_fail(ch, (int)n);
	}
	if (n >= 0)
		account(ch, (size_t)n);
	return n;
}

/* On failure *out is what was not taken. */
static int
send_all(struct mig_channel *ch, struct outgoing *out)
{
	int rc = mig_channel_listen_in(ch);

	ch->heard = mig_now();
	while (rc == 0 && (out->n > 0 || mig_conn_owes(&ch->conn))) {
		unsigned int pause_ms = mig_pace_wait_ms(ch->pace);
		ssize_t n = pause_ms == 0 ? send_some(ch, out) : -EAGAIN;

		if (n < 0 && n != -EAGAIN)
			return (int)n;
		if (n > 0)
			mig_iov_advance(&out->iov, &out->n, (size_t)n);
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
		return mig_channel_fail(ch, -ECANCELED);
	iov.iov_len = wherry_record_seal(iov.iov_base, type, ch->number++, len);
	return send_pieces(ch, (struct outgoing){ .iov = &iov, .n = 1 });
}

int
mig_channel_send_batch(struct mig_channel *ch, uint8_t *payload, size_t len, struct iovec *iov,
	size_t n, size_t bytes)
{
	uint8_t *rec = payload - WHERRY_STREAM_HEADER;

	if (mig_wait(-1, 0, ch->cancel_fd, 0) == -ECANCELED)
		return mig_channel_fail(ch, -ECANCELED);
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
	if (ch->timeout_ms > MIG_LAST_WORDS_MS)
		ch->timeout_ms = MIG_LAST_WORDS_MS;
	if (finish_rest(ch) == 0 && mig_channel_send(ch, WHERRY_REC_ABORT, t.buf, t.len) == 0)
		linger(ch);
	ch->reason = reason;
}
