/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a test has asked to be called; see soft_hooks_priv.h. */
#include <stddef.h>

#include "soft_hooks_priv.h"

#ifdef WHERRY_TEST_HOOKS
static soft_hook_fn hook;
static void *hook_ctx;

void
soft_hook_set(soft_hook_fn fn, void *ctx)
{
	hook_ctx = ctx;
	hook = fn;
}

void
soft_hook(enum soft_moment moment)
{
	if (hook != NULL)
		hook(hook_ctx, moment);
}
#else
typedef int soft_hooks_unused_t; /* ISO C wants one declaration per file */
#endif
