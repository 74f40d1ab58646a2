/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BASE_PRIV_H
#define BASE_PRIV_H

/* What all of lib/ and drivers/ include first: the four seams of lib/base, and a little more. */

#include "fault_priv.h"
#include "lock_priv.h"
#include "log_priv.h"
#include "sys_priv.h"

/*
 * len bytes of zeros, or NULL; free() frees them. What is large lies on hugepages if the
 * kernel likes: in small ones, nearly every access far from the last one misses the TLB.
 */
void *wherry_zalloc(size_t len);

/* Bytes of the character of UTF-8 that text, of len bytes, begins with; 0: it is none, or NUL. */
size_t wherry_utf8_char(const void *text, size_t len);
/* Each byte that belongs to no character becomes '?'. */
void wherry_utf8_tidy(char *text);

/* Small arithmetic that is wrong more often than one thinks. */

static inline bool
is_pow2(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

/* size is a power of two */
static inline uint64_t
round_down(uint64_t n, uint64_t size)
{
	return n & ~(size - 1);
}

/* wraps to 0 past the last multiple of size below 2^64 */
static inline uint64_t
round_up(uint64_t n, uint64_t size)
{
	return round_down(n + (size - 1), size);
}

#endif /* BASE_PRIV_H */
