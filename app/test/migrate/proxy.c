/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proxy.h"
#include "test.h"
#include "wherry_stream.h"

/* What a URI says. */
struct place {
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_in in;
	} at;
	socklen_t len;
};

#define PROXY_SLOW_BYTES 1024u /* in a millisecond */

struct proxy {
	struct proxy_plan plan;
	struct place here, dest;
	int listen_fd, fd[2]; /* fd[0]: source, fd[1]: destination */
	int quit[2];          /* a pipe */
	struct wherry_decoder *dec[2];
	unsigned int matched;
	bool struck, over, closed;
	uint64_t slow_from, slow_taken; /* ms, bytes */
	pthread_t thread;
};

static struct place
place_of(const char *uri)
{
	struct place p = { .len = sizeof(p.at.un) };

	if (strncmp(uri, "unix:", 5) == 0) {
		p.at.un.sun_family = AF_UNIX;
		snprintf(p.at.un.sun_path, sizeof(p.at.un.sun_path), "%s", uri + 5);
		return p;
	}
	p.len = sizeof(p.at.in);
	p.at.in = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(strrchr(uri, ':') + 1, NULL, 10)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	return p;
}

void
proxy_write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		bytes += n;
		len -= (size_t)n;
	}
}

static bool
is_slow(const struct proxy *p, bool back)
{
	return p->struck && p->plan.kind == PROXY_SLOW && p->plan.back == back;
}

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* How many bytes a slow reader takes now: it makes up for what it has slept too long. */
static size_t
slow_share(struct proxy *p)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	uint64_t due;

	if (p->slow_from == 0)
		p->slow_from = now_ms();
	while ((due = (now_ms() - p->slow_from) * PROXY_SLOW_BYTES) <= p->slow_taken)
		nanosleep(&ms, NULL);
	return (size_t)(due - p->slow_taken);
}

/* What has come from that side. */
static ssize_t
take(struct proxy *p, bool back, uint8_t *space, size_t cap, int flags)
{
	size_t share = is_slow(p, back) ? slow_share(p) : cap;
	ssize_t n = recv(p->fd[back ? 1 : 0], space, cap < share ? cap : share, flags);

	if (is_slow(p, back) && n > 0)
		p->slow_taken += (uint64_t)n;
	return n;
}

static size_t
take_body(struct proxy *p, bool back, uint8_t *space, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = take(p, back, space + got, len - got, 0);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	wherry_decoder_took(p->dec[back], len);
	return got;
}

