/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An arena of 2 MiB against a list of what was handed out. Each object is filled
 * with a pattern of its own, so objects that overlap, or lie in memory that the
 * arena calls free or its own, show. Opening the arena anew now and then checks
 * every invariant that the arena itself knows.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "models.h"
#include "wherry_mem.h"

#define SLOTS 300u
#define PAGE ((size_t)4096)

struct object {
	uint8_t *p; /* NULL: the slot is free */
	size_t len, usable;
	uint8_t pattern;
};

struct model {
	struct wherry_region *region;
	struct wherry_arena *arena;
	struct wherry_region_info info;
	struct object objects[SLOTS];
	size_t used, alive;
};

static void
fill(struct object *o, uint8_t pattern)
{
	o->pattern = pattern;
	memset(o->p, pattern, o->len);
}

static bool
is_filled(const uint8_t *p, size_t len, uint8_t pattern)
{
	return len == 0 || (p[0] == pattern && memcmp(p, p + 1, len - 1) == 0);
}

static size_t
take_len(struct fuzz_input *in)
{
	switch (fuzz_below(in, 8)) {
	case 0:
		return fuzz_below(in, 6 * PAGE);
	case 1:
		return (size_t)1 << fuzz_below(in, 21);
	case 2:
		return fuzz_below(in, 60 * PAGE);
	case 3:
		return fuzz_below(in, 2200);
	default:
		return fuzz_below(in, 256);
	}
}

static size_t
largest_free(struct model *m)
{
	struct wherry_span span;
	uint64_t cursor = 0;
	size_t most = 0;

	while (wherry_arena_next_free(m->arena, &cursor, &span))
		if (span.len > most)
			most = span.len;
	return most;
}

/* p is new: it is there, aligned, and its bytes count from now on. */
static void
adopt(struct fuzz_input *in, struct model *m, struct object *o, size_t align)
{
	FUZZ_EXPECT(in, ((uintptr_t)o->p & (align - 1)) == 0);
	FUZZ_EXPECT(in, wherry_arena_contains(m->arena, o->p));
	FUZZ_EXPECT(in, wherry_arena_contains(m->arena, o->p + (o->len > 0 ? o->len - 1 : 0)));
	o->usable = wherry_arena_usable(m->arena, o->p);
	FUZZ_EXPECT(in, o->usable >= o->len);
	m->used += o->usable;
	m->alive++;
	if (in->failed == NULL)
		fill(o, (uint8_t)fuzz_take(in, 1));
}

static size_t
natural_align(size_t len)
{
	return len > 16 && len <= PAGE && (len & (len - 1)) == 0 ? len : 16;
}

static void
op_alloc(struct fuzz_input *in, struct model *m, struct object *o)
{
	size_t align = fuzz_below(in, 4) == 0 ? (size_t)1 << fuzz_below(in, 17) : 0;
	struct object new = { .len = take_len(in) };

	new.p = align != 0 ? wherry_arena_alloc_aligned(m->arena, align, new.len)
			   : wherry_arena_alloc(m->arena, new.len);
	if (new.p != NULL) {
		*o = new;
		adopt(in, m, o, align != 0 ? align : natural_align(o->len));
	} else if (align <= PAGE) {
		FUZZ_EXPECT(in, largest_free(m) < new.len || largest_free(m) == 0);
	}
}

static void
disown(struct model *m, struct object *o)
{
	m->used -= o->usable;
	m->alive--;
	o->p = NULL;
}

static void
op_free(struct fuzz_input *in, struct model *m, struct object *o)
{
	FUZZ_EXPECT(in, is_filled(o->p, o->len, o->pattern));
	wherry_arena_free(m->arena, o->p);
	disown(m, o);
}

static void
op_realloc(struct fuzz_input *in, struct model *m, struct object *o)
{
	struct object new = { .len = 1 + take_len(in) };
	size_t kept = new.len < o->len ? new.len : o->len;
	uint8_t pattern = o->pattern;

	new.p = wherry_arena_realloc(m->arena, o->p, new.len);
	if (new.p == NULL) {
		FUZZ_EXPECT(in, new.len > o->usable &&largest_free(m) < new.len);
		return;
	}
	FUZZ_EXPECT(in, is_filled(new.p, kept, pattern));
	disown(m, o);
	*o = new;
	adopt(in, m, o, natural_align(0));
}

