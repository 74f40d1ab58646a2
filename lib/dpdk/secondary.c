/* SPDX-License-Identifier: BSD-3-Clause */
/* In a secondary process: memory attached, writes made known, cores parked when the primary says so. */
#include "wherry_secondary.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_pause.h>

#include "attach_priv.h"
#include "base_priv.h"
#include "park_priv.h"
#include "secondaries_priv.h"

#define LOG_PREFIX "dpdk/secondary"
#define PATIENCE_S 5
#define PARK_MS 1000
#define LOOP_NS UINT64_C(1000000) /* a longer one was no burst loop */

struct piece {
	struct wherry_region *region;
	void *root;
};

struct wherry_secondary {
	char app[ATTACH_NAME];
	struct park park;
	unsigned int throttle; /* percent of a core's time; atomic */
	int sock;
	pthread_t thread; /* hears the primary's orders */
	unsigned int n;
	struct piece pieces[SECONDARY_WATCHES];
};

/* Ask the primary; *ret_fd: a descriptor that came along, or -1. 0, its -errno, or none. */
static int
ask(struct rte_mp_msg *msg, struct attach_answer *ret_answer, int *ret_fd)
{
	const struct timespec patience = { .tv_sec = PATIENCE_S };
	struct rte_mp_reply reply = { .nb_received = 0 };
	int rc = -ETIMEDOUT;

	*ret_fd = -1;
	snprintf(msg->name, sizeof(msg->name), "%s", ATTACH_MESSAGE);
	if (rte_mp_request_sync(msg, &reply, &patience) != 0)
		rc = rte_errno == ENOTSUP ? -EOPNOTSUPP : -ETIMEDOUT;
	else if (reply.nb_received == 1 && reply.msgs[0].len_param == (int)sizeof(*ret_answer)) {
		memcpy(ret_answer, reply.msgs[0].param, sizeof(*ret_answer));
		rc = ret_answer->rc;
		if (reply.msgs[0].num_fds == 1)
			*ret_fd = reply.msgs[0].fds[0];
	}
	free(reply.msgs);
	return rc;
}

static void
fill(const struct wherry_secondary *sec, struct rte_mp_msg *msg, enum attach_what what)
{
	struct attach_ask a = { .what = what, .index = sec->n };

	memcpy(a.app, sec->app, sizeof(a.app));
	memset(msg, 0, sizeof(*msg));
	memcpy(msg->param, &a, sizeof(a));
	msg->len_param = sizeof(a);
}

/* The next region of the application; -ENOENT: there are no more. */
static int
attach_region(struct wherry_secondary *sec)
{
	struct piece *piece = &sec->pieces[sec->n];
	struct attach_answer answer;
	struct rte_mp_msg msg;
	int fd, rc;

	fill(sec, &msg, ATTACH_REGION);
	rc = ask(&msg, &answer, &fd);
	if (rc == 0) {
		struct wherry_region_info info = { .name = answer.name,
			.vaddr = (void *)(uintptr_t)answer.vaddr,
			.len = answer.len,
			.page = answer.page,
			.node = answer.node };

		answer.name[sizeof(answer.name) - 1] = '\0';
		rc = fd < 0 ? -EPROTO : wherry_region_attach(&info, fd, &piece->region);
	}
	if (rc != 0) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	piece->root = (void *)(uintptr_t)answer.root;
	sec->n++;
	return 0;
}

static int
attach_regions(struct wherry_secondary *sec)
{
	int rc = 0;

	while (rc == 0)
		rc = sec->n < SECONDARY_WATCHES ? attach_region(sec) : -ENOENT;
	return rc == -ENOENT && sec->n > 0 ? 0 : rc;
}

static void
detach_regions(struct wherry_secondary *sec)
{
	while (sec->n > 0)
		wherry_region_destroy(sec->pieces[--sec->n].region);
}

static int
cover(const struct wherry_secondary *sec, const struct wherry_writer_fds *fds)
{
	struct wherry_region_info info;
	int rc = 0;

	for (unsigned int i = 0; i < sec->n && rc == 0; i++) {
		wherry_region_get_info(sec->pieces[i].region, &info);
		rc = wherry_writer_cover(
			fds, (struct wherry_span){ (uintptr_t)info.vaddr, info.len });
	}
	return rc == -EFAULT ? -EOPNOTSUPP : rc;
}

/* The primary has copies when it has answered, and ours are not needed. */
static int
join(struct wherry_secondary *sec, int its_end)
{
	struct attach_answer answer;
	struct wherry_writer_fds fds;
	struct rte_mp_msg msg;
	int fd, rc = wherry_writer_open(&fds);

	if (rc != 0)
		return rc;
	rc = cover(sec, &fds);
	if (rc == 0) {
		fill(sec, &msg, ATTACH_JOIN);
		msg.num_fds = ATTACH_FDS;
		msg.fds[0] = fds.uffd;
		msg.fds[1] = fds.pagemap;
		msg.fds[2] = its_end;
		rc = ask(&msg, &answer, &fd);
		if (fd >= 0)
			close(fd);
	}
	wherry_writer_close(&fds);
	return rc;
}

