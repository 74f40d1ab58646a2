/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_ARBITER_H
#define WHERRY_ARBITER_H

#include <wherry_base.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * The arbiter: one record outside of the processes of a migration that says which of
 * them owns the state, changed by compare-and-swap only.
 *
 * Every change makes a new epoch, so that what was asked on the strength of an older one
 * can never be done later. Nothing expires: an owner that is silent stays the owner.
 *
 * Specs:   "lock:PATH", a file for the processes of one machine, best on a tmpfs: it need
 *          not survive the machine, for they do not. "etcd:URL", a key in an etcd for those
 *          of many: "etcd:http://HOST:2379/KEY".
 * Errors:  0 or -errno. -EINVAL: the spec makes no sense; -EPROTO: what is written there is
 *          no record of ours; anything else: the arbiter does not answer (reason logged).
 * Threads: an arbiter is used by one call at a time.
 * Source:  doc/switchover.rst; etcd's v3 API over its HTTP/JSON gateway.
 */

/** Bytes of an owner's id at most, with its final 0. */
#define WHERRY_OWNER_MAX 320

/** What the record says. */
struct wherry_owner {
	char id[WHERRY_OWNER_MAX]; /**< "HOST:CONTROL-SOCKET"; "" with epoch 0: nobody yet */
	uint64_t epoch;            /**< from 1 */
};

struct wherry_arbiter;

/** Look at the spec and make what is needed to ask; asks nothing. -EINVAL, -ENOMEM. */
int wherry_arbiter_open(const char *spec, struct wherry_arbiter **ret_arbiter) WHERRY_MUST_CHECK;
/** Forget it; the record stays. NULL is fine. */
void wherry_arbiter_close(struct wherry_arbiter *arbiter);
/** What names the record for everybody: the path, or the key. */
const char *wherry_arbiter_name(const struct wherry_arbiter *arbiter);
/** What is written now. */
int wherry_arbiter_read(struct wherry_arbiter *arbiter, struct wherry_owner *ret_now)
	WHERRY_MUST_CHECK;
/**
 * Make @p id the owner in epoch @p known + 1, if the epoch is @p known; 0: if nobody is.
 * 0: @p ret_now is what is written now, whoever wrote it. -errno: it may have been done,
 * or may still be done later; ask again until the epoch is no longer @p known.
 */
int wherry_arbiter_swap(struct wherry_arbiter *arbiter, const struct wherry_owner *known,
	const char *id, struct wherry_owner *ret_now) WHERRY_MUST_CHECK;

WHERRY_END_DECLS

#endif /* WHERRY_ARBITER_H */
