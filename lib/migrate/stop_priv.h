/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef STOP_PRIV_H
#define STOP_PRIV_H

/*
 * What ends every thread of one migration: somebody cancelled it, one of them has failed,
 * or its time is up. fd becomes readable then, and is what channels take as cancel_fd.
 */

#include <stdint.h>

struct mig_stop {
	int fd;    /* an epoll over all causes */
	int event; /* raised by a thread that failed */
	int timer; /* a timerfd; -1: there is no such time */
};

/* Nothing to fini yet. */
#define MIG_STOP_NONE ((struct mig_stop){ .fd = -1, .event = -1, .timer = -1 })

/* 0 or -ENOMEM; fini after a failure, too, is fine. */
int mig_stop_init(struct mig_stop *stop, int cancel_fd);
void mig_stop_fini(struct mig_stop *stop);
/* Raised at that time, ns of mig_now(); UINT64_MAX: never. Once. -ENOMEM. */
int mig_stop_at(struct mig_stop *stop, uint64_t ns);
/* From any thread. */
void mig_stop_raise(const struct mig_stop *stop);

#endif /* STOP_PRIV_H */
