/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set of intervals against an array with one entry per cell: 128 cells of 2^k
 * bytes, at the bottom or at the top of the space. Each byte is what its cell is,
 * so spans begin and end on cells, and also one byte off where that must fail.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "models.h"
#include "wherry_iova.h"

#define CELLS 128u

struct model {
	struct wherry_iova_set *set;
	uint64_t base, cell;   /* first address, bytes per cell */
	uint16_t owner[CELLS]; /* 0: free; else the number of an interval */
	uint16_t next_owner;
	struct wherry_span usable[3];
	size_t n_usable;
};

/* Cells, end exclusive. */
struct cells {
	unsigned int first, end;
};

static struct wherry_span
span_of(const struct model *m, struct cells c)
{
	struct wherry_span span = { .iova = m->base + c.first * m->cell };

	span.len = (c.end - c.first) * m->cell;
	return span;
}

static struct cells
take_cells(struct fuzz_input *in)
{
	unsigned int first = (unsigned int)fuzz_below(in, CELLS), len;
	unsigned int left = CELLS - first;

	len = 1 + (unsigned int)fuzz_below(in, fuzz_below(in, 4) == 0 ? left : left < 9 ? left : 9);
	return (struct cells){ .first = first, .end = first + len };
}

static unsigned int
n_owned(const struct model *m, struct cells c)
{
	unsigned int n = 0;

	for (unsigned int i = c.first; i < c.end; i++)
		n += m->owner[i] != 0;
	return n;
}

/* The cells of the interval that owns cell i, which is not free. */
static struct cells
interval_at(const struct model *m, unsigned int i)
{
	struct cells c = { .first = i, .end = i + 1 };

	while (c.first > 0 && m->owner[c.first - 1] == m->owner[i])
		c.first--;
	while (c.end < CELLS && m->owner[c.end] == m->owner[i])
		c.end++;
	return c;
}

static bool
is_interval(const struct model *m, struct cells c)
{
	struct cells at;

	if (m->owner[c.first] == 0)
		return false;
	at = interval_at(m, c.first);
	return at.first == c.first && at.end == c.end;
}

static void
set_owner(struct model *m, struct cells c, uint16_t owner)
{
	for (unsigned int i = c.first; i < c.end; i++)
		m->owner[i] = owner;
}

static void *
value_of(uint16_t owner)
{
	return (void *)(uintptr_t)owner;
}

static void
op_insert(struct fuzz_input *in, struct model *m)
{
	struct cells c = take_cells(in);
	int want = n_owned(m, c) != 0 ? -EEXIST : 0;

	FUZZ_EXPECT(in, wherry_iova_insert(m->set, span_of(m, c), value_of(m->next_owner)) == want);
	if (want == 0)
		set_owner(m, c, m->next_owner++);
}

static void
op_remove(struct fuzz_input *in, struct model *m)
{
	struct cells c = take_cells(in);
	struct wherry_span span;
	void *value = NULL;
	int rc;

	if (m->owner[c.first] != 0 && fuzz_below(in, 8) != 0)
		c = interval_at(m, c.first);
	span = span_of(m, c);
	rc = wherry_iova_remove(m->set, span, &value);
	FUZZ_EXPECT(in, rc == (is_interval(m, c) ? 0 : -ENOENT));
	FUZZ_EXPECT(in, value == (rc == 0 ? value_of(m->owner[c.first]) : NULL));
	if (rc == 0)
		set_owner(m, c, 0);
}

static void
op_ask(struct fuzz_input *in, struct model *m)
{
	struct cells c = take_cells(in);
	struct wherry_span span = span_of(m, c);
	bool cuts = false;

	if (m->owner[c.first] != 0)
		cuts |= interval_at(m, c.first).first < c.first;
	if (m->owner[c.end - 1] != 0)
		cuts |= interval_at(m, c.end - 1).end > c.end;
	FUZZ_EXPECT(in, wherry_iova_would_cut(m->set, span) == cuts);
	FUZZ_EXPECT(in, wherry_iova_covers(m->set, span) == (n_owned(m, c) == c.end - c.first));
}

static bool
model_usable(const struct model *m, struct wherry_span span)
{
	for (size_t i = 0; i < m->n_usable; i++)
		if (span.iova >= m->usable[i].iova &&
			wherry_span_last(span) <= wherry_span_last(m->usable[i]))
			return true;
	return false;
}

/* May n cells from first on be handed out? */
static bool
is_hole(const struct model *m, struct cells c, uint64_t align)
{
	struct wherry_span span = span_of(m, c);

	return (span.iova & (align - 1)) == 0 && n_owned(m, c) == 0 && model_usable(m, span);
}

