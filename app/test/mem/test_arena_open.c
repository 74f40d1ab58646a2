/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/mem: opening an arena whose bytes are not what they should be. */
#include <errno.h>
#include <string.h>

#include "arena_priv.h"
#include "fuzz_random.h"
#include "models.h"
#include "test.h"

#define LEN ((size_t)256 << 10)

struct fixture {
	struct wherry_region *region;
	struct wherry_region_info info;
	struct arena_header *header;
	struct arena_page *pages;
};

/* Page 0 is a slab with room, page 1 a run, 2 to 4 are free, 5 a run, 6 a slab of 48, then all is free. */
static struct fixture
setup(void)
{
	struct wherry_region_opts opts = { .len = LEN, .node = WHERRY_NODE_ANY };
	struct wherry_arena *arena = NULL;
	struct fixture f;
	void *p[5];

	CHECK_EQ(wherry_region_create(&opts, &f.region), 0);
	wherry_region_get_info(f.region, &f.info);
	CHECK_EQ(wherry_arena_create(f.region, &arena), 0);
	p[0] = wherry_arena_alloc(arena, 112);
	p[1] = wherry_arena_alloc(arena, PAGE_4K);
	p[2] = wherry_arena_alloc(arena, 3 * PAGE_4K);
	p[3] = wherry_arena_alloc(arena, PAGE_4K);
	p[4] = wherry_arena_alloc(arena, 40);
	CHECK(p[0] != NULL && p[1] != NULL && p[3] != NULL && p[4] != NULL);
	wherry_arena_free(arena, p[2]);
	wherry_arena_close(arena);
	f.header = f.info.vaddr;
	f.pages = (struct arena_page *)(uintptr_t)((char *)f.info.vaddr + PAGE_4K);
	return f;
}

static int
open_it(const struct fixture *f)
{
	struct wherry_arena *arena = NULL;
	int rc = wherry_arena_open(f->region, &arena);

	CHECK((arena != NULL) == (rc == 0));
	wherry_arena_close(arena);
	return rc;
}

TEST(mem_arena_open_says_the_layout_that_these_tests_expect)
{
	struct fixture f = setup();

	CHECK_EQ(f.pages[0].kind, SLAB);
	CHECK_EQ(f.pages[1].kind, RUN);
	CHECK_EQ(f.pages[2].kind, FREE);
	CHECK_EQ(f.pages[4].kind, FREE_TAIL);
	CHECK_EQ(f.pages[5].kind, RUN);
	CHECK_EQ(f.pages[6].kind, SLAB);
	CHECK_EQ(f.pages[7].kind, FREE);
	CHECK_EQ(open_it(&f), 0);
	wherry_region_destroy(f.region);
}

/* All that was free becomes an allocation with a page more than there is. */
static void
allocate_past_the_end(struct fixture *f)
{
	struct arena_page *rest = &f->pages[7];

	f->header->bins[bin_of(rest->n_pages)] = NONE;
	f->pages[7 + rest->n_pages - 1].kind = BODY;
	rest->kind = RUN;
	CHECK_EQ(open_it(f), 0);
	rest->n_pages++;
}

