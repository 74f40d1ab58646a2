/* SPDX-License-Identifier: BSD-3-Clause */
/* The slow side of struct wherry_quick: somebody else has it. */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lock_priv.h"

/* 2 also when nobody else sleeps any more: that costs one call in vain, and no lost wake. */
void
wherry_quick_wait(struct wherry_quick *l)
{
	/* acquire: pairs with the release of who had it before */
	while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0)
		syscall(SYS_futex, &l->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

void
wherry_quick_wake(struct wherry_quick *l)
{
	syscall(SYS_futex, &l->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
