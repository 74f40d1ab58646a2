/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PAGETABLE_PRIV_H
#define PAGETABLE_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "format_priv.h"
#include "wherry_iommu_driver.h"

/*
 * One page table. Written by one mapping call at a time (the domain's lock) and,
 * at any moment, by walkers, which only ever set A and D in entries that are
 * present. So every change is a compare-and-swap, and a table that an entry named
 * may be freed only after the devices that could be walking it have drained.
 */
struct soft_pt {
	const struct soft_format *fmt;
	unsigned int width;  /* bits of I/O address */
	unsigned int levels; /* tables on the way to a 4K leaf */
	uint64_t leaves;     /* leaf sizes in use; bit n: 2^n bytes */
	size_t max_tables;   /* as many at most, the root included; 0: no limit */
	size_t n_tables;     /* atomic: read by whoever wants to know */
	uint64_t *root;
};

/* Tables that no entry names any more, waiting for the drain. */
struct soft_garbage {
	uint64_t *first;
};

/*
 * What soft_pt_edit does to each leaf of a span that is in state: change it, and
 * report it if it was dirty just before. With prune, tables left empty go.
 */
struct soft_edit {
	struct soft_state state;
	struct soft_change change;
	bool prune;
};

/* What came of it. */
struct soft_edited {
	bool changed; /* some entry: translations have to be invalidated */
	struct soft_garbage garbage;
};

/* leaves: sizes allowed, the format's or fewer. No limit to its tables. -ENOMEM. */
int soft_pt_init(
	struct soft_pt *pt, const struct soft_format *fmt, unsigned int width, uint64_t leaves);
/* Nobody walks it any more. */
void soft_pt_fini(struct soft_pt *pt);

/* -ENOMEM, also for too many tables: part of the span may be mapped, unmap all of it. */
int soft_pt_map(struct soft_pt *pt, struct wherry_span span, uint64_t paddr, unsigned int prot);
/* sink: NULL when nobody wants to know. */
struct soft_edited soft_pt_edit(struct soft_pt *pt, struct wherry_span span,
	const struct soft_edit *edit, struct wherry_dirty_sink *sink);
void soft_pt_free_garbage(struct soft_pt *pt, struct soft_garbage garbage);
/*
 * Have writes to the span noted, all clean, or not any more, as far as entries can say so.
 * Where they cannot, it is the unit's switch alone. True: translations have to be invalidated.
 */
bool soft_pt_track(struct soft_pt *pt, struct wherry_span span, bool on);

static inline uint64_t *
soft_pt_table(const struct soft_format *fmt, uint64_t entry)
{
	return (uint64_t *)(uintptr_t)(entry & fmt->address);
}

static inline uint64_t
soft_pt_load(const uint64_t *entry)
{
	return __atomic_load_n(entry, __ATOMIC_ACQUIRE); /* pairs with the release in publish() */
}

#endif /* PAGETABLE_PRIV_H */
