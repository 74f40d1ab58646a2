/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TALK_H
#define TALK_H

/* Peers of a destination that are not its source, and one that talks and says nothing of what is due. */

#include "channel_priv.h"

/* Signs of life, and between them records of that type, if it is not PULSE, too. */
struct talker {
	struct mig_channel *ch; /* nobody else sends on it meanwhile */
	enum wherry_record_type also;
};

/*
 * The main of a thread; its argument is a struct talker. For much longer than anybody is listened to: half
 * a minute and more, if the other end does not end it.
 */
void *talk_on(void *arg);

/* A plain connection to that destination, as soon as it listens. */
struct mig_channel *talk_to(const char *uri);
/* All that was sent there has been read, or the destination has ended. */
void talk_await_read(const struct mig_channel *ch);
/*
 * A first word that is sound and is not what is due: of this type, with fields of nobody's migration. An
 * abort says that it was cancelled.
 */
void talk_say(struct mig_channel *ch, enum wherry_record_type type);

#endif /* TALK_H */
