/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef EAL_FOLDER_H
#define EAL_FOLDER_H

/*
 * A folder below /run/dpdk of this process's own, so that programs with an EAL can run side by
 * side. EAL makes it and leaves it there; its telemetry removes its sockets at exit, before us.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_eal.h>

static inline void
eal_folder_remove(void)
{
	if (rmdir(rte_eal_get_runtime_dir()) != 0 && errno != ENOENT)
		perror(rte_eal_get_runtime_dir());
}

/* The option for rte_eal_init(), which has to be called after this. */
static inline char *
eal_folder_option(const char *program)
{
	static char option[64];

	snprintf(option, sizeof(option), "--file-prefix=%s-%d", program, (int)getpid());
	if (atexit(eal_folder_remove) != 0)
		perror("atexit");
	return option;
}

#endif /* EAL_FOLDER_H */
