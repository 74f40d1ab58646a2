/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SCAN_PRIV_H
#define SCAN_PRIV_H

/*
 * PAGEMAP_SCAN on a descriptor of /proc/PID/pagemap, which stands for the memory of the process
 * that opened it, whoever holds it: for this process (cpu_wp_async.c), for another (writer.c).
 */

#include "cpu_priv.h"

/* This process's pagemap; -EOPNOTSUPP: no PAGEMAP_SCAN, @p why says it. */
int scan_open(struct reason *why);
/*
 * Protect all of it, memory of 4 KiB pages: a scan that reports nothing takes 8 ms for a GiB,
 * UFFDIO_WRITEPROTECT 40. -EFAULT: part of it is not watched; -ENOMEM.
 */
int scan_protect(int pagemap, struct wherry_span span);
/*
 * Mark what was written since it was protected, and protect it again. What a failed call may
 * have missed is marked. -EFAULT: part of it is watched no longer; -ENOMEM. Nothing is said of memory
 * that is not mapped any more: see scan_watched().
 */
int scan_written(int pagemap, struct wherry_span span, struct wherry_bitmap *into);
/* Bytes of @p span that are mapped and watched; 0 for a process that has ended. */
int scan_watched(int pagemap, struct wherry_span span, uint64_t *ret_bytes);

/* userfaultfd with WP_ASYNC, and the pagemap, both this process's. -EOPNOTSUPP: @p why */
int async_open_fds(int *ret_uffd, int *ret_pagemap, struct reason *why);

#endif /* SCAN_PRIV_H */
