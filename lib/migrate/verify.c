/* SPDX-License-Identifier: BSD-3-Clause */
#include "lane_priv.h"
#include "verify_priv.h"

#define PAGE WHERRY_STREAM_PAGE
#define PULSE_PAGES 16384 /* look at the clock after so many */
#define PULSE_NS UINT64_C(300000000)

/* Pages first to end of region i. */
static void
hash_some(
	const struct mig_verify *v, uint32_t i, uint64_t first, uint64_t end, struct mig_digest *d)
{
	const struct mig_region *r = v->regions[i];

	for (uint64_t page = first; page < end; page++) {
		uint64_t vaddr = r->span.iova + page * PAGE;
		const void *p = (const void *)(uintptr_t)vaddr;

		if (v->skip[i] != NULL && wherry_bitmap_test(v->skip[i], vaddr))
			continue;
		if (mig_page_is_zero(p))
			mig_digest_add_zero(d, i, page);
		else
			mig_digest_add(d, i, page, p);
	}
}

static int
pulse(struct mig_channel *ch, uint64_t *last)
{
	uint64_t now = mig_now();

	if (now - *last < PULSE_NS)
		return 0;
	*last = now;
	return mig_channel_send_empty(ch, WHERRY_REC_PULSE);
}

int
mig_verify_hash(
	const struct mig_verify *v, struct mig_channel *ch, struct mig_digest *d, uint64_t *ret_ns)
{
	uint64_t begin = mig_now(), last = begin;

	for (uint32_t i = 0; i < v->n; i++) {
		uint64_t pages = v->regions[i]->span.len / PAGE;

		for (uint64_t at = 0; at < pages; at += PULSE_PAGES) {
			uint64_t end = at + PULSE_PAGES < pages ? at + PULSE_PAGES : pages;
			int rc;

			hash_some(v, i, at, end, d);
			rc = pulse(ch, &last);
			if (rc != 0)
				return rc;
		}
	}
	*ret_ns = mig_now() - begin;
	return 0;
}