static void
park_and_answer(struct wherry_secondary *sec, uint32_t number)
{
	struct attach_parked parked = { .number = number };

	parked.rc = park_all(&sec->park, PARK_MS, &parked.last_ns);
	(void)send(sec->sock, &parked, sizeof(parked), MSG_NOSIGNAL);
}

/* Another process may own the memory now: whatever is written here from now on goes to copies. */
static void
let_go(const struct wherry_secondary *sec)
{
	struct wherry_region_info info;

	for (unsigned int i = 0; i < sec->n; i++) {
		int rc = wherry_region_let_go(sec->pieces[i].region);

		wherry_region_get_info(sec->pieces[i].region, &info);
		if (rc != 0)
			LOG_ERR("%s is still shared with whoever owns it now: %s", info.name,
				strerror(-rc));
	}
}

/* Until the primary says so, or ends, or we do. Cores are parked if it moved, and leave afterwards. */
static void *
obey(void *arg)
{
	struct wherry_secondary *sec = arg;
	struct attach_order order;

	while (recv(sec->sock, &order, sizeof(order), 0) == (ssize_t)sizeof(order) &&
		order.what != ORDER_QUIT) {
		if (order.what == ORDER_PARK)
			park_and_answer(sec, order.number);
		else if (order.what == ORDER_RESUME)
			park_resume(&sec->park);
		else if (order.what == ORDER_THROTTLE) /* for poll */
			__atomic_store_n(&sec->throttle, order.number, __ATOMIC_RELAXED);
	}
	let_go(sec);
	park_quit(&sec->park);
	return NULL;
}

static int
join_and_obey(struct wherry_secondary *sec)
{
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -ENOMEM;
	sec->sock = pair[0];
	rc = join(sec, pair[1]);
	close(pair[1]);
	if (rc == 0 && pthread_create(&sec->thread, NULL, obey, sec) != 0)
		rc = -ENOMEM;
	if (rc != 0)
		close(sec->sock);
	return rc;
}

int
wherry_secondary_attach(const char *app, unsigned int pollers, struct wherry_secondary **ret_sec)
{
	struct wherry_secondary *sec;
	int rc;

	if (rte_eal_process_type() != RTE_PROC_SECONDARY || strlen(app) >= ATTACH_NAME ||
		pollers == 0 || pollers > PARK_COUNT_MASK)
		return -EINVAL;
	sec = calloc(1, sizeof(*sec));
	if (sec == NULL)
		return -ENOMEM;
	memcpy(sec->app, app, strlen(app) + 1);
	rc = park_init(&sec->park, pollers);
	if (rc != 0)
		goto free_sec;
	rc = attach_regions(sec);
	if (rc == 0)
		rc = join_and_obey(sec);
	if (rc != 0)
		goto detach;
	park_resume(&sec->park);
	*ret_sec = sec;
	return 0;
detach:
	LOG_ERR("not attached to \"%s\" of the primary process: %s", app, strerror(-rc));
	detach_regions(sec);
	park_fini(&sec->park);
free_sec:
	free(sec);
	return rc;
}

void
wherry_secondary_detach(struct wherry_secondary *sec)
{
	if (sec == NULL)
		return;
	park_quit(&sec->park);
	(void)shutdown(sec->sock, SHUT_RDWR);
	(void)pthread_join(sec->thread, NULL);
	detach_regions(sec); /* the primary waits a moment for that if it has asked us to park */
	close(sec->sock);
	park_fini(&sec->park);
	free(sec);
}

static const struct piece *
find(const struct wherry_secondary *sec, const char *name)
{
	struct wherry_region_info info;

	for (unsigned int i = 0; i < sec->n; i++) {
		wherry_region_get_info(sec->pieces[i].region, &info);
		if (strcmp(info.name, name) == 0)
			return &sec->pieces[i];
	}
	return NULL;
}

void *
wherry_secondary_root(struct wherry_secondary *sec, const char *name)
{
	const struct piece *piece = find(sec, name);

	return piece != NULL ? piece->root : NULL;
}

int
wherry_secondary_region(
	struct wherry_secondary *sec, const char *name, struct wherry_region_info *ret_info)
{
	const struct piece *piece = find(sec, name);

	if (piece == NULL)
		return -ENOENT;
	wherry_region_get_info(piece->region, ret_info);
	return 0;
}

/* Idle in proportion to what the last loop took, but never so long that parking had to wait. */
static void
hold_back(const struct wherry_secondary *sec, unsigned int percent)
{
	static __thread uint64_t back; /* in the loop, ns */
	uint64_t now = park_now_ns(), busy = now - back < LOOP_NS ? now - back : LOOP_NS;
	uint64_t end = now + busy * percent / (101 - percent);

	while (now < end &&
		(__atomic_load_n(&sec->park.word, __ATOMIC_RELAXED) & PARK_FLAGS) == 0) {
		rte_pause();
		now = park_now_ns();
	}
	back = now;
}

bool
wherry_secondary_poll(struct wherry_secondary *sec)
{
	unsigned int percent = __atomic_load_n(&sec->throttle, __ATOMIC_RELAXED);

	if (__builtin_expect(percent != 0 && percent <= 100, 0))
		hold_back(sec, percent);
	return park_poll(&sec->park);
}

void
wherry_secondary_quit(struct wherry_secondary *sec)
{
	park_quit(&sec->park);
}
