/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CHANNEL_ENDS_PRIV_H
#define CHANNEL_ENDS_PRIV_H

/* What sending and receiving on a channel share. Nobody else looks inside one: channel_priv.h. */

#include "channel_priv.h"

/* An abort, and the peer's, waits at most so long for the other side. */
#define MIG_LAST_WORDS_MS 1000

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
	uint64_t until;             /* nothing is received later than that, ns; 0: no limit */
	bool kept_is_set;           /* kept has not been received yet */
	bool aborted;               /* the peer gave up */
	struct wherry_record kept;
	uint8_t *rest; /* of a record that was given up half-way: abort has to end it */
	size_t rest_len;
	struct wherry_decoder *dec;
	struct mig_reason reason;
};

/* Waiting, sending or receiving came to rc: the reason, and what the caller is told. */
int mig_channel_fail(struct mig_channel *ch, int rc);
/* n bytes of the pieces are done: what is left of them. */
void mig_iov_advance(struct iovec **iov, size_t *n_iov, size_t n);

#endif /* CHANNEL_ENDS_PRIV_H */
