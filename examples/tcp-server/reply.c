/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing a reply: its head, and feeding TCP as its send buffer allows. */

#include "reply.h"

#include <stdio.h>
#include <string.h>

#include <lwip/tcp.h>

#include "state.h"
#include "upload.h"

static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{ 200, "OK" },
	{ 201, "Created" },
	{ 204, "No Content" },
	{ 400, "Bad Request" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 411, "Length Required" },
	{ 413, "Content Too Large" },
	{ 414, "URI Too Long" },
	{ 417, "Expectation Failed" },
	{ 431, "Request Header Fields Too Large" },
	{ 503, "Service Unavailable" },
	{ 505, "HTTP Version Not Supported" },
};

static const char *
reason_of(int status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "";
}

void
reply_init(struct conn *conn)
{
	struct reply *r = &conn->reply;

	/* text is large, and valid only as far as body_len says */
	r->kind = REPLY_TEXT;
	r->close = false;
	r->head_len = r->head_sent = 0;
	r->body_len = r->body_sent = 0;
	r->file = NULL;
	r->upload = NULL;
	r->chunk = NULL;
	r->extent = r->extent_sent = 0;
}

void
reply_start(struct conn *conn, int status, const char *type, uint64_t body_len, bool head_only)
{
	struct reply *r = &conn->reply;
	int n = snprintf(r->head, sizeof(r->head),
		"HTTP/1.1 %d %s\r\nServer: wherry-tcp-server\r\nContent-Type: %s\r\n"
		"Content-Length: %llu\r\n%s\r\n",
		status, reason_of(status), type, (unsigned long long)body_len,
		conn->keep_alive && !r->close ? "" : "Connection: close\r\n");

	r->head_len = (size_t)n;
	r->body_len = head_only ? 0 : body_len;
	conn->phase = CONN_REPLY;
}

void
reply_text(struct conn *conn, int status, const char *type, const char *text, bool head_only)
{
	struct reply *r = &conn->reply;
	size_t len = strnlen(text, sizeof(r->text));

	memcpy(r->text, text, len);
	reply_start(conn, status, type, len, head_only);
}

/* The bytes that come next and lie in one piece; 0 at the end. */
static size_t
next_piece(struct reply *r, const void **ret_p)
{
	uint64_t left = r->body_len - r->body_sent;
	size_t n = 0;

	if (r->head_sent < r->head_len) {
		*ret_p = r->head + r->head_sent;
		return r->head_len - r->head_sent;
	}
	if (left == 0)
		return 0;
	if (r->kind == REPLY_TEXT) {
		*ret_p = r->text + r->body_sent;
		n = sizeof(r->text) - (size_t)r->body_sent;
	} else if (r->kind == REPLY_FILE) {
		size_t at = (size_t)(r->body_sent % r->file->len);
		*ret_p = r->file->data + at;
		n = r->file->len - at;
	} else {
		n = upload_piece(r, ret_p);
	}
	return n < left ? n : (size_t)left;
}

static void
advance(struct reply *r, size_t n)
{
	if (r->head_sent < r->head_len) {
		r->head_sent += n;
		return;
	}
	r->body_sent += n;
	if (r->kind == REPLY_UPLOAD)
		upload_advance(r, n);
}

bool
reply_pump(struct conn *conn)
{
	struct reply *r = &conn->reply;
	const void *p;
	size_t n;

	while ((n = next_piece(r, &p)) > 0) {
		size_t room = tcp_sndbuf(conn->pcb);
		if (n > room)
			n = room;
		if (n == 0)
			break;
		bool more = r->head_sent < r->head_len || r->body_sent + n < r->body_len;
		/* this liblwip copies whatever the flags say (LWIP_NETIF_TX_SINGLE_PBUF) */
		u8_t flags = (u8_t)(TCP_WRITE_FLAG_COPY | (more ? TCP_WRITE_FLAG_MORE : 0));
		if (tcp_write(conn->pcb, p, (u16_t)n, flags) != ERR_OK)
			break;
		advance(r, n);
	}
	tcp_output(conn->pcb);
	return r->head_sent == r->head_len && r->body_sent == r->body_len;
}

void
reply_fini(struct conn *conn)
{
	struct reply *r = &conn->reply;

	if (r->upload != NULL)
		upload_put(conn->state, r->upload);
	reply_init(conn);
}
