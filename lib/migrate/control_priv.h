/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_PRIV_H
#define CONTROL_PRIV_H

/*
 * The control socket: one JSON object per line, both ways (doc/control.rst). A thread of
 * its own serves all clients from one poll loop and never waits for any: a client that
 * sends too long a line, does not read, or says nothing for a minute is let go.
 *
 * Events are not queued: the agent keeps its rounds, and each client remembers which it
 * has been told, so a slow client costs no memory.
 */

#include <jansson.h>

#include "agent_priv.h"

#define MIG_CLIENTS_MAX 16u
#define MIG_LINE_MAX 8192u               /* bytes of a request */
#define MIG_OUT_MAX ((size_t)256 * 1024) /* bytes a client has not read yet */
#define MIG_IDLE_NS (60 * UINT64_C(1000000000))
#define MIG_PROGRESS_NS UINT64_C(200000000)

struct mig_client {
	int fd; /* -1: free */
	char in[MIG_LINE_MAX];
	size_t in_len;
	char *out; /* out_len bytes to be written, in MIG_OUT_MAX */
	size_t out_len;
	bool closing;        /* when out is written */
	uint64_t heard;      /* when it last said something, ns */
	bool follows;        /* wants to know how migrations go */
	bool once;           /* only the one it asked for */
	uint64_t migration;  /* the one it is being told of */
	unsigned int rounds; /* of it, told */
	unsigned int pauses; /* likewise */
	bool end_told;
	enum wherry_state state; /* told */
	uint64_t progress_due;   /* ns */
	uint64_t watch_ns;       /* 0: does not watch dirty rates */
	uint64_t watch_due;      /* ns */
};

struct mig_control {
	struct wherry_agent *agent;
	char *path;
	int listen_fd;
	pthread_t thread;
	bool running;
	bool quit;     /* atomic, relaxed: the notify_fd that follows orders it */
	bool tracking; /* the tracker is on for clients that watch */
	struct mig_client clients[MIG_CLIENTS_MAX];
};

/* control_client.c: what a client says and is told. */
void mig_client_open(struct mig_client *c, int fd);
void mig_client_close(struct mig_client *c);
void mig_client_readable(struct mig_control *control, struct mig_client *c);
void mig_client_writable(struct mig_client *c);
/* Queue one line; takes the object over. */
void mig_client_send(struct mig_client *c, json_t *object);
/* From now on it is told how migrations go; once: only the one under way. */
void mig_client_follow(struct mig_control *control, struct mig_client *c, bool once);
/* Queue what it has not been told yet. */
void mig_client_update(struct mig_control *control, struct mig_client *c, uint64_t now);

/* control_request.c: one line in, one answer out. */
void mig_request(struct mig_control *control, struct mig_client *c, const char *line, size_t len);

/* control_json.c: objects, NULL when out of memory. */
json_t *mig_json_round(const struct wherry_round *round, const struct mig_heat *heat);
json_t *mig_json_status(struct wherry_agent *agent);
json_t *mig_json_progress(struct wherry_agent *agent);
json_t *mig_json_paused(struct wherry_agent *agent);
json_t *mig_json_end(struct wherry_agent *agent);
json_t *mig_json_watch(struct wherry_agent *agent);
json_t *mig_json_error(int rc, const char *reason);

#endif /* CONTROL_PRIV_H */
