/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slabs: objects of up to 2 KiB, four sizes to each doubling, at least eight to a
 * slab. A slab begins on a page, so an object is aligned to every power of two
 * that divides its size. A slab whose last object is freed is pages again.
 */
#include <assert.h>

#include "arena_priv.h"

const struct size_class arena_classes[N_CLASSES] = {
	{ 32, 1 }, { 48, 1 }, { 64, 1 }, { 80, 1 }, { 96, 1 }, { 112, 1 }, { 128, 1 }, /**/
	{ 160, 1 }, { 192, 1 }, { 224, 1 }, { 256, 1 },                                /**/
	{ 320, 1 }, { 384, 1 }, { 448, 1 }, { 512, 1 },                                /**/
	{ 640, 4 }, { 768, 4 }, { 896, 4 }, { 1024, 4 },                               /**/
	{ 1280, 4 }, { 1536, 4 }, { 1792, 4 }, { OBJECT_MAX, 4 },                      /**/
};

/* Steps of 16 up to 128, then a quarter of the power of two below. */
static unsigned int
class_of_len(size_t len)
{
	unsigned int log2;

	if (len <= 32)
		return 0;
	if (len <= 128)
		return (unsigned int)((len - 1) / 16 - 1);
	log2 = 63u - (unsigned int)__builtin_clzll(len - 1);
	return 7 + (log2 - 7) * 4 + (unsigned int)((len - 1) >> (log2 - 2) & 3);
}

unsigned int
arena_class_of(size_t len, size_t align)
{
	unsigned int cls;

	if (len > OBJECT_MAX)
		return N_CLASSES;
	for (cls = class_of_len(len); cls < N_CLASSES; cls++)
		if ((arena_classes[cls].size & (align - 1)) == 0)
			break;
	return cls;
}

/* A new slab without objects, in the list of those with room. */
static uint32_t
slab_create(struct wherry_arena *arena, unsigned int cls) WHERRY_REQUIRES(&arena->lock)
{
	uint32_t slab = arena_run_alloc(arena, arena_classes[cls].n_pages, PAGE_4K);
	struct arena_page *page;

	if (slab == NONE)
		return NONE;
	page = &arena->pages[slab];
	page->kind = SLAB;
	page->cls = (uint8_t)cls;
	page->n_used = 0;
	page->used[0] = page->used[1] = 0;
	arena_list_push(arena, &arena->header->partial[cls], slab);
	return slab;
}

/* A slab in its list has a clear bit before the end, so the first clear one is it. */
static unsigned int
first_clear(const struct arena_page *page)
{
	if (page->used[0] != UINT64_MAX)
		return (unsigned int)__builtin_ctzll(~page->used[0]);
	return 64u + (unsigned int)__builtin_ctzll(~page->used[1]);
}

void *
arena_slab_alloc(struct wherry_arena *arena, unsigned int cls)
{
	uint32_t slab = arena->header->partial[cls];
	struct arena_page *page;
	unsigned int object;

	if (slab == NONE)
		slab = slab_create(arena, cls);
	if (slab == NONE)
		return NULL;
	page = &arena->pages[slab];
	object = first_clear(page);
	page->used[object / 64] |= UINT64_C(1) << object % 64;
	if (++page->n_used == class_objects(cls))
		arena_list_remove(arena, &arena->header->partial[cls], slab);
	return page_address(arena, slab) + (size_t)object * arena_classes[cls].size;
}

void
arena_slab_free(struct wherry_arena *arena, uint32_t slab, unsigned int object)
{
	struct arena_page *page = &arena->pages[slab];
	uint32_t *list = &arena->header->partial[page->cls];

	if (page->n_used == class_objects(page->cls))
		arena_list_push(arena, list, slab);
	page->used[object / 64] &= ~(UINT64_C(1) << object % 64);
	if (--page->n_used > 0)
		return;
	arena_list_remove(arena, list, slab);
	arena_run_free(arena, slab);
}
