/* SPDX-License-Identifier: BSD-3-Clause */
#include "secondaries_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attach_priv.h"
#include "park_priv.h"

#define LOG_PREFIX "dpdk/secondaries"
#define NS_PER_MS UINT64_C(1000000)

struct secondary {
	STAILQ_ENTRY(secondary) next;
	struct wherry_writer_fds fds;
	int sock;
	bool asked; /* to park, and not to resume since */
	unsigned int n;
	struct wherry_watch *watches[SECONDARY_WATCHES];
	struct wherry_writer *writers[SECONDARY_WATCHES];
};

void
secondaries_init(struct secondaries *s)
{
	wherry_mutex_init(&s->lock);
	STAILQ_INIT(&s->list);
	s->closed = false;
}

static bool
is_gone(const struct secondary *one)
{
	for (unsigned int i = 0; i < one->n; i++)
		if (!wherry_writer_gone(&one->fds, wherry_watch_span(one->watches[i])))
			return false;
	return true;
}

static void
forget_watches(struct secondary *one)
{
	while (one->n > 0) {
		one->n--;
		wherry_watch_remove_writer(one->watches[one->n], one->writers[one->n]);
	}
}

static void
drop(struct secondaries *s, struct secondary *one)
{
	STAILQ_REMOVE(&s->list, one, secondary, next);
	forget_watches(one);
	wherry_writer_close(&one->fds);
	close(one->sock);
	free(one);
}

/* What those wrote that have ended is pending, and they are forgotten. */
static void
prune_locked(struct secondaries *s) WHERRY_REQUIRES(&s->lock)
{
	struct secondary *one = STAILQ_FIRST(&s->list), *following;

	for (; one != NULL; one = following) {
		following = STAILQ_NEXT(one, next);
		if (is_gone(one))
			drop(s, one);
	}
}

/* Who does not listen any more has ended, or will be found not to answer. */
static void
order(const struct secondary *one, enum attach_what_now what, uint32_t number)
{
	struct attach_order o = { .what = what, .number = number };

	(void)send(one->sock, &o, sizeof(o), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void
secondaries_quit(struct secondaries *s)
{
	struct secondary *one;

	wherry_mutex_lock(&s->lock);
	while ((one = STAILQ_FIRST(&s->list)) != NULL) {
		order(one, ORDER_QUIT, 0);
		drop(s, one);
	}
	wherry_mutex_unlock(&s->lock);
}

void
secondaries_fini(struct secondaries *s)
{
	secondaries_quit(s);
	wherry_mutex_fini(&s->lock);
}

static int
add_locked(struct secondaries *s, struct secondary *one, struct wherry_watch *const *watches,
	unsigned int n) WHERRY_REQUIRES(&s->lock)
{
	int rc = s->closed ? -EBUSY : 0;

	prune_locked(s);
	while (rc == 0 && one->n < n) {
		one->watches[one->n] = watches[one->n];
		rc = wherry_watch_add_writer(watches[one->n], &one->fds, &one->writers[one->n]);
		one->n += rc == 0;
	}
	if (rc != 0)
		forget_watches(one);
	else
		STAILQ_INSERT_HEAD(&s->list, one, next);
	return rc;
}

int
secondaries_add(struct secondaries *s, const struct wherry_writer_fds *fds, int sock,
	struct wherry_watch *const *watches, unsigned int n)
{
	struct secondary *one = wherry_fault("secondaries.add") ? NULL : calloc(1, sizeof(*one));
	int rc;

	if (one == NULL)
		return -ENOMEM;
	one->fds = *fds;
	one->sock = sock;
	wherry_mutex_lock(&s->lock);
	rc = n <= SECONDARY_WATCHES ? add_locked(s, one, watches, n) : -ENOSPC;
	wherry_mutex_unlock(&s->lock);
	if (rc != 0)
		free(one);
	return rc;
}

bool
secondaries_known(void *ctx, int pid, struct wherry_span at)
{
	struct secondaries *s = ctx;
	const struct secondary *one;
	bool known = false;

	wherry_mutex_lock(&s->lock);
	STAILQ_FOREACH(one, &s->list, next)
		known = known || wherry_writer_covers(&one->fds, pid, at);
	wherry_mutex_unlock(&s->lock);
	return known;
}

unsigned int
secondaries_count(struct secondaries *s)
{
	const struct secondary *one;
	unsigned int n = 0;

	wherry_mutex_lock(&s->lock);
	STAILQ_FOREACH(one, &s->list, next)
		n += !is_gone(one);
	wherry_mutex_unlock(&s->lock);
	return n;
}

void
secondaries_throttle(struct secondaries *s, unsigned int percent)
{
	const struct secondary *one;

	wherry_mutex_lock(&s->lock);
	STAILQ_FOREACH(one, &s->list, next)
		order(one, ORDER_THROTTLE, percent);
	wherry_mutex_unlock(&s->lock);
}

void
secondaries_ask(struct secondaries *s)
{
	struct secondary *one;

	wherry_mutex_lock(&s->lock);
	s->closed = true;
	s->asked++;
	prune_locked(s);
	STAILQ_FOREACH(one, &s->list, next) {
		/* what is gone is in no list: NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		order(one, ORDER_PARK, s->asked);
		one->asked = true;
	}
	wherry_mutex_unlock(&s->lock);
}

/* Its answer to that order; -ETIMEDOUT: none; -EPIPE: there will be none. */
static int
hear(const struct secondary *one, uint32_t number, uint64_t until, uint64_t *io_last_ns)
{
	struct pollfd p = { .fd = one->sock, .events = POLLIN };
	struct attach_parked parked;

	do {
		uint64_t now = park_now_ns();
		int wait_ms = now < until ? (int)((until - now) / NS_PER_MS) + 1 : 0;

		if (poll(&p, 1, wait_ms) <= 0)
			return -ETIMEDOUT;
		if (recv(one->sock, &parked, sizeof(parked), MSG_DONTWAIT) !=
			(ssize_t)sizeof(parked))
			return -EPIPE;
	} while (parked.number != number);
	if (parked.rc == 0 && parked.last_ns > *io_last_ns)
		*io_last_ns = parked.last_ns;
	return parked.rc;
}

/* A process ends by and by: the socket is not the first thing it loses, nor the last. */
static int
wait_for(const struct secondary *one, uint32_t number, uint64_t until, uint64_t *io_last_ns)
{
	int rc = hear(one, number, until, io_last_ns);

	while (rc != 0 && !is_gone(one)) {
		if (rc != -EPIPE || park_now_ns() >= until) {
			LOG_ERR("a secondary process is not parked (%d), and may write memory that moves",
				rc);
			return rc == -EPIPE ? -EBUSY : rc;
		}
		usleep(1000);
	}
	return 0;
}

int
secondaries_wait(struct secondaries *s, unsigned int timeout_ms, uint64_t *io_last_ns)
{
	uint64_t until = park_now_ns() + timeout_ms * NS_PER_MS;
	const struct secondary *one;
	int rc = 0;

	wherry_mutex_lock(&s->lock);
	STAILQ_FOREACH(one, &s->list, next)
		if (rc == 0)
			rc = wait_for(one, s->asked, until, io_last_ns);
	wherry_mutex_unlock(&s->lock);
	return rc;
}

void
secondaries_resume(struct secondaries *s)
{
	struct secondary *one;

	wherry_mutex_lock(&s->lock);
	s->closed = false;
	STAILQ_FOREACH(one, &s->list, next) {
		if (one->asked)
			order(one, ORDER_RESUME, 0);
		one->asked = false;
	}
	wherry_mutex_unlock(&s->lock);
}
