/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LOCK_PRIV_H
#define LOCK_PRIV_H

/*
 * A mutex that clang's -Wthread-safety understands. Functions named ..._locked
 * carry WHERRY_REQUIRES(&x->lock); the analysis then proves their callers. The
 * order in which locks nest is in doc/locking.rst.
 *
 * And one that is a word and two instructions when nobody else has it, for what is locked
 * around every mapping: struct wherry_quick. Nobody can wait under it for a condition.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __clang__
#define WHERRY_CAPABILITY(name) __attribute__((capability(name)))
#define WHERRY_ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define WHERRY_RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define WHERRY_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define WHERRY_NO_ANALYSIS __attribute__((no_thread_safety_analysis))
#else
#define WHERRY_CAPABILITY(name)
#define WHERRY_ACQUIRES(...)
#define WHERRY_RELEASES(...)
#define WHERRY_REQUIRES(...)
#define WHERRY_NO_ANALYSIS
#endif

struct WHERRY_CAPABILITY("mutex") wherry_mutex {
	pthread_mutex_t m;
};

static inline void
wherry_mutex_init(struct wherry_mutex *l)
{
	pthread_mutex_init(&l->m, NULL); /* cannot fail with default attributes (glibc) */
}

static inline void
wherry_mutex_fini(struct wherry_mutex *l)
{
	pthread_mutex_destroy(&l->m);
}

static inline void
wherry_mutex_lock(struct wherry_mutex *l) WHERRY_ACQUIRES(l) WHERRY_NO_ANALYSIS
{
	pthread_mutex_lock(&l->m);
}

static inline void
wherry_mutex_unlock(struct wherry_mutex *l) WHERRY_RELEASES(l) WHERRY_NO_ANALYSIS
{
	pthread_mutex_unlock(&l->m);
}

/* All zero: free. */
struct WHERRY_CAPABILITY("mutex") wherry_quick {
	uint32_t word; /* 0: free, 1: held, 2: held, and somebody may sleep */
};

/* quick.c: until it is ours; wake one who sleeps */
void wherry_quick_wait(struct wherry_quick *l);
void wherry_quick_wake(struct wherry_quick *l);

static inline void
wherry_quick_lock(struct wherry_quick *l) WHERRY_ACQUIRES(l) WHERRY_NO_ANALYSIS
{
	uint32_t word = 0;

	/* acquire: pairs with the release of who had it before */
	if (!__atomic_compare_exchange_n(
		    &l->word, &word, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		wherry_quick_wait(l);
}

static inline void
wherry_quick_unlock(struct wherry_quick *l) WHERRY_RELEASES(l) WHERRY_NO_ANALYSIS
{
	if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2)
		wherry_quick_wake(l);
}

/* The lock is released while waiting and held again on return. */
static inline void
wherry_cond_wait(pthread_cond_t *cond, struct wherry_mutex *l) WHERRY_REQUIRES(l)
{
	pthread_cond_wait(cond, &l->m);
}

#endif /* LOCK_PRIV_H */
