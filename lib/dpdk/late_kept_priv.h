/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LATE_KEPT_PRIV_H
#define LATE_KEPT_PRIV_H

/*
 * Frames that have left their receive buffers, oldest first: the buffers are about to be
 * another process's, whose NIC writes to them. One thread.
 */

#include <sys/queue.h>

#include "wherry_migrate.h"

struct kept_frame;
STAILQ_HEAD(kept, kept_frame);

void kept_init(struct kept *kept);
/* A copy of it; without memory it is lost. */
void kept_add(struct kept *kept, const struct wherry_late_frame *frame);
/* The oldest; it stays until it is dropped. False: there is none. */
bool kept_first(const struct kept *kept, struct wherry_late_frame *ret_frame);
void kept_drop_first(struct kept *kept);
void kept_clear(struct kept *kept);

#endif /* LATE_KEPT_PRIV_H */
