/* SPDX-License-Identifier: BSD-3-Clause */
/* Parking of polling cores; the idea is in park_priv.h. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base_priv.h"
#include "park_priv.h"

#define LOG_PREFIX "dpdk/park"
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

static uint32_t rounds; /* stamps asked for in this process */
static __thread uint32_t seen_round;

uint64_t
park_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void
futex_wake_all(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Sleep while *word is value, until deadline_ns at most (0: for ever). False: it has passed. */
static bool
futex_wait(uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline_ns / NS_PER_S),
		.tv_nsec = (long)(deadline_ns % NS_PER_S),
	};

	/* the BITSET form takes an absolute time, CLOCK_MONOTONIC */
	return syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value,
		       deadline_ns != 0 ? &until : NULL, NULL, FUTEX_BITSET_MATCH_ANY) == 0 ||
		errno != ETIMEDOUT;
}

static uint64_t
deadline(unsigned int timeout_ms)
{
	return park_now_ns() + timeout_ms * NS_PER_MS;
}

static uint32_t
word_of(struct park *p)
{
	return __atomic_load_n(&p->word, __ATOMIC_ACQUIRE);
}

int
park_init(struct park *p, unsigned int pollers)
{
	int fd = wherry_fault("park.eventfd") ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -ENOMEM;
	*p = (struct park){ .word = PARK_ASKED, .pollers = pollers, .wake_fd = fd };
	return 0;
}

void
park_fini(struct park *p)
{
	if (p->wake_fd > 0)
		close(p->wake_fd);
	p->wake_fd = 0;
}

static void
wake_sleepers(struct park *p)
{
	uint64_t one = 1;
	ssize_t n = write(p->wake_fd, &one, sizeof(one)); /* fails when readable already: fine */

	(void)n;
}

static void
forget_wake(struct park *p)
{
	uint64_t count;
	ssize_t n = read(p->wake_fd, &count, sizeof(count)); /* fails when drained already: fine */

	(void)n;
}

void
park_nudge(struct park *p)
{
	wake_sleepers(p);
}

void
park_nudged(struct park *p)
{
	forget_wake(p);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* what was forgotten may have been an ask */
	if ((word_of(p) & PARK_FLAGS) != 0)
		wake_sleepers(p);
}

