/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

/*
 * The head of an HTTP/1.1 request (RFC 9112), as far as this server cares. Pure:
 * text in, struct out; the text is a client's and may be anything.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 8192u
#define HTTP_PATH_MAX 128u

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_PUT, HTTP_DELETE, HTTP_OTHER };

struct http_head {
	enum http_method method;
	char path[HTTP_PATH_MAX];  /* without the query */
	char query[HTTP_PATH_MAX]; /* what follows '?', or "" */
	bool keep_alive;
	bool expect_continue;
	bool has_length;
	uint64_t length; /* Content-Length */
};

/*
 * Read a head of @p len bytes, the empty line included. 0, or the status to answer:
 * 400 malformed, 411 a body without Content-Length, 414 path too long, 417 another
 * expectation, 505 not HTTP/1.
 */
int http_head_parse(const char *text, size_t len, struct http_head *ret_head);

#endif /* HTTP_HEAD_H */
