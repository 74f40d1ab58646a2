/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "sender_priv.h"

#define PAGE WHERRY_STREAM_PAGE
#define ZEROS_AT_ONCE 65536 /* pages: 256 MiB are scanned in a fraction of a second */

static const uint8_t zero_page[PAGE];

static_assert(offsetof(struct mig_sender, body) == offsetof(struct mig_sender, head) + MIG_HEAD_MAX,
	"the body follows the head");

int
mig_sender_create(struct mig_channel *ch, const uint8_t *key, struct mig_sender **ret_sender)
{
	struct mig_sender *s = wherry_fault("sender.alloc") ? NULL : malloc(sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	s->ch = ch;
	mig_digest_init(&s->digest, key);
	*ret_sender = s;
	return 0;
}

void
mig_sender_destroy(struct mig_sender *s)
{
	free(s);
}

bool
mig_page_is_zero(const void *p)
{
	const uint64_t *word = p;

	for (size_t i = 0; i < PAGE / 8; i += 8) {
		uint64_t any = 0;

		for (size_t k = 0; k < 8; k++)
			any |= word[i + k];
		if (any != 0)
			return false;
	}
	return true;
}

/* A virtual address, as everywhere in the tracker. */
static const uint8_t *
page_at(const struct mig_region *region, uint64_t page)
{
	return (const uint8_t *)(uintptr_t)(region->span.iova + page * PAGE);
}

static struct wherry_run
run_of(const struct mig_region *region, struct wherry_span span)
{
	return (struct wherry_run){ .first = (span.iova - region->span.iova) / PAGE,
		.count = span.len / PAGE };
}

/* The tracker compares later content with what the receiver has, where it sees content only. */
static void
tell_tracker(const struct mig_region *region, uint64_t page, const void *sent)
{
	struct wherry_span span = { .iova = region->span.iova + page * PAGE, .len = PAGE };
	int rc = wherry_watch_sent(region->watch, span, sent);

	assert(rc == 0); /* the page came from this watch */
	(void)rc;
}

/* The head of a record right in front of the body, so that both are one piece. */
static uint8_t *
put_head(struct mig_sender *s, uint32_t i, const struct wherry_run *runs, uint32_t n)
{
	uint8_t *payload = s->head + sizeof(s->head) - wherry_runs_size(n);

	wherry_runs_put(payload, i, n);
	for (uint32_t k = 0; k < n; k++)
		wherry_runs_put_run(payload, k, runs[k]);
	return payload;
}

static void
copy_batch(struct mig_sender *s, uint32_t i, const struct mig_region *region)
{
	uint8_t *to = s->body;

	for (uint32_t k = 0; k < s->n_runs; k++) {
		for (uint64_t n = 0; n < s->runs[k].count; n++, to += PAGE) {
			uint64_t page = s->runs[k].first + n;

			memcpy(to, page_at(region, page), PAGE);
			mig_digest_add(&s->digest, i, page, to);
			tell_tracker(region, page, to);
		}
	}
}

static int
flush_pages(struct mig_sender *s, uint32_t i, const struct mig_region *region)
{
	uint64_t begin = mig_now();
	uint8_t *payload;
	int rc;

	if (s->n_runs == 0)
		return 0;
	copy_batch(s, i, region);
	payload = put_head(s, i, s->runs, s->n_runs);
	rc = mig_channel_send(
		s->ch, WHERRY_REC_PAGES, payload, wherry_runs_size(s->n_runs) + s->n_pages * PAGE);
	s->pages += s->n_pages;
	s->n_runs = 0;
	s->n_pages = 0;
	s->busy_ns += mig_now() - begin;
	s->progress(s->progress_ctx);
	return rc;
}

static int
flush_zeros(struct mig_sender *s, uint32_t i)
{
	int rc;

	if (s->n_zeros == 0)
		return 0;
	rc = mig_channel_send(s->ch, WHERRY_REC_ZEROS, put_head(s, i, s->zeros, s->n_zeros),
		wherry_runs_size(s->n_zeros));
	s->n_zeros = 0;
	s->n_zero_pages = 0;
	s->progress(s->progress_ctx);
	return rc;
}

/* Lengthen the last run, or begin one. */
static void
append(struct wherry_run *runs, uint32_t *n, uint64_t page)
{
	if (*n > 0 && runs[*n - 1].first + runs[*n - 1].count == page)
		runs[*n - 1].count++;
	else
		runs[(*n)++] = (struct wherry_run){ .first = page, .count = 1 };
}

static int
add_page(struct mig_sender *s, uint32_t i, const struct mig_region *region, uint64_t page)
{
	if (mig_page_is_zero(page_at(region, page))) {
		append(s->zeros, &s->n_zeros, page);
		mig_digest_add_zero(&s->digest, i, page);
		tell_tracker(region, page, zero_page);
		s->pages++;
		s->zero_pages++;
		s->n_zero_pages++;
		if (s->n_zeros < WHERRY_STREAM_PAGES_MAX && s->n_zero_pages < ZEROS_AT_ONCE)
			return 0;
		return flush_zeros(s, i);
	}
	append(s->runs, &s->n_runs, page);
	s->n_pages++;
	return s->n_pages < WHERRY_STREAM_PAGES_MAX ? 0 : flush_pages(s, i, region);
}

int
mig_sender_region(struct mig_sender *s, uint32_t i, const struct mig_region *region,
	const struct wherry_bitmap *pages)
{
	uint64_t cursor = region->span.iova;
	struct wherry_span span;
	int rc;

	while (wherry_bitmap_next_run(pages, &cursor, &span)) {
		struct wherry_run run = run_of(region, span);

		for (uint64_t n = 0; n < run.count; n++) {
			rc = add_page(s, i, region, run.first + n);
			if (rc != 0)
				return rc;
		}
	}
	rc = flush_zeros(s, i);
	return rc != 0 ? rc : flush_pages(s, i, region);
}

int
mig_sender_runs(struct mig_sender *s, enum wherry_record_type type, uint32_t i,
	const struct mig_region *region, const struct wherry_bitmap *pages)
{
	struct wherry_run runs[MIG_SKIP_RUNS];
	uint64_t cursor = region->span.iova;
	struct wherry_span span;
	uint32_t n = 0;

	for (;;) {
		bool more = wherry_bitmap_next_run(pages, &cursor, &span);
		int rc = 0;

		if (n == MIG_SKIP_RUNS || (!more && n > 0)) {
			rc = mig_channel_send(
				s->ch, type, put_head(s, i, runs, n), wherry_runs_size(n));
			n = 0;
		}
		if (rc != 0 || !more)
			return rc;
		runs[n++] = run_of(region, span);
	}
}
