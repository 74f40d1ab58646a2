/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page-table formats, bit for bit: what is written for a leaf of each size, and
 * what becomes of it when a device uses it, when it is cleaned and when fenced.
 * Numbers here are the specifications', not made from the masks of the formats.
 */
#include "rig.h"
#include "soft_priv.h"

#define RW (WHERRY_DMA_READ | WHERRY_DMA_WRITE)
#define AT (UINT64_C(1) << 39) /* aligned to every leaf */
#define BASE UINT64_C(0x40000000)

static const struct soft_format *const vtdss = &soft_format_vtdss;
static const struct soft_format *const amdv1 = &soft_format_amdv1;
static const struct soft_format *const arm64s1 = &soft_format_arm64s1;

/* A table with one leaf at AT, for memory at AT; level: where its entries stand. */
struct one_leaf {
	struct soft_unit unit;
	struct wherry_span span;
	unsigned int level;
};

static void
leaf_make(struct one_leaf *l, const struct soft_format *fmt, unsigned int shift, unsigned int prot)
{
	*l = (struct one_leaf){ .span = { AT, UINT64_C(1) << shift }, .level = (shift - 12) / 9 };
	l->unit.tracking = true;
	CHECK_EQ(soft_pt_init(&l->unit.pt, fmt, 48, fmt->page_sizes), 0);
	CHECK_EQ(soft_pt_map(&l->unit.pt, l->span, AT, prot), 0);
}

static void
leaf_free(struct one_leaf *l)
{
	soft_pt_fini(&l->unit.pt);
}

/* Entry n of the leaf, at the level where it has to stand. */
static uint64_t
leaf_entry(const struct one_leaf *l, unsigned int n)
{
	uint64_t iova = AT + n * (UINT64_C(1) << soft_level_shift(l->level));
	uint64_t *table = l->unit.pt.root;

	for (unsigned int level = l->unit.pt.levels - 1; level > l->level; level--) {
		uint64_t entry = table[soft_index(iova, level)];

		CHECK(soft_is_table(l->unit.pt.fmt, entry, level));
		table = soft_pt_table(l->unit.pt.fmt, entry);
	}
	return table[soft_index(iova, l->level)];
}

static const struct {
	const struct soft_format *const *fmt;
	unsigned int shift, prot, n_entries;
	uint64_t entry, each; /* entry n: AT | entry + n * each */
} leaves[] = {
	{ &vtdss, 12, RW, 1, 0x3, 0 },
	{ &vtdss, 21, WHERRY_DMA_READ, 1, 0x81, 0 },
	{ &vtdss, 30, WHERRY_DMA_WRITE, 1, 0x82, 0 },
	{ &amdv1, 12, RW, 1, UINT64_C(0x6000000000000001), 0 },
	{ &amdv1, 12, WHERRY_DMA_READ, 1, UINT64_C(0x2000000000000001), 0 },
	{ &amdv1, 12, WHERRY_DMA_WRITE, 1, UINT64_C(0x4000000000000001), 0 },
	{ &amdv1, 13, RW, 2, UINT64_C(0x6000000000000e01), 0 },
	{ &amdv1, 14, RW, 4, UINT64_C(0x6000000000001e01), 0 },
	{ &amdv1, 20, RW, 256, UINT64_C(0x600000000007fe01), 0 },
	{ &amdv1, 21, RW, 1, UINT64_C(0x6000000000000001), 0 },
	{ &amdv1, 22, RW, 2, UINT64_C(0x60000000001ffe01), 0 },
	{ &amdv1, 29, RW, 256, UINT64_C(0x600000000ffffe01), 0 },
	{ &amdv1, 30, RW, 1, UINT64_C(0x6000000000000001), 0 },
	{ &amdv1, 38, RW, 256, UINT64_C(0x6000001ffffffe01), 0 },
	{ &arm64s1, 12, RW, 1, UINT64_C(0x0008000000000bc3), 0 },
	{ &arm64s1, 12, WHERRY_DMA_READ, 1, 0xbc3, 0 },
	{ &arm64s1, 12, WHERRY_DMA_WRITE, 1, UINT64_C(0x0008000000000bc3), 0 },
	{ &arm64s1, 16, RW, 16, UINT64_C(0x0018000000000bc3), 0x1000 },
	{ &arm64s1, 21, RW, 1, UINT64_C(0x0008000000000bc1), 0 },
	{ &arm64s1, 25, RW, 16, UINT64_C(0x0018000000000bc1), 0x200000 },
	{ &arm64s1, 30, WHERRY_DMA_READ, 1, 0xbc1, 0 },
	{ &arm64s1, 34, RW, 16, UINT64_C(0x0018000000000bc1), 0x40000000 },
};

