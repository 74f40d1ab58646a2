/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk: where polling cores wait; no EAL needed. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "park_priv.h"
#include "test.h"
#include "wherry_base.h"

#define MS UINT64_C(1000000)
#define POLLERS 3

/* One polling core: counts its bursts, which take burst_us each. */
struct core {
	pthread_t thread;
	struct park *park;
	unsigned int burst_us;
	unsigned int bursts; /* atomic */
	bool in_burst;       /* atomic */
	uint64_t burst_end;  /* park_now_ns() after the last one; read when it is parked */
};

static void
burst(struct core *c)
{
	__atomic_store_n(&c->in_burst, true, __ATOMIC_SEQ_CST);
	if (c->burst_us != 0)
		usleep(c->burst_us);
	c->burst_end = park_now_ns();
	__atomic_fetch_add(&c->bursts, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&c->in_burst, false, __ATOMIC_SEQ_CST);
}

static void *
run_core(void *arg)
{
	struct core *c = arg;

	while (park_poll(c->park)) {
		burst(c);
		sched_yield(); /* two real cores for three of ours */
	}
	return NULL;
}

static void
start_cores(struct core *cores, struct park *p)
{
	CHECK_EQ(park_init(p, POLLERS), 0);
	for (unsigned int i = 0; i < POLLERS; i++) {
		cores[i].park = p;
		CHECK_EQ(pthread_create(&cores[i].thread, NULL, run_core, &cores[i]), 0);
	}
}

static void
end_cores(struct core *cores, struct park *p)
{
	park_quit(p);
	for (unsigned int i = 0; i < POLLERS; i++)
		CHECK_EQ(pthread_join(cores[i].thread, NULL), 0);
	park_fini(p);
}

static unsigned int
bursts(struct core *cores)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < POLLERS; i++)
		n += __atomic_load_n(&cores[i].bursts, __ATOMIC_SEQ_CST);
	return n;
}

static void
wait_for_bursts(struct core *cores, unsigned int n)
{
	for (unsigned int i = 0; i < 5000 && bursts(cores) < n; i++)
		usleep(1000);
	CHECK(bursts(cores) >= n);
}

static bool
readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

TEST(park_poll_waits_from_the_start_and_runs_when_resumed)
{
	struct core cores[POLLERS] = { 0 };
	struct park p;

	start_cores(cores, &p);
	usleep(5000);
	CHECK_EQ(bursts(cores), 0);
	CHECK_EQ(park_wait_running(&p, 1), -ETIMEDOUT);
	park_resume(&p);
	CHECK_EQ(park_wait_running(&p, 1), 0);
	wait_for_bursts(cores, 100);
	end_cores(cores, &p);
}

/* Again and again at once: a core that is just leaving is not taken for one that waits. */
TEST(park_all_returns_when_every_poller_waits)
{
	struct core cores[POLLERS] = { 0 };
	struct park p;

	start_cores(cores, &p);
	park_resume(&p);
	for (unsigned int n = 0; n < 3000; n++) {
		uint64_t last = 0;
		unsigned int before;

		CHECK_EQ(park_all(&p, 2000, &last), 0);
		before = bursts(cores);
		for (unsigned int i = 0; i < POLLERS; i++)
			CHECK(!__atomic_load_n(&cores[i].in_burst, __ATOMIC_SEQ_CST));
		if (n % 256 == 0)
			usleep(2000);
		CHECK_EQ(bursts(cores), before);
		CHECK(last != 0);
		park_resume(&p);
	}
	end_cores(cores, &p);
}

/* A core reads an ask, is slow, and meanwhile that ask is over and the next one counts. */
TEST(park_core_late_for_an_ask_does_not_count_for_the_next)
{
	struct core core = { 0 };
	struct park p;

	CHECK_EQ(park_init(&p, 1), 0);
	__atomic_store_n(&p.parked, PARK_ASK_ONE, __ATOMIC_RELEASE); /* the next, nobody yet */
	core.park = &p;
	CHECK_EQ(pthread_create(&core.thread, NULL, run_core, &core), 0);
	usleep(10000);
	CHECK_EQ(__atomic_load_n(&p.parked, __ATOMIC_ACQUIRE), PARK_ASK_ONE);
	park_quit(&p);
	CHECK_EQ(pthread_join(core.thread, NULL), 0);
	park_fini(&p);
}

struct heard {
	char line[256];
};

static void
hear(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	struct heard *h = ctx;

	(void)level;
	(void)area;
	snprintf(h->line, sizeof(h->line), "%s", line);
}

TEST(park_all_times_out_and_says_how_many_are_missing)
{
	struct core cores[POLLERS] = { [1] = { .burst_us = 1500000 } };
	struct heard heard = { "" };
	uint64_t last = 77;
	struct park p;

	start_cores(cores, &p);
	park_resume(&p);
	wait_for_bursts(cores, 100);
	wherry_log_set(hear, &heard, WHERRY_LOG_ERR);
	CHECK_EQ(park_all(&p, 50, &last), -ETIMEDOUT);
	wherry_log_set(NULL, NULL, WHERRY_LOG_ERR);
	CHECK(strncmp(heard.line, "1 of 3 ", 7) == 0);
	CHECK_EQ(last, 77);
	wait_for_bursts(cores, bursts(cores) + 100); /* the others run on */
	CHECK(!readable(p.wake_fd));
	end_cores(cores, &p);
}

