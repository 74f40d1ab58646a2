/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LATE_PRIV_H
#define LATE_PRIV_H

/*
 * Frames that reach the source after quiesce. They wait where the device puts them until
 * the source has nothing more to send, travel as FRAME records behind the digest or
 * COMMIT, and are handed to the destination's application once that runs: a client whose
 * only segment came in the blackout need not wait for its retransmission timer. The
 * source goes on for a moment after RUNNING, until the network sends elsewhere.
 */

#include "agent_priv.h"
#include "channel_priv.h"

/* Source: forward until RUNNING comes. Errors as mig_channel_expect(). */
int mig_late_until_running(struct wherry_agent *agent, struct mig_channel *ch,
	unsigned int timeout_ms, struct wherry_record *ret_running);
/* Source: forward what still comes, then nothing is received any more. */
void mig_late_linger(struct wherry_agent *agent, struct mig_channel *ch);
/* Source: devices stand still from here on. */
void mig_late_silence(struct wherry_agent *agent);
/* Destination, running: hand over what comes until the source is done. */
void mig_late_receive(struct wherry_agent *agent, struct mig_channel *ch);

#endif /* LATE_PRIV_H */
