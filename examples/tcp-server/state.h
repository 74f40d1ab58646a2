/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef STATE_H
#define STATE_H

/*
 * What moves. Every object of this file lies in the arena and is found from the
 * arena's root, a struct state; pointers among them stay valid because the arena
 * has the same address everywhere. Two kinds of pointers do not, and are set again
 * by rebind.c: pointers to code, and state->server.
 *
 * Invariant: nothing outside of the arena is reachable from here but through
 *            state->server; no lwIP or DPDK header is needed to read this file.
 * Threads:   the polling core only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "churn.h"
#include "reply.h"

struct netif;
struct pbuf;
struct rx_pbuf;
struct server;
struct tcp_pcb;

#define STATE_MAGIC UINT64_C(0x5768657272795443)
#define STATE_VERSION 1u /* grows with every change of the structs below */
#define NAME_LEN 64      /* of a file or an upload, with the NUL */

/* A file of the content cache: loaded once, by the first owner. */
struct file {
	TAILQ_ENTRY(file) link;
	char name[NAME_LEN];
	size_t len;
	unsigned char *data;
};

/* Up to this many pieces of an upload; a page with the list's pointers. */
#define EXTENTS_PER_CHUNK 509
struct extents {
	TAILQ_ENTRY(extents) link;
	size_t n;
	struct pbuf *pbuf[EXTENTS_PER_CHUNK]; /* a reference each; payload and len are the extent */
};

TAILQ_HEAD(extents_list, extents);

/*
 * An upload. Its bytes stay in the receive buffers the NIC wrote; the extents name
 * them in order. Freed when the last user is gone and it is not on the list.
 */
struct upload {
	TAILQ_ENTRY(upload) link;
	struct extents_list extents;
	char name[NAME_LEN];
	uint64_t len;       /* as announced */
	uint64_t have;      /* as received */
	unsigned int users; /* connections writing or reading it */
	bool listed;        /* on state->uploads: complete, and the newest of its name */
};

/* What a connection is about. */
enum conn_phase {
	CONN_HEAD,  /* waits for, or has part of, the head of a request */
	CONN_BODY,  /* receives the body of an upload */
	CONN_CHURN, /* the churn table is being verified, step by step */
	CONN_REPLY, /* sends */
	CONN_CLOSE, /* nothing left to say; lwIP could not take the FIN yet */
};

/*
 * A client. Lives from accept to close or error. Bytes in unread are not
 * acknowledged to the window yet, so a client cannot run ahead by more than one.
 */
struct conn {
	TAILQ_ENTRY(conn) link;
	struct state *state;
	struct tcp_pcb *pcb;
	enum conn_phase phase;
	bool keep_alive;        /* the client wants more after this reply */
	bool peer_done;         /* its FIN has come */
	struct pbuf *unread;    /* received, not looked at */
	uint64_t skip;          /* bytes of unread and of what comes to throw away */
	struct upload *upload;  /* being received, or NULL */
	struct churn_run check; /* in CONN_CHURN */
	struct reply reply;
	unsigned int idle; /* polls without progress */
};

TAILQ_HEAD(conn_list, conn);
TAILQ_HEAD(file_list, file);
TAILQ_HEAD(upload_list, upload);
LIST_HEAD(rx_pbuf_list, rx_pbuf);

struct state {
	uint64_t magic;
	uint32_t version;
	uint32_t size; /* of this struct */
	struct server *server;
	uint64_t epoch; /* migrations so far */
	uint64_t ticks; /* of 250 ms, served by all owners together */
	void *buffers;  /* what wherry_pktpool_bind() gave */
	uint32_t ip;    /* network byte order */
	struct netif *netif;
	struct tcp_pcb *listener;
	struct rx_pbuf_list kept; /* pbufs whose buffer has left the pool */
	struct rx_pbuf_list idle; /* pbufs to use again */
	unsigned int n_kept;
	unsigned int max_kept;
	struct conn_list conns;
	unsigned int n_conns;
	uint64_t requests;
	struct file_list files;
	uint64_t cache_len;
	struct upload_list uploads;
	uint64_t uploads_len; /* announced by uploads alive, listed or not */
	struct churn churn;
};

/* Bytes of the arena: zeroed, or NULL when it is full. */
void *state_alloc(struct state *state, size_t len);
void state_free(struct state *state, void *p);
/* A fresh state as the root of the server's arena; NULL: full. */
struct state *state_create(struct server *server);
/* The state in the server's arena, or NULL when it is not one of this version. */
struct state *state_find(struct server *server);

#endif /* STATE_H */
