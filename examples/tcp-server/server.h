/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SERVER_H
#define SERVER_H

/*
 * What stays: the process around the state. Everything here is made anew by each
 * process, and nothing here is written by another.
 */

#include <wherry_dpdk.h>

#include "lwip_lib.h"
#include "options.h"

struct port;
struct state;

struct server {
	struct options opts;
	struct wherry_app *app;
	struct wherry_arena *arena;     /* NULL at a destination until the state is here */
	struct wherry_region *lib_data; /* under the library's .data and .bss */
	struct lwip_lib lib;
	struct port *port;
	struct state *state; /* NULL as arena */
	bool was_parked;     /* set while the core is parked, read when it goes on */
};

/* Options are in place: memory, library, port, and, unless it waits for a peer, the state. */
int server_setup(struct server *server);
/* Undo what setup did, whole or in part. */
void server_teardown(struct server *server);
/* Serve until told to end; 0, or -errno. */
int server_run(struct server *server);

/* One line for people, on stderr, with the program's name. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* CLOCK_MONOTONIC in ns. */
uint64_t now_ns(void);

#endif /* SERVER_H */
