/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SUCCEED_H
#define SUCCEED_H

/* The control socket of the server that is to be replaced. */

#define SUCCEED_PATH 108 /* bytes; what a Unix socket's name may have */

struct options;

/* Of the server that --control or --name names. */
void succeed_path(const struct options *opts, char path[SUCCEED_PATH]);
/* Who answers there: a connection and its process, or -errno. */
int succeed_connect(const char *path, int *ret_pid);

#endif /* SUCCEED_H */
