/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UFFD_PRIV_H
#define UFFD_PRIV_H

/*
 * userfaultfd(2) write protection, as far as both of its users share it. A protected
 * page faults at its first write; who resolves the fault differs (cpu_wp_async.c,
 * cpu_wp_sync.c). Protection lives in this process's page tables: writes through
 * another mapping, another process or a device are not seen.
 */

#include "cpu_priv.h"
#include "uapi_priv.h"

/*
 * Open with @p need, and with what the kernel has of @p like. Unprivileged processes
 * get one that does not see the kernel's own writes (read(2) into the memory) as
 * faults to resolve; @p user_only says that this is good enough.
 */
struct uffd_want {
	uint64_t need;
	uint64_t like;
	bool user_only;
};

/* The fd; *ret_features: what it has. -EOPNOTSUPP: @p why says what is missing. */
int uffd_open(struct uffd_want want, uint64_t *ret_features, struct reason *why);

/* Make @p span known to @p fd, unprotected. -EFAULT: no such memory, logged. -ENOMEM */
int uffd_register(int fd, struct wherry_span span);
/* Nothing is protected any more, and who waits in a fault goes on. */
void uffd_unregister(int fd, struct wherry_span span);

/* Protect or unprotect all of @p span; unprotecting wakes who waits. -EFAULT, -ENOMEM */
int uffd_protect(int fd, struct wherry_span span, bool on);

/*
 * Cut @p *rest into pieces that end at multiples of MEM_PAGE_MAX, so that no call keeps the
 * process's memory map locked for long and no hugepage is ever cut. False at the end.
 */
bool next_window(struct wherry_span *rest, struct wherry_span *ret_window);

#endif /* UFFD_PRIV_H */
