/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's side of a page table: from an I/O address to a page, setting A
 * and D on the way as hardware does.
 *
 * D is set by compare-and-swap on the entry the permission was read from: if
 * the entry was changed in between (fenced, cleaned, cleared), the walk starts
 * again and meets the new one. So a write never goes through an entry whose D
 * bit did not come to stand in the table.
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

/* False: the entry has changed since it was read. */
static bool
mark_used(const struct soft_unit *unit, uint64_t *slot, uint64_t *entry, enum use use)
{
	uint64_t next = used(unit->pt.fmt, *entry, use), seen = *entry;

	if (next == seen || !marks(unit))
		return true;
	if (!__atomic_compare_exchange_n(
		    slot, &seen, next, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	*entry = next;
	return true;
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

static uint64_t
cached_form(
	const struct soft_unit *unit, uint64_t entry, unsigned int level, uint64_t iova, bool write)
{
	const struct soft_format *fmt = unit->pt.fmt;
	uint64_t within = (UINT64_C(1) << fmt->leaf_shift(entry, level)) - 1;
	uint64_t page = ((entry & fmt->address & ~within) | (iova & within)) & IOTLB_PAGE_MASK;

	return page | (soft_is(fmt->readable, entry) ? IOTLB_READ : 0) |
		(soft_is(fmt->writable, entry) ? IOTLB_WRITE : 0) |
		(!marks(unit) || write || soft_is(fmt->dirty, entry) ? IOTLB_DIRTY : 0);
}

/* One attempt. True: it came to an end, with a page or with *ret_why. */
static bool
try_walk(
	struct soft_unit *unit, uint64_t iova, bool write, uint64_t *ret_page, const char **ret_why)
{
	const struct soft_format *fmt = unit->pt.fmt;
	unsigned int level = unit->pt.levels - 1;
	uint64_t *slot = &unit->pt.root[soft_index(iova, level)];
	uint64_t entry = soft_pt_load(slot);

	while (soft_is_table(fmt, entry, level)) {
		if (!mark_used(unit, slot, &entry, AS_TABLE))
			return false;
		level--;
		slot = &soft_pt_table(fmt, entry)[soft_index(iova, level)];
		entry = soft_pt_load(slot);
	}
	soft_hook(SOFT_WALKED);
	*ret_why = refusal(fmt, entry, write);
	if (*ret_why != NULL)
		return true;
	if (!mark_used(unit, slot, &entry, write ? TO_WRITE : TO_READ))
		return false;
	*ret_page = cached_form(unit, entry, level, iova, write);
	return true;
}

const char *
soft_walk(struct soft_unit *unit, struct soft_device *dev, uint64_t iova, bool write,
	uint64_t *ret_page)
{
	const char *why = NULL;

	if (iova >> unit->pt.width != 0)
		return "beyond the I/O address width";
	if (dev->width < 64 && iova >> dev->width != 0)
		return "beyond the device's address width";
	while (!try_walk(unit, iova, write, ret_page, &why))
		; /* another try is due to another's progress */
	return why;
}
