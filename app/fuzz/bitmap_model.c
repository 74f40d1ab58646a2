/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Three bitmaps against one byte per page: A and its twin (same shape), and B of
 * another page size on a span that overlaps A's in part, everywhere up to 2^64.
 * Addresses are 128 bits wide here, so that the model cannot overflow.
 */
#include <string.h>

#include "fuzz.h"
#include "models.h"
#include "wherry_bitmap.h"

#define PAGES_MAX 9000u /* 18 blocks of the second level */

typedef unsigned __int128 wide_t;

/* first inclusive, end exclusive */
struct piece {
	wide_t first, end;
};

struct model {
	struct wherry_bitmap *bm;
	struct wherry_span span;
	uint64_t page;
	size_t n_pages;
	uint8_t marked[PAGES_MAX];
};

struct world {
	struct model a, twin, b;
};

static struct piece
piece(struct wherry_span span)
{
	return (struct piece){ .first = span.iova, .end = (wide_t)span.iova + span.len };
}

static struct piece
page_piece(const struct model *m, size_t i)
{
	wide_t first = m->span.iova + (wide_t)i * m->page;

	return (struct piece){ .first = first, .end = first + m->page };
}

static bool
touches(struct piece a, struct piece b)
{
	return a.first < a.end && a.first < b.end && b.first < a.end && b.first < b.end;
}

static bool
inside(struct piece a, struct piece b)
{
	return a.first >= b.first && a.end <= b.end;
}

static void
model_mark(struct model *m, struct piece where)
{
	for (size_t i = 0; i < m->n_pages; i++)
		if (touches(page_piece(m, i), where))
			m->marked[i] = 1;
}

static void
model_unmark(struct model *m, struct piece where)
{
	for (size_t i = 0; i < m->n_pages; i++)
		if (inside(page_piece(m, i), where))
			m->marked[i] = 0;
}

/* Is a marked page of m in where? */
static bool
model_any(const struct model *m, struct piece where)
{
	struct piece all = piece(m->span);
	size_t i;

	if (!touches(all, where))
		return false;
	i = where.first > all.first ? (size_t)((where.first - all.first) / m->page) : 0;
	for (; i < m->n_pages && touches(page_piece(m, i), where); i++)
		if (m->marked[i])
			return true;
	return false;
}

static void
model_or(struct model *into, const struct model *from)
{
	for (size_t i = 0; i < into->n_pages; i++)
		if (model_any(from, page_piece(into, i)))
			into->marked[i] = 1;
}

static void
check_pages(struct fuzz_input *in, const struct model *m)
{
	uint64_t marked = 0;

	for (size_t i = 0; i < m->n_pages; i++) {
		uint64_t iova = m->span.iova + i * m->page;

		FUZZ_EXPECT(in, wherry_bitmap_test(m->bm, iova) == m->marked[i]);
		FUZZ_EXPECT(in, wherry_bitmap_test(m->bm, iova + (m->page - 1)) == m->marked[i]);
		marked += m->marked[i];
	}
	FUZZ_EXPECT(in, wherry_bitmap_count(m->bm) == marked);
	if (m->span.iova > 0)
		FUZZ_EXPECT(in, !wherry_bitmap_test(m->bm, m->span.iova - 1));
	if (wherry_span_last(m->span) != UINT64_MAX)
		FUZZ_EXPECT(in, !wherry_bitmap_test(m->bm, m->span.iova + m->span.len));
}

/* Where a cursor stands after this run. */
static uint64_t
behind(struct wherry_span run)
{
	uint64_t last = wherry_span_last(run);

	return last == UINT64_MAX ? UINT64_MAX : last + 1;
}

/* The runs from page i on, as the model sees them. */
static void
check_runs(struct fuzz_input *in, const struct model *m, size_t i)
{
	uint64_t at = m->span.iova + i * m->page;
	struct wherry_span run;

	if (at == UINT64_MAX) /* a cursor's end, even where the page is a byte */
		return;
	while (wherry_bitmap_next_run(m->bm, &at, &run)) {
		while (i < m->n_pages && !m->marked[i])
			i++;
		FUZZ_EXPECT(in, i < m->n_pages && run.iova == m->span.iova + i * m->page);
		FUZZ_EXPECT(in, run.len > 0 && at == behind(run));
		if (in->failed != NULL)
			return;
		for (; run.len != 0; run.len -= m->page, i++)
			FUZZ_EXPECT(in, i < m->n_pages && m->marked[i]);
		FUZZ_EXPECT(in, i == m->n_pages || !m->marked[i]);
	}
	while (i < m->n_pages)
		FUZZ_EXPECT(in, !m->marked[i++]);
}

static void
check(struct fuzz_input *in, const struct model *m)
{
	check_pages(in, m);
	check_runs(in, m, fuzz_below(in, m->n_pages));
}

/* Some span that begins in or near m's. */
static struct wherry_span
take_span(struct fuzz_input *in, const struct model *m)
{
	struct wherry_span span = { .iova = m->span.iova - m->page + fuzz_take(in, 1) };
	uint64_t pages = fuzz_below(in, 4) == 0 ? PAGES_MAX : 70;

	span.iova += fuzz_below(in, m->n_pages) * m->page;
	span.len = fuzz_below(in, pages) * m->page + fuzz_take(in, 1);
	if (span.len != 0 && span.len - 1 > UINT64_MAX - span.iova)
		span.len = UINT64_MAX - span.iova; /* all but the last byte */
	return span;
}

