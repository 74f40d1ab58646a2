/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DIRTY_THREAD_PRIV_H
#define DIRTY_THREAD_PRIV_H

/* Threads of the library: named, and no signal of the application ends up on them. */

#include <pthread.h>

/* -ENOMEM: no thread to be had. @p name has at most 15 characters. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*fn)(void *arg), void *arg);

#endif /* DIRTY_THREAD_PRIV_H */