/* Each number of the format, wrong in the way that would do harm. */
#define REFUSED(name, change)                    \
	TEST(mem_arena_open_refuses_##name)      \
	{                                        \
		struct fixture f = setup();      \
		change;                          \
		CHECK_EQ(open_it(&f), -EPROTO);  \
		wherry_region_destroy(f.region); \
	}

REFUSED(another_magic, f.header->magic++)
REFUSED(another_version, f.header->version++)
REFUSED(another_address, f.header->base += PAGE_4K)
REFUSED(another_length, f.header->len -= PAGE_4K)
REFUSED(another_page_count, f.header->n_pages--)
REFUSED(a_root_outside, f.header->root = (uintptr_t)f.info.vaddr + LEN)
REFUSED(a_root_in_the_table, f.header->root = (uintptr_t)f.pages)
REFUSED(a_list_head_outside, f.header->bins[1] = f.header->n_pages)
REFUSED(a_list_head_that_is_used, f.header->bins[1] = 1)
REFUSED(a_list_without_its_member, f.header->partial[5] = NONE)
REFUSED(a_list_of_another_size, (f.header->bins[2] = 2, f.header->bins[1] = NONE))
REFUSED(a_circle, (f.pages[2].next = 2, f.pages[2].prev = 2))
REFUSED(a_next_outside, f.pages[2].next = f.header->n_pages)
REFUSED(a_prev_that_is_not_before, f.pages[2].prev = 7)
REFUSED(an_unknown_kind, f.pages[1].kind = N_KINDS)
REFUSED(a_body_without_a_run, f.pages[1].kind = BODY)
REFUSED(a_run_of_no_pages, f.pages[5].n_pages = 0)
REFUSED(a_run_behind_the_end, f.pages[7].n_pages++)
REFUSED(a_run_far_behind_the_end, f.pages[7].n_pages = NONE)
REFUSED(an_allocation_behind_the_end, allocate_past_the_end(&f))
REFUSED(a_run_over_the_next, f.pages[1].n_pages = 2)
REFUSED(a_run_that_hides_a_slab, f.pages[3].kind = SLAB)
REFUSED(free_neighbours,
	(f.pages[1].kind = FREE, f.pages[1].next = f.pages[1].prev = NONE, f.header->bins[0] = 1))
REFUSED(a_tail_of_another_length, f.pages[4].n_pages = 2)
REFUSED(a_missing_tail, f.pages[4].kind = BODY)
REFUSED(a_class_outside, f.pages[0].cls = N_CLASSES)
REFUSED(a_slab_of_another_class, f.pages[0].cls = 15)
REFUSED(a_wrong_count_of_objects, f.pages[0].n_used++)
REFUSED(an_empty_slab, (f.pages[0].n_used = 0, f.pages[0].used[0] = 0))
REFUSED(an_object_behind_the_last, (f.pages[0].n_used = 2, f.pages[0].used[0] |= UINT64_C(1) << 36))
REFUSED(an_object_behind_the_last_of_many,
	(f.pages[6].n_used = 2, f.pages[6].used[1] |= UINT64_C(1) << 21))
REFUSED(an_object_far_behind_the_last, (f.pages[0].n_used = 2, f.pages[0].used[1] |= 1))

TEST(mem_arena_open_refuses_another_address_of_the_same_bytes)
{
	struct wherry_region_opts opts = { .len = LEN, .node = WHERRY_NODE_ANY };
	struct fixture f = setup(), other;

	CHECK_EQ(wherry_region_create(&opts, &other.region), 0);
	wherry_region_get_info(other.region, &other.info);
	memcpy(other.info.vaddr, f.info.vaddr, LEN);
	CHECK_EQ(open_it(&other), -EPROTO);
	wherry_region_destroy(other.region);
	wherry_region_destroy(f.region);
}

static void
flip(size_t at, uint8_t bits)
{
	uint8_t change[3] = { (uint8_t)at, (uint8_t)(at >> 8), bits };
	const char *failed = arena_bytes_model_run(change, sizeof(change));

	if (failed != NULL)
		FAIL("byte %zu ^ %u: %s", at, bits, failed);
}

/* Every byte of the header, and of the table that describes 256 KiB. */
TEST(mem_arena_open_refuses_or_survives_any_changed_byte)
{
	static const uint8_t changes[] = { 1, 2, 0x80, 0xff };

	for (size_t i = 0; i < sizeof(changes); i++) {
		for (size_t at = 0; at < sizeof(struct arena_header); at++)
			flip(at, changes[i]);
		for (size_t at = 0; at < LEN / PAGE_4K * sizeof(struct arena_page); at++)
			flip(PAGE_4K + at, changes[i]);
	}
}

TEST(mem_arena_open_refuses_or_survives_random_changes)
{
	fuzz_random(arena_bytes_model_run, 2000, 6);
	fuzz_random(arena_bytes_model_run, 500, 30);
}