static void
op_words(struct fuzz_input *in, struct model *into, struct model *scratch)
{
	static uint64_t words[PAGES_MAX / 64 + 1];

	memset(scratch->marked, 0, scratch->n_pages);
	memset(words, 0xff, sizeof(words)); /* bits behind the last page are not looked at */
	for (size_t i = 0; i < scratch->n_pages; i++)
		words[i / 64] &= ~(UINT64_C(1) << i % 64);
	for (unsigned int n = (unsigned int)fuzz_take(in, 1); n > 0; n--) {
		size_t i = fuzz_below(in, scratch->n_pages);

		words[i / 64] |= UINT64_C(1) << i % 64;
		scratch->marked[i] = 1;
	}
	model_or(into, scratch);
	wherry_bitmap_or_words(into->bm, scratch->span, scratch->page, words);
}

static void
op_subtract(struct model *a, const struct model *b)
{
	for (size_t i = 0; i < a->n_pages; i++)
		a->marked[i] &= !b->marked[i];
	wherry_bitmap_subtract(a->bm, b->bm);
}

static void
op_intersect(struct model *a, const struct model *b)
{
	for (size_t i = 0; i < a->n_pages; i++)
		a->marked[i] &= b->marked[i];
	wherry_bitmap_intersect(a->bm, b->bm);
}

static void
op_one(struct fuzz_input *in, struct model *m, unsigned int op)
{
	struct wherry_span span = take_span(in, m);

	if (op == 0) {
		memset(m->marked, 0, m->n_pages);
		wherry_bitmap_clear(m->bm);
	} else if (op <= 3) {
		model_unmark(m, piece(span));
		wherry_bitmap_unmark(m->bm, span);
	} else {
		model_mark(m, piece(span));
		wherry_bitmap_mark(m->bm, span);
	}
}

static void
op_two(struct model *into, struct model *from, bool take)
{
	model_or(into, from);
	if (take) {
		model_unmark(from, piece(into->span));
		wherry_bitmap_take(into->bm, from->bm);
	} else {
		wherry_bitmap_or(into->bm, from->bm);
	}
}

static void
step(struct fuzz_input *in, struct world *w)
{
	struct model *all[] = { &w->a, &w->twin, &w->b };
	struct model *m = all[fuzz_below(in, 3)], *other = all[fuzz_below(in, 3)];
	static struct model scratch; /* a shape of words without a bitmap */
	unsigned int op = (unsigned int)fuzz_below(in, 13);

	if (op == 9 || op == 10) {
		m = &w->a;
		other = &w->twin;
	}
	if (op < 8) {
		op_one(in, m, op);
	} else if (op == 8) {
		scratch = *other;
		op_words(in, m, &scratch);
	} else if (op == 9) {
		op_subtract(m, other);
	} else if (op == 10) {
		op_intersect(m, other);
	} else if (m != other) {
		op_two(m, other, op == 11);
	}
	check(in, m);
	if (m != other)
		check(in, other);
}

static size_t
take_n_pages(struct fuzz_input *in)
{
	static const size_t edges[] = { 1, 2, 63, 64, 65, 127, 128, 255, 256, 257, 511, 4095, 4096,
		4097, 8193 };
	size_t i = fuzz_below(in, sizeof(edges) / sizeof(edges[0]) + 1);

	return i < sizeof(edges) / sizeof(edges[0]) ? edges[i] : 1 + fuzz_below(in, PAGES_MAX);
}

/* A begins low, or ends at 2^64. */
static void
shape_a(struct fuzz_input *in, struct model *m)
{
	m->page = UINT64_C(1) << fuzz_below(in, 31);
	m->n_pages = take_n_pages(in);
	m->span.len = m->n_pages * m->page;
	m->span.iova = fuzz_below(in, 2) == 0 ? m->page * fuzz_take(in, 2) : 0 - m->span.len;
}

/* B has pages up to 128 times smaller or larger and begins somewhere around A. */
static void
shape_b(struct fuzz_input *in, const struct model *a, struct model *m)
{
	unsigned int shift = (unsigned int)fuzz_below(in, 15);
	uint64_t begin = a->span.iova, fits;

	m->page = a->page << shift >> 7;
	if (m->page == 0)
		m->page = 1;
	if (fuzz_below(in, 2) == 0)
		begin += fuzz_below(in, a->n_pages) * a->page;
	else if (begin > 100 * m->page)
		begin -= fuzz_below(in, 100) * m->page;
	m->span.iova = begin & ~(m->page - 1);
	m->n_pages = take_n_pages(in);
	fits = (0 - m->span.iova) / m->page; /* 0: more than enough */
	if (fits != 0 && m->n_pages > fits)
		m->n_pages = fits;
	m->span.len = m->n_pages * m->page;
}

static void
create(struct fuzz_input *in, struct model *m)
{
	FUZZ_EXPECT(in, wherry_bitmap_create(m->span, m->page, &m->bm) == 0);
	memset(m->marked, 0, m->n_pages);
}

const char *
bitmap_model_run(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { .next = data, .end = data + len };
	static struct world w;

	shape_a(&in, &w.a);
	w.twin = w.a;
	shape_b(&in, &w.a, &w.b);
	create(&in, &w.a);
	create(&in, &w.twin);
	create(&in, &w.b);
	while (fuzz_more(&in))
		step(&in, &w);
	wherry_bitmap_destroy(w.a.bm);
	wherry_bitmap_destroy(w.twin.bm);
	wherry_bitmap_destroy(w.b.bm);
	return in.failed;
}
