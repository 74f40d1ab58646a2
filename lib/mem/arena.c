/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An arena as a whole: made, opened, looked at. What is in its memory, and the
 * words for it, are in arena_priv.h.
 */
#define LOG_PREFIX "mem/arena"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arena_priv.h"

static size_t
table_bytes(size_t n_pages)
{
	return round_up(n_pages * sizeof(struct arena_page), PAGE_4K);
}

/* How many pages can be handed out: header, table and they fill len. */
static uint32_t
pages_in(size_t len)
{
	size_t n = (len - PAGE_4K) / (PAGE_4K + sizeof(struct arena_page));

	if (n >= NONE)
		n = NONE - 1; /* 16 TiB: the rest is not used */
	while (PAGE_4K + table_bytes(n) + n * PAGE_4K > len)
		n--;
	return (uint32_t)n;
}

/* The handle alone; nothing in the region is looked at. */
static int
handle_create(const struct wherry_region_info *info, struct wherry_arena **ret_arena)
{
	struct wherry_arena *arena;

	arena = wherry_fault("arena.handle") ? NULL : calloc(1, sizeof(*arena));
	if (arena == NULL)
		return -ENOMEM;
	wherry_mutex_init(&arena->lock);
	arena->header = info->vaddr;
	arena->len = info->len;
	arena->n_pages = pages_in(info->len);
	arena->pages = (void *)((char *)info->vaddr + PAGE_4K);
	arena->memory = (char *)arena->pages + table_bytes(arena->n_pages);
	*ret_arena = arena;
	return 0;
}

static void
format(struct wherry_arena *arena, const struct wherry_region_info *info)
{
	struct arena_header *h = arena->header;

	memset(arena->pages, 0, table_bytes(arena->n_pages));
	*h = (struct arena_header){ .magic = ARENA_MAGIC, .version = ARENA_VERSION };
	h->n_pages = arena->n_pages;
	h->base = (uintptr_t)info->vaddr;
	h->len = info->len;
	memset(h->bins, 0xff, sizeof(h->bins)); /* NONE everywhere */
	memset(h->partial, 0xff, sizeof(h->partial));
	wherry_mutex_lock(&arena->lock);
	arena_run_put(arena, 0, arena->n_pages);
	wherry_mutex_unlock(&arena->lock);
}

int
wherry_arena_create(struct wherry_region *region, struct wherry_arena **ret_arena)
{
	struct wherry_region_info info;
	int rc;

	wherry_region_get_info(region, &info);
	if (info.len < ARENA_MIN)
		return -EINVAL;
	rc = handle_create(&info, ret_arena);
	if (rc == 0)
		format(*ret_arena, &info);
	return rc;
}

int
wherry_arena_open(struct wherry_region *region, struct wherry_arena **ret_arena)
{
	struct wherry_region_info info;
	struct wherry_arena *arena;
	int rc;

	wherry_region_get_info(region, &info);
	if (info.len < ARENA_MIN)
		return -EPROTO;
	rc = handle_create(&info, &arena);
	if (rc != 0)
		return rc;
	if (!arena_check(arena)) {
		LOG_ERR("%s: no sound arena of version %u for %p and %zu bytes", info.name,
			ARENA_VERSION, info.vaddr, info.len);
		wherry_arena_close(arena);
		return -EPROTO;
	}
	*ret_arena = arena;
	return 0;
}

void
wherry_arena_close(struct wherry_arena *arena)
{
	if (arena == NULL)
		return;
	wherry_mutex_fini(&arena->lock);
	free(arena);
}

bool
wherry_arena_contains(const struct wherry_arena *arena, const void *p)
{
	return (uintptr_t)p - (uintptr_t)arena->header < arena->len;
}

/* Release and acquire: who reads the root also sees the object behind it. */
void
wherry_arena_set_root(struct wherry_arena *arena, void *root)
{
	assert(root == NULL ||
		((char *)root >= arena->memory && wherry_arena_contains(arena, root)));
	__atomic_store_n(&arena->header->root, (uintptr_t)root, __ATOMIC_RELEASE);
}

void *
wherry_arena_root(const struct wherry_arena *arena)
{
	return (void *)(uintptr_t)__atomic_load_n(&arena->header->root, __ATOMIC_ACQUIRE);
}

void
wherry_arena_get_stats(struct wherry_arena *arena, struct wherry_arena_stats *ret_stats)
{
	wherry_mutex_lock(&arena->lock);
	ret_stats->total = arena->n_pages * PAGE_4K;
	ret_stats->metadata = (size_t)(arena->memory - (char *)arena->header);
	ret_stats->used = arena->used;
	ret_stats->objects = arena->objects;
	wherry_mutex_unlock(&arena->lock);
}

static bool
next_free_locked(struct wherry_arena *arena, uint64_t *cursor, struct wherry_span *ret_span)
	WHERRY_REQUIRES(&arena->lock)
{
	uint64_t base = (uintptr_t)arena->memory;
	uint64_t i = *cursor > base ? (*cursor - base + PAGE_4K - 1) / PAGE_4K : 0;

	while (i < arena->n_pages) {
		const struct arena_page *page = &arena->pages[i];

		if (page->kind == FREE) {
			ret_span->iova = base + i * PAGE_4K;
			ret_span->len = page->n_pages * PAGE_4K;
			*cursor = ret_span->iova + ret_span->len;
			return true;
		}
		i += page->kind == RUN || page->kind == SLAB ? page->n_pages : 1;
	}
	return false;
}

bool
wherry_arena_next_free(struct wherry_arena *arena, uint64_t *cursor, struct wherry_span *ret_span)
{
	bool found;

	wherry_mutex_lock(&arena->lock);
	found = next_free_locked(arena, cursor, ret_span);
	wherry_mutex_unlock(&arena->lock);
	return found;
}
