/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef IOVA_PRIV_H
#define IOVA_PRIV_H

#include <bsd/sys/tree.h>

#include "base_priv.h"
#include "wherry_iova.h"

struct iova_node {
	RB_ENTRY(iova_node) link;
	struct wherry_iova_entry entry; /* never empty, never beyond 2^64 */
	size_t room_len;
	uint64_t room[]; /* of wherry_iova_insert_room(): entry.value points here */
};

RB_HEAD(iova_tree, iova_node);

struct wherry_iova_set {
	struct iova_tree tree;   /* disjoint */
	struct iova_node *spare; /* the last that was removed, until the next change; or NULL */
	size_t n;
	uint64_t cursor; /* where the next search for a hole begins */
};

/* The node that contains iova, else the next one behind it, else NULL. */
struct iova_node *iova_node_at(const struct wherry_iova_set *set, uint64_t iova);

#endif /* IOVA_PRIV_H */
