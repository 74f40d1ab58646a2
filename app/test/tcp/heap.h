/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef HEAP_H
#define HEAP_H

/*
 * state_alloc() and state_free() for tests, on the heap: the objects of
 * examples/tcp-server without an arena or a server. The n-th allocation can fail.
 */

#include "state.h"

/* The next @p n allocations succeed and the one after fails; UINT_MAX: none fails. */
void heap_fail_after(unsigned int n);
/* Allocations alive. */
unsigned int heap_objects(void);

#endif /* HEAP_H */
