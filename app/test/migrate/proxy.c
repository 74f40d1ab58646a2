/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy.h"
#include "test.h"
#include "wherry_stream.h"

struct proxy {
	struct proxy_plan plan;
	char dest_path[108], path[108];
	int listen_fd, fd[2]; /* fd[0]: source, fd[1]: destination */
	int quit[2];          /* a pipe */
	struct wherry_decoder *dec[2];
	unsigned int matched;
	bool struck, over;
	pthread_t thread;
};

static struct sockaddr_un
address(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	return un;
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

/* The record is bytes of the decoder's buffer: header and payload in one piece, then its body. */
static void
pass(struct proxy *p, bool back, const struct wherry_record *rec)
{
	size_t head = WHERRY_STREAM_HEADER + rec->len, len = head + rec->body;
	uint8_t *bytes = malloc(len);
	int to = p->fd[back ? 0 : 1];

	memcpy(bytes, rec->payload - WHERRY_STREAM_HEADER, head);
	if (rec->body > 0) {
		ssize_t n = recv(p->fd[back ? 1 : 0], bytes + head, rec->body, MSG_WAITALL);

		wherry_decoder_took(p->dec[back], rec->body);
		len = head + (n > 0 ? (size_t)n : 0);
		p->over = len < head + rec->body;
	}
	if (is_meant(p, back, rec)) {
		__atomic_store_n(&p->struck, true, __ATOMIC_RELEASE); /* for proxy_struck */
		p->over = p->over || p->plan.kind == PROXY_CLOSE || p->plan.kind == PROXY_CUT;
		if (p->plan.kind == PROXY_CORRUPT)
			bytes[test_random() % len] ^= 0x10;
		else if (p->plan.kind == PROXY_FORMAT)
			change_format(bytes, rec);
		else if (p->plan.kind == PROXY_CALL)
			p->plan.call(p->plan.ctx);
		else
			len = p->plan.kind == PROXY_CUT ? len / 2 : 0;
	}
	if (p->plan.kind != PROXY_SILENT || !p->struck)
		proxy_write_all(to, bytes, len);
	free(bytes);
}

/* False: that side has closed. */
static bool
forward(struct proxy *p, bool back)
{
	int from = p->fd[back ? 1 : 0];
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
	n = recv(from, space, cap, MSG_DONTWAIT);
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
	struct sockaddr_un un = address(p->dest_path);
	struct pollfd fds[2] = { { p->quit[0], POLLIN, 0 }, { p->listen_fd, POLLIN, 0 } };

	if (poll(fds, 2, -1) <= 0 || fds[0].revents != 0)
		return NULL;
	p->fd[0] = accept(p->listen_fd, NULL, NULL);
	p->fd[1] = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(p->fd[1], (struct sockaddr *)&un, sizeof(un)) == 0)
		run(p);
	close(p->fd[0]);
	close(p->fd[1]);
	return NULL;
}

struct proxy *
proxy_create(const char *path, const char *dest_path, const struct proxy_plan *plan)
{
	struct proxy *p = calloc(1, sizeof(*p));
	struct sockaddr_un un = address(path);

	CHECK(p != NULL);
	p->plan = *plan;
	snprintf(p->path, sizeof(p->path), "%s", path);
	snprintf(p->dest_path, sizeof(p->dest_path), "%s", dest_path);
	p->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_EQ(bind(p->listen_fd, (struct sockaddr *)&un, sizeof(un)), 0);
	CHECK_EQ(listen(p->listen_fd, 1), 0);
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
	unlink(p->path);
	free(p);
}
