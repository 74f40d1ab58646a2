/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_IOVA_H
#define WHERRY_IOVA_H

#include <wherry_base.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * A set of disjoint intervals of I/O addresses, each with a value of the caller.
 *
 * What is mapped, what is usable, where a hole is. Lookups and changes cost the
 * logarithm of the number of intervals. Adjacent intervals are not merged: a
 * mapping is taken away as it was made.
 *
 * Threads: one call at a time on one set. Pure: no clock, no file, no lock.
 */

struct wherry_iova_set;

/** One interval of a set. */
struct wherry_iova_entry {
	struct wherry_span span; /**< where */
	void *value;             /**< the caller's, never looked at */
};

/** An empty set. -ENOMEM: no memory. */
int wherry_iova_set_create(struct wherry_iova_set **ret_set) WHERRY_MUST_CHECK;
/** Free the set, not the values. NULL is fine. */
void wherry_iova_set_destroy(struct wherry_iova_set *set);
/** How many intervals it holds. */
size_t wherry_iova_count(const struct wherry_iova_set *set);

/**
 * Add an interval.
 *
 * @retval -EINVAL the span is empty
 * @retval -EOVERFLOW the span leaves the 64-bit space
 * @retval -EEXIST part of it is in the set already
 * @retval -ENOMEM no memory
 */
int wherry_iova_insert(struct wherry_iova_set *set, struct wherry_span span, void *value)
	WHERRY_MUST_CHECK;
/**
 * The same with a value of the set's own: @p len bytes, not initialized, aligned for pointers
 * and 64-bit words: one block of memory for both. They are there until the interval has been removed and
 * the set is changed once more.
 */
int wherry_iova_insert_room(struct wherry_iova_set *set, struct wherry_span span, size_t len,
	void **ret_room) WHERRY_MUST_CHECK;
/** Take the interval away whose value is this room. */
void wherry_iova_remove_room(struct wherry_iova_set *set, void *room);
/** Take the interval that is exactly @p span; its value. -ENOENT: there is none such. */
int wherry_iova_remove(struct wherry_iova_set *set, struct wherry_span span, void **ret_value);
/** The interval that contains @p iova, in @p ret_entry. */
bool wherry_iova_find(
	const struct wherry_iova_set *set, uint64_t iova, struct wherry_iova_entry *ret_entry);
/**
 * The first interval whose last byte is at @p iova or behind it: it contains
 * @p iova, or it is the next one. False when there is none.
 */
bool wherry_iova_next(
	const struct wherry_iova_set *set, uint64_t iova, struct wherry_iova_entry *ret_entry);
/** Is every byte of @p span in some interval? */
bool wherry_iova_covers(const struct wherry_iova_set *set, struct wherry_span span);
/** Would taking @p span away cut an interval in two? */
bool wherry_iova_would_cut(const struct wherry_iova_set *set, struct wherry_span span);

/**
 * Find a hole of @p span->len bytes, aligned to the power of two @p align, inside
 * one of the @p n_usable ascending @p usable spans; its address goes to
 * @p span->iova. The search goes on where the last one ended, so that filling a
 * large space does not cost its square. Nothing is inserted.
 *
 * @retval -EINVAL the length is 0 or align no power of two
 * @retval -ENOSPC there is no such hole
 */
int wherry_iova_find_hole(struct wherry_iova_set *set, const struct wherry_span *usable,
	size_t n_usable, struct wherry_span *span, uint64_t align) WHERRY_MUST_CHECK;
/** Does @p span lie inside one of the @p n_usable ascending spans? */
bool wherry_iova_usable(const struct wherry_span *usable, size_t n_usable, struct wherry_span span);
/**
 * What two lists of ascending spans share, in @p ret_both, which has room for
 * @p n_a + @p n_b spans. Returns how many there are.
 */
size_t wherry_iova_intersect(const struct wherry_span *a, size_t n_a, const struct wherry_span *b,
	size_t n_b, struct wherry_span *ret_both);

WHERRY_END_DECLS

#endif /* WHERRY_IOVA_H */
