/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VITALS_H
#define VITALS_H

/* What a process holds: there must be no more of it when a migration is over, however that ended. */
#include <stdbool.h>

struct vitals {
	unsigned int fds, threads;
};

struct vitals vitals_now(void);
/* The same when it is no more than before, or after some seconds in which it has stayed more. */
struct vitals vitals_settled(struct vitals before);
bool vitals_are_no_more(struct vitals now, struct vitals before);

#endif /* VITALS_H */
