/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIDE_H
#define SIDE_H

/* A migratable application in a test: its port is a net_null, its core a thread. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wherry_dpdk.h"

/* An application: what it was asked, and its one core. */
struct side {
	struct wherry_app *app;
	char control[108];
	uint16_t port;
	unsigned int verified, rebound, parked; /* how often the ops were called */
	unsigned int bursts_at_rebind;
	int verify_rc;
	pid_t agent;          /* the thread that called parked or verify */
	bool agent_on_core_0; /* where it might run then */
	pthread_t core, starter;
	unsigned int bursts; /* atomic */
	bool ended;          /* atomic: poll said so */
	bool started;        /* atomic: start has returned */
	int start_rc;
};

/* May this thread of ours, 0 the calling one, run on CPU 0, which EAL's core polls on? */
bool side_on_core_0(pid_t thread);
/* Atomic loads of a side's fields. */
unsigned int side_get(const unsigned int *n);
bool side_is(const bool *b);
/* Wait for it, 10 seconds at most. */
bool side_until(const bool *b);

struct wherry_app_opts side_opts(struct side *s, const char *name, const char *incoming);
/* Created, nothing added. */
void side_make(struct side *s, const char *name, const char *incoming);
/* A port and a core for what was created, and start it. */
void side_launch(struct side *s, const char *name, uint16_t queues);
/* Both: with a port and a core, started; a destination goes on waiting. */
void side_run(struct side *s, const char *name, const char *incoming, uint16_t queues);
/* End what side_run(), or a core and a starter of one's own, began. */
void side_drop(struct side *s, const char *name);
/* What its core and its starter run; arg is the side. */
void *side_poll(void *arg);
void *side_start(void *arg);

/* Its core handles bursts now. */
void side_wait_for_bursts(struct side *s);
/* A URI nobody else has. */
void side_listen_uri(char *uri, size_t cap);

#endif /* SIDE_H */
