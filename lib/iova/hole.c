/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holes, and lists of usable spans. A search runs twice: from where the last one
 * ended to the top, then from the bottom. Only last bytes are computed, since the
 * byte behind a span may not exist.
 */
#include <errno.h>

#include "iova_priv.h"

/* What is looked for, and between which two bytes, both included. */
struct want {
	uint64_t len, align;
	uint64_t first, last;
};

/* *at rounded up; false if that leaves the 64-bit space. */
static bool
align_up(uint64_t *at, uint64_t align)
{
	uint64_t up = round_up(*at, align);

	if (up < *at)
		return false;
	*at = up;
	return true;
}

static bool
fits(uint64_t at, const struct want *want)
{
	return at <= want->last && want->len - 1 <= want->last - at;
}

static bool
hole_between(const struct wherry_iova_set *set, struct want want, uint64_t *ret_iova)
{
	uint64_t at = want.first;
	struct iova_node *node;

	while (align_up(&at, want.align) && fits(at, &want)) {
		node = iova_node_at(set, at);
		if (node == NULL || node->entry.span.iova > at + (want.len - 1)) {
			*ret_iova = at;
			return true;
		}
		at = wherry_span_last(node->entry.span);
		if (at++ == UINT64_MAX)
			return false;
	}
	return false;
}

static bool
hole_from(const struct wherry_iova_set *set, const struct wherry_span *usable, size_t n_usable,
	struct want want, uint64_t *ret_iova)
{
	uint64_t from = want.first;

	for (size_t i = 0; i < n_usable; i++) {
		want.first = usable[i].iova > from ? usable[i].iova : from;
		want.last = wherry_span_last(usable[i]);
		if (want.first <= want.last && hole_between(set, want, ret_iova))
			return true;
	}
	return false;
}

int
wherry_iova_find_hole(struct wherry_iova_set *set, const struct wherry_span *usable,
	size_t n_usable, struct wherry_span *span, uint64_t align)
{
	struct want want = { .len = span->len, .align = align, .first = set->cursor };

	if (span->len == 0 || !is_pow2(align))
		return -EINVAL;
	if (!hole_from(set, usable, n_usable, want, &span->iova)) {
		want.first = 0;
		if (!hole_from(set, usable, n_usable, want, &span->iova))
			return -ENOSPC;
	}
	set->cursor = wherry_span_last(*span) + 1; /* at the top: 0, the bottom again */
	return 0;
}

WHERRY_HOT bool
wherry_iova_usable(const struct wherry_span *usable, size_t n_usable, struct wherry_span span)
{
	struct want want;

	if (span.len == 0)
		return false;
	for (size_t i = 0; i < n_usable; i++) {
		want = (struct want){ .len = span.len, .last = wherry_span_last(usable[i]) };
		if (span.iova >= usable[i].iova && fits(span.iova, &want))
			return true;
	}
	return false;
}

size_t
wherry_iova_intersect(const struct wherry_span *a, size_t n_a, const struct wherry_span *b,
	size_t n_b, struct wherry_span *ret_both)
{
	size_t i = 0, j = 0, n = 0;

	while (i < n_a && j < n_b) {
		uint64_t last_a = wherry_span_last(a[i]), last_b = wherry_span_last(b[j]);
		uint64_t first = a[i].iova > b[j].iova ? a[i].iova : b[j].iova;
		uint64_t last = last_a < last_b ? last_a : last_b;

		if (first <= last)
			ret_both[n++] =
				(struct wherry_span){ .iova = first, .len = last - first + 1 };
		if (last_a <= last_b)
			i++;
		if (last_b <= last_a)
			j++;
	}
	return n;
}
