/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base_priv.h"
#include "known_priv.h"

/* Two zeroes: not known. A page whose hash is that is sent again, no more. */
struct entry {
	uint64_t low, high;
};

struct mig_known {
	uint32_t n;
	struct entry **regions; /* one for each page */
};

/* All of it is written in the first round: whole pages had at once spare two faults each. */
static void
populate(void *p, size_t len)
{
	uintptr_t first = round_up((uintptr_t)p, WHERRY_STREAM_PAGE);
	uintptr_t end = round_down((uintptr_t)p + len, WHERRY_STREAM_PAGE);

	if (first < end) /* a kernel that cannot does it page by page */
		(void)madvise((void *)first, end - first, MADV_POPULATE_WRITE);
}

static struct entry *
create_region(const struct mig_region *r)
{
	size_t n = r->span.len / WHERRY_STREAM_PAGE;
	struct entry *entries = wherry_fault("known.alloc") ? NULL : calloc(n, sizeof(*entries));

	if (entries != NULL)
		populate(entries, n * sizeof(*entries));
	return entries;
}

int
mig_known_create(const struct mig_regions *regions, struct mig_known **ret_known)
{
	struct mig_known *known = calloc(1, sizeof(*known));

	if (known == NULL)
		return -ENOMEM;
	known->regions = calloc(regions->n + 1, sizeof(struct entry *));
	if (known->regions == NULL)
		goto destroy;
	for (known->n = 0; known->n < regions->n; known->n++) {
		known->regions[known->n] = create_region(&regions->list[known->n]);
		if (known->regions[known->n] == NULL)
			goto destroy;
	}
	*ret_known = known;
	return 0;
destroy:
	mig_known_destroy(known);
	return -ENOMEM;
}

void
mig_known_destroy(struct mig_known *known)
{
	if (known == NULL)
		return;
	for (uint32_t i = 0; i < known->n; i++)
		free(known->regions[i]);
	free(known->regions);
	free(known);
}

bool
mig_known_any(const struct mig_known *known, uint32_t region, uint64_t page)
{
	const struct entry *e = &known->regions[region][page];

	return (e->low | e->high) != 0;
}

bool
mig_known_has(const struct mig_known *known, uint32_t region, uint64_t page, const uint64_t hash[2])
{
	const struct entry *e = &known->regions[region][page];

	return mig_known_any(known, region, page) && e->low == hash[0] && e->high == hash[1];
}

void
mig_known_get(const struct mig_known *known, uint32_t region, uint64_t page, uint64_t ret_hash[2])
{
	ret_hash[0] = known->regions[region][page].low;
	ret_hash[1] = known->regions[region][page].high;
}

void
mig_known_set(struct mig_known *known, uint32_t region, uint64_t page, const uint64_t hash[2])
{
	known->regions[region][page] = hash != NULL
		? (struct entry){ .low = hash[0], .high = hash[1] }
		: (struct entry){ 0 };
}

void
mig_known_count(
	const struct mig_known *known, const struct mig_regions *regions, struct mig_digest *d)
{
	for (uint32_t i = 0; i < known->n; i++)
		for (uint64_t page = 0; page < regions->list[i].span.len / WHERRY_STREAM_PAGE;
			page++) {
			const struct entry *e = &known->regions[i][page];
			const uint64_t hash[2] = { e->low, e->high };

			mig_digest_count(d, i, page, (e->low | e->high) != 0 ? hash : d->zero);
		}
}
