/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each entry is a sequence lock of its own. version is odd while somebody
 * changes the entry; that somebody got it by compare-and-swap, and whoever fails
 * to get it does without, because this is only a cache. A reader takes tag and
 * page between two equal even versions. tag and page are stored with release and
 * loaded with acquire: a reader that meets either of a new pair sees the odd
 * version before it, so its second look at version differs from the first.
 */
#include <stdlib.h>

#include "base_priv.h"
#include "iotlb_priv.h"

#define MAX_WAYS 4u
#define VALID UINT64_C(1) /* in the tag, beside the page's address */

struct entry {
	uint64_t version, tag, page;
};

struct soft_iotlb {
	unsigned int sets, ways; /* sets: a power of two */
	struct entry entries[];
};

struct soft_iotlb *
soft_iotlb_create(unsigned int entries)
{
	unsigned int ways = entries < MAX_WAYS ? entries : MAX_WAYS;
	struct soft_iotlb *tlb;

	tlb = wherry_fault("soft.iotlb") ? NULL
					 : calloc(1, sizeof(*tlb) + entries * sizeof(struct entry));
	if (tlb == NULL)
		return NULL;
	tlb->ways = ways;
	tlb->sets = entries / ways;
	return tlb;
}

void
soft_iotlb_destroy(struct soft_iotlb *tlb)
{
	free(tlb);
}

static unsigned int
set_of(const struct soft_iotlb *tlb, uint64_t iova)
{
	return ((unsigned int)(iova >> 12) & (tlb->sets - 1)) * tlb->ways;
}

/* One consistent look. False: it is being changed. */
static bool
look(const struct entry *e, uint64_t *ret_version, uint64_t *ret_tag, uint64_t *ret_page)
{
	uint64_t version = __atomic_load_n(&e->version, __ATOMIC_ACQUIRE);

	*ret_version = version;
	*ret_tag = __atomic_load_n(&e->tag, __ATOMIC_ACQUIRE);
	*ret_page = __atomic_load_n(&e->page, __ATOMIC_ACQUIRE);
	return (version & 1) == 0 && __atomic_load_n(&e->version, __ATOMIC_RELAXED) == version;
}

bool
soft_iotlb_find(const struct soft_iotlb *tlb, uint64_t iova, uint64_t *ret_page)
{
	const struct entry *set = &tlb->entries[set_of(tlb, iova)];
	uint64_t wanted = (iova & IOTLB_PAGE_MASK) | VALID, version, tag;

	for (unsigned int way = 0; way < tlb->ways; way++)
		if (look(&set[way], &version, &tag, ret_page) && tag == wanted)
			return true;
	return false;
}

/* From the version just looked at. False: somebody else was faster. */
static bool
replace(struct entry *e, uint64_t version, uint64_t tag, uint64_t page)
{
	if (!__atomic_compare_exchange_n(
		    &e->version, &version, version + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	__atomic_store_n(&e->tag, tag, __ATOMIC_RELEASE);
	__atomic_store_n(&e->page, page, __ATOMIC_RELEASE);
	__atomic_store_n(&e->version, version + 2, __ATOMIC_RELEASE);
	return true;
}

void
soft_iotlb_fill(struct soft_iotlb *tlb, uint64_t iova, uint64_t page, uint64_t any)
{
	struct entry *set = &tlb->entries[set_of(tlb, iova)];
	uint64_t wanted = (iova & IOTLB_PAGE_MASK) | VALID, version, tag, old;
	struct entry *victim = &set[any & (tlb->ways - 1)];

	for (unsigned int way = tlb->ways; way-- > 0;) {
		if (!look(&set[way], &version, &tag, &old))
			continue;
		if (tag == wanted) {
			victim = &set[way];
			break;
		}
		if (tag == 0)
			victim = &set[way];
	}
	if (look(victim, &version, &tag, &old))
		(void)replace(victim, version, wanted, page);
}

void
soft_iotlb_forget(struct soft_iotlb *tlb, struct wherry_span span)
{
	uint64_t version, tag, page, iova;

	for (unsigned int i = 0; i < tlb->sets * tlb->ways; i++) {
		struct entry *e = &tlb->entries[i];

		if (!look(e, &version, &tag, &page) || tag == 0)
			continue;
		iova = tag & IOTLB_PAGE_MASK;
		if (iova >= span.iova && iova <= wherry_span_last(span))
			(void)replace(e, version, 0, 0);
	}
}
