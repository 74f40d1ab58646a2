/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a connection. lwIP calls receive, sent, poll and fail; each ends in
 * make_progress(), which is the only place that moves a connection on. A connection
 * that lwIP could not give memory to is looked at again by poll, twice a second.
 */

#include "conn.h"

#include <errno.h>

#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>

#include "http_head.h"
#include "routes.h"
#include "server.h"
#include "state.h"
#include "upload.h"

#define HTTP_PORT 80
#define POLL_INTERVAL 1  /* in units of 500 ms */
#define IDLE_POLLS 600u  /* a client that says nothing for 5 minutes is let go */
#define DUPLICATE_ACKS 4 /* one more than makes a sender repeat at once (RFC 5681) */

static void set_callbacks(struct conn *conn, bool on);

static struct conn *
conn_create(struct state *state, struct tcp_pcb *pcb)
{
	struct conn *conn = state_alloc(state, sizeof(*conn));

	if (conn == NULL)
		return NULL;
	conn->state = state;
	conn->pcb = pcb;
	TAILQ_INSERT_TAIL(&state->conns, conn, link);
	state->n_conns++;
	return conn;
}

static void
conn_destroy(struct conn *conn)
{
	struct state *state = conn->state;

	reply_fini(conn);
	if (conn->upload != NULL)
		upload_put(state, conn->upload);
	if (conn->unread != NULL)
		pbuf_free(conn->unread);
	TAILQ_REMOVE(&state->conns, conn, link);
	state->n_conns--;
	state_free(state, conn);
}

/* Everything is said. False: lwIP has no memory for the FIN, try again later. */
static bool
try_close(struct conn *conn)
{
	struct tcp_pcb *pcb = conn->pcb;

	conn->phase = CONN_CLOSE;
	if (conn->unread != NULL) { /* or the close would be a reset */
		tcp_recved(pcb, conn->unread->tot_len);
		pbuf_free(conn->unread);
		conn->unread = NULL;
	}
	set_callbacks(conn, false);
	if (tcp_close(pcb) != ERR_OK) {
		set_callbacks(conn, true);
		return false;
	}
	conn_destroy(conn);
	return true;
}

static void
discard(struct conn *conn)
{
	u16_t have = conn->unread->tot_len;
	u16_t n = conn->skip < have ? (u16_t)conn->skip : have;

	conn->unread = pbuf_free_header(conn->unread, n);
	conn->skip -= n;
	tcp_recved(conn->pcb, n);
}

static bool
read_head(struct conn *conn)
{
	char text[HTTP_HEAD_MAX];
	struct http_head head;
	struct pbuf *p = conn->unread;
	u16_t end = pbuf_memfind(p, "\r\n\r\n", 4, 0);
	bool found = end != 0xffff;
	u16_t len = (u16_t)(found ? end + 4 : p->tot_len);

	if (len <= sizeof(text) && !found)
		return false;
	int status = 431;
	if (len <= sizeof(text)) {
		pbuf_copy_partial(p, text, len, 0);
		status = http_head_parse(text, len, &head);
	}
	conn->unread = pbuf_free_header(p, len);
	tcp_recved(conn->pcb, len);
	conn->state->requests++;
	if (status == 0)
		routes_serve(conn, &head);
	else
		routes_refuse(conn, status);
	return true;
}

static void
read_body(struct conn *conn)
{
	struct upload *u = conn->upload;
	uint64_t before = u->have;
	u16_t had = conn->unread->tot_len;
	bool failed = false;

	conn->unread = upload_append(conn->state, u, conn->unread, &failed);
	tcp_recved(conn->pcb, failed ? had : (u16_t)(u->have - before));
	if (failed)
		routes_refuse(conn, 413);
	else if (u->have == u->len)
		routes_uploaded(conn);
}

static void
read_on(struct conn *conn)
{
	while (conn->unread != NULL) {
		if (conn->skip > 0)
			discard(conn);
		else if (conn->phase == CONN_BODY)
			read_body(conn);
		else if (conn->phase != CONN_HEAD || !read_head(conn))
			break;
	}
}

static void
end_reply(struct conn *conn)
{
	bool close = !conn->keep_alive || conn->reply.close;

	reply_fini(conn);
	conn->phase = close ? CONN_CLOSE : CONN_HEAD;
}

/* Read, reply, read on; returns when the client or lwIP has to do something first. */
static void
make_progress(struct conn *conn)
{
	bool replied;

	conn->idle = 0;
	do {
		read_on(conn);
		replied = conn->phase == CONN_REPLY && reply_pump(conn);
		if (replied)
			end_reply(conn);
	} while (replied && conn->phase == CONN_HEAD && conn->unread != NULL);
	bool waits_in_vain =
		conn->peer_done && conn->phase != CONN_REPLY && conn->phase != CONN_CHURN;
	if (waits_in_vain || (conn->phase == CONN_CLOSE && conn->skip == 0))
		try_close(conn);
}

