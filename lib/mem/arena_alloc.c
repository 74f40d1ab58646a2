/* SPDX-License-Identifier: BSD-3-Clause */
/* An arena as its users see it: alloc, realloc, free. Small objects come from slabs. */
#include <assert.h>
#include <string.h>

#include "arena_priv.h"

/* An allocation: its run, and which object of it if that is a slab. */
struct place {
	uint32_t run;
	unsigned int object;
};

/*
 * Where p was allocated; false if it is not the first byte of an object. Without
 * the lock this is right for an allocation of the caller's, which nobody changes.
 */
static bool
locate(const struct wherry_arena *arena, const void *p, struct place *ret)
{
	size_t offset = (uintptr_t)p - (uintptr_t)arena->memory, rest;
	const struct arena_page *page;
	uint32_t i, back = 0;

	if (offset >= arena->n_pages * PAGE_4K)
		return false;
	i = (uint32_t)(offset / PAGE_4K);
	while (arena->pages[i].kind == BODY && back < SLAB_PAGES_MAX - 1 && i > 0) {
		i--;
		back++;
	}
	page = &arena->pages[i];
	rest = offset - i * PAGE_4K;
	*ret = (struct place){ .run = i };
	if (page->kind != SLAB)
		return page->kind == RUN && rest == 0;
	ret->object = (unsigned int)(rest / arena_classes[page->cls].size);
	return back < page->n_pages && ret->object < class_objects(page->cls) &&
		rest % arena_classes[page->cls].size == 0;
}

static size_t
size_of(const struct wherry_arena *arena, struct place place)
{
	const struct arena_page *page = &arena->pages[place.run];

	return page->kind == SLAB ? arena_classes[page->cls].size : page->n_pages * PAGE_4K;
}

static void *
alloc_locked(struct wherry_arena *arena, size_t align, size_t len) WHERRY_REQUIRES(&arena->lock)
{
	unsigned int cls = arena_class_of(len, align);
	size_t n = (len - 1) / PAGE_4K + 1;
	void *p = cls < N_CLASSES ? arena_slab_alloc(arena, cls) : NULL;
	uint32_t run;

	if (p != NULL) {
		arena->used += arena_classes[cls].size;
		return p;
	}
	/* no room for another slab need not mean that there is none for this object */
	run = n <= arena->n_pages ? arena_run_alloc(arena, (uint32_t)n, align) : NONE;
	if (run == NONE)
		return NULL;
	arena->used += n * PAGE_4K;
	return page_address(arena, run);
}

void *
wherry_arena_alloc_aligned(struct wherry_arena *arena, size_t align, size_t len)
{
	void *p;

	if (!is_pow2(align) || wherry_fault("arena.alloc"))
		return NULL;
	wherry_mutex_lock(&arena->lock);
	p = alloc_locked(arena, align > 16 ? align : 16, len > 0 ? len : 1);
	arena->objects += p != NULL;
	wherry_mutex_unlock(&arena->lock);
	return p;
}

void *
wherry_arena_alloc(struct wherry_arena *arena, size_t len)
{
	return wherry_arena_alloc_aligned(arena, is_pow2(len) && len <= PAGE_4K ? len : 16, len);
}

static bool
free_locked(struct wherry_arena *arena, const void *p) WHERRY_REQUIRES(&arena->lock)
{
	const struct arena_page *page;
	struct place place;

	if (!locate(arena, p, &place))
		return false;
	page = &arena->pages[place.run];
	if (page->kind == SLAB && (page->used[place.object / 64] >> place.object % 64 & 1) == 0)
		return false;
	arena->objects--;
	arena->used -= size_of(arena, place);
	if (page->kind == SLAB)
		arena_slab_free(arena, place.run, place.object);
	else
		arena_run_free(arena, place.run);
	return true;
}

void
wherry_arena_free(struct wherry_arena *arena, void *p)
{
	bool was_allocated;

	if (p == NULL)
		return;
	wherry_mutex_lock(&arena->lock);
	was_allocated = free_locked(arena, p);
	wherry_mutex_unlock(&arena->lock);
	assert(was_allocated);
	(void)was_allocated;
}

size_t
wherry_arena_usable(const struct wherry_arena *arena, const void *p)
{
	struct place place;
	bool was_allocated = locate(arena, p, &place);

	assert(was_allocated);
	return was_allocated ? size_of(arena, place) : 0;
}

/* Worth keeping where it is: it fits, and does not waste more than half. */
static bool
fits_well(size_t usable, size_t len)
{
	return len <= usable && len >= usable / 2;
}

void *
wherry_arena_realloc(struct wherry_arena *arena, void *p, size_t len)
{
	size_t usable;
	void *q;

	if (p == NULL)
		return wherry_arena_alloc(arena, len);
	if (len == 0) {
		wherry_arena_free(arena, p);
		return NULL;
	}
	usable = wherry_arena_usable(arena, p);
	if (fits_well(usable, len))
		return p;
	q = wherry_arena_alloc(arena, len);
	if (q == NULL)
		return len <= usable ? p : NULL;
	memcpy(q, p, len < usable ? len : usable);
	wherry_arena_free(arena, p);
	return q;
}
