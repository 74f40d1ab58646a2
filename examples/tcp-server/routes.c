/* SPDX-License-Identifier: BSD-3-Clause */
/*
 *	GET /file/NAME[?repeat=K]   a file of the cache, K times in one body
 *	PUT, GET, DELETE /upload/NAME
 *	GET /ping                   who serves, for probes
 *	GET /status                 what is in the state
 *	GET /churn                  verify the churn table
 */

#include "routes.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/tcp.h>

#include "cache.h"
#include "http_head.h"
#include "server.h"
#include "state.h"
#include "upload.h"

#define TICK_MS 250u

static void
error(struct conn *conn, const struct http_head *h, int status)
{
	bool head_only = h != NULL && h->method == HTTP_HEAD;

	reply_text(
		conn, status, "text/plain", status == 404 ? "not found\n" : "refused\n", head_only);
}

/* Answer with an error a request whose body, if any, is not wanted. */
static void
decline(struct conn *conn, const struct http_head *h, int status)
{
	/* a client that asked first may send its body or not: the connection tells no more */
	conn->reply.close = h->expect_continue;
	conn->skip = h->expect_continue ? 0 : h->length;
	error(conn, h, status);
}

/* Takes over @p json. */
static void
reply_json(struct conn *conn, json_t *json, bool head_only)
{
	char text[REPLY_TEXT_MAX] = "";
	size_t n = json == NULL ? 0 : json_dumpb(json, text, sizeof(text) - 2, JSON_COMPACT);

	json_decref(json);
	if (n == 0 || n > sizeof(text) - 2) {
		reply_text(conn, 503, "text/plain", "out of memory\n", head_only);
		return;
	}
	memcpy(text + n, "\n", 2);
	reply_text(conn, 200, "application/json", text, head_only);
}

static void
serve_ping(struct conn *conn, const struct http_head *h, const char *name)
{
	const struct state *s = conn->state;

	(void)name;
	reply_json(conn,
		json_pack("{ss sI sI sI}", "server", s->server->opts.name, "epoch",
			(json_int_t)s->epoch, "connections", (json_int_t)s->n_conns, "uptime_ms",
			(json_int_t)s->ticks * TICK_MS),
		h->method == HTTP_HEAD);
}

static void
serve_status(struct conn *conn, const struct http_head *h, const char *name)
{
	const struct state *s = conn->state;
	struct wherry_arena_stats arena;
	const struct upload *u;
	json_int_t uploads = 0, uploads_len = 0;

	(void)name;
	TAILQ_FOREACH(u, &s->uploads, link) {
		uploads++;
		uploads_len += (json_int_t)u->len;
	}
	wherry_arena_get_stats(s->server->arena, &arena);
	reply_json(conn,
		json_pack("{ss sI sI sI sI sI sI sI sI sI s{sI sI sI}}", "server",
			s->server->opts.name, "epoch", (json_int_t)s->epoch, "connections",
			(json_int_t)s->n_conns, "requests", (json_int_t)s->requests, "cache_bytes",
			(json_int_t)s->cache_len, "uploads", uploads, "upload_bytes", uploads_len,
			"kept_buffers", (json_int_t)s->n_kept, "state_bytes",
			(json_int_t)arena.used, "arena_bytes", (json_int_t)arena.total, "churn",
			"entries", (json_int_t)s->churn.n, "rewrites",
			(json_int_t)s->churn.rewrites, "bytes_per_second",
			(json_int_t)s->churn.rate),
		h->method == HTTP_HEAD);
}

static void
serve_churn(struct conn *conn, const struct http_head *h, const char *name)
{
	(void)h;
	(void)name;
	conn->check = (struct churn_run){ 0 };
	conn->phase = CONN_CHURN;
}

void
routes_churned(struct conn *conn)
{
	const struct churn *c = &conn->state->churn;

	reply_json(conn,
		json_pack("{sI sI sI}", "entries", (json_int_t)c->n, "mismatches",
			(json_int_t)conn->check.mismatches, "versions",
			(json_int_t)c->rewrites + (json_int_t)c->n),
		false);
}

