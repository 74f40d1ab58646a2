/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The software's side of a page table: map, and one loop that does everything
 * else (harvest, read, fence, unmap) to the leaves of a span. "Physical" is an
 * address in this process: the device half reaches memory through it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "pagetable_priv.h"

static uint64_t *
alloc_table(struct soft_pt *pt)
{
	uint64_t *table;

	if (pt->max_tables != 0 && pt->n_tables >= pt->max_tables)
		return NULL;
	table = wherry_fault("soft.table") ? NULL : aligned_alloc(PT_PAGE, PT_PAGE);
	if (table == NULL)
		return NULL;
	__atomic_store_n(&pt->n_tables, pt->n_tables + 1, __ATOMIC_RELAXED);
	return memset(table, 0, PT_PAGE);
}

static void
free_table(struct soft_pt *pt, uint64_t *table)
{
	__atomic_store_n(&pt->n_tables, pt->n_tables - 1, __ATOMIC_RELAXED);
	free(table);
}

/* Pairs with soft_pt_load(): who sees the entry sees what it names. */
static void
publish(uint64_t *entry, uint64_t value)
{
	__atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

int
soft_pt_init(struct soft_pt *pt, const struct soft_format *fmt, unsigned int width, uint64_t leaves)
{
	pt->fmt = fmt;
	pt->width = width;
	pt->levels = (width - PT_PAGE_SHIFT + PT_INDEX_BITS - 1) / PT_INDEX_BITS;
	pt->leaves = leaves;
	pt->max_tables = pt->n_tables = 0;
	pt->root = alloc_table(pt);
	return pt->root == NULL ? -ENOMEM : 0;
}

static void
free_tables(struct soft_pt *pt, uint64_t *table, unsigned int level)
{
	for (unsigned int i = 0; i < PT_ENTRIES; i++)
		if (soft_is_table(pt->fmt, table[i], level))
			free_tables(pt, soft_pt_table(pt->fmt, table[i]), level - 1);
	free_table(pt, table);
}

void
soft_pt_fini(struct soft_pt *pt)
{
	if (pt->root != NULL)
		free_tables(pt, pt->root, pt->levels - 1);
	pt->root = NULL;
}

/* The table at a level, with all tables above it. NULL: no memory. */
static uint64_t *
descend(struct soft_pt *pt, uint64_t iova, unsigned int to_level)
{
	uint64_t *table = pt->root;

	for (unsigned int level = pt->levels - 1; level > to_level; level--) {
		uint64_t *entry = &table[soft_index(iova, level)];
		uint64_t *child = soft_pt_table(pt->fmt, soft_pt_load(entry));

		if (child == NULL) {
			child = alloc_table(pt);
			if (child == NULL)
				return NULL;
			publish(entry,
				(uint64_t)(uintptr_t)child | pt->fmt->table |
					pt->fmt->table_level * level);
		}
		table = child;
	}
	return table;
}

/* The largest leaf that fits both addresses and what is left; 0: not even the smallest does. */
static unsigned int
leaf_shift_for(const struct soft_pt *pt, struct wherry_span span, uint64_t paddr)
{
	for (uint64_t sizes = pt->leaves; sizes != 0;) {
		unsigned int shift = 63 - (unsigned int)__builtin_clzll(sizes);
		uint64_t size = UINT64_C(1) << shift;

		if (size <= span.len && ((span.iova | paddr) & (size - 1)) == 0)
			return shift;
		sizes &= ~size;
	}
	return 0;
}

/* Leaves of one size, as many as one table takes; returns the bytes mapped, 0: no memory. */
static uint64_t
map_in_table(struct soft_pt *pt, struct wherry_span span, uint64_t paddr, unsigned int prot)
{
	unsigned int shift = leaf_shift_for(pt, span, paddr), level, i;
	uint64_t size = UINT64_C(1) << shift, entry_size, done = 0;
	uint64_t *table;

	assert(shift >= PT_PAGE_SHIFT); /* whole pages are mapped, the core saw to it */
	level = (shift - PT_PAGE_SHIFT) / PT_INDEX_BITS;
	entry_size = UINT64_C(1) << soft_level_shift(level);
	i = soft_index(span.iova, level);
	table = descend(pt, span.iova, level);
	while (table != NULL && i < PT_ENTRIES && leaf_shift_for(pt, span, paddr) == shift) {
		for (uint64_t at = 0; at < size; at += entry_size)
			publish(&table[i++], pt->fmt->make_leaf(paddr + at, prot, shift));
		done += size;
		paddr += size;
		span.iova += size;
		span.len -= size;
	}
	return done;
}

int
soft_pt_map(struct soft_pt *pt, struct wherry_span span, uint64_t paddr, unsigned int prot)
{
	while (span.len > 0) {
		uint64_t done = map_in_table(pt, span, paddr, prot);

		if (done == 0)
			return -ENOMEM;
		span.iova += done;
		span.len -= done;
		paddr += done;
	}
	return 0;
}

/* One run of soft_pt_edit. run: dirty leaves seen and not yet reported; empty if len is 0. */
struct editing {
	const struct soft_format *fmt;
	const struct soft_edit *edit;
	struct wherry_dirty_sink *sink;
	struct wherry_span run;
	struct soft_edited result;
};

static void
report_run(struct editing *ed)
{
	if (ed->run.len != 0)
		wherry_dirty_sink_mark(ed->sink, ed->run);
	ed->run.len = 0;
}

static void
note_dirty(struct editing *ed, uint64_t iova, uint64_t entry, unsigned int level)
{
	uint64_t size = UINT64_C(1) << ed->fmt->leaf_shift(entry, level);

	iova = round_down(iova, size);
	if (ed->run.len != 0 && iova <= wherry_span_last(ed->run))
		return; /* another replica of the same leaf */
	if (ed->run.len == 0 || wherry_span_last(ed->run) + 1 != iova) {
		report_run(ed);
		ed->run.iova = iova;
	}
	ed->run.len += size;
}

/* Walkers may set A or D at the same moment: whoever comes second sees the other. */
static void
edit_entry(struct editing *ed, uint64_t *slot, uint64_t iova, unsigned int level)
{
	uint64_t entry = soft_pt_load(slot), next;

	do {
		if (!soft_is(ed->edit->state, entry))
			return;
		next = soft_changed(ed->edit->change, entry);
		if (next == entry)
			break;
	} while (!__atomic_compare_exchange_n(
		slot, &entry, next, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	if (next != entry)
		ed->result.changed = true;
	if (ed->sink != NULL && soft_is(ed->fmt->dirty, entry))
		note_dirty(ed, iova, entry, level);
}

static bool
table_is_empty(const uint64_t *table)
{
	for (unsigned int i = 0; i < PT_ENTRIES; i++)
		if (__atomic_load_n(&table[i], __ATOMIC_RELAXED) != 0)
			return false;
	return true;
}

/*
 * The list is threaded through entry 0 of the dead tables. A device that still
 * walks one finds an address with no present bit there: not mapped, as all else.
 */
static void
discard(struct editing *ed, uint64_t *slot, uint64_t *table)
{
	publish(slot, 0);
	publish(&table[0], (uint64_t)(uintptr_t)ed->result.garbage.first);
	ed->result.garbage.first = table;
}

static void
edit_table(struct editing *ed, uint64_t *table, unsigned int level, uint64_t iova, uint64_t last)
{
	uint64_t size = UINT64_C(1) << soft_level_shift(level);

	for (unsigned int i = soft_index(iova, level); i <= soft_index(last, level); i++) {
		uint64_t entry_last = iova | (size - 1);
		uint64_t entry = soft_pt_load(&table[i]);

		if (soft_is_table(ed->fmt, entry, level)) {
			uint64_t *child = soft_pt_table(ed->fmt, entry);

			edit_table(
				ed, child, level - 1, iova, entry_last < last ? entry_last : last);
			if (ed->edit->prune && table_is_empty(child))
				discard(ed, &table[i], child);
		} else if (entry != 0) {
			edit_entry(ed, &table[i], iova, level);
		}
		iova = entry_last + 1;
	}
}

struct soft_edited
soft_pt_edit(struct soft_pt *pt, struct wherry_span span, const struct soft_edit *edit,
	struct wherry_dirty_sink *sink)
{
	struct editing ed = { .fmt = pt->fmt, .edit = edit, .sink = sink };

	edit_table(&ed, pt->root, pt->levels - 1, span.iova, wherry_span_last(span));
	report_run(&ed);
	return ed.result;
}

void
soft_pt_free_garbage(struct soft_pt *pt, struct soft_garbage garbage)
{
	while (garbage.first != NULL) {
		uint64_t *table = garbage.first;

		garbage.first = soft_pt_table(pt->fmt, table[0]);
		free_table(pt, table);
	}
}

bool
soft_pt_track(struct soft_pt *pt, struct wherry_span span, bool on)
{
	struct soft_edit clean = { .state = pt->fmt->dirty, .change = pt->fmt->to_clean };
	struct soft_edit release = { .state = pt->fmt->writable, .change = pt->fmt->to_untracked };

	if (!on && (release.change.clear | release.change.set) == 0)
		return false; /* the unit's switch does it */
	return soft_pt_edit(pt, span, on ? &clean : &release, NULL).changed;
}