TEST(soft_format_leaves_are_the_specification_s)
{
	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
		const struct soft_format *fmt = *leaves[i].fmt;
		struct one_leaf l;

		leaf_make(&l, fmt, leaves[i].shift, leaves[i].prot);
		for (unsigned int n = 0; n < leaves[i].n_entries; n++) {
			uint64_t want = AT | (leaves[i].entry + n * leaves[i].each);

			if (leaf_entry(&l, n) != want)
				FAIL("%s 2^%u entry %u: %#llx, not %#llx", fmt->name,
					leaves[i].shift, n, (unsigned long long)leaf_entry(&l, n),
					(unsigned long long)want);
			CHECK_EQ(fmt->leaf_shift(want, l.level), leaves[i].shift);
		}
		leaf_free(&l);
	}
}

/* Every size a format has comes back from the entries it makes, and reaches its memory. */
TEST(soft_format_sizes_are_found_again)
{
	const struct soft_format *const all[] = { vtdss, amdv1, arm64s1 };

	for (size_t i = 0; i < 3; i++) {
		for (uint64_t sizes = all[i]->page_sizes; sizes != 0; sizes &= sizes - 1) {
			unsigned int shift = (unsigned int)__builtin_ctzll(sizes);
			struct soft_device dev = { .width = 64 };
			struct one_leaf l;
			uint64_t offset, page;

			leaf_make(&l, all[i], shift, RW);
			for (unsigned int n = 0; n < 8; n++) {
				offset = round_down(test_random() & (l.span.len - 1), PT_PAGE);
				CHECK(soft_walk(&l.unit, &dev, AT + offset, n % 2, &page) == NULL);
				CHECK_EQ(page & IOTLB_PAGE_MASK, AT + offset);
			}
			leaf_free(&l);
		}
	}
}

/* The naive answer: the largest size that both addresses and the rest of the span allow. */
static unsigned int
largest_that_fits(uint64_t sizes, uint64_t addresses, uint64_t len)
{
	unsigned int shift = 63;

	while ((sizes >> shift & 1) == 0 || len >> shift == 0 ||
		(addresses & ((UINT64_C(1) << shift) - 1)) != 0)
		shift--;
	return shift;
}

static void
check_leaves(const struct soft_pt *pt, struct wherry_span span, uint64_t paddr)
{
	const struct soft_unit unit = { .pt = *pt };
	const struct soft_device dev = { .width = 64 };

	for (uint64_t at = 0; at < span.len;) {
		unsigned int want = largest_that_fits(
			pt->leaves, (span.iova + at) | (paddr + at), span.len - at);
		uint64_t inside = test_random() & ((UINT64_C(1) << want) - 1);
		struct soft_leaf leaf;
		unsigned int shift;

		CHECK(soft_walk_find(&unit, &dev, span.iova + at + inside, true, &leaf) == NULL);
		shift = pt->fmt->leaf_shift(leaf.entry, leaf.level);
		CHECK_EQ(shift, want);
		CHECK_EQ(leaf.entry & pt->fmt->address & ~((UINT64_C(1) << shift) - 1), paddr + at);
		at += UINT64_C(1) << want;
	}
}

