/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BITMAP_PRIV_H
#define BITMAP_PRIV_H

#include <limits.h>

#include "base_priv.h"
#include "wherry_bitmap.h"

/*
 * Vocabulary: a *page* is one bit, a *word* 64 pages, a *block* 64 words.
 *
 * Invariants: bit b of sums is set exactly if block b has a marked page; bits
 * of the last word behind the last page are never set.
 */
#define WORD_PAGES 64u
#define BLOCK_WORDS 64u

struct wherry_bitmap {
	struct wherry_span span;
	unsigned int shift; /* log2 of the page */
	uint64_t n_pages;   /* span.len >> shift: fits, since a length is below 2^64 */
	size_t n_words;     /* of words */
	size_t n_blocks;    /* bits of sums */
	uint64_t *sums;     /* behind words, in the same allocation */
	uint64_t words[];
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

static inline void
bitmap_or_word(struct wherry_bitmap *bm, size_t w, uint64_t bits)
{
	size_t block = w / BLOCK_WORDS;

	bm->words[w] |= bits;
	bm->sums[block / WORD_PAGES] |= (uint64_t)(bits != 0) << block % WORD_PAGES;
}

#endif /* BITMAP_PRIV_H */
