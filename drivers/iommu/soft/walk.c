/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's side of a page table: from an I/O address to a page, setting A
 * and D on the way as hardware does, which is one of these (option dbit):
 *
 *  checked D is set by compare-and-swap on the entry the permission was read from.
 *          If the entry was changed in between (fenced, cleaned, cleared), the walk
 *          starts again and meets the new one: a write never goes through an entry
 *          whose D bit did not come to stand in the table.
 *  late    The walk leaves D alone. It is set once the data has landed, in
 *          whatever entry is there then, fenced or not; if none is, nowhere.
 *  stale   As checked, but if the entry was fenced or cleared in between, the
 *          compare-and-swap met a copy that does not know of it, and succeeded.
 */
#include "soft_hooks_priv.h"
#include "soft_priv.h"

enum use { AS_TABLE, TO_READ, TO_WRITE };

/* What hardware makes of an entry it uses. */
static uint64_t
used(const struct soft_format *fmt, uint64_t entry, enum use use)
{
	entry |= use == AS_TABLE ? fmt->table_accessed : fmt->accessed;
	return use == TO_WRITE ? soft_changed(fmt->to_dirty, entry) : entry;
}

/* With tracking off D means nothing; dirty_start cleans and invalidates everything. */
static bool
marks(const struct soft_unit *unit)
{
	return unit->pt.fmt->marks_always || __atomic_load_n(&unit->tracking, __ATOMIC_RELAXED);
}

static const char *
refusal(const struct soft_format *fmt, uint64_t entry, bool write)
{
	if ((entry & fmt->present) == 0)
		return "not mapped";
	if (write && !soft_is(fmt->writable, entry))
		return "not writable";
	if (!write && !soft_is(fmt->readable, entry))
		return "not readable";
	return NULL;
}

/* AGAIN: the entry has changed since it was read. */
static enum soft_mark
mark_used(const struct soft_unit *unit, uint64_t *slot, uint64_t *entry, enum use use)
{
	uint64_t next = used(unit->pt.fmt, *entry, use), seen = *entry;

	if (next == seen || !marks(unit))
		return SOFT_MARK_DONE;
	if (!__atomic_compare_exchange_n(
		    slot, &seen, next, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		if (unit->dbit != SOFT_STALE || use != TO_WRITE ||
			refusal(unit->pt.fmt, seen, true) == NULL)
			return SOFT_MARK_AGAIN;
		*entry = next;
		return SOFT_MARK_LOST;
	}
	*entry = next;
	return SOFT_MARK_DONE;
}

static uint64_t
cached_form(const struct soft_unit *unit, const struct soft_leaf *leaf, uint64_t iova)
{
	const struct soft_format *fmt = unit->pt.fmt;
	uint64_t within = (UINT64_C(1) << fmt->leaf_shift(leaf->entry, leaf->level)) - 1;
	uint64_t page = (leaf->entry & fmt->address & ~within) | (iova & within);

	return (page & IOTLB_PAGE_MASK) | (soft_is(fmt->readable, leaf->entry) ? IOTLB_READ : 0) |
		(soft_is(fmt->writable, leaf->entry) ? IOTLB_WRITE : 0) |
		(!marks(unit) || soft_is(fmt->dirty, leaf->entry) ? IOTLB_DIRTY : 0);
}

/* False: a table's entry has changed meanwhile. */
static bool
try_descend(const struct soft_unit *unit, uint64_t iova, struct soft_leaf *leaf)
{
	const struct soft_format *fmt = unit->pt.fmt;

	leaf->level = unit->pt.levels - 1;
	leaf->slot = &unit->pt.root[soft_index(iova, leaf->level)];
	leaf->entry = soft_pt_load(leaf->slot);
	while (soft_is_table(fmt, leaf->entry, leaf->level)) {
		if (mark_used(unit, leaf->slot, &leaf->entry, AS_TABLE) == SOFT_MARK_AGAIN)
			return false;
		leaf->level--;
		leaf->slot = &soft_pt_table(fmt, leaf->entry)[soft_index(iova, leaf->level)];
		leaf->entry = soft_pt_load(leaf->slot);
	}
	return true;
}

const char *
soft_walk_find(const struct soft_unit *unit, const struct soft_device *dev, uint64_t iova,
	bool write, struct soft_leaf *ret_leaf)
{
	if (iova >> unit->pt.width != 0)
		return "beyond the I/O address width";
	if (dev->width < 64 && iova >> dev->width != 0)
		return "beyond the device's address width";
	while (!try_descend(unit, iova, ret_leaf))
		; /* another try is due to another's progress */
	return refusal(unit->pt.fmt, ret_leaf->entry, write);
}

enum soft_mark
soft_walk_mark(const struct soft_unit *unit, uint64_t iova, bool write, struct soft_leaf *leaf,
	uint64_t *ret_page)
{
	enum use use = write && unit->dbit != SOFT_LATE ? TO_WRITE : TO_READ;
	enum soft_mark mark = mark_used(unit, leaf->slot, &leaf->entry, use);

	if (mark != SOFT_MARK_AGAIN)
		*ret_page = cached_form(unit, leaf, iova);
	return mark;
}

const char *
soft_walk(struct soft_unit *unit, struct soft_device *dev, uint64_t iova, bool write,
	uint64_t *ret_page)
{
	struct soft_leaf leaf;
	const char *why;

	do {
		why = soft_walk_find(unit, dev, iova, write, &leaf);
		soft_hook(SOFT_WALKED);
	} while (why == NULL &&
		soft_walk_mark(unit, iova, write, &leaf, ret_page) == SOFT_MARK_AGAIN);
	return why;
}

/*
 * What is cached afterwards comes from the entry as it is now: the translation
 * that the write went through may be one that is being invalidated.
 */
enum soft_mark
soft_walk_mark_late(const struct soft_unit *unit, uint64_t iova, uint64_t *ret_page)
{
	struct soft_leaf leaf;

	do {
		while (!try_descend(unit, iova, &leaf))
			;
		if (leaf.entry == 0)
			return SOFT_MARK_LOST;
	} while (mark_used(unit, leaf.slot, &leaf.entry, TO_WRITE) == SOFT_MARK_AGAIN);
	*ret_page = cached_form(unit, &leaf, iova);
	return SOFT_MARK_DONE;
}