TEST(park_last_burst_is_that_of_the_last_poller)
{
	struct core cores[POLLERS] = { [2] = { .burst_us = 30000 } };
	uint64_t last = 0, after;
	struct park p;

	start_cores(cores, &p);
	park_resume(&p);
	wait_for_bursts(cores, 100);
	while (!__atomic_load_n(&cores[2].in_burst, __ATOMIC_SEQ_CST))
		sched_yield();
	CHECK_EQ(park_all(&p, 10000, &last), 0);
	after = park_now_ns();
	for (unsigned int i = 0; i < POLLERS; i++)
		CHECK(last >= cores[i].burst_end);
	CHECK(last <= after);
	end_cores(cores, &p);
}

/* A core on this thread, so that the visits can be counted. */
TEST(park_first_burst_is_done_at_the_second_visit)
{
	uint64_t first = 0, go, second;
	struct park p;

	CHECK_EQ(park_init(&p, 1), 0);
	park_go(&p);
	go = park_now_ns();
	CHECK(park_poll(&p));
	CHECK_EQ(park_wait_first(&p, 1, &first), -ETIMEDOUT);
	usleep(3000);
	second = park_now_ns();
	CHECK(park_poll(&p));
	CHECK_EQ(park_wait_first(&p, 0, &first), 0);
	CHECK(first >= second && first >= go + 3 * MS);
	CHECK(first <= park_now_ns());
	usleep(1000);
	second = first;
	CHECK(park_poll(&p));
	CHECK_EQ(park_wait_first(&p, 0, &first), 0);
	CHECK(first == second);
	park_fini(&p);
}

TEST(park_first_burst_of_a_parked_core_is_its_next_visit)
{
	struct core cores[POLLERS] = { { .burst_us = 20000 }, { .burst_us = 20000 },
		{ .burst_us = 20000 } };
	uint64_t first = 0, go;
	struct park p;

	start_cores(cores, &p);
	usleep(5000);
	go = park_now_ns();
	park_go(&p);
	CHECK_EQ(park_wait_first(&p, 2000, &first), 0);
	CHECK(first >= go + 20 * MS);
	CHECK(first < go + 39 * MS + 200 * MS); /* on a busy machine, too */
	CHECK(bursts(cores) >= 1 && bursts(cores) <= 2 * POLLERS);
	end_cores(cores, &p);
}

TEST(park_quit_ends_waits_of_every_kind)
{
	uint64_t ns = 0;
	struct park p;

	CHECK_EQ(park_init(&p, 1), 0);
	park_quit(&p);
	CHECK(!park_poll(&p));
	CHECK_EQ(park_all(&p, 1000, &ns), -ECANCELED);
	CHECK_EQ(park_wait_running(&p, 1000), -ECANCELED);
	park_go(&p);
	CHECK_EQ(park_wait_first(&p, 1000, &ns), -ECANCELED);
	CHECK(!park_poll(&p));
	CHECK(readable(p.wake_fd));
	park_fini(&p);
}

static struct park *to_quit;

static void
quit_from_signal(int sig)
{
	(void)sig;
	park_quit(to_quit);
}

TEST(park_quit_from_a_signal_handler_wakes_parked_cores)
{
	struct sigaction act = { .sa_handler = quit_from_signal }, old;
	struct core cores[POLLERS] = { 0 };
	struct park p;

	start_cores(cores, &p);
	to_quit = &p;
	CHECK_EQ(sigaction(SIGUSR1, &act, &old), 0);
	usleep(2000);
	errno = EDOM;
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(errno, EDOM);
	for (unsigned int i = 0; i < POLLERS; i++)
		CHECK_EQ(pthread_join(cores[i].thread, NULL), 0);
	CHECK_EQ(sigaction(SIGUSR1, &old, NULL), 0);
	CHECK_EQ(bursts(cores), 0);
	park_fini(&p);
}

TEST(park_wake_fd_is_readable_while_something_is_asked)
{
	struct core cores[POLLERS] = { 0 };
	uint64_t last;
	struct park p;

	start_cores(cores, &p);
	park_resume(&p);
	CHECK(!readable(p.wake_fd));
	CHECK_EQ(park_all(&p, 2000, &last), 0);
	CHECK(readable(p.wake_fd));
	park_resume(&p);
	CHECK(!readable(p.wake_fd));
	end_cores(cores, &p);
}

TEST(park_init_reports_a_missing_eventfd)
{
	FOR_EACH_FAULT(nth) {
		struct park p = { .wake_fd = 0 };
		int rc = park_init(&p, 1);

		CHECK(rc == 0 || rc == -ENOMEM);
		park_fini(&p);
	}
}
