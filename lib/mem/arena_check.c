/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is what lies in a region a sound arena? The bytes may come from anywhere: every
 * number is checked before it is used, in an order in which each check relies on
 * the ones before only. After it no call on the arena can leave the arena.
 */
#include "arena_priv.h"

/* What the walk over the pages found; the lists must hold exactly that. */
struct found {
	uint32_t bins[N_BINS];
	uint32_t partial[N_CLASSES];
};

static bool
header_is_sound(const struct wherry_arena *arena)
{
	const struct arena_header *h = arena->header;
	uint64_t first = (uintptr_t)arena->memory, last = first + arena->n_pages * PAGE_4K - 1;

	if (h->magic != ARENA_MAGIC || h->version != ARENA_VERSION)
		return false;
	if (h->base != (uintptr_t)h || h->len != arena->len || h->n_pages != arena->n_pages)
		return false;
	return h->root == 0 || (h->root >= first && h->root <= last);
}

static bool
slab_is_sound(const struct arena_page *page)
{
	unsigned int n, bits;
	uint64_t behind;

	if (page->cls >= N_CLASSES || page->n_pages != arena_classes[page->cls].n_pages)
		return false;
	n = class_objects(page->cls);
	bits = (unsigned int)__builtin_popcountll(page->used[0]) +
		(unsigned int)__builtin_popcountll(page->used[1]);
	if (bits != page->n_used || bits == 0 || bits > n)
		return false;
	behind = n >= 64 ? 0 : page->used[0] >> n;
	if (n < 64)
		return behind == 0 && page->used[1] == 0;
	return n == SLAB_OBJECTS_MAX || page->used[1] >> (n - 64) == 0;
}

/* Nothing but BODY between a run's first page and its end, or its tail. */
static bool
body_is_sound(const struct wherry_arena *arena, uint32_t first)
{
	const struct arena_page *pages = &arena->pages[first];
	uint32_t n = pages[0].n_pages, tail = n - 1;

	for (uint32_t i = 1; i < tail; i++)
		if (pages[i].kind != BODY)
			return false;
	if (tail == 0)
		return true;
	if (pages[0].kind == FREE)
		return pages[tail].kind == FREE_TAIL && pages[tail].n_pages == n;
	return pages[tail].kind == BODY;
}

static bool
run_is_sound(struct wherry_arena *arena, uint32_t first, struct found *found)
{
	const struct arena_page *page = &arena->pages[first];

	if (page->n_pages == 0 || page->n_pages > arena->n_pages - first)
		return false;
	if (!body_is_sound(arena, first))
		return false;
	switch (page->kind) {
	case FREE:
		found->bins[bin_of(page->n_pages)]++;
		return true;
	case RUN:
		arena->objects++;
		arena->used += page->n_pages * PAGE_4K;
		return true;
	case SLAB:
		if (!slab_is_sound(page))
			return false;
		found->partial[page->cls] += page->n_used < class_objects(page->cls);
		arena->objects += page->n_used;
		arena->used += (size_t)page->n_used * arena_classes[page->cls].size;
		return true;
	default:
		return false;
	}
}

static bool
pages_are_sound(struct wherry_arena *arena, struct found *found)
{
	bool after_free = false;

	for (uint32_t i = 0; i < arena->n_pages; i += arena->pages[i].n_pages) {
		if (!run_is_sound(arena, i, found))
			return false;
		if (after_free && arena->pages[i].kind == FREE)
			return false;
		after_free = arena->pages[i].kind == FREE;
	}
	return true;
}

/* A page that may stand in the list of this kind and number. */
static bool
belongs(const struct arena_page *page, enum page_kind kind, unsigned int number)
{
	if (page->kind != kind)
		return false;
	if (kind == FREE)
		return bin_of(page->n_pages) == number;
	return page->cls == number && page->n_used < class_objects(number);
}

/* Back links that fit leave no room for a circle, and the count none for a page left out. */
static bool
list_is_sound(const struct wherry_arena *arena, uint32_t head, enum page_kind kind,
	unsigned int number, uint32_t n)
{
	uint32_t before = NONE, page = head;

	for (; page != NONE; page = arena->pages[page].next) {
		if (page >= arena->n_pages || n-- == 0)
			return false;
		if (!belongs(&arena->pages[page], kind, number) ||
			arena->pages[page].prev != before)
			return false;
		before = page;
	}
	return n == 0;
}

static bool
lists_are_sound(const struct wherry_arena *arena, const struct found *found)
{
	const struct arena_header *h = arena->header;

	for (unsigned int b = 0; b < N_BINS; b++)
		if (!list_is_sound(arena, h->bins[b], FREE, b, found->bins[b]))
			return false;
	for (unsigned int c = 0; c < N_CLASSES; c++)
		if (!list_is_sound(arena, h->partial[c], SLAB, c, found->partial[c]))
			return false;
	return true;
}

bool
arena_check(struct wherry_arena *arena)
{
	struct found found = { .bins = { 0 } };

	arena->used = arena->objects = 0;
	return header_is_sound(arena) && pages_are_sound(arena, &found) &&
		lists_are_sound(arena, &found);
}
