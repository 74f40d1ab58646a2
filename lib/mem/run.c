/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs of pages: the arena's lower half. A free run is taken from the list of its
 * size, cut to what is wanted, and merged with its neighbours when it comes back.
 */
#include "arena_priv.h"

/* Candidates looked at in one list before larger runs are cut. */
#define TRIES 8u

void
arena_list_push(struct wherry_arena *arena, uint32_t *head, uint32_t page)
{
	arena->pages[page].next = *head;
	arena->pages[page].prev = NONE;
	if (*head != NONE)
		arena->pages[*head].prev = page;
	*head = page;
}

void
arena_list_remove(struct wherry_arena *arena, uint32_t *head, uint32_t page)
{
	uint32_t next = arena->pages[page].next, prev = arena->pages[page].prev;

	if (next != NONE)
		arena->pages[next].prev = prev;
	if (prev != NONE)
		arena->pages[prev].next = next;
	else
		*head = next;
}

void
arena_run_put(struct wherry_arena *arena, uint32_t page, uint32_t n)
{
	struct arena_page *first = &arena->pages[page], *last;

	if (n == 0)
		return;
	last = first + (n - 1);
	last->kind = FREE_TAIL;
	last->n_pages = n;
	first->kind = FREE; /* one page is its own tail */
	first->n_pages = n;
	arena_list_push(arena, &arena->header->bins[bin_of(n)], page);
}

/* Take a free run out of its list; its pages say nothing any more. */
static uint32_t
take(struct wherry_arena *arena, uint32_t page) WHERRY_REQUIRES(&arena->lock)
{
	uint32_t n = arena->pages[page].n_pages;

	arena_list_remove(arena, &arena->header->bins[bin_of(n)], page);
	arena->pages[page].kind = BODY;
	arena->pages[page + (n - 1)].kind = BODY;
	return n;
}

struct want {
	uint32_t n;
	size_t align;
};

/* Where in the free run at page the wanted pages fit, or NONE. */
static uint32_t
fit(const struct wherry_arena *arena, uint32_t page, struct want want)
{
	uint64_t at = (uintptr_t)page_address(arena, page), up = round_up(at, want.align);
	uint32_t n = arena->pages[page].n_pages;

	if (up < at || (up - at) / PAGE_4K >= n || n - (up - at) / PAGE_4K < want.n)
		return NONE;
	return page + (uint32_t)((up - at) / PAGE_4K);
}

/* The free run to take from, and where in it; at most tries candidates of each size. */
static uint32_t
find(const struct wherry_arena *arena, struct want want, uint32_t tries, uint32_t *ret_at)
{
	for (unsigned int b = bin_of(want.n); b < N_BINS; b++) {
		uint32_t page = arena->header->bins[b];

		for (uint32_t i = 0; page != NONE && i < tries; i++) {
			*ret_at = fit(arena, page, want);
			if (*ret_at != NONE)
				return page;
			page = arena->pages[page].next;
		}
	}
	return NONE;
}

uint32_t
arena_run_alloc(struct wherry_arena *arena, uint32_t n, size_t align)
{
	struct want want = { .n = n, .align = align > PAGE_4K ? align : PAGE_4K };
	uint32_t at = NONE, from = find(arena, want, TRIES, &at), end;

	if (from == NONE)
		from = find(arena, want, NONE, &at);
	if (from == NONE)
		return NONE;
	end = from + take(arena, from);
	arena_run_put(arena, from, at - from);
	arena_run_put(arena, at + n, end - (at + n));
	arena->pages[at].kind = RUN;
	arena->pages[at].n_pages = n;
	return at;
}

void
arena_run_free(struct wherry_arena *arena, uint32_t page)
{
	const struct arena_page *before = page > 0 ? &arena->pages[page - 1] : NULL;
	uint32_t first = page, end = page + arena->pages[page].n_pages;

	arena->pages[page].kind = BODY;
	if (end < arena->n_pages && arena->pages[end].kind == FREE)
		end += take(arena, end);
	if (before != NULL && (before->kind == FREE_TAIL || before->kind == FREE)) {
		first = page - before->n_pages;
		take(arena, first);
	}
	arena_run_put(arena, first, end - first);
}
