/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CHANNEL_PRIV_H
#define CHANNEL_PRIV_H

/*
 * One connection between the two sides: records out, records in. It numbers, seals and
 * checks records, keeps to the bandwidth limit, gives up when the peer is silent, and
 * ends at once when cancel_fd becomes readable. While sending it listens: a peer that
 * gives up is heard in the middle of a round.
 *
 * Errors of send and receive, each with the reason in mig_channel_reason:
 *   -ECANCELED   cancel_fd            -ETIMEDOUT  silent for longer than the timeout
 *   -ECONNRESET  the peer is gone     -EPROTO     its bytes break the format
 *   other        the peer gave up: its own errno, its own reason
 * Used by one thread; sent may be asked by any.
 */

#include <sys/uio.h>

#include "conn_priv.h"
#include "pace_priv.h"
#include "reason_priv.h"
#include "wherry_stream.h"

struct mig_channel;

/* conn becomes the channel's, also on failure. -ENOMEM. */
int mig_channel_create_on(struct mig_conn *conn, int cancel_fd, struct mig_channel **ret_ch);
/* The same on a plain socket. */
int mig_channel_create(int fd, int cancel_fd, struct mig_channel **ret_ch);
/* Close and free. NULL is fine. */
void mig_channel_destroy(struct mig_channel *ch);

/* The peer may be silent for so long. */
void mig_channel_set_timeout(struct mig_channel *ch, unsigned int ms);
/*
 * All that is received from here on has to be there in so long, however much the peer says, until
 * the next mig_channel_set_timeout: whoever is not known yet must not hold up who is.
 */
void mig_channel_set_limit(struct mig_channel *ch, unsigned int ms);
/* bytes per second; 0: as fast as it goes */
void mig_channel_set_bandwidth(struct mig_channel *ch, uint64_t bandwidth);
/* Keep to the limit that first keeps to, both together; first outlives ch. */
void mig_channel_share_bandwidth(struct mig_channel *ch, struct mig_channel *first);
/* From now on cancel_fd is not looked at: COMMIT is on its way. */
void mig_channel_ignore_cancel(struct mig_channel *ch);

/*
 * Send the len bytes at payload, and of a batch its body behind it; there are
 * WHERRY_STREAM_HEADER bytes to spare before it. A failure means that the peer cannot
 * have got the whole record.
 */
int mig_channel_send(
	struct mig_channel *ch, enum wherry_record_type type, uint8_t *payload, size_t len);
/*
 * The same of a batch whose body stands elsewhere, in the n pieces at iov + 1, which are used
 * up, as is iov[0]: bytes long in all, the len at payload left out. Plain connections without a
 * limit only.
 */
int mig_channel_send_batch(struct mig_channel *ch, uint8_t *payload, size_t len, struct iovec *iov,
	size_t n, size_t bytes);
/*
 * Between two records: tell the peer that we are at work on what it has sent, if we have said
 * nothing for a while. It waits for our answer, and does not see its bytes come in.
 */
int mig_channel_pulse(struct mig_channel *ch);
/* Send a record without fields. */
int mig_channel_send_empty(struct mig_channel *ch, enum wherry_record_type type);
/*
 * Say that it came to nothing and why, after the rest of a record that is half sent: not
 * after a COMMIT that failed. What fails here is not worth knowing.
 */
void mig_channel_abort(struct mig_channel *ch, int code, const char *why);

/*
 * The next record, pulses aside. Its payload lives until the next call; its body, if it
 * has one, has to be read before that.
 */
int mig_channel_receive(struct mig_channel *ch, struct wherry_record *ret_rec);
/*
 * Has the peer something to say? Does not wait. An abort or the end fails it, a record is kept for
 * the next receive.
 */
int mig_channel_listen_in(struct mig_channel *ch);
/* The next record, which must be of this type; *ret_rec may be NULL. */
int mig_channel_expect(
	struct mig_channel *ch, enum wherry_record_type type, struct wherry_record *ret_rec);

/*
 * Read the next bytes of the body of the record received last straight into the n pieces
 * at iov, which is used up: as many as the pieces want, all of the body in the end.
 */
int mig_channel_read_body(struct mig_channel *ch, struct iovec *iov, size_t n);
/*
 * Another connection to the same peer was lost: has it said why on this one? Its code,
 * with its reason, if an abort comes within a second, else 0. The channel is of no use
 * for anything but abort then.
 */
int mig_channel_last_words(struct mig_channel *ch);

/* Why the last call failed. */
const char *mig_channel_reason(const struct mig_channel *ch);
/* Is this, which a call has returned, a connection lost, and not a peer that has given up? */
bool mig_channel_is_lost(const struct mig_channel *ch, int rc);
/* Is it cancel_fd, and not a peer that says of itself that it was cancelled? */
bool mig_channel_is_cancelled(const struct mig_channel *ch, int rc);
/* Bytes handed to the network so far. */
uint64_t mig_channel_sent(const struct mig_channel *ch);
/* Who is at the other end, as far as it had to prove that; it outlives the channel. */
void mig_channel_identity(const struct mig_channel *ch, struct mig_identity *ret_identity);
/* Is it that one, who proved itself on another connection? */
bool mig_channel_is(const struct mig_channel *ch, const struct mig_identity *identity);

#endif /* CHANNEL_PRIV_H */
