/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef IOTLB_PRIV_H
#define IOTLB_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "wherry_base.h"

/*
 * A device's translation cache: 4K pages, set-associative. A larger leaf is
 * cached page by page. Any number of threads look up and fill without a lock.
 *
 * A cached page is one word: the address of the page in this process and what
 * the walk that filled it found and did.
 */
#define IOTLB_READ UINT64_C(1)
#define IOTLB_WRITE UINT64_C(2)
#define IOTLB_DIRTY UINT64_C(4) /* D was set: writes need no further walk */
#define IOTLB_PAGE_MASK (~UINT64_C(4095))

struct soft_iotlb;

/* entries: a power of two. NULL: no memory. */
struct soft_iotlb *soft_iotlb_create(unsigned int entries);
void soft_iotlb_destroy(struct soft_iotlb *tlb);

/* The page of iova. False: not cached. */
bool soft_iotlb_find(const struct soft_iotlb *tlb, uint64_t iova, uint64_t *ret_page);
/* Remember it, if nobody else is changing the place just now. any: chooses whom to replace. */
void soft_iotlb_fill(struct soft_iotlb *tlb, uint64_t iova, uint64_t page, uint64_t any);
/*
 * Forget the span. What is being filled at this moment may survive: the caller
 * has drained all sections that could fill in something out of date.
 */
void soft_iotlb_forget(struct soft_iotlb *tlb, struct wherry_span span);

#endif /* IOTLB_PRIV_H */
