/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One bitmap: marking, unmarking, counting, runs. What two of them do together
 * is in merge.c. All arithmetic on addresses is relative to the span's first
 * byte and inclusive, because a span may end at 2^64.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap_priv.h"

static int
check_shape(struct wherry_span span, uint64_t page)
{
	if (!is_pow2(page) || span.len == 0)
		return -EINVAL;
	if (span.len - 1 > UINT64_MAX - span.iova)
		return -EOVERFLOW;
	if (((span.iova | span.len) & (page - 1)) != 0)
		return -EINVAL;
	return 0;
}

static size_t
div_up(uint64_t n, uint64_t by)
{
	return (size_t)(n / by + (n % by != 0));
}

static size_t
body_bytes(const struct wherry_bitmap *bm)
{
	return bm->n_blocks * BLOCK_BYTES +
		(div_up(bm->n_blocks, WORD_PAGES) + SUMS_AHEAD) * sizeof(uint64_t);
}

int
wherry_bitmap_create(struct wherry_span span, uint64_t page, struct wherry_bitmap **ret_bm)
{
	struct wherry_bitmap shape = { .span = span }, *bm;
	int rc = check_shape(span, page);

	if (rc != 0)
		return rc;
	shape.shift = (unsigned int)__builtin_ctzll(page);
	shape.n_pages = span.len >> shape.shift;
	shape.n_words = div_up(shape.n_pages, WORD_PAGES);
	shape.n_blocks = div_up(shape.n_words, BLOCK_WORDS);
	bm = wherry_fault("bitmap.create")
		? NULL
		: wherry_zalloc(sizeof(*bm) + BLOCK_BYTES + body_bytes(&shape));
	if (bm == NULL)
		return -ENOMEM;
	*bm = shape;
	bm->words = (uint64_t *)(uintptr_t)round_up((uintptr_t)(bm + 1), BLOCK_BYTES);
	bm->sums = bm->words + bm->n_blocks * BLOCK_WORDS;
	*ret_bm = bm;
	return 0;
}

void
wherry_bitmap_destroy(struct wherry_bitmap *bm)
{
	free(bm);
}

struct wherry_span
wherry_bitmap_span(const struct wherry_bitmap *bm)
{
	return bm->span;
}

uint64_t
wherry_bitmap_page(const struct wherry_bitmap *bm)
{
	return UINT64_C(1) << bm->shift;
}

size_t
wherry_bitmap_footprint(const struct wherry_bitmap *bm)
{
	return sizeof(*bm) + BLOCK_BYTES + body_bytes(bm);
}

/* The part of span that lies inside the bitmap, in bytes from its first one. */
static bool
clip(const struct wherry_bitmap *bm, struct wherry_span span, struct range *ret)
{
	uint64_t first = span.iova, last, end = wherry_span_last(bm->span);

	if (span.len == 0)
		return false;
	last = span.len - 1 > UINT64_MAX - first ? UINT64_MAX : wherry_span_last(span);
	if (first > end || last < bm->span.iova)
		return false;
	ret->first = first > bm->span.iova ? first - bm->span.iova : 0;
	ret->last = (last < end ? last : end) - bm->span.iova;
	return true;
}

bool
bitmap_touched(const struct wherry_bitmap *bm, struct wherry_span span, struct range *ret)
{
	if (!clip(bm, span, ret))
		return false;
	ret->first >>= bm->shift;
	ret->last >>= bm->shift;
	return true;
}

/* The pages that lie in span as a whole. A byte offset is at most 2^64 - 2. */
static bool
whole(const struct wherry_bitmap *bm, struct wherry_span span, struct range *ret)
{
	uint64_t end;

	if (!clip(bm, span, ret))
		return false;
	ret->first = ret->first == 0 ? 0 : ((ret->first - 1) >> bm->shift) + 1;
	end = (ret->last + 1) >> bm->shift;
	if (ret->first >= end)
		return false;
	ret->last = end - 1;
	return true;
}

/* The bits of word w that lie in pages. */
static uint64_t
word_mask(struct range pages, uint64_t w)
{
	uint64_t mask = UINT64_MAX;

	if (w == pages.first / WORD_PAGES)
		mask &= UINT64_MAX << pages.first % WORD_PAGES;
	if (w == pages.last / WORD_PAGES)
		mask &= UINT64_MAX >> (WORD_PAGES - 1 - pages.last % WORD_PAGES);
	return mask;
}

void
wherry_bitmap_mark(struct wherry_bitmap *bm, struct wherry_span span)
{
	struct range pages;

	if (!bitmap_touched(bm, span, &pages))
		return;
	for (uint64_t w = pages.first / WORD_PAGES; w <= pages.last / WORD_PAGES; w++)
		bitmap_or_word(bm, w, word_mask(pages, w));
}

