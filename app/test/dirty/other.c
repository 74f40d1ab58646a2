/* SPDX-License-Identifier: BSD-3-Clause */
#include "other.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define AT_ONCE 64 /* writes between two looks for orders */

static int
send_fds(int sock, const struct wherry_writer_fds *fds)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	union {
		char buf[CMSG_SPACE(sizeof(*fds))];
		struct cmsghdr align;
	} u = { { 0 } };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = u.buf,
		.msg_controllen = sizeof(u.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(*fds));
	memcpy(CMSG_DATA(c), fds, sizeof(*fds));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -1;
}

static bool
receive_fds(int sock, struct wherry_writer_fds *ret_fds)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union {
		char buf[CMSG_SPACE(sizeof(*ret_fds))];
		struct cmsghdr align;
	} u;
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = u.buf,
		.msg_controllen = sizeof(u.buf) };

	if (recvmsg(sock, &msg, 0) != 1 || CMSG_FIRSTHDR(&msg) == NULL)
		return false;
	memcpy(ret_fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(*ret_fds));
	return true;
}

static uint64_t
next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void
write_some(const struct ground *g)
{
	static uint64_t state = 88172645463325252u;

	for (unsigned int i = 0; i < AT_ONCE; i++)
		g->mem[next(&state) % g->len]++;
}

static void
obey(const struct ground *g, int sock, char order)
{
	uint8_t page;

	if (order == OTHER_POKE && read(sock, &page, 1) == 1)
		g->mem[page * PAGE + 5]++;
	if (order == OTHER_UNMAP)
		munmap(g->mem, g->len);
	if (order == OTHER_CUT)
		munmap(g->mem + g->len / 2, g->len / 2);
	if (order == OTHER_EXEC)
		execl("/bin/sh", "sh", "-c", "printf x >&0; exec sleep 20", (char *)NULL);
}

static _Noreturn void
serve(const struct ground *g, int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	bool running = false;
	char order;

	for (;;) {
		if (!running || poll(&p, 1, 0) > 0) {
			if (read(sock, &order, 1) != 1)
				_exit(0);
			obey(g, sock, order);
			running = running ? order != OTHER_STOP : order == OTHER_RUN;
			if (write(sock, &order, 1) != 1)
				_exit(0);
		}
		if (running)
			write_some(g);
	}
}

static _Noreturn void
live(const struct ground *g, int sock)
{
	struct wherry_writer_fds fds;

	munmap(g->alias, g->len);
	dup2(sock, 0);
	if (wherry_writer_open(&fds) != 0 || wherry_writer_cover(&fds, g->span) != 0 ||
		send_fds(sock, &fds) != 0)
		_exit(1);
	wherry_writer_close(&fds);
	alarm(60);
	serve(g, sock);
}

void
other_open(struct other *o, struct ground *g)
{
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	o->pid = fork();
	CHECK(o->pid >= 0);
	if (o->pid == 0) {
		close(pair[0]);
		live(g, pair[1]);
	}
	close(pair[1]);
	o->sock = pair[0];
	CHECK(receive_fds(o->sock, &o->fds));
}

void
other_order(struct other *o, enum other_order order, uint8_t page)
{
	char what[2] = { (char)order, (char)page }, done = 0;
	size_t n = order == OTHER_POKE ? 2 : 1;

	CHECK_EQ(write(o->sock, what, n), n);
	CHECK_EQ(read(o->sock, &done, 1), 1);
}

void
other_kill(struct other *o)
{
	CHECK_EQ(kill(o->pid, SIGKILL), 0);
}

void
other_close(struct other *o)
{
	(void)kill(o->pid, SIGKILL);
	CHECK_EQ(waitpid(o->pid, NULL, 0), o->pid);
	close(o->sock);
	if (o->fds.uffd >= 0)
		wherry_writer_close(&o->fds);
}