static void
op_hole(struct fuzz_input *in, struct model *m)
{
	unsigned int n = 1 + (unsigned int)fuzz_below(in, fuzz_below(in, 4) == 0 ? CELLS : 9),
		     holes = 0;
	struct wherry_span span = { .len = n * m->cell };
	uint64_t align = m->cell << fuzz_below(in, 6);
	struct cells c;
	int rc;

	for (c.first = 0; c.first + n <= CELLS; c.first++) {
		c.end = c.first + n;
		holes += is_hole(m, c, align);
	}
	rc = wherry_iova_find_hole(m->set, m->usable, m->n_usable, &span, align);
	FUZZ_EXPECT(in, rc == (holes != 0 ? 0 : -ENOSPC));
	if (rc != 0)
		return;
	FUZZ_EXPECT(in, span.len == n * m->cell && (span.iova - m->base) % m->cell == 0);
	c.first = (unsigned int)((span.iova - m->base) / m->cell);
	c.end = c.first + n;
	FUZZ_EXPECT(in, c.end <= CELLS && is_hole(m, c, align));
	if (in->failed == NULL && fuzz_below(in, 4) != 0) {
		FUZZ_EXPECT(in, wherry_iova_insert(m->set, span, value_of(m->next_owner)) == 0);
		set_owner(m, c, m->next_owner++);
	}
}

/* What next and find say about the first and the last byte of each cell. */
static void
check_cell(struct fuzz_input *in, const struct model *m, unsigned int i, uint64_t iova)
{
	struct wherry_iova_entry entry = { .value = NULL };
	bool found = wherry_iova_find(m->set, iova, &entry), next;
	struct wherry_span want;

	FUZZ_EXPECT(in, found == (m->owner[i] != 0));
	FUZZ_EXPECT(in, entry.value == value_of(m->owner[i]));
	while (i < CELLS && m->owner[i] == 0)
		i++;
	next = wherry_iova_next(m->set, iova, &entry);
	FUZZ_EXPECT(in, next == (i < CELLS));
	if (!next || in->failed != NULL)
		return;
	want = span_of(m, interval_at(m, i));
	FUZZ_EXPECT(in, entry.value == value_of(m->owner[i]));
	FUZZ_EXPECT(in, entry.span.iova == want.iova && entry.span.len == want.len);
}

static void
check(struct fuzz_input *in, const struct model *m)
{
	size_t n = 0;

	for (unsigned int i = 0; i < CELLS; i++) {
		uint64_t first = m->base + i * m->cell;

		n += m->owner[i] != 0 && interval_at(m, i).first == i;
		check_cell(in, m, i, first);
		check_cell(in, m, i, first + (m->cell - 1));
	}
	FUZZ_EXPECT(in, wherry_iova_count(m->set) == n);
}

/* Up to three spans with gaps between them. */
static void
take_usable(struct fuzz_input *in, struct model *m)
{
	struct cells c = { .first = 0, .end = 0 };

	for (m->n_usable = 0; m->n_usable < 3; m->n_usable++) {
		c.first = c.end + (unsigned int)fuzz_below(in, 10);
		c.end = c.first + 1 + (unsigned int)fuzz_below(in, 75);
		if (c.end > CELLS)
			break;
		m->usable[m->n_usable] = span_of(m, c);
	}
}

static void
model_init(struct fuzz_input *in, struct model *m)
{
	memset(m, 0, sizeof(*m));
	m->cell = UINT64_C(1) << fuzz_below(in, 40);
	m->base = fuzz_below(in, 2) == 0 ? 0 : 0 - CELLS * m->cell;
	m->next_owner = 1;
	take_usable(in, m);
	FUZZ_EXPECT(in, wherry_iova_set_create(&m->set) == 0);
}

const char *
iova_model_run(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { .next = data, .end = data + len };
	static struct model m;

	model_init(&in, &m);
	while (fuzz_more(&in) && m.next_owner < UINT16_MAX) {
		unsigned int op = (unsigned int)fuzz_below(&in, 8);

		if (op < 2)
			op_insert(&in, &m);
		else if (op < 4)
			op_hole(&in, &m);
		else if (op < 6)
			op_remove(&in, &m);
		else
			op_ask(&in, &m);
		if (fuzz_below(&in, 4) == 0)
			check(&in, &m);
	}
	check(&in, &m);
	wherry_iova_set_destroy(m.set);
	return in.failed;
}
