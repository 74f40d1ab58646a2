/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LOCK_PRIV_H
#define LOCK_PRIV_H

/*
 * A mutex that clang's -Wthread-safety understands. Functions named ..._locked
 * carry WHERRY_REQUIRES(&x->lock); the analysis then proves their callers. The
 * order in which locks nest is in doc/locking.rst.
 */

#include <pthread.h>

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

/* The lock is released while waiting and held again on return. */
static inline void
wherry_cond_wait(pthread_cond_t *cond, struct wherry_mutex *l) WHERRY_REQUIRES(l)
{
	pthread_cond_wait(cond, &l->m);
}

#endif /* LOCK_PRIV_H */
