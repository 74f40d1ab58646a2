/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef REPLY_H
#define REPLY_H

/*
 * What a connection sends: a head, then a body that is a short text, a file of the
 * cache any number of times, or an upload. Lies in the arena, and is all that is
 * known about how far a download is.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct extents;
struct file;
struct upload;

enum reply_kind { REPLY_TEXT, REPLY_FILE, REPLY_UPLOAD };

#define REPLY_HEAD_MAX 256
#define REPLY_TEXT_MAX 1536

struct reply {
	enum reply_kind kind;
	bool close; /* the connection ends with it */
	char head[REPLY_HEAD_MAX];
	size_t head_len;
	size_t head_sent;
	uint64_t body_len; /* 0 if the client wants the head only */
	uint64_t body_sent;
	char text[REPLY_TEXT_MAX];
	struct file *file;
	struct upload *upload; /* a user of it */
	struct extents *chunk; /* of upload: what comes next */
	size_t extent;         /* in chunk */
	size_t extent_sent;    /* bytes of it */
};

/* Begin an empty reply with @p status; fill in the body, then call start. */
void reply_init(struct conn *conn);
/* The head is written for a body of @p body_len bytes, of which none are sent if @p head_only. */
void reply_start(
	struct conn *conn, int status, const char *type, uint64_t body_len, bool head_only);
/* A text of status and reason, for errors and short answers. */
void reply_text(struct conn *conn, int status, const char *type, const char *text, bool head_only);
/* Give TCP what it takes now; true when all of it was taken. */
bool reply_pump(struct conn *conn);
/* Let go of what the reply uses. */
void reply_fini(struct conn *conn);

#endif /* REPLY_H */
