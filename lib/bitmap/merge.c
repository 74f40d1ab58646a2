/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What two bitmaps do together. What marks goes through or_word_at(): 64 pages of
 * some size at some address, from a bitmap or from the kernel. Equal pages are moved
 * a word at a time, others run by run. Bitmaps whose words hold the same pages, as
 * those of one mapping do, are spared the arithmetic: or_same_words().
 */
#include <assert.h>

#include "bitmap_priv.h"

/* 64 pages to be marked: bit 0 of bits is the page at iova. */
struct chunk {
	uint64_t iova;
	uint64_t bits;
	unsigned int shift;
};

static void
or_runs(struct wherry_bitmap *into, struct chunk from)
{
	while (from.bits != 0) {
		unsigned int first = (unsigned int)__builtin_ctzll(from.bits);
		uint64_t behind = ~(from.bits >> first);
		unsigned int n = behind == 0 ? WORD_PAGES : (unsigned int)__builtin_ctzll(behind);
		struct wherry_span run = { .iova = from.iova + ((uint64_t)first << from.shift) };

		run.len = (uint64_t)n << from.shift;
		wherry_bitmap_mark(into, run);
		if (first + n >= WORD_PAGES)
			return;
		from.bits &= UINT64_MAX << (first + n);
	}
}

/* Pages of one size on one grid, all 64 inside into: at most two words change. */
static void
or_same_grid(struct wherry_bitmap *into, uint64_t first_page, uint64_t bits)
{
	size_t w = first_page / WORD_PAGES;
	unsigned int at = first_page % WORD_PAGES;

	bitmap_or_word(into, w, bits << at);
	if (at != 0 && bits >> (WORD_PAGES - at) != 0)
		bitmap_or_word(into, w + 1, bits >> (WORD_PAGES - at));
}

static void
or_word_at(struct wherry_bitmap *into, struct chunk from)
{
	uint64_t offset = from.iova - into->span.iova;
	uint64_t page = offset >> into->shift;

	if (from.shift == into->shift && from.iova >= into->span.iova &&
		page << into->shift == offset && into->n_pages >= WORD_PAGES &&
		page <= into->n_pages - WORD_PAGES)
		or_same_grid(into, page, from.bits);
	else
		or_runs(into, from);
}

/* Word 0 of from in words of into, if the words of both hold the same pages wherever both have them. */
static bool
same_words(const struct wherry_bitmap *into, const struct wherry_bitmap *from, uint64_t *ret_shift)
{
	unsigned int shift = into->shift + (unsigned int)__builtin_ctz(WORD_PAGES);
	uint64_t offset = from->span.iova - into->span.iova;

	*ret_shift = offset >> (shift & 63);
	return into->shift == from->shift && from->span.iova >= into->span.iova && shift < 64 &&
		*ret_shift << shift == offset &&
		wherry_span_last(from->span) <= wherry_span_last(into->span);
}

/* Eight words of another bitmap at word w; they are 0 where into has no pages. */
static void
or_block(struct wherry_bitmap *into, size_t w, const uint64_t *block)
{
	if (w % BLOCK_WORDS != 0) {
		for (unsigned int live = bitmap_live_words(block); live != 0; live &= live - 1) {
			unsigned int i = (unsigned int)__builtin_ctz(live);

			bitmap_or_word(into, w + i, block[i]);
		}
		return;
	}
	for (unsigned int i = 0; i < BLOCK_WORDS; i++)
		into->words[w + i] |= block[i];
	w /= BLOCK_WORDS;
	into->sums[w / WORD_PAGES] |= UINT64_C(1) << w % WORD_PAGES;
}

static void
or_same_words(struct wherry_bitmap *into, const struct wherry_bitmap *from, uint64_t shift)
{
	for (size_t b = bitmap_next_block(from, 0); b < from->n_blocks;
		b = bitmap_next_block(from, b + 1))
		or_block(into, shift + b * BLOCK_WORDS, from->words + b * BLOCK_WORDS);
}

void
wherry_bitmap_or(struct wherry_bitmap *into, const struct wherry_bitmap *from)
{
	struct range pages;
	uint64_t shift;
	size_t w;

	if (same_words(into, from, &shift)) {
		or_same_words(into, from, shift);
		return;
	}
	if (!bitmap_touched(from, into->span, &pages))
		return;
	for (w = bitmap_next_word(from, pages.first / WORD_PAGES);
		w < from->n_words && w <= pages.last / WORD_PAGES;
		w = bitmap_next_word(from, w + 1)) {
		struct chunk chunk = { .bits = from->words[w], .shift = from->shift };

		chunk.iova = from->span.iova + ((w * WORD_PAGES) << from->shift);
		or_word_at(into, chunk);
	}
}

void
wherry_bitmap_take(struct wherry_bitmap *into, struct wherry_bitmap *from)
{
	wherry_bitmap_or(into, from);
	wherry_bitmap_unmark(from, into->span);
}

static void
check_same_shape(const struct wherry_bitmap *a, const struct wherry_bitmap *b)
{
	assert(a->span.iova == b->span.iova && a->n_pages == b->n_pages && a->shift == b->shift);
	(void)a;
	(void)b;
}

void
wherry_bitmap_subtract(struct wherry_bitmap *bm, const struct wherry_bitmap *other)
{
	check_same_shape(bm, other);
	for (size_t w = bitmap_next_word(other, 0); w < bm->n_words;
		w = bitmap_next_word(other, w + 1))
		bm->words[w] &= ~other->words[w];
	bitmap_settle(bm, 0, bm->n_words - 1);
}

void
wherry_bitmap_intersect(struct wherry_bitmap *bm, const struct wherry_bitmap *other)
{
	check_same_shape(bm, other);
	for (size_t w = bitmap_next_word(bm, 0); w < bm->n_words; w = bitmap_next_word(bm, w + 1))
		bm->words[w] &= other->words[w];
	bitmap_settle(bm, 0, bm->n_words - 1);
}

/* How many of the 64 bits of word w the span has pages for. */
static uint64_t
word_limit(uint64_t n_pages, uint64_t w)
{
	uint64_t left = n_pages - w * WORD_PAGES;

	return left >= WORD_PAGES ? UINT64_MAX : (UINT64_C(1) << left) - 1;
}

void
wherry_bitmap_or_words(
	struct wherry_bitmap *bm, struct wherry_span span, uint64_t page, const uint64_t *words)
{
	unsigned int shift = (unsigned int)__builtin_ctzll(page);
	uint64_t n_pages = span.len >> shift;

	assert(is_pow2(page) && (span.len & (page - 1)) == 0);
	for (uint64_t w = 0; w * WORD_PAGES < n_pages; w++) {
		struct chunk chunk = { .bits = words[w] & word_limit(n_pages, w), .shift = shift };

		chunk.iova = span.iova + ((w * WORD_PAGES) << shift);
		if (chunk.bits != 0)
			or_word_at(bm, chunk);
	}
}
