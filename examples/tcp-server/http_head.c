/* SPDX-License-Identifier: BSD-3-Clause */
/* Request line and the few header fields that matter; all others are skipped. */

#include "http_head.h"

#include <string.h>
#include <strings.h>

/* A piece of the head; never NUL-terminated. */
struct text {
	const char *p;
	size_t len;
};

static bool
is(struct text t, const char *word)
{
	return t.len == strlen(word) && strncasecmp(t.p, word, t.len) == 0;
}

/* What stands before the first @p c; the rest, behind it, stays in @p t. */
static struct text
cut(struct text *t, char c)
{
	const char *at = memchr(t->p, c, t->len);
	struct text first = { t->p, at == NULL ? t->len : (size_t)(at - t->p) };
	size_t used = at == NULL ? t->len : first.len + 1;

	t->p += used;
	t->len -= used;
	return first;
}

static struct text
trim(struct text t)
{
	while (t.len > 0 && (t.p[0] == ' ' || t.p[0] == '\t')) {
		t.p++;
		t.len--;
	}
	while (t.len > 0 && strchr(" \t\r", t.p[t.len - 1]) != NULL)
		t.len--;
	return t;
}

static bool
copy(struct text t, char *to, size_t cap)
{
	if (t.len >= cap || memchr(t.p, '\0', t.len) != NULL)
		return false;
	memcpy(to, t.p, t.len);
	to[t.len] = '\0';
	return true;
}

static bool
read_length(struct text t, uint64_t *ret_n)
{
	uint64_t n = 0;

	for (size_t i = 0; i < t.len; i++) {
		if (t.p[i] < '0' || t.p[i] > '9' || n > UINT64_MAX / 10 - 1)
			return false;
		n = n * 10 + (uint64_t)(t.p[i] - '0');
	}
	*ret_n = n;
	return t.len > 0;
}

static enum http_method
method_of(struct text t)
{
	static const char *const names[] = { "GET", "HEAD", "PUT", "DELETE" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (t.len == strlen(names[i]) && memcmp(t.p, names[i], t.len) == 0)
			return (enum http_method)i;
	}
	return HTTP_OTHER;
}

static int
read_request_line(struct text line, struct http_head *h)
{
	struct text method = cut(&line, ' ');
	struct text target = cut(&line, ' ');
	struct text version = trim(line);
	struct text path = cut(&target, '?');

	if (method.len == 0 || path.len == 0 || path.p[0] != '/')
		return 400;
	if (version.len != 8 || strncmp(version.p, "HTTP/1.", 7) != 0)
		return 505;
	h->method = method_of(method);
	h->keep_alive = version.p[7] != '0';
	return copy(path, h->path, sizeof(h->path)) && copy(target, h->query, sizeof(h->query))
		? 0
		: 414;
}

static int
read_field(struct text line, struct http_head *h)
{
	struct text name = cut(&line, ':');
	struct text value = trim(line);

	if (name.len == 0 || name.p[name.len - 1] == ' ')
		return 400;
	if (is(name, "Content-Length")) {
		/* said twice, it may be said in two meanings */
		bool twice = h->has_length;
		h->has_length = true;
		return !twice && read_length(value, &h->length) ? 0 : 400;
	}
	if (is(name, "Transfer-Encoding"))
		return 411;
	if (is(name, "Expect")) {
		h->expect_continue = is(value, "100-continue");
		return h->expect_continue ? 0 : 417;
	}
	if (is(name, "Connection"))
		h->keep_alive = is(value, "keep-alive") || (h->keep_alive && !is(value, "close"));
	return 0;
}

int
http_head_parse(const char *text, size_t len, struct http_head *ret_head)
{
	struct text all = { text, len };
	struct http_head h = { 0 };
	int status = read_request_line(trim(cut(&all, '\n')), &h);

	while (status == 0 && all.len > 0) {
		struct text line = trim(cut(&all, '\n'));
		if (line.len == 0)
			break;
		status = read_field(line, &h);
	}
	if (status == 0 && h.method == HTTP_PUT && !h.has_length)
		status = 411;
	if (status == 0)
		*ret_head = h;
	return status;
}
