/* SPDX-License-Identifier: BSD-3-Clause */
#include "thread_priv.h"

#include <errno.h>
#include <signal.h>

#include "base_priv.h"

int
thread_start(pthread_t *ret_thread, const char *name, void *(*fn)(void *arg), void *arg)
{
	pthread_attr_t attr;
	sigset_t all;
	int rc;

	sigfillset(&all);
	rc = pthread_attr_init(&attr);
	if (rc != 0)
		return -rc;
	rc = pthread_attr_setsigmask_np(&attr, &all);
	if (rc == 0)
		rc = wherry_fault("dirty.thread") ? EAGAIN
						  : pthread_create(ret_thread, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return -ENOMEM;
	pthread_setname_np(*ret_thread, name);
	return 0;
}
