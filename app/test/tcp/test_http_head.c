/* SPDX-License-Identifier: BSD-3-Clause */
/* examples/tcp-server: heads of requests, as clients send them and as they do not. */

#include <string.h>

#include "http_head.h"
#include "test.h"

static int
parse(const char *text, struct http_head *ret_head)
{
	return http_head_parse(text, strlen(text), ret_head);
}

TEST(tcp_head_reads_method_path_query_and_length)
{
	struct http_head h;

	CHECK_EQ(parse("PUT /upload/a?b=c HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:  42 \r\n"
		       "Expect: 100-Continue\r\n\r\n",
			 &h),
		0);
	CHECK_EQ(h.method, HTTP_PUT);
	CHECK(strcmp(h.path, "/upload/a") == 0);
	CHECK(strcmp(h.query, "b=c") == 0);
	CHECK_EQ(h.length, 42);
	CHECK(h.expect_continue && h.keep_alive);
}

TEST(tcp_head_keeps_alive_by_version_unless_told)
{
	struct http_head h;

	CHECK_EQ(parse("GET / HTTP/1.1\r\n\r\n", &h), 0);
	CHECK(h.keep_alive);
	CHECK_EQ(parse("GET / HTTP/1.0\r\n\r\n", &h), 0);
	CHECK(!h.keep_alive);
	CHECK_EQ(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &h), 0);
	CHECK(h.keep_alive);
	CHECK_EQ(parse("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", &h), 0);
	CHECK(!h.keep_alive);
}

TEST(tcp_head_names_what_is_wrong)
{
	static const struct {
		int status;
		const char *text;
	} heads[] = {
		{ 400, "\r\n" },
		{ 400, "GET\r\n\r\n" },
		{ 400, "GET upload HTTP/1.1\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\n: x\r\n\r\n" },
		{ 400, "GET / HTTP/1.1\r\nContent-Length : 1\r\n\r\n" },
		{ 400, "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n" },
		{ 400, "PUT / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n" },
		{ 400, "PUT / HTTP/1.1\r\nContent-Length:\r\n\r\n" },
		{ 400, "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n" },
		{ 400, "PUT / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n" },
		{ 411, "PUT / HTTP/1.1\r\n\r\n" },
		{ 411, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" },
		{ 417, "GET / HTTP/1.1\r\nExpect: wonders\r\n\r\n" },
		{ 505, "GET /\r\n\r\n" },
		{ 505, "GET / HTTP/2.0\r\n\r\n" },
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct http_head h;
		int status = parse(heads[i].text, &h);
		if (status != heads[i].status)
			FAIL("head %zu: %d, not %d", i, status, heads[i].status);
	}
}

TEST(tcp_head_refuses_a_path_that_does_not_fit)
{
	for (size_t n = HTTP_PATH_MAX - 2; n <= HTTP_PATH_MAX + 1; n++) {
		char text[2 * HTTP_PATH_MAX];
		struct http_head h;
		snprintf(text, sizeof(text), "GET /%0*d HTTP/1.1\r\n\r\n", (int)n - 1, 0);
		CHECK_EQ(parse(text, &h), n < HTTP_PATH_MAX ? 0 : 414);
	}
}

TEST(tcp_head_takes_any_bytes)
{
	static const char words[] = "GET PUT / HTTP/1.1 Content-Length: 9 Expect \r\n\r\n\0 ?:";

	for (unsigned int round = 0; round < 20000; round++) {
		size_t len = test_random() % 200;
		char *text = malloc(len + 1); /* exactly as long: the sanitizer watches its end */
		struct http_head h;
		for (size_t i = 0; i < len; i++)
			text[i] = words[test_random() % sizeof(words)];
		int status = http_head_parse(text, len, &h);
		CHECK(status == 0 || (status >= 400 && status <= 505));
		if (status == 0)
			CHECK(h.path[0] == '/' && strlen(h.path) < HTTP_PATH_MAX);
		free(text);
	}
}
