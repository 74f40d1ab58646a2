/* SPDX-License-Identifier: BSD-3-Clause */
/* Zeroed memory that is looked at here and there; see base_priv.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base_priv.h"

#define SMALL 1024u /* the C library keeps such blocks at hand for malloc(), not for calloc() */
#define SMALL_PAGE 4096u
#define WORTH_IT (UINT64_C(4) << 20)

/* Apart, because compilers make calloc() of malloc() and memset() in one function. */
static __attribute__((noinline)) void
clear(void *p, size_t len)
{
	memset(p, 0, len);
}

void *
wherry_zalloc(size_t len)
{
	void *p = len > SMALL ? calloc(1, len) : malloc(len);
	uintptr_t first = round_up((uintptr_t)p, SMALL_PAGE);
	uintptr_t end = round_down((uintptr_t)p + len, SMALL_PAGE);

	if (p != NULL && len <= SMALL)
		clear(p, len);
	if (p != NULL && len >= WORTH_IT)
		(void)madvise((void *)first, end - first, MADV_HUGEPAGE);
	return p;
}
