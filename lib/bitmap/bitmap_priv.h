/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BITMAP_PRIV_H
#define BITMAP_PRIV_H

#include <limits.h>

#include "base_priv.h"
#include "wherry_bitmap.h"

/*
 * Vocabulary: a *page* is one bit, a *word* 64 pages, a *block* 8 words, which is
 * a cache line: where marked pages are far apart, each costs one line of words and
 * what lies between costs a bit of sums, so that work follows the marked pages.
 *
 * Invariants: bit b of sums is set exactly if block b has a marked page; bits
 * behind the last page are never set; words end with a whole block.
 */
#define WORD_PAGES 64u
#define BLOCK_WORDS 8u
#define BLOCK_BYTES 64u /* of a block */
#define SUMS_AHEAD 12u

struct wherry_bitmap {
	struct wherry_span span;
	unsigned int shift; /* log2 of the page */
	uint64_t n_pages;   /* span.len >> shift: fits, since a length is below 2^64 */
	size_t n_words;     /* that have pages */
	size_t n_blocks;    /* bits of sums */
	uint64_t *words;    /* n_blocks whole blocks, aligned to one, in the same allocation */
	uint64_t *sums;     /* behind them, and SUMS_AHEAD that stay 0 */
};

/* Page or block numbers, both inclusive. */
struct range {
	uint64_t first;
	uint64_t last;
};

/* The pages that touch span; false if none does. */
bool bitmap_touched(const struct wherry_bitmap *bm, struct wherry_span span, struct range *ret);
/* The first word at w or behind it that is not 0; n_words or more: none. */
size_t bitmap_next_word(const struct wherry_bitmap *bm, size_t w);
/* Bring sums up to date after bits of these words were cleared. */
void bitmap_settle(struct wherry_bitmap *bm, size_t first_word, size_t last_word);

/* Bit i: word i of a block is not 0. No branch, since which one it is cannot be foreseen. */
static inline unsigned int
bitmap_live_words(const uint64_t *block)
{
	unsigned int live = 0;

	for (unsigned int i = 0; i < BLOCK_WORDS; i++)
		live |= (unsigned int)(block[i] != 0) << i;
	return live;
}

/*
 * Blocks that are far apart cost a cache miss each. Those that the sum SUMS_AHEAD further
 * on names are asked for now, so that several misses are under way at once. (Inlined
 * always: gcc 12 takes a function that only prefetches for one without effect.)
 */
static inline __attribute__((always_inline)) void
bitmap_prefetch(const struct wherry_bitmap *bm, size_t sum)
{
	uint64_t bits = bm->sums[sum + SUMS_AHEAD];
	const uint64_t *first = bm->words + (sum + SUMS_AHEAD) * WORD_PAGES * BLOCK_WORDS;

	for (unsigned int n = 0; bits != 0 && n < 3; n++) {
		__builtin_prefetch(first + (size_t)__builtin_ctzll(bits) * BLOCK_WORDS);
		bits &= bits - 1;
	}
}

/* The first block at b or behind it with a marked page; n_blocks: none. */
static inline size_t
bitmap_next_block(const struct wherry_bitmap *bm, size_t b)
{
	size_t s = b / WORD_PAGES, n_sums = (bm->n_blocks + WORD_PAGES - 1) / WORD_PAGES;
	uint64_t bits;

	if (b >= bm->n_blocks)
		return bm->n_blocks;
	bits = bm->sums[s] & (UINT64_MAX << b % WORD_PAGES);
	while (bits == 0) {
		if (++s == n_sums)
			return bm->n_blocks;
		bitmap_prefetch(bm, s);
		bits = bm->sums[s];
	}
	return s * WORD_PAGES + (size_t)__builtin_ctzll(bits);
}

static inline void
bitmap_or_word(struct wherry_bitmap *bm, size_t w, uint64_t bits)
{
	size_t block = w / BLOCK_WORDS;

	bm->words[w] |= bits;
	bm->sums[block / WORD_PAGES] |= (uint64_t)(bits != 0) << block % WORD_PAGES;
}

#endif /* BITMAP_PRIV_H */
