/* SPDX-License-Identifier: BSD-3-Clause */
/* Zeroed memory that is looked at here and there; see base_priv.h. */
#include <stdlib.h>
#include <sys/mman.h>

#include "base_priv.h"

#define SMALL_PAGE 4096u
#define WORTH_IT (UINT64_C(4) << 20)

void *
wherry_zalloc(size_t len)
{
	void *p = calloc(1, len);
	uintptr_t first = round_up((uintptr_t)p, SMALL_PAGE);
	uintptr_t end = round_down((uintptr_t)p + len, SMALL_PAGE);

	if (p != NULL && len >= WORTH_IT)
		(void)madvise((void *)first, end - first, MADV_HUGEPAGE);
	return p;
}
