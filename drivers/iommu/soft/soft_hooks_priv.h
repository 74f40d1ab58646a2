/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SOFT_HOOKS_PRIV_H
#define SOFT_HOOKS_PRIV_H

/*
 * Schedule hooks: moments at which a test can hold a thread, to bring about on
 * purpose what else happens once in a million runs. Set before threads start.
 * Without WHERRY_TEST_HOOKS they are nothing.
 */

enum soft_moment {
	SOFT_ENTERING,   /* device: phase read, not yet counted in it */
	SOFT_WALKED,     /* device: entry read, D not yet set */
	SOFT_TRANSLATED, /* device: A and D are set, data not yet moved */
	SOFT_LANDED,     /* device: data moved, D not yet set (dbit=late) */
	SOFT_MOVED,      /* device: data moved, section not yet left */
	SOFT_DRAINING,   /* entries were changed, the wait for sections begins */
	SOFT_UNMAPPING,  /* dirty bits were read, no entry is cleared yet */
};

#ifdef WHERRY_TEST_HOOKS
typedef void (*soft_hook_fn)(void *ctx, enum soft_moment moment);
void soft_hook_set(soft_hook_fn fn, void *ctx);
void soft_hook(enum soft_moment moment);
#else
static inline void
soft_hook(enum soft_moment moment)
{
	(void)moment;
}
#endif

#endif /* SOFT_HOOKS_PRIV_H */