/* repeat=K in @p query; 1 without, 0 if it is no number or too much. */
static uint64_t
repeat_of(const char *query, size_t len)
{
	char *end;

	if (strncmp(query, "repeat=", 7) != 0)
		return 1;
	errno = 0;
	uint64_t n = strtoull(query + 7, &end, 10);
	bool sound = errno == 0 && *end == '\0' && query[7] >= '0' && query[7] <= '9';
	return sound && (len == 0 || n <= UINT64_MAX / len) ? n : 0;
}

static void
serve_file(struct conn *conn, const struct http_head *h, const char *name)
{
	struct file *f = cache_find(conn->state, name);
	uint64_t repeat = f == NULL ? 1 : repeat_of(h->query, f->len);

	if (f == NULL || repeat == 0) {
		error(conn, h, f == NULL ? 404 : 400);
		return;
	}
	conn->reply.kind = REPLY_FILE;
	conn->reply.file = f;
	reply_start(conn, 200, "application/octet-stream", repeat * f->len, h->method == HTTP_HEAD);
}

static void
get_upload(struct conn *conn, const struct http_head *h, const char *name)
{
	struct upload *u = upload_find(conn->state, name);

	if (u == NULL) {
		error(conn, h, 404);
		return;
	}
	conn->reply.kind = REPLY_UPLOAD;
	upload_rewind(&conn->reply, u);
	reply_start(conn, 200, "application/octet-stream", u->len, h->method == HTTP_HEAD);
}

static void
delete_upload(struct conn *conn, const struct http_head *h, const char *name)
{
	struct upload *u = upload_find(conn->state, name);

	if (u == NULL) {
		error(conn, h, 404);
		return;
	}
	upload_unlist(conn->state, u);
	reply_text(conn, 200, "text/plain", "deleted\n", false);
}

static void
put_upload(struct conn *conn, const struct http_head *h, const char *name)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

	conn->upload = name[0] == '\0' ? NULL : upload_create(conn->state, name, h->length);
	if (conn->upload == NULL) {
		decline(conn, h, name[0] == '\0' ? 404 : 413);
		return;
	}
	conn->phase = CONN_BODY;
	if (h->length == 0)
		routes_uploaded(conn);
	else if (h->expect_continue) /* not taken: the client goes on by itself after a second */
		(void)tcp_write(conn->pcb, go_on, sizeof(go_on) - 1, TCP_WRITE_FLAG_COPY);
	tcp_output(conn->pcb);
}

void
routes_uploaded(struct conn *conn)
{
	struct upload *u = conn->upload;

	upload_publish(conn->state, u);
	upload_put(conn->state, u);
	conn->upload = NULL;
	reply_text(conn, 201, "text/plain", "stored\n", false);
}

void
routes_refuse(struct conn *conn, int status)
{
	if (conn->upload != NULL) {
		conn->skip = conn->upload->len - conn->upload->have;
		upload_put(conn->state, conn->upload);
		conn->upload = NULL;
	}
	conn->reply.close = true;
	error(conn, NULL, status);
}

typedef void (*serve_fn)(struct conn *conn, const struct http_head *h, const char *name);

static const struct {
	const char *prefix; /* the whole path, or up to and with the last slash */
	serve_fn serve[4];  /* by enum http_method; NULL: 405 */
} routes[] = {
	{ "/ping", { serve_ping, serve_ping } },
	{ "/status", { serve_status, serve_status } },
	{ "/churn", { serve_churn } },
	{ "/file/", { serve_file, serve_file } },
	{ "/upload/", { get_upload, get_upload, put_upload, delete_upload } },
};

static bool
matches(const char *prefix, const char *path)
{
	size_t n = strlen(prefix);

	return strncmp(path, prefix, n) == 0 && (prefix[n - 1] == '/' || path[n] == '\0');
}

void
routes_serve(struct conn *conn, const struct http_head *h)
{
	reply_init(conn);
	conn->keep_alive = h->keep_alive;
	conn->skip = h->method == HTTP_PUT ? 0 : h->length;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!matches(routes[i].prefix, h->path))
			continue;
		serve_fn serve = h->method < HTTP_OTHER ? routes[i].serve[h->method] : NULL;
		if (serve != NULL) {
			serve(conn, h, h->path + strlen(routes[i].prefix));
			return;
		}
		decline(conn, h, 405);
		return;
	}
	decline(conn, h, 404);
}