/* Closing sends RST, and nothing of what is still on its way. */
static void
reset_both(const struct proxy *p)
{
	const struct linger hard = { .l_onoff = 1 };

	for (int i = 0; i < 2; i++)
		setsockopt(p->fd[i], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

static bool
is_meant(struct proxy *p, bool back, const struct wherry_record *rec)
{
	if (p->struck || p->plan.back != back || (p->plan.type != 0 && p->plan.type != rec->type))
		return false;
	return p->matched++ == p->plan.nth;
}

/* The format is the value of the first field, which has a header of 8 bytes. */
static void
change_format(uint8_t *bytes, const struct wherry_record *rec)
{
	bytes[WHERRY_STREAM_HEADER + 8]++;
	wherry_record_seal(bytes, (enum wherry_record_type)rec->type, rec->number, rec->len);
}

/* What becomes of the record that is meant; how many bytes of it are passed on. */
static size_t
strike(struct proxy *p, const struct wherry_record *rec, uint8_t *bytes, size_t len)
{
	__atomic_store_n(&p->struck, true, __ATOMIC_RELEASE); /* for proxy_struck */
	switch (p->plan.kind) {
	case PROXY_CORRUPT:
		bytes[test_random() % len] ^= 0x10;
		return len;
	case PROXY_FORMAT:
		change_format(bytes, rec);
		return len;
	case PROXY_CALL:
		p->plan.call(p->plan.ctx);
		p->over = p->over || p->plan.last;
		return len;
	case PROXY_SLOW:
		return len;
	case PROXY_RESET:
		reset_both(p);
		p->over = true;
		return 0;
	case PROXY_CLOSE:
		p->over = true;
		return 0;
	case PROXY_CUT:
		p->over = true;
		return len / 2;
	default:
		return 0;
	}
}

/* The record is bytes of the decoder's buffer: header and payload in one piece, then its body. */
static void
pass(struct proxy *p, bool back, const struct wherry_record *rec)
{
	size_t head = WHERRY_STREAM_HEADER + rec->len, len = head + rec->body;
	uint8_t *bytes = malloc(len);
	int to = p->fd[back ? 0 : 1];

	memcpy(bytes, rec->payload - WHERRY_STREAM_HEADER, head);
	if (rec->body > 0) {
		len = head + take_body(p, back, bytes + head, rec->body);
		p->over = len < head + rec->body;
	}
	if (is_meant(p, back, rec))
		len = strike(p, rec, bytes, len);
	if (p->plan.kind != PROXY_SILENT || !p->struck)
		proxy_write_all(to, bytes, len);
	free(bytes);
}

/* False: that side has closed. */
static bool
forward(struct proxy *p, bool back)
{
	struct wherry_record rec;
	uint8_t *space;
	size_t cap;
	ssize_t n;
	int rc;

	while (!p->over && (rc = wherry_decoder_next(p->dec[back], &rec)) == 1)
		pass(p, back, &rec);
	if (p->over || rc < 0)
		return false;
	space = wherry_decoder_space(p->dec[back], &cap);
	n = take(p, back, space, cap, MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	wherry_decoder_fed(p->dec[back], (size_t)n);
	while (!p->over && (rc = wherry_decoder_next(p->dec[back], &rec)) == 1)
		pass(p, back, &rec);
	return !p->over && rc == 0;
}

static void
run(struct proxy *p)
{
	struct pollfd fds[3] = { { p->quit[0], POLLIN, 0 }, { p->fd[0], POLLIN, 0 },
		{ p->fd[1], POLLIN, 0 } };

	while (poll(fds, 3, -1) > 0 && fds[0].revents == 0) {
		for (int back = 0; back < 2; back++) {
			if (fds[1 + back].revents == 0 || forward(p, back != 0))
				continue;
			if (p->over)
				return;
			if (p->plan.kind != PROXY_SILENT || !p->struck)
				shutdown(p->fd[back ? 0 : 1], SHUT_WR);
			fds[1 + back].fd = -1;
			if (fds[1].fd < 0 && fds[2].fd < 0)
				return;
		}
	}
}

static void *
proxy_main(void *arg)
{
	struct proxy *p = arg;
	struct pollfd fds[2] = { { p->quit[0], POLLIN, 0 }, { p->listen_fd, POLLIN, 0 } };

	if (poll(fds, 2, -1) <= 0 || fds[0].revents != 0)
		return NULL;
	p->fd[0] = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	p->fd[1] = socket(p->dest.at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(p->fd[1], &p->dest.at.any, p->dest.len) == 0)
		run(p);
	close(p->fd[0]);
	close(p->fd[1]);
	__atomic_store_n(&p->closed, true, __ATOMIC_RELEASE); /* for proxy_is_over */
	return NULL;
}

static void
listen_here(struct proxy *p)
{
	const int on = 1,
		  small = 4096; /* what a slow reader has not taken waits at the sender's side */

	p->listen_fd = socket(p->here.at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(p->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (p->plan.kind == PROXY_SLOW)
		setsockopt(p->listen_fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	CHECK_EQ(bind(p->listen_fd, &p->here.at.any, p->here.len), 0);
	CHECK_EQ(listen(p->listen_fd, 1), 0);
}

struct proxy *
proxy_create(const char *uri, const char *dest_uri, const struct proxy_plan *plan)
{
	struct proxy *p = calloc(1, sizeof(*p));

	CHECK(p != NULL);
	p->plan = *plan;
	p->here = place_of(uri);
	p->dest = place_of(dest_uri);
	listen_here(p);
	CHECK_EQ(pipe(p->quit), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(wherry_decoder_create(&p->dec[i]), 0);
	CHECK_EQ(pthread_create(&p->thread, NULL, proxy_main, p), 0);
	return p;
}

bool
proxy_struck(const struct proxy *p)
{
	return __atomic_load_n(&p->struck, __ATOMIC_ACQUIRE);
}

bool
proxy_is_over(const struct proxy *p)
{
	return __atomic_load_n(&p->closed, __ATOMIC_ACQUIRE);
}

bool
proxy_is_healed(enum proxy_kind kind, unsigned int type)
{
	return kind == PROXY_CORRUPT && type == WHERRY_REC_PAGES;
}

void
proxy_destroy(struct proxy *p)
{
	if (p == NULL)
		return;
	CHECK_EQ(write(p->quit[1], "q", 1), 1);
	pthread_join(p->thread, NULL);
	for (int i = 0; i < 2; i++) {
		wherry_decoder_destroy(p->dec[i]);
		close(p->quit[i]);
	}
	close(p->listen_fd);
	if (p->here.at.any.sa_family == AF_UNIX)
		unlink(p->here.at.un.sun_path);
	free(p);
}
