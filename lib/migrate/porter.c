/* SPDX-License-Identifier: BSD-3-Clause */
#define LOG_PREFIX "migrate/porter"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base_priv.h"
#include "porter_priv.h"
#include "socket_priv.h"

#define GUESTS_MAX 64u
#define GUEST_NS (5 * UINT64_C(1000000000))
#define LOG_NS UINT64_C(1000000000)

/* Has connected, and waits or is waited for. */
struct guest {
	struct mig_conn conn;
	uint64_t due; /* when it has to be through, ns */
	short events; /* that it waits for */
	bool talks;   /* it has said something */
	uint8_t from[sizeof(struct in6_addr)];
};

struct mig_porter {
	int listen_fd;
	struct mig_tls *tls;
	struct guest guests[GUESTS_MAX]; /* oldest first */
	unsigned int n;
	uint64_t *strangers; /* sent away; atomic */
	uint64_t logged;     /* when the last one was, ns; 0: none */
	uint64_t unlogged;   /* since */
};

int
mig_porter_create(
	int listen_fd, struct mig_tls *tls, uint64_t *strangers, struct mig_porter **ret_porter)
{
	struct mig_porter *p = wherry_fault("porter.alloc") ? NULL : calloc(1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	p->listen_fd = listen_fd;
	p->tls = tls;
	p->strangers = strangers;
	*ret_porter = p;
	return 0;
}

void
mig_porter_destroy(struct mig_porter *p)
{
	if (p == NULL)
		return;
	for (unsigned int i = 0; i < p->n; i++)
		mig_conn_close(&p->guests[i].conn);
	free(p);
}

static void
take_out(struct mig_porter *p, unsigned int i)
{
	p->n--;
	memmove(&p->guests[i], &p->guests[i + 1], (p->n - i) * sizeof(p->guests[0]));
}

/* A flood of strangers is no flood of lines. */
static void
send_away(struct mig_porter *p, unsigned int i, const char *why)
{
	uint64_t now = mig_now();

	__atomic_fetch_add(p->strangers, 1, __ATOMIC_RELAXED);
	if (p->logged == 0 || now - p->logged >= LOG_NS) {
		LOG_WARN("a stranger connected and was sent away: %s (%llu more before it)", why,
			(unsigned long long)p->unlogged);
		p->logged = now;
		p->unlogged = 0;
	} else {
		p->unlogged++;
	}
	mig_conn_close(&p->guests[i].conn);
	take_out(p, i);
}

static unsigned int
count_from(const struct mig_porter *p, const uint8_t *from)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < p->n; i++)
		n += memcmp(p->guests[i].from, from, sizeof(p->guests[i].from)) == 0;
	return n;
}

static void
make_room(struct mig_porter *p)
{
	unsigned int worst = 0, most = 0;

	for (unsigned int i = 0; i < p->n; i++) {
		unsigned int n = p->guests[i].talks ? count_from(p, p->guests[i].from) : UINT32_MAX;

		if (n > most) {
			most = n;
			worst = i;
		}
	}
	send_away(p, worst, "too many have connected at once");
}

static void
note_address(struct guest *guest, const struct sockaddr_storage *from)
{
	if (from->ss_family == AF_INET)
		memcpy(guest->from, &((const struct sockaddr_in *)from)->sin_addr,
			sizeof(struct in_addr));
	else if (from->ss_family == AF_INET6)
		memcpy(guest->from, &((const struct sockaddr_in6 *)from)->sin6_addr,
			sizeof(struct in6_addr));
}

/* All that have connected by now. */
static int
let_come(struct mig_porter *p)
{
	for (;;) {
		struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
		struct guest guest = { .due = mig_now() + GUEST_NS, .events = POLLIN };
		socklen_t len = sizeof(from);

		guest.conn.fd = accept4(
			p->listen_fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (guest.conn.fd < 0)
			return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED ? 0
											  : -errno;
		note_address(&guest, &from);
		mig_receive_near(guest.conn.fd);
		if (p->n == GUESTS_MAX)
			make_room(p);
		p->guests[p->n++] = guest;
	}
}

/* It has something to say, or can hear. 1: it may come in; 0: not yet; else it may not. */
static int
attend(struct mig_porter *p, struct guest *guest, struct mig_reason *reason)
{
	int rc;

	guest->talks = true;
	if (p->tls == NULL)
		return 1;
	if (guest->conn.tls == NULL) {
		rc = mig_tls_session_create(p->tls, guest->conn.fd, NULL, &guest->conn.tls, reason);
		if (rc != 0)
			return rc;
	}
	rc = mig_tls_handshake(guest->conn.tls);
	if (rc < 0)
		return mig_fail(reason, rc, "%s", mig_tls_why(guest->conn.tls));
	guest->events = (short)rc;
	if (rc == 0)
		LOG_INFO("connected over TLS: %s", mig_tls_peer(guest->conn.tls));
	return rc == 0;
}

/* fds[i] tells of guest i. 1: one may come in, *ret_conn; 0: none yet. */
static int
attend_all(struct mig_porter *p, const struct pollfd *fds, struct mig_conn *ret_conn)
{
	uint64_t now = mig_now();
	struct mig_reason reason;

	for (unsigned int i = p->n; i-- > 0;) {
		int rc = fds[i].revents != 0 ? attend(p, &p->guests[i], &reason) : 0;

		if (rc == 1) {
			*ret_conn = p->guests[i].conn;
			take_out(p, i);
			return 1;
		}
		if (rc < 0)
			send_away(p, i, reason.text);
		else if (now >= p->guests[i].due)
			send_away(p, i, "it was silent, or too slow");
	}
	return 0;
}

/* Milliseconds until there is something to do without anything happening. */
static int
patience(const struct mig_porter *p, uint64_t end)
{
	uint64_t now = mig_now(), due = end;

	if (p->n > 0 && p->guests[0].due < due)
		due = p->guests[0].due;
	if (due <= now)
		return 0;
	due = (due - now + 999999) / 1000000;
	return due < INT32_MAX ? (int)due : INT32_MAX;
}

static unsigned int
fill_pollfds(const struct mig_porter *p, struct pollfd *fds)
{
	for (unsigned int i = 0; i < p->n; i++)
		fds[i] = (struct pollfd){ .fd = p->guests[i].conn.fd,
			.events = p->guests[i].events };
	return p->n;
}

int
mig_porter_next(struct mig_porter *p, int cancel_fd, uint64_t end, struct mig_conn *ret_conn)
{
	for (;;) {
		struct pollfd fds[GUESTS_MAX + 2];
		unsigned int n = fill_pollfds(p, fds);
		int rc;

		fds[n] = (struct pollfd){ .fd = cancel_fd, .events = POLLIN };
		fds[n + 1] = (struct pollfd){ .fd = p->listen_fd, .events = POLLIN };
		rc = poll(fds, n + 2, patience(p, end));
		if (rc < 0 && errno != EINTR)
			return -errno;
		if (rc < 0)
			continue;
		if (fds[n].revents != 0)
			return -ECANCELED;
		if (attend_all(p, fds, ret_conn) == 1)
			return 0;
		rc = fds[n + 1].revents != 0 ? let_come(p) : 0;
		if (rc != 0)
			return rc;
		if (mig_now() >= end)
			return -ETIMEDOUT;
	}
}
