/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The set: a red-black tree in the order of last bytes. Intervals are disjoint,
 * so that is the order of first bytes too, and the tree's own search for "this
 * last byte or the next one" answers who contains an address or comes next.
 * Searching for holes is in hole.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "iova_priv.h"

static int
by_last(const struct iova_node *a, const struct iova_node *b)
{
	uint64_t la = wherry_span_last(a->entry.span), lb = wherry_span_last(b->entry.span);

	return (la > lb) - (la < lb);
}

/* RB_GENERATE_STATIC says __unused, a word that glibc keeps for itself */
RB_GENERATE_INTERNAL(iova_tree, iova_node, link, by_last, __attribute__((unused)) static)

/* By hand: the tree's own search compares whole nodes, and here one number says it all. */
struct iova_node *
iova_node_at(const struct wherry_iova_set *set, uint64_t iova)
{
	struct iova_node *node = RB_ROOT(&set->tree), *found = NULL;

	while (node != NULL) {
		if (wherry_span_last(node->entry.span) < iova) {
			node = RB_RIGHT(node, link);
		} else {
			found = node;
			node = RB_LEFT(node, link);
		}
	}
	return found;
}

int
wherry_iova_set_create(struct wherry_iova_set **ret_set)
{
	struct wherry_iova_set *set;

	set = wherry_fault("iova.set_create") ? NULL : calloc(1, sizeof(*set));
	if (set == NULL)
		return -ENOMEM;
	RB_INIT(&set->tree);
	*ret_set = set;
	return 0;
}

void
wherry_iova_set_destroy(struct wherry_iova_set *set)
{
	struct iova_node *node, *next;

	if (set == NULL)
		return;
	RB_FOREACH_SAFE(node, iova_tree, &set->tree, next)
	{
		RB_REMOVE(iova_tree, &set->tree, node);
		free(node);
	}
	free(set);
}

size_t
wherry_iova_count(const struct wherry_iova_set *set)
{
	return set->n;
}

static int
check_free(const struct wherry_iova_set *set, struct wherry_span span)
{
	struct iova_node *node;

	if (span.len == 0)
		return -EINVAL;
	if (span.len - 1 > UINT64_MAX - span.iova)
		return -EOVERFLOW;
	node = iova_node_at(set, span.iova);
	if (node != NULL && node->entry.span.iova <= wherry_span_last(span))
		return -EEXIST;
	return 0;
}

int
wherry_iova_insert(struct wherry_iova_set *set, struct wherry_span span, void *value)
{
	int rc = check_free(set, span);
	struct iova_node *node;

	if (rc != 0)
		return rc;
	node = wherry_fault("iova.insert") ? NULL : malloc(sizeof(*node));
	if (node == NULL)
		return -ENOMEM;
	node->entry = (struct wherry_iova_entry){ .span = span, .value = value };
	RB_INSERT(iova_tree, &set->tree, node);
	set->n++; /* the tree has the node: NOLINT(clang-analyzer-unix.Malloc) */
	return 0;
}

int
wherry_iova_remove(struct wherry_iova_set *set, struct wherry_span span, void **ret_value)
{
	struct iova_node *node = iova_node_at(set, span.iova);

	if (node == NULL || node->entry.span.iova != span.iova || node->entry.span.len != span.len)
		return -ENOENT;
	RB_REMOVE(iova_tree, &set->tree, node);
	set->n--;
	if (ret_value != NULL)
		*ret_value = node->entry.value;
	free(node);
	return 0;
}

bool
wherry_iova_next(
	const struct wherry_iova_set *set, uint64_t iova, struct wherry_iova_entry *ret_entry)
{
	struct iova_node *node = iova_node_at(set, iova);

	if (node == NULL)
		return false;
	*ret_entry = node->entry;
	return true;
}

bool
wherry_iova_find(
	const struct wherry_iova_set *set, uint64_t iova, struct wherry_iova_entry *ret_entry)
{
	struct iova_node *node = iova_node_at(set, iova);

	if (node == NULL || node->entry.span.iova > iova)
		return false;
	*ret_entry = node->entry;
	return true;
}

/* The last byte of a span that may be empty or leave the space: false then. */
static bool
last_of(struct wherry_span span, uint64_t *ret_last)
{
	*ret_last = wherry_span_last(span);
	return span.len != 0 && *ret_last >= span.iova;
}

bool
wherry_iova_covers(const struct wherry_iova_set *set, struct wherry_span span)
{
	struct iova_node *node;
	uint64_t at = span.iova, last;

	if (!last_of(span, &last))
		return false;
	for (;;) {
		node = iova_node_at(set, at);
		if (node == NULL || node->entry.span.iova > at)
			return false;
		at = wherry_span_last(node->entry.span);
		if (at >= last)
			return true;
		at++;
	}
}

bool
wherry_iova_would_cut(const struct wherry_iova_set *set, struct wherry_span span)
{
	struct wherry_iova_entry edge;
	uint64_t last;

	if (!last_of(span, &last))
		return false;
	if (wherry_iova_find(set, span.iova, &edge) && edge.span.iova < span.iova)
		return true;
	return wherry_iova_find(set, last, &edge) && wherry_span_last(edge.span) > last;
}
