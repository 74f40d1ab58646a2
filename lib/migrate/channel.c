/* SPDX-License-Identifier: BSD-3-Clause */
/* A channel: made, set, asked. channel_send.c and channel_receive.c say what goes over it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "channel_ends_priv.h"

#define DEFAULT_TIMEOUT_MS 10000

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
	ch->until = 0;
}

void
mig_channel_set_limit(struct mig_channel *ch, unsigned int ms)
{
	ch->timeout_ms = ms;
	ch->until = mig_now() + ms * UINT64_C(1000000);
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

bool
mig_channel_is_cancelled(const struct mig_channel *ch, int rc)
{
	return rc == -ECANCELED && !ch->aborted;
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

int
mig_channel_fail(struct mig_channel *ch, int rc)
{
	if (rc == -ECANCELED)
		return mig_fail(&ch->reason, rc, "cancelled");
	if (rc == -ETIMEDOUT && ch->until != 0 &&
		ch->heard > ch->until - ch->timeout_ms * UINT64_C(1000000))
		return mig_fail(
			&ch->reason, rc, "what was due did not come within %u ms", ch->timeout_ms);
	if (rc == -ETIMEDOUT)
		return mig_fail(&ch->reason, rc,
			"the peer was silent for %u ms: is it alive, and the network up?",
			ch->timeout_ms);
	return mig_fail(&ch->reason, -ECONNRESET, "the connection was lost: %s",
		*mig_conn_why(&ch->conn) != '\0' ? mig_conn_why(&ch->conn) : strerror(-rc));
}

void
mig_iov_advance(struct iovec **iov, size_t *n_iov, size_t n)
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
