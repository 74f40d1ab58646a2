/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FORMAT_PRIV_H
#define FORMAT_PRIV_H

/*
 * The format seam: what one bit of a page-table entry means. All formats share
 * one radix table, 4 KiB per table, 512 entries of 64 bits, level 0 the lowest;
 * they differ in masks, so that map, harvest, unmap and the walker exist once.
 *
 * A leaf may be wider than the entry it stands in: it is then written to as many
 * entries as it is wide (replicas), each with the address that make_leaf is given
 * for it; leaf_shift tells the size again. The device sets D in the replica it
 * happens to use. "Dirty" and "writable" may share bits (a format whose write
 * protection is its clean state): hence a state is a mask and a value, and a
 * change is a set and a clear, made in one atomic step.
 */

#include <stdbool.h>
#include <stdint.h>

#define PT_PAGE_SHIFT 12u
#define PT_INDEX_BITS 9u
#define PT_ENTRIES (1u << PT_INDEX_BITS)
#define PT_PAGE (UINT64_C(1) << PT_PAGE_SHIFT)

/* An entry is in a state: (entry & mask) == value. */
struct soft_state {
	uint64_t mask, value;
};

/* What becomes of an entry: (entry & ~clear) | set. */
struct soft_change {
	uint64_t clear, set;
};

struct soft_format {
	const char *name;
	const char *section;  /* where its specification says so */
	unsigned int width;   /* default: bits of I/O address */
	unsigned int widest;  /* as many at most */
	uint64_t page_sizes;  /* leaves; bit n: 2^n bytes */
	uint64_t address;     /* where an entry keeps an address */
	uint64_t present;     /* any of these: an entry is in use */
	const char *no_late;  /* the section by which D is never set afterwards; NULL: it can be */
	bool write_only;      /* an entry can be writable and not readable */
	bool marks_always;    /* A and D are set also while nobody tracks */
	uint64_t table;       /* what an entry that names a table has set ... */
	uint64_t table_level; /* ... and this times the level it stands at */
	struct soft_state readable, writable, dirty;
	uint64_t accessed, table_accessed; /* set by use: in a leaf, in a table's entry */
	struct soft_change to_dirty;       /* the device wrote (accessed comes on top) */
	struct soft_change to_clean;       /* harvested */
	struct soft_change to_untracked;   /* writable, and nothing to note; none: see track() */
	struct soft_change to_fenced;      /* no write any more, nor dirty */
	struct soft_change to_writable;    /* undoes to_fenced, clean */
	bool (*is_leaf)(uint64_t entry);   /* above level 0, present: a leaf, not a table */
	uint64_t (*make_leaf)(uint64_t paddr, unsigned int prot, unsigned int shift);
	unsigned int (*leaf_shift)(uint64_t entry, unsigned int level);
};

extern const struct soft_format soft_format_vtdss;   /* VT-d second stage */
extern const struct soft_format soft_format_amdv1;   /* AMD-Vi host table, version 1 */
extern const struct soft_format soft_format_arm64s1; /* ARM64 stage 1, 4K granule, DBM */

static inline bool
soft_is(struct soft_state state, uint64_t entry)
{
	return (entry & state.mask) == state.value;
}

static inline uint64_t
soft_changed(struct soft_change change, uint64_t entry)
{
	return (entry & ~change.clear) | change.set;
}

static inline bool
soft_is_table(const struct soft_format *fmt, uint64_t entry, unsigned int level)
{
	return level > 0 && (entry & fmt->present) != 0 && !fmt->is_leaf(entry);
}

static inline unsigned int
soft_level_shift(unsigned int level)
{
	return PT_PAGE_SHIFT + PT_INDEX_BITS * level;
}

static inline unsigned int
soft_index(uint64_t iova, unsigned int level)
{
	return (unsigned int)(iova >> soft_level_shift(level)) & (PT_ENTRIES - 1);
}

#endif /* FORMAT_PRIV_H */