size_t
bitmap_next_word(const struct wherry_bitmap *bm, size_t w)
{
	size_t b = bitmap_next_block(bm, w / BLOCK_WORDS);
	unsigned int live = b == w / BLOCK_WORDS ? UINT_MAX << w % BLOCK_WORDS : UINT_MAX;

	while (b < bm->n_blocks) {
		live &= bitmap_live_words(bm->words + b * BLOCK_WORDS);
		if (live != 0)
			return b * BLOCK_WORDS + (unsigned int)__builtin_ctz(live);
		live = UINT_MAX;
		b = bitmap_next_block(bm, b + 1);
	}
	return bm->n_words;
}

void
bitmap_settle(struct wherry_bitmap *bm, size_t first_word, size_t last_word)
{
	size_t b = bitmap_next_block(bm, first_word / BLOCK_WORDS);

	for (; b <= last_word / BLOCK_WORDS && b < bm->n_blocks; b = bitmap_next_block(bm, b + 1))
		if (bitmap_live_words(bm->words + b * BLOCK_WORDS) == 0)
			bm->sums[b / WORD_PAGES] &= ~(UINT64_C(1) << b % WORD_PAGES);
}

void
wherry_bitmap_unmark(struct wherry_bitmap *bm, struct wherry_span span)
{
	struct range pages;
	size_t first, last;

	if (!whole(bm, span, &pages))
		return;
	first = pages.first / WORD_PAGES;
	last = pages.last / WORD_PAGES;
	for (size_t w = bitmap_next_word(bm, first); w <= last && w < bm->n_words;
		w = bitmap_next_word(bm, w + 1))
		bm->words[w] &= ~word_mask(pages, w);
	bitmap_settle(bm, first, last);
}

void
wherry_bitmap_clear(struct wherry_bitmap *bm)
{
	wherry_bitmap_unmark(bm, bm->span);
}

bool
wherry_bitmap_test(const struct wherry_bitmap *bm, uint64_t iova)
{
	struct range pages;

	if (!bitmap_touched(bm, (struct wherry_span){ .iova = iova, .len = 1 }, &pages))
		return false;
	return (bm->words[pages.first / WORD_PAGES] >> pages.first % WORD_PAGES & 1) != 0;
}

/* Without the CPU's own instruction, which not every machine has, this beats the library's. */
static unsigned int
ones(uint64_t word)
{
	word -= word >> 1 & UINT64_C(0x5555555555555555);
	word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
	word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned int)(word * UINT64_C(0x0101010101010101) >> 56);
}

uint64_t
wherry_bitmap_count(const struct wherry_bitmap *bm)
{
	uint64_t n = 0;

	for (size_t b = bitmap_next_block(bm, 0); b < bm->n_blocks;
		b = bitmap_next_block(bm, b + 1)) {
		const uint64_t *block = bm->words + b * BLOCK_WORDS;

		for (unsigned int live = bitmap_live_words(block); live != 0; live &= live - 1)
			n += ones(block[__builtin_ctz(live)]);
	}
	return n;
}

/* The first marked page at page or behind it; n_pages: none. */
static uint64_t
next_marked(const struct wherry_bitmap *bm, uint64_t page)
{
	size_t w = page / WORD_PAGES;
	uint64_t bits = bm->words[w] & (UINT64_MAX << page % WORD_PAGES);

	if (bits == 0) {
		w = bitmap_next_word(bm, w + 1);
		if (w >= bm->n_words)
			return bm->n_pages;
		bits = bm->words[w];
	}
	return w * WORD_PAGES + (unsigned int)__builtin_ctzll(bits);
}

/* The first page behind page that is not marked; n_pages: none. */
static uint64_t
run_end(const struct wherry_bitmap *bm, uint64_t page)
{
	size_t w = page / WORD_PAGES;
	uint64_t holes = ~bm->words[w] & (UINT64_MAX << page % WORD_PAGES), end;

	while (holes == 0) {
		if (++w == bm->n_words)
			return bm->n_pages;
		holes = ~bm->words[w];
	}
	end = w * WORD_PAGES + (unsigned int)__builtin_ctzll(holes);
	return end < bm->n_pages ? end : bm->n_pages;
}

bool
wherry_bitmap_next_run(
	const struct wherry_bitmap *bm, uint64_t *cursor, struct wherry_span *ret_run)
{
	uint64_t at = *cursor > bm->span.iova ? *cursor : bm->span.iova, first, end;

	if (*cursor == UINT64_MAX || at > wherry_span_last(bm->span))
		return false;
	first = next_marked(bm, (at - bm->span.iova) >> bm->shift);
	if (first == bm->n_pages)
		return false;
	end = run_end(bm, first);
	ret_run->iova = bm->span.iova + (first << bm->shift);
	ret_run->len = (end - first) << bm->shift;
	at = wherry_span_last(*ret_run);
	*cursor = at == UINT64_MAX ? UINT64_MAX : at + 1;
	return true;
}
