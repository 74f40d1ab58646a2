/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ARENA_PRIV_H
#define ARENA_PRIV_H

/*
 * What lies in an arena's memory, from its first byte:
 *
 *	header page | page table, 32 bytes a page | pages to hand out
 *
 * Every page to hand out belongs to a *run*: pages side by side that are free, or
 * one allocation, or a *slab* of up to 128 objects of one size class. The table
 * entry of a run's first page describes it, so that user data and the allocator's
 * own never share a page, and what is free is known without touching it. An entry
 * inside a run says BODY, or FREE_TAIL at the end of a free run: neighbours merge
 * by looking one entry to each side.
 *
 * Invariants, all checked by arena_check() on bytes from elsewhere:
 * - runs follow each other without gaps, and two free ones are never neighbours;
 * - bins[b] lists the free runs of 2^b to 2^(b+1) - 1 pages;
 * - partial[c] lists the slabs of class c with a free object; none is empty;
 * - of a slab's bits those behind its last object are clear.
 *
 * Pages are named by their number; lists are doubly linked by it and end in NONE.
 * Nothing here is written that need not be: what is written has to be migrated.
 * Counts and the lock are in struct wherry_arena, outside: whoever opens the bytes
 * counts while checking, and a lock that was held elsewhere means nothing here.
 */

#include "mem_priv.h"

#define ARENA_MAGIC UINT64_C(0x616e657261797277)
#define ARENA_VERSION 1u
#define ARENA_MIN ((size_t)64 << 10)
#define NONE UINT32_MAX
#define N_BINS 32u
#define N_CLASSES 23u
#define SLAB_PAGES_MAX 4u
#define SLAB_OBJECTS_MAX 128u
#define OBJECT_MAX 2048u

enum page_kind { BODY, FREE, FREE_TAIL, RUN, SLAB, N_KINDS };

struct arena_page {
	uint8_t kind;
	uint8_t cls;      /* SLAB */
	uint16_t n_used;  /* SLAB: objects handed out */
	uint32_t n_pages; /* of the run; also in FREE_TAIL */
	uint32_t next;    /* FREE, SLAB with room: in its list */
	uint32_t prev;
	uint64_t used[SLAB_OBJECTS_MAX / 64]; /* SLAB: one bit an object */
};

_Static_assert(sizeof(struct arena_page) == 32, "part of the arena's format");

struct arena_header {
	uint64_t magic;
	uint32_t version;
	uint32_t n_pages; /* to hand out */
	uint64_t base;    /* address of this header */
	uint64_t len;     /* bytes from base on */
	uint64_t root;    /* address, or 0 */
	uint32_t bins[N_BINS];
	uint32_t partial[N_CLASSES];
};

struct wherry_arena {
	struct wherry_mutex lock;
	struct arena_header *header;
	struct arena_page *pages; /* the table; entries under lock */
	char *memory;             /* of page 0 */
	uint32_t n_pages;         /* to hand out */
	size_t len;               /* of the region */
	size_t used;              /* bytes handed out; under lock */
	size_t objects;           /* allocations alive; under lock */
};

struct size_class {
	uint16_t size;
	uint16_t n_pages;
};

extern const struct size_class arena_classes[N_CLASSES];

static inline unsigned int
class_objects(unsigned int cls)
{
	return (unsigned int)(arena_classes[cls].n_pages * PAGE_4K / arena_classes[cls].size);
}

static inline unsigned int
bin_of(uint32_t n_pages) /* at least 1 */
{
	return 31u - (unsigned int)__builtin_clz(n_pages);
}

static inline char *
page_address(const struct wherry_arena *arena, uint32_t page)
{
	return arena->memory + page * PAGE_4K;
}

/* Are the bytes of the arena sound? Counts what is handed out. Nothing is written. */
bool arena_check(struct wherry_arena *arena);

void arena_list_push(struct wherry_arena *arena, uint32_t *head, uint32_t page)
	WHERRY_REQUIRES(&arena->lock);
void arena_list_remove(struct wherry_arena *arena, uint32_t *head, uint32_t page)
	WHERRY_REQUIRES(&arena->lock);

/* All n pages from page on become free; called once for a fresh arena. */
void arena_run_put(struct wherry_arena *arena, uint32_t page, uint32_t n)
	WHERRY_REQUIRES(&arena->lock);
/* The first of n pages at a multiple of align, a power of two, as one RUN; NONE: there are none. */
uint32_t arena_run_alloc(struct wherry_arena *arena, uint32_t n, size_t align)
	WHERRY_REQUIRES(&arena->lock);
/* A run is free again. */
void arena_run_free(struct wherry_arena *arena, uint32_t page) WHERRY_REQUIRES(&arena->lock);

/* The smallest class for len bytes at multiples of align; N_CLASSES: it takes pages. */
unsigned int arena_class_of(size_t len, size_t align);
void *arena_slab_alloc(struct wherry_arena *arena, unsigned int cls) WHERRY_REQUIRES(&arena->lock);
/* Give back an object that was handed out. */
void arena_slab_free(struct wherry_arena *arena, uint32_t slab, unsigned int object)
	WHERRY_REQUIRES(&arena->lock);

#endif /* ARENA_PRIV_H */