static void
check_objects(struct fuzz_input *in, const struct model *m)
{
	for (size_t i = 0; i < SLOTS; i++) {
		const struct object *o = &m->objects[i];

		if (o->p == NULL)
			continue;
		FUZZ_EXPECT(in, is_filled(o->p, o->len, o->pattern));
		FUZZ_EXPECT(in, wherry_arena_usable(m->arena, o->p) == o->usable);
	}
}

static bool
is_clear_of_objects(const struct model *m, struct wherry_span span)
{
	for (size_t i = 0; i < SLOTS; i++) {
		uint64_t first = (uintptr_t)m->objects[i].p;

		if (first != 0 && first < span.iova + span.len &&
			span.iova < first + m->objects[i].usable)
			return false;
	}
	return true;
}

/* Free spans are whole pages, ascend, never touch each other, and hold nothing. */
static void
check_free(struct fuzz_input *in, struct model *m)
{
	uint64_t cursor = 0, behind = (uintptr_t)m->info.vaddr, sum = 0;
	struct wherry_arena_stats stats;
	struct wherry_span span;

	while (in->failed == NULL && wherry_arena_next_free(m->arena, &cursor, &span)) {
		FUZZ_EXPECT(in, span.len > 0 && ((span.iova | span.len) & (PAGE - 1)) == 0);
		FUZZ_EXPECT(in, span.iova > behind && is_clear_of_objects(m, span));
		behind = span.iova + span.len;
		sum += span.len;
	}
	FUZZ_EXPECT(in, behind <= (uintptr_t)m->info.vaddr + m->info.len);
	wherry_arena_get_stats(m->arena, &stats);
	FUZZ_EXPECT(in, stats.used == m->used && stats.objects == m->alive);
	FUZZ_EXPECT(in, stats.used + sum <= stats.total);
	FUZZ_EXPECT(in, stats.total + stats.metadata <= m->info.len);
	if (m->alive == 0)
		FUZZ_EXPECT(in, sum == stats.total);
}

static void
reopen(struct fuzz_input *in, struct model *m)
{
	wherry_arena_close(m->arena);
	m->arena = NULL;
	FUZZ_EXPECT(in, wherry_arena_open(m->region, &m->arena) == 0);
}

static void
step(struct fuzz_input *in, struct model *m)
{
	struct object *o = &m->objects[fuzz_below(in, SLOTS)];
	unsigned int op = (unsigned int)fuzz_below(in, 16);

	if (op == 0)
		reopen(in, m);
	if (in->failed != NULL)
		return;
	if (o->p == NULL)
		op_alloc(in, m, o);
	else if (op < 5)
		op_realloc(in, m, o);
	else
		op_free(in, m, o);
	if (op != 0)
		return;
	check_objects(in, m);
	check_free(in, m);
}

static void
free_all(struct fuzz_input *in, struct model *m)
{
	for (size_t i = 0; i < SLOTS && in->failed == NULL; i++)
		if (m->objects[i].p != NULL)
			op_free(in, m, &m->objects[i]);
	if (in->failed == NULL)
		check_free(in, m);
}

const char *
arena_model_run(const uint8_t *data, size_t len)
{
	struct wherry_region_opts opts = { .len = 2 << 20, .node = WHERRY_NODE_ANY };
	struct fuzz_input in = { .next = data, .end = data + len };
	static struct model m; /* keeps its region: making one costs more than a run */

	if (m.region == NULL)
		FUZZ_EXPECT(&in, wherry_region_create(&opts, &m.region) == 0);
	if (in.failed != NULL)
		return in.failed;
	m = (struct model){ .region = m.region };
	wherry_region_get_info(m.region, &m.info);
	FUZZ_EXPECT(&in, wherry_arena_create(m.region, &m.arena) == 0);
	while (fuzz_more(&in))
		step(&in, &m);
	free_all(&in, &m);
	wherry_arena_close(m.arena);
	return in.failed;
}
