/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef STOP_PRIV_H
#define STOP_PRIV_H

/*
 * What ends every thread of one migration: somebody cancelled it, or one of them has
 * failed. fd becomes readable then, and is what channels take as cancel_fd.
 */

struct mig_stop {
	int fd;    /* an epoll over both causes */
	int event; /* raised by a thread that failed */
};

/* 0 or -ENOMEM; fini after a failure, too, is fine. */
int mig_stop_init(struct mig_stop *stop, int cancel_fd);
void mig_stop_fini(struct mig_stop *stop);
/* From any thread. */
void mig_stop_raise(const struct mig_stop *stop);

#endif /* STOP_PRIV_H */