TEST(soft_format_map_picks_the_largest_leaves_that_fit)
{
	static const struct soft_edit take_away = { .change = { .clear = ~UINT64_C(0) },
		.prune = true };
	const struct soft_format *const all[] = { vtdss, amdv1, arm64s1 };

	for (unsigned int i = 0; i < 300; i++) {
		const struct soft_format *fmt = all[i % 3];
		uint64_t grain = PT_PAGE << test_random() % 20;
		struct wherry_span span = { test_random() % (UINT64_C(1) << 40),
			PT_PAGE * (1 + test_random() % 3000) };
		uint64_t paddr = round_down(test_random() % (UINT64_C(1) << 46), grain);
		struct soft_edited edited;
		struct soft_pt pt;

		span.iova = round_down(span.iova, grain);
		CHECK_EQ(soft_pt_init(&pt, fmt, 48, fmt->page_sizes), 0);
		CHECK_EQ(soft_pt_map(&pt, span, paddr, RW), 0);
		check_leaves(&pt, span, paddr);
		edited = soft_pt_edit(&pt, span, &take_away, NULL);
		soft_pt_free_garbage(&pt, edited.garbage);
		for (unsigned int n = 0; n < PT_ENTRIES; n++)
			CHECK_EQ(pt.root[n], 0);
		soft_pt_fini(&pt);
	}
}

TEST(soft_format_tables_are_the_specification_s)
{
	struct one_leaf l;

	leaf_make(&l, amdv1, 12, RW); /* next level 3, 2, 1 */
	for (unsigned int level = 3; level > 0; level--) {
		uint64_t *table = l.unit.pt.root;

		for (unsigned int above = 3; above > level; above--)
			table = soft_pt_table(amdv1, table[soft_index(AT, above)]);
		CHECK_EQ(table[soft_index(AT, level)] &
				~(((UINT64_C(1) << 52) - 1) & ~UINT64_C(0xfff)),
			UINT64_C(0x6000000000000001) | level << 9);
	}
	leaf_free(&l);
	leaf_make(&l, arm64s1, 12, RW);
	CHECK_EQ(l.unit.pt.root[1] & ~(((UINT64_C(1) << 48) - 1) & ~UINT64_C(0xfff)), 3);
	leaf_free(&l);
}

/* Bits of an entry beside its address, in the states it goes through. */
static const struct life {
	const struct soft_format *const *fmt;
	uint64_t mapped, read, written, cleaned, fenced, unfenced;
} lives[] = {
	{ &vtdss, 0x3, 0x103, 0x303, 0x103, 0x101, 0x103 },
	{ &amdv1, UINT64_C(0x6000000000000001), UINT64_C(0x6000000000000021),
		UINT64_C(0x6000000000000061), UINT64_C(0x6000000000000021),
		UINT64_C(0x2000000000000021), UINT64_C(0x6000000000000021) },
	{ &arm64s1, UINT64_C(0x0008000000000bc3), UINT64_C(0x0008000000000fc3),
		UINT64_C(0x0008000000000f43), UINT64_C(0x0008000000000fc3),
		UINT64_C(0x0000000000000fc3), UINT64_C(0x0008000000000fc3) },
};

static void
leaf_edit(struct one_leaf *l, struct soft_state state, struct soft_change change)
{
	struct soft_edit edit = { .state = state, .change = change };

	(void)soft_pt_edit(&l->unit.pt, l->span, &edit, NULL);
}

