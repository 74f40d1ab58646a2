/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/base: spans, locks, the log callback, fault points, the syscall seam. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "base_priv.h"
#include "fuzz.h"
#include "test.h"

#define LOG_PREFIX "test/base"

TEST(base_span_last_reaches_the_top_of_the_space)
{
	struct wherry_span top = { .iova = UINT64_MAX - 4095, .len = 4096 };

	CHECK(wherry_span_last(top) == UINT64_MAX);
}

#define LOCKERS 4u
#define LOCKINGS 20000u

struct shared {
	struct wherry_quick lock;
	unsigned int inside, most, n;
};

static void *
lock_often(void *arg)
{
	struct shared *s = arg;

	for (unsigned int i = 0; i < LOCKINGS; i++) {
		wherry_quick_lock(&s->lock);
		s->inside++;
		s->most = s->inside > s->most ? s->inside : s->most;
		s->n++;
		if (i % 64 == 0)
			sched_yield(); /* so that others meet a lock that is held, and sleep */
		s->inside--;
		wherry_quick_unlock(&s->lock);
	}
	return NULL;
}

TEST(base_quick_lock_is_held_by_one_and_wakes_the_next)
{
	struct shared s = { .n = 0 };
	pthread_t threads[LOCKERS];

	for (unsigned int i = 0; i < LOCKERS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, lock_often, &s), 0);
	for (unsigned int i = 0; i < LOCKERS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(s.most, 1);
	CHECK_EQ(s.n, LOCKERS * LOCKINGS);
	CHECK_EQ(s.lock.word, 0);
}

struct heard {
	unsigned int lines;
	char area[64], line[256];
	enum wherry_log_level level;
};

static void
hear(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	struct heard *h = ctx;

	h->lines++;
	h->level = level;
	snprintf(h->area, sizeof(h->area), "%s", area);
	snprintf(h->line, sizeof(h->line), "%s", line);
	errno = EIO; /* a careless listener */
}

TEST(base_log_hands_finished_lines_up_to_the_level)
{
	struct heard h = { .lines = 0 };

	wherry_log_set(hear, &h, WHERRY_LOG_WARN);
	errno = EAGAIN;
	LOG_WARN("%d of %s", 3, "four");
	CHECK_EQ(errno, EAGAIN);
	LOG_INFO("not wanted");
	wherry_log_set(NULL, NULL, WHERRY_LOG_ERR);
	LOG_ERR("nobody listens");
	CHECK_EQ(h.lines, 1);
	CHECK_EQ(h.level, WHERRY_LOG_WARN);
	CHECK(strcmp(h.area, "test/base") == 0);
	CHECK(strcmp(h.line, "3 of four") == 0);
}

TEST(base_round_up_wraps_past_the_last_multiple)
{
	CHECK(round_up(1, 4096) == 4096);
	CHECK(round_up(4096, 4096) == 4096);
	CHECK(round_up(UINT64_MAX, 4096) == 0);
	CHECK(round_down(UINT64_MAX, 4096) == UINT64_MAX - 4095);
}

TEST(base_power_of_two_knows_its_edges)
{
	CHECK(!is_pow2(0));
	CHECK(is_pow2(1));
	CHECK(is_pow2(UINT64_C(1) << 63));
	CHECK(!is_pow2(UINT64_MAX));
}

/* Every pair and triple of bytes that matter, against a second opinion. */
TEST(base_utf8_tidy_leaves_text_alone_and_makes_text_of_anything)
{
	static const char bytes[] =
		"a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc1\xc2\xdf\xe0\xe1\xed\xef\xf0\xf4\xf5\xff";
	const size_t n = sizeof(bytes) - 1;

	for (size_t i = 0; i < n * n * n * n; i++) {
		char text[] = { bytes[i % n], bytes[i / n % n], bytes[i / n / n % n],
			bytes[i / n / n / n], '\0' },
		     tidy[sizeof(text)];

		memcpy(tidy, text, sizeof(text));
		wherry_utf8_tidy(tidy);
		CHECK(fuzz_is_utf8(tidy));
		CHECK_EQ(strcmp(text, tidy) == 0, fuzz_is_utf8(text));
	}
	CHECK_EQ(wherry_utf8_char("", 0), 0);
	CHECK_EQ(wherry_utf8_char("\xc3\xa4", 1), 0);
}

TEST(base_syscalls_return_negative_errno)
{
	void *p = NULL;

	CHECK_EQ(wherry_sys->open("/nonexistent/wherry", 0), -ENOENT);
	CHECK_EQ(wherry_sys->ioctl(-1, 0, NULL), -EBADF);
	CHECK_EQ(wherry_sys->mmap(NULL, 0, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p),
		-EINVAL);
	CHECK(p == NULL);
}

TEST(base_fault_sweep_visits_each_point_once)
{
	unsigned int first = 0, second = 0, clean = 0;

	FOR_EACH_FAULT(nth) {
		bool a = wherry_fault("first"), b = wherry_fault("second");

		first += a;
		second += b;
		clean += !a && !b;
	}
#ifdef WHERRY_TEST_HOOKS
	CHECK_EQ(first, 1);
	CHECK_EQ(second, 1);
#endif
	CHECK_EQ(clean, 1);
}
