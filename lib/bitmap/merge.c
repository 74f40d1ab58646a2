/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What two bitmaps do together. Everything that marks goes through or_word_at():
 * 64 pages of some size at some address, from a bitmap or from the kernel. Equal
 * pages are moved a word at a time, others run by run.
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

void
wherry_bitmap_or(struct wherry_bitmap *into, const struct wherry_bitmap *from)
{
	struct range pages;
	size_t w;

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