static err_t
receive(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct conn *conn = arg;

	(void)pcb;
	(void)err;
	if (p == NULL)
		conn->peer_done = true;
	else if (conn->unread == NULL)
		conn->unread = p;
	else
		pbuf_cat(conn->unread, p);
	make_progress(conn);
	return ERR_OK;
}

static err_t
sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	(void)pcb;
	(void)len;
	make_progress(arg);
	return ERR_OK;
}

static err_t
poll(void *arg, struct tcp_pcb *pcb)
{
	struct conn *conn = arg;
	unsigned int idle = conn->idle + 1;

	if (idle > IDLE_POLLS && conn->phase != CONN_REPLY) {
		set_callbacks(conn, false);
		conn_destroy(conn);
		tcp_abort(pcb);
		return ERR_ABRT;
	}
	if (conn->phase == CONN_REPLY || conn->phase == CONN_CLOSE)
		make_progress(conn);
	else
		conn->idle = idle;
	return ERR_OK;
}

/* The connection is gone, and its pcb with it. */
static void
fail(void *arg, err_t err)
{
	(void)err;
	conn_destroy(arg);
}

static void
set_callbacks(struct conn *conn, bool on)
{
	tcp_arg(conn->pcb, on ? conn : NULL);
	tcp_recv(conn->pcb, on ? receive : NULL);
	tcp_sent(conn->pcb, on ? sent : NULL);
	tcp_poll(conn->pcb, on ? poll : NULL, POLL_INTERVAL);
	tcp_err(conn->pcb, on ? fail : NULL);
}

static err_t
accept_client(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct conn *conn = err == ERR_OK ? conn_create(arg, pcb) : NULL;

	if (conn == NULL)
		return ERR_MEM; /* lwIP resets it */
	set_callbacks(conn, true);
	ip_set_option(pcb, SOF_KEEPALIVE);
	tcp_nagle_disable(pcb);
	return ERR_OK;
}

int
conn_listen(struct state *state)
{
	struct tcp_pcb *pcb = tcp_new();
	struct tcp_pcb *listener;

	if (pcb == NULL)
		return -ENOMEM;
	if (tcp_bind(pcb, IP4_ADDR_ANY, HTTP_PORT) != ERR_OK ||
		(listener = tcp_listen_with_backlog(pcb, TCP_DEFAULT_LISTEN_BACKLOG)) == NULL) {
		tcp_abort(pcb);
		return -ENOMEM;
	}
	tcp_arg(listener, state);
	tcp_accept(listener, accept_client);
	state->listener = listener;
	return 0;
}

/* Pointers lwIP set itself, as for a handshake under way, are as stale as ours. */
static void
forget_callbacks(struct tcp_pcb *pcb)
{
	for (; pcb != NULL; pcb = pcb->next) {
		tcp_recv(pcb, NULL);
		tcp_sent(pcb, NULL);
		tcp_poll(pcb, NULL, pcb->pollinterval);
		tcp_err(pcb, NULL);
		pcb->connected = NULL;
	}
}

void
conn_rebind(struct state *state)
{
	struct conn *conn;

	forget_callbacks(tcp_active_pcbs);
	forget_callbacks(tcp_tw_pcbs);
	TAILQ_FOREACH(conn, &state->conns, link)
		set_callbacks(conn, true);
	tcp_accept(state->listener, accept_client);
}

void
conn_announce(struct state *state)
{
	struct conn *conn;

	/* What was under way to the old owner is lost: duplicate ACKs make the client send it
	 * again, and what was under way from it is sent again by us. */
	TAILQ_FOREACH(conn, &state->conns, link) {
		for (int i = 0; i < DUPLICATE_ACKS; i++)
			tcp_send_empty_ack(conn->pcb);
	}
	for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next)
		tcp_rexmit_rto(pcb);
}

void
conn_retry(void)
{
	tcp_txnow();
}

bool
conn_work(struct state *state)
{
	struct conn *conn;
	bool more = false;

	TAILQ_FOREACH(conn, &state->conns, link) {
		if (conn->phase != CONN_CHURN)
			continue;
		more = true;
		if (!churn_check(&state->churn, &conn->check))
			break; /* one at a time */
		routes_churned(conn);
		make_progress(conn);
		break; /* it may be gone */
	}
	return more;
}

void
conn_abort_all(struct state *state)
{
	struct conn *conn;

	while ((conn = TAILQ_FIRST(&state->conns)) != NULL) {
		struct tcp_pcb *pcb = conn->pcb;
		set_callbacks(conn, false);
		conn_destroy(conn);
		tcp_abort(pcb);
	}
}