/* The latest of all pollers wins; published by the release of parked. */
static void
note_last_burst(struct park *p)
{
	uint64_t now = park_now_ns(), old = __atomic_load_n(&p->last_ns, __ATOMIC_RELAXED);

	while (old < now &&
		!__atomic_compare_exchange_n(
			&p->last_ns, &old, now, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Count this core for ask number ask, unless a later one has begun. */
static void
report_parked(struct park *p, uint32_t ask)
{
	uint32_t old = __atomic_load_n(&p->parked, __ATOMIC_RELAXED);

	while ((old & ~PARK_COUNT_MASK) == ask &&
		!__atomic_compare_exchange_n(&p->parked, &old, old + 1, true,
			__ATOMIC_RELEASE, /* pairs with wait_for_pollers() */
			__ATOMIC_RELAXED))
		;
	futex_wake_all(&p->parked);
}

static void
wait_in_park(struct park *p)
{
	uint32_t word, reported = PARK_COUNT_MASK; /* no number of an ask */

	note_last_burst(p);
	while (((word = word_of(p)) & (PARK_ASKED | PARK_QUIT)) == PARK_ASKED) {
		uint32_t ask = word & ~PARK_COUNT_MASK;

		if (ask != reported)
			report_parked(p, ask);
		reported = ask;
		futex_wait(&p->word, word, 0);
	}
}

/* A core comes from its burst: the first one takes the stamp. */
static void
stamp_first_burst(struct park *p)
{
	uint64_t now = park_now_ns();

	if ((__atomic_fetch_and(&p->word, ~PARK_STAMP, __ATOMIC_RELAXED) & PARK_STAMP) == 0)
		return;
	__atomic_store_n(&p->first_ns, now, __ATOMIC_RELAXED);
	__atomic_store_n(&p->stamped, 1, __ATOMIC_RELEASE); /* pairs with park_wait_first() */
	futex_wake_all(&p->stamped);
}

bool
park_poll_slow(struct park *p)
{
	uint32_t word = word_of(p);

	if ((word & (PARK_ASKED | PARK_QUIT)) == PARK_ASKED) {
		wait_in_park(p);
		word = word_of(p);
		seen_round = __atomic_load_n(&p->round, __ATOMIC_RELAXED);
	} else if (word & PARK_STAMP) {
		uint32_t round = __atomic_load_n(&p->round, __ATOMIC_RELAXED);

		if (seen_round == round)
			stamp_first_burst(p);
		seen_round = round;
	}
	return (word & PARK_QUIT) == 0;
}

/* 0 when as many as poll are parked. */
static int
wait_for_pollers(struct park *p, uint64_t until)
{
	for (;;) {
		uint32_t parked = __atomic_load_n(&p->parked, __ATOMIC_ACQUIRE);
		uint32_t count = parked & PARK_COUNT_MASK;

		if (word_of(p) & PARK_QUIT)
			return -ECANCELED;
		if (count >= p->pollers)
			return 0;
		if (!futex_wait(&p->parked, parked, until)) {
			LOG_ERR("%u of %u polling cores did not call wherry_app_poll() in time",
				p->pollers - count, p->pollers);
			return -ETIMEDOUT;
		}
	}
}

/* Nobody counts himself between the two stores: the old number is over, the new one not there. */
static void
ask_to_park(struct park *p)
{
	uint32_t old = word_of(p), ask = (old & ~PARK_COUNT_MASK) + PARK_ASK_ONE;

	__atomic_store_n(&p->parked, ask, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&p->word, &old, ask | (old & PARK_FLAGS) | PARK_ASKED,
		true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		; /* a flag changed meanwhile */
	futex_wake_all(&p->word);
	wake_sleepers(p);
}

int
park_all(struct park *p, unsigned int timeout_ms, uint64_t *ret_last_ns)
{
	int rc;

	ask_to_park(p);
	rc = wait_for_pollers(p, deadline(timeout_ms));
	if (rc != 0) {
		park_resume(p);
		return rc;
	}
	*ret_last_ns = __atomic_load_n(&p->last_ns, __ATOMIC_RELAXED);
	return 0;
}

void
park_resume(struct park *p)
{
	forget_wake(p);
	if (__atomic_fetch_and(&p->word, ~PARK_ASKED, __ATOMIC_ACQ_REL) & PARK_QUIT)
		wake_sleepers(p); /* that was not ours to forget */
	futex_wake_all(&p->word);
}

void
park_go(struct park *p)
{
	uint32_t round = __atomic_add_fetch(&rounds, 1, __ATOMIC_RELAXED);

	__atomic_store_n(&p->round, round, __ATOMIC_RELAXED);
	__atomic_store_n(&p->stamped, 0, __ATOMIC_RELAXED);
	__atomic_fetch_or(&p->word, PARK_STAMP, __ATOMIC_RELEASE); /* pairs with word_of() */
	park_resume(p);
}

int
park_wait_first(struct park *p, unsigned int timeout_ms, uint64_t *ret_first_ns)
{
	uint64_t until = deadline(timeout_ms);

	while (__atomic_load_n(&p->stamped, __ATOMIC_ACQUIRE) == 0) {
		if (word_of(p) & PARK_QUIT)
			return -ECANCELED;
		if (!futex_wait(&p->stamped, 0, until))
			return -ETIMEDOUT;
	}
	*ret_first_ns = __atomic_load_n(&p->first_ns, __ATOMIC_RELAXED);
	return 0;
}

void
park_quit(struct park *p)
{
	int saved = errno; /* of the code a signal handler interrupts */

	__atomic_fetch_or(&p->word, PARK_QUIT, __ATOMIC_RELEASE);
	wake_sleepers(p);
	futex_wake_all(&p->word);
	futex_wake_all(&p->parked);
	futex_wake_all(&p->stamped);
	errno = saved;
}

int
park_wait_running(struct park *p, unsigned int timeout_ms)
{
	uint64_t until = deadline(timeout_ms);
	uint32_t word;

	while (((word = word_of(p)) & PARK_ASKED) != 0) {
		if (word & PARK_QUIT)
			return -ECANCELED;
		if (!futex_wait(&p->word, word, until))
			return -ETIMEDOUT;
	}
	return word & PARK_QUIT ? -ECANCELED : 0;
}
