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

#ifdef __SANITIZE_ADDRESS__ /* which is to see that a room is used after its end */
#define USES_SPARE false
#else
#define USES_SPARE true
#endif

static int
by_last(const struct iova_node *a, const struct iova_node *b)
{
	uint64_t la = wherry_span_last(a->entry.span), lb = wherry_span_last(b->entry.span);

	return (la > lb) - (la < lb);
}

/* RB_GENERATE_STATIC says __unused, a word that glibc keeps for itself */
RB_GENERATE_INTERNAL(iova_tree, iova_node, link, by_last, __attribute__((unused)) WHERRY_HOT static)

/* By hand: the tree's own search compares whole nodes, and here one number says it all. */
WHERRY_HOT struct iova_node *
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
	struct iova_node *node;

	if (set == NULL)
		return;
	while ((node = RB_ROOT(&set->tree)) != NULL)
		wherry_iova_remove_room(set, node->room);
	free(set->spare);
	free(set);
}

WHERRY_HOT size_t
wherry_iova_count(const struct wherry_iova_set *set)
{
	return set->n;
}

/* Where a new node hangs. */
struct hook {
	struct iova_node *parent, **link;
};

/* One descent says whether the span is free, and where its node comes to be. */
static int
find_hook(struct wherry_iova_set *set, struct wherry_span span, struct hook *ret)
{
	struct iova_node *node, *next = NULL;

	if (span.len == 0)
		return -EINVAL;
	if (span.len - 1 > UINT64_MAX - span.iova)
		return -EOVERFLOW;
	*ret = (struct hook){ NULL, &RB_ROOT(&set->tree) };
	while ((node = *ret->link) != NULL) {
		ret->parent = node;
		if (wherry_span_last(node->entry.span) < span.iova) {
			ret->link = &RB_RIGHT(node, link);
		} else {
			next = node;
			ret->link = &RB_LEFT(node, link);
		}
	}
	return next != NULL && next->entry.span.iova <= wherry_span_last(span) ? -EEXIST : 0;
}

static struct iova_node *
get_node(struct wherry_iova_set *set, size_t room_len)
{
	struct iova_node *node = set->spare;

	if (wherry_fault("iova.insert"))
		return NULL;
	set->spare = NULL;
	if (node != NULL && node->room_len == room_len && USES_SPARE)
		return node;
	free(node);
	node = malloc(sizeof(*node) + room_len);
	if (node != NULL)
		node->room_len = room_len;
	return node;
}

static struct iova_node *
node_of(void *room)
{
	return (struct iova_node *)(void *)((char *)room - offsetof(struct iova_node, room));
}

WHERRY_HOT int
wherry_iova_insert_room(
	struct wherry_iova_set *set, struct wherry_span span, size_t len, void **ret_room)
{
	struct iova_node *node;
	struct hook hook;
	int rc = find_hook(set, span, &hook);

	if (rc != 0)
		return rc;
	node = get_node(set, len);
	if (node == NULL)
		return -ENOMEM;
	node->entry = (struct wherry_iova_entry){ .span = span, .value = node->room };
	RB_SET(node, hook.parent, link);
	*hook.link = node;
	iova_tree_RB_INSERT_COLOR(&set->tree, node);
	set->n++;
	*ret_room = node->room; /* the tree has it: NOLINT(clang-analyzer-unix.Malloc) */
	return 0;
}

int
wherry_iova_insert(struct wherry_iova_set *set, struct wherry_span span, void *value)
{
	void *room;
	int rc = wherry_iova_insert_room(set, span, 0, &room);

	if (rc == 0)
		node_of(room)->entry.value = value;
	return rc;
}

/* Its room is there until the next change: a mapping's backend is told after the one search. */
static inline void
take_out(struct wherry_iova_set *set, struct iova_node *node)
{
	RB_REMOVE(iova_tree, &set->tree, node);
	set->n--;
	if (set->spare != NULL)
		free(set->spare);
	set->spare = node;
}

void
wherry_iova_remove_room(struct wherry_iova_set *set, void *room)
{
	take_out(set, node_of(room));
}

static struct iova_node *
exact_node(const struct wherry_iova_set *set, struct wherry_span span)
{
	struct iova_node *node = iova_node_at(set, span.iova);

	if (node == NULL || node->entry.span.iova != span.iova || node->entry.span.len != span.len)
		return NULL;
	return node;
}

/* One function, search and all: each call in it would be a jump to elsewhere. */
WHERRY_HOT __attribute__((flatten)) int
wherry_iova_remove(struct wherry_iova_set *set, struct wherry_span span, void **ret_value)
{
	struct iova_node *node = exact_node(set, span);

	if (node == NULL)
		return -ENOENT;
	if (ret_value != NULL)
		*ret_value = node->entry.value;
	take_out(set, node);
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

WHERRY_HOT bool
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