TEST(soft_format_entries_live_as_specified)
{
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		const struct soft_format *fmt = *lives[i].fmt;
		const struct soft_state any = { 0, 0 };
		struct soft_device dev = { .width = 64 };
		struct one_leaf l;
		uint64_t page;

		leaf_make(&l, fmt, 12, RW);
		CHECK_EQ(leaf_entry(&l, 0), AT | lives[i].mapped);
		CHECK(soft_walk(&l.unit, &dev, AT, false, &page) == NULL);
		CHECK_EQ(leaf_entry(&l, 0), AT | lives[i].read);
		for (unsigned int round = 0; round < 2; round++) { /* cleaned: still writable */
			CHECK(soft_walk(&l.unit, &dev, AT, true, &page) == NULL);
			CHECK_EQ(leaf_entry(&l, 0), AT | lives[i].written);
			leaf_edit(&l, fmt->dirty, fmt->to_clean);
			CHECK_EQ(leaf_entry(&l, 0), AT | lives[i].cleaned);
		}
		CHECK(soft_walk(&l.unit, &dev, AT, true, &page) == NULL);
		leaf_edit(&l, fmt->writable, fmt->to_fenced);
		CHECK_EQ(leaf_entry(&l, 0), AT | lives[i].fenced);
		CHECK(soft_walk(&l.unit, &dev, AT, true, &page) != NULL);
		CHECK(soft_walk(&l.unit, &dev, AT, false, &page) == NULL);
		CHECK_EQ(leaf_entry(&l, 0), AT | lives[i].fenced);
		leaf_edit(&l, any, fmt->to_writable);
		CHECK_EQ(leaf_entry(&l, 0), AT | lives[i].unfenced);
		leaf_free(&l);
	}
}

/* While nobody tracks; where clean means read-only, hardware cannot be without it. */
TEST(soft_format_arm64s1_notes_writes_at_all_times)
{
	struct soft_device dev = { .width = 64 };
	struct one_leaf l;
	uint64_t page;

	leaf_make(&l, arm64s1, 12, RW);
	l.unit.tracking = false;
	CHECK(soft_walk(&l.unit, &dev, AT, true, &page) == NULL);
	CHECK_EQ(leaf_entry(&l, 0), AT | UINT64_C(0x0008000000000f43));
	leaf_free(&l);
	leaf_make(&l, amdv1, 12, RW);
	l.unit.tracking = false;
	CHECK(soft_walk(&l.unit, &dev, AT, true, &page) == NULL);
	CHECK_EQ(leaf_entry(&l, 0), AT | UINT64_C(0x6000000000000001));
	leaf_free(&l);
}

static const char *const replicated[] = { "soft:format=amdv1,leaf=64k",
	"soft:format=arm64s1,leaf=64k", NULL };

/* A device sets D in the replica it uses; the others follow suit in all that is reported. */
TEST_EACH(soft_write_to_any_replica_marks_the_whole_leaf, replicated, spec)
{
	struct wherry_span span, page;
	struct wherry_bitmap *bm;
	struct rig r;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 64);
	bm = rig_bitmap(&r, span);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE + 21 * r.page, 1), 0);
	CHECK_EQ(rig_poke(&r, 1, BASE + 31 * r.page, 1), 0);
	CHECK_EQ(wherry_domain_dirty_read(r.dom, span, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 16);
	CHECK(wherry_bitmap_test(bm, BASE + 16 * r.page));
	page = (struct wherry_span){ BASE + 17 * r.page, r.page };
	CHECK_EQ(rig_harvest_count(&r, page), 1); /* the leaf's other pages wait */
	CHECK_EQ(rig_harvest_count(&r, span), 15);
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	for (unsigned int i = 16; i < 32; i++)
		CHECK_EQ(rig_poke(&r, 0, BASE + i * r.page, 1), 0);
	CHECK_EQ(rig_harvest_count(&r, span), 16);
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	wherry_bitmap_clear(bm);
	CHECK_EQ(rig_poke(&r, 0, BASE + 63 * r.page, 1), 0);
	CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, WHERRY_UNMAP_EXACT, bm), 0);
	CHECK_EQ(wherry_bitmap_count(bm), 16);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}
