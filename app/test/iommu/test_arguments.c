/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The domain contract: what the calls that read dirty bits refuse, as one table. The rows
 * are those of the kernel's ioctls (set, get, unmap dirty): alignment, page size, exact
 * cover of the bitmap, overflow, everything at once.
 */
#include <errno.h>

#include "rig.h"

#define BASE UINT64_C(0x40000000)
#define MAPPED 16u /* pages from BASE on, in two mappings of 8; page 5 is written */

/* Of the span and of the bitmap: where, and how long, in pages from BASE, and bytes on top. */
static const struct row {
	const char *what;
	struct {
		int64_t pages;
		int bytes;
	} iova, len;
	int64_t bm_first, bm_pages;
	uint64_t bm_page; /* 0: the smallest of the domain */
	int want;
} rows[] = {
	{ "exact cover", { 0, 0 }, { 16, 0 }, 0, 16, 0, 0 },
	{ "a larger bitmap", { 0, 0 }, { 8, 0 }, -3, 40, 0, 0 },
	{ "a finer bitmap", { 0, 0 }, { 8, 0 }, 0, 8, 512, 0 },
	{ "a coarser bitmap", { 0, 0 }, { 16, 0 }, 0, 512, 1 << 21, 0 },
	{ "nothing", { 0, 0 }, { 0, 0 }, 0, 16, 0, -EINVAL },
	{ "an address between pages", { 0, 1 }, { 8, 0 }, 0, 16, 0, -EINVAL },
	{ "an address within a page", { 0, 2048 }, { 8, 0 }, 0, 16, 0, -EINVAL },
	{ "a length between pages", { 0, 0 }, { 7, 1 }, 0, 16, 0, -EINVAL },
	{ "half a page", { 0, 0 }, { 0, 2048 }, 0, 16, 0, -EINVAL },
	{ "a bitmap that ends early", { 0, 0 }, { 16, 0 }, 0, 15, 0, -EINVAL },
	{ "a bitmap that begins late", { 0, 0 }, { 16, 0 }, 1, 16, 0, -EINVAL },
	{ "a bitmap of somewhere else", { 0, 0 }, { 8, 0 }, 16, 8, 0, -EINVAL },
	{ "a hole at the end", { 8, 0 }, { 9, 0 }, 0, 32, 0, -ENOENT },
	{ "a hole at the front", { -1, 0 }, { 9, 0 }, -1, 32, 0, -ENOENT },
	{ "nothing mapped", { 20, 0 }, { 4, 0 }, 0, 32, 0, -ENOENT },
	{ "beyond 2^64", { -(INT64_C(0x40000000) >> 12) - 2, 0 }, { 4, 0 }, 0, 16, 0, -EOVERFLOW },
	{ "beyond every address width", { INT64_C(1) << 50, 0 }, { 8, 0 }, 0, 16, 0, -EOVERFLOW },
	{ "everything", { -(INT64_C(0x40000000) >> 12), 0 }, { -1, 0 }, 0, 16, 0, -EOVERFLOW },
	{ "everything to the last byte", { -(INT64_C(0x40000000) >> 12), 0 }, { -1, 4095 }, 0, 16,
		0, -EINVAL },
};

enum call { READ, HARVEST, SNAPSHOT, EXACT, ASSUME, SEED, N_CALLS };

static int
make_call(struct rig *r, enum call call, struct wherry_span span, struct wherry_bitmap *bm)
{
	static const enum wherry_unmap_mode modes[N_CALLS] = { [SNAPSHOT] = WHERRY_UNMAP_SNAPSHOT,
		[EXACT] = WHERRY_UNMAP_EXACT,
		[ASSUME] = WHERRY_UNMAP_ASSUME,
		[SEED] = WHERRY_UNMAP_SEED };

	if (call == READ)
		return wherry_domain_dirty_read(r->dom, span, bm);
	if (call == HARVEST)
		return wherry_domain_dirty_harvest(r->dom, span, bm);
	return wherry_domain_unmap_dirty(r->dom, span, modes[call], bm);
}

/* What was refused has unmapped nothing, and taken no bit. */
static void
check_unchanged(struct rig *r, struct wherry_bitmap *bm)
{
	struct wherry_span all = { BASE, MAPPED * r->page };

	CHECK_EQ(wherry_bitmap_count(bm), 0);
	for (unsigned int i = 0; i < MAPPED; i += 15)
		CHECK_EQ(rig_poke(r, 0, BASE + i * r->page, 1), 0);
	wherry_bitmap_destroy(bm);
	bm = rig_bitmap(r, all);
	CHECK_EQ(wherry_domain_dirty_harvest(r->dom, all, bm), 0);
	CHECK(wherry_bitmap_test(bm, BASE + 5 * r->page));
	wherry_bitmap_destroy(bm);
}

/* What was marked before still is, and outside the span nothing else: but a coarse bit reaches over it. */
static void
check_marks(const struct rig *r, struct wherry_span span, struct wherry_bitmap *bm)
{
	struct wherry_span first = { wherry_bitmap_span(bm).iova, wherry_bitmap_page(bm) };

	CHECK(wherry_bitmap_test(bm, BASE + 5 * r->page));
	CHECK(wherry_bitmap_test(bm, first.iova));
	if (first.len > span.len)
		return;
	wherry_bitmap_unmark(bm, first);
	wherry_bitmap_unmark(bm, span);
	CHECK_EQ(wherry_bitmap_count(bm), 0);
}

static void
check_row(const char *spec, const struct row *row, enum call call)
{
	struct wherry_span span, cover;
	struct wherry_bitmap *bm;
	struct rig r;
	int rc;

	rig_open(&r, spec);
	rig_map(&r, BASE, 0, MAPPED / 2);
	rig_map(&r, BASE + MAPPED / 2 * r.page, MAPPED / 2, MAPPED / 2);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE + 5 * r.page, 1), 0);
	span.iova = BASE + (uint64_t)row->iova.pages * r.page + (uint64_t)row->iova.bytes;
	span.len = (uint64_t)row->len.pages * r.page + (uint64_t)row->len.bytes;
	cover.iova = BASE + (uint64_t)row->bm_first * r.page;
	cover.len = (uint64_t)row->bm_pages * r.page;
	CHECK_EQ(wherry_bitmap_create(cover, row->bm_page != 0 ? row->bm_page : r.page, &bm), 0);
	if (row->want == 0)
		wherry_bitmap_mark(bm, (struct wherry_span){ cover.iova, 1 });
	rc = make_call(&r, call, span, bm);
	if (rc != row->want)
		FAIL("%s, call %d: %d, not %d", row->what, (int)call, rc, row->want);
	if (rc != 0) {
		check_unchanged(&r, bm);
	} else {
		check_marks(&r, span, bm);
		wherry_bitmap_destroy(bm);
	}
	rig_close(&r);
}

static const char *const formats[] = { "soft", "soft:format=amdv1,leaf=64k,width=57",
	"soft:format=arm64s1,leaf=64k,units=2", NULL };

TEST_EACH(domain_dirty_arguments_are_checked_the_same_in_all_calls, formats, spec)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (enum call call = READ; call < N_CALLS; call++)
			check_row(spec, &rows[i], call);
}
