/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An arena whose metadata was tampered with: it is refused, or every call on it
 * stays in its memory and comes to an end. The input is a row of changes, three
 * bytes each: where (two bytes, from the first byte of the region), and what is
 * XOR-ed into the byte there. What a call hands out is written to: a wrong address
 * outside the region is a crash, one inside the metadata is found here.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "models.h"
#include "wherry_mem.h"

#define LEN ((size_t)256 << 10)
#define TAKEN_MAX 2000u

struct sample {
	struct wherry_region *region;
	struct wherry_region_info info;
	size_t metadata;
	uint8_t sound[16 << 10]; /* the metadata before anything is changed */
};

/* Slabs that are full and not, runs, and free runs between them. */
static void
populate(struct wherry_arena *arena)
{
	static const size_t sizes[] = { 20, 100, 4096, 600, 9000, 50, 2048, 20000, 32 };
	void *p[300];

	for (unsigned int i = 0; i < 300; i++)
		p[i] = wherry_arena_alloc(arena, sizes[i * i % 9]);
	for (unsigned int i = 0; i < 300; i += 7)
		wherry_arena_free(arena, p[i]);
	wherry_arena_set_root(arena, p[1]);
}

static void
sample_init(struct fuzz_input *in, struct sample *s)
{
	struct wherry_region_opts opts = { .len = LEN, .node = WHERRY_NODE_ANY };
	struct wherry_arena_stats stats;
	struct wherry_arena *arena;

	FUZZ_EXPECT(in, wherry_region_create(&opts, &s->region) == 0);
	if (in->failed != NULL)
		return;
	wherry_region_get_info(s->region, &s->info);
	FUZZ_EXPECT(in, wherry_arena_create(s->region, &arena) == 0);
	populate(arena);
	wherry_arena_get_stats(arena, &stats);
	s->metadata = stats.metadata;
	FUZZ_EXPECT(in, s->metadata <= sizeof(s->sound));
	memcpy(s->sound, s->info.vaddr, s->metadata);
	wherry_arena_close(arena);
}

static bool
is_user_memory(const struct sample *s, const void *p, size_t len)
{
	uintptr_t offset = (uintptr_t)p - (uintptr_t)s->info.vaddr;

	return offset >= s->metadata && offset < LEN && len <= LEN - offset;
}

static void
check_walk(struct fuzz_input *in, const struct sample *s, struct wherry_arena *arena)
{
	struct wherry_span span;
	uint64_t cursor = 0, behind = 0;

	while (in->failed == NULL && wherry_arena_next_free(arena, &cursor, &span)) {
		FUZZ_EXPECT(in, is_user_memory(s, (void *)(uintptr_t)span.iova, span.len));
		FUZZ_EXPECT(in, span.iova >= behind);
		behind = span.iova + span.len;
	}
}

/* Take all there is, in many sizes, write to it, and give it back. */
static void
check_use(struct fuzz_input *in, const struct sample *s, struct wherry_arena *arena)
{
	static void *taken[TAKEN_MAX];
	unsigned int n = 0, misses = 0;

	while (n < TAKEN_MAX && misses < 40 && in->failed == NULL) {
		size_t len = (n * 37 + misses * 91) % 5000;
		void *p = wherry_arena_alloc(arena, len);

		if (p == NULL) {
			misses++;
			continue;
		}
		FUZZ_EXPECT(in, is_user_memory(s, p, wherry_arena_usable(arena, p)));
		if (in->failed == NULL)
			memset(p, 0x5a, wherry_arena_usable(arena, p));
		taken[n++] = p;
	}
	check_walk(in, s, arena);
	while (n > 0 && in->failed == NULL)
		wherry_arena_free(arena, taken[--n]);
}

static void
check_arena(struct fuzz_input *in, const struct sample *s, struct wherry_arena *arena)
{
	void *root = wherry_arena_root(arena);
	struct wherry_arena *again;

	FUZZ_EXPECT(in, root == NULL || is_user_memory(s, root, 1));
	check_walk(in, s, arena);
	check_use(in, s, arena);
	wherry_arena_close(arena);
	if (in->failed == NULL) {
		FUZZ_EXPECT(in, wherry_arena_open(s->region, &again) == 0);
		if (in->failed == NULL)
			wherry_arena_close(again);
	}
}

const char *
arena_bytes_model_run(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { .next = data, .end = data + len };
	static struct sample s;
	struct wherry_arena *arena;
	int rc;

	if (s.region == NULL)
		sample_init(&in, &s);
	if (in.failed != NULL)
		return in.failed;
	memcpy(s.info.vaddr, s.sound, s.metadata);
	while (fuzz_more(&in)) {
		size_t at = fuzz_take(&in, 2) % s.metadata;

		((uint8_t *)s.info.vaddr)[at] ^= (uint8_t)fuzz_take(&in, 1);
	}
	rc = wherry_arena_open(s.region, &arena);
	FUZZ_EXPECT(&in, rc == 0 || rc == -EPROTO);
	if (rc == 0)
		check_arena(&in, &s, arena);
	return in.failed;
}
