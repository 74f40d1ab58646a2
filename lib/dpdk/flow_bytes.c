/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include <rte_common.h>

#include "bytes_priv.h"
#include "flow_bytes_priv.h"

#define PARTS 3u /* spec, last, mask */

/* A header stands at the beginning of its item; what follows there is of no frame. */
static const struct item_kind {
	enum rte_flow_item_type type;
	size_t len, header;
} items[] = {
	{ RTE_FLOW_ITEM_TYPE_ETH, sizeof(struct rte_flow_item_eth), 14 },
	{ RTE_FLOW_ITEM_TYPE_VLAN, sizeof(struct rte_flow_item_vlan), 4 },
	{ RTE_FLOW_ITEM_TYPE_IPV4, sizeof(struct rte_flow_item_ipv4), 20 },
	{ RTE_FLOW_ITEM_TYPE_IPV6, sizeof(struct rte_flow_item_ipv6), 40 },
	{ RTE_FLOW_ITEM_TYPE_UDP, sizeof(struct rte_flow_item_udp), 8 },
	{ RTE_FLOW_ITEM_TYPE_TCP, sizeof(struct rte_flow_item_tcp), 20 },
	{ RTE_FLOW_ITEM_TYPE_SCTP, sizeof(struct rte_flow_item_sctp), 12 },
	{ RTE_FLOW_ITEM_TYPE_ICMP, sizeof(struct rte_flow_item_icmp), 8 },
};

/* number: bytes of the one in its conf; may_lack: without a conf it means something, too. */
static const struct action_kind {
	enum rte_flow_action_type type;
	size_t number;
	bool may_lack;
} actions_known[] = {
	{ RTE_FLOW_ACTION_TYPE_DROP, 0, true },
	{ RTE_FLOW_ACTION_TYPE_PASSTHRU, 0, true },
	{ RTE_FLOW_ACTION_TYPE_FLAG, 0, true },
	{ RTE_FLOW_ACTION_TYPE_QUEUE, 2, false },
	{ RTE_FLOW_ACTION_TYPE_MARK, 4, false },
	{ RTE_FLOW_ACTION_TYPE_JUMP, 4, false },
	{ RTE_FLOW_ACTION_TYPE_COUNT, 4, true },
};

/* Its row, from 0; -1: none. */
static int
find_item(enum rte_flow_item_type type)
{
	for (unsigned int i = 0; i < RTE_DIM(items); i++)
		if (items[i].type == type)
			return (int)i;
	return -1;
}

static int
find_action(enum rte_flow_action_type type)
{
	for (unsigned int i = 0; i < RTE_DIM(actions_known); i++)
		if (actions_known[i].type == type)
			return (int)i;
	return -1;
}

static void
put8(struct bytes *b, unsigned int n)
{
	uint8_t byte = (uint8_t)n;

	bytes_put(b, &byte, 1);
}

static unsigned int
get8(struct bytes *b)
{
	uint8_t byte = 0;

	bytes_get(b, &byte, 1);
	return byte;
}

/* ---- to bytes ---- */

static bool
only_header(const struct item_kind *kind, const void *part)
{
	const uint8_t *bytes = part;

	for (size_t i = kind->header; part != NULL && i < kind->len; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

static const char *
put_item(struct bytes *b, const struct rte_flow_item *item)
{
	const void *parts[PARTS] = { item->spec, item->last, item->mask };
	int row = find_item(item->type);
	unsigned int there = 0;

	if (row < 0)
		return "it looks at something that does not move: an item that is no header of a frame";
	for (unsigned int i = 0; i < PARTS; i++) {
		if (!only_header(&items[row], parts[i]))
			return "it looks at more of an item than its header";
		there |= parts[i] != NULL ? 1u << i : 0;
	}
	put8(b, (unsigned int)row);
	put8(b, there);
	for (unsigned int i = 0; i < PARTS; i++)
		bytes_put(b, parts[i], parts[i] != NULL ? items[row].header : 0);
	return NULL;
}

static const char *
put_items(struct bytes *b, const struct rte_flow_item *pattern)
{
	uint8_t *count = bytes_step(b, 1);
	const char *why = NULL;
	unsigned int n = 0;

	for (; why == NULL && pattern->type != RTE_FLOW_ITEM_TYPE_END; pattern++) {
		if (pattern->type == RTE_FLOW_ITEM_TYPE_VOID)
			continue;
		if (n++ == FLOW_ITEMS_MAX)
			return "its pattern is too long";
		why = put_item(b, pattern);
	}
	if (count != NULL)
		*count = (uint8_t)n;
	return why;
}

static const char *
put_action(struct bytes *b, const struct rte_flow_action *action)
{
	int row = find_action(action->type);
	uint32_t number = 0;

	if (row < 0)
		return "it does something that does not move";
	if (action->conf == NULL && !actions_known[row].may_lack)
		return "an action lacks its number";
	if (action->conf != NULL && actions_known[row].number == 2)
		number = ((const struct rte_flow_action_queue *)action->conf)->index;
	else if (action->conf != NULL && actions_known[row].number == 4)
		memcpy(&number, action->conf, sizeof(number));
	put8(b, (unsigned int)row);
	put8(b, action->conf != NULL && actions_known[row].number != 0);
	bytes_put32(b, number);
	return NULL;
}

static const char *
put_actions(struct bytes *b, const struct rte_flow_action *actions)
{
	uint8_t *count = bytes_step(b, 1);
	const char *why = NULL;
	unsigned int n = 0;

	for (; why == NULL && actions->type != RTE_FLOW_ACTION_TYPE_END; actions++) {
		if (actions->type == RTE_FLOW_ACTION_TYPE_VOID)
			continue;
		if (n++ == FLOW_ACTIONS_MAX)
			return "it has too many actions";
		why = put_action(b, actions);
	}
	if (count != NULL)
		*count = (uint8_t)n;
	return why;
}

int
flow_encode(const struct rte_flow_attr *attr, const struct rte_flow_item *pattern,
	const struct rte_flow_action *actions, uint8_t *buf, size_t cap, const char **ret_why)
{
	struct bytes b = { .at = buf, .left = cap };

	bytes_put32(&b, attr->group);
	bytes_put32(&b, attr->priority);
	put8(&b, attr->ingress | attr->egress * 2u | attr->transfer * 4u);
	*ret_why = put_items(&b, pattern);
	if (*ret_why == NULL)
		*ret_why = put_actions(&b, actions);
	if (*ret_why != NULL)
		return -EOPNOTSUPP;
	*ret_why = "it is too long";
	return b.bad ? -ENOSPC : (int)(cap - b.left);
}

/* ---- and back ---- */

static void
get_item(struct bytes *b, struct flow_rule *rule, unsigned int n)
{
	unsigned int row = get8(b), there = get8(b);
	const void *parts[PARTS] = { NULL };

	if (row >= RTE_DIM(items) || there >= 1u << PARTS) {
		b->bad = true;
		return;
	}
	for (unsigned int i = 0; i < PARTS; i++) {
		if ((there >> i & 1) == 0)
			continue;
		bytes_get(b, &rule->parts[n][i], items[row].header);
		parts[i] = &rule->parts[n][i];
	}
	rule->pattern[n] = (struct rte_flow_item){
		.type = items[row].type, .spec = parts[0], .last = parts[1], .mask = parts[2]
	};
}

static void
get_action(struct bytes *b, struct flow_rule *rule, unsigned int n)
{
	unsigned int row = get8(b), has_number = get8(b);
	uint32_t number = bytes_get32(b);

	if (row >= RTE_DIM(actions_known) || has_number > 1 ||
		(has_number != 0 ? actions_known[row].number == 0
				 : !actions_known[row].may_lack || number != 0) ||
		(actions_known[row].number == 2 && number > UINT16_MAX)) {
		b->bad = true;
		return;
	}
	if (actions_known[row].number == 2)
		rule->confs[n].queue.index = (uint16_t)number;
	else
		rule->confs[n].number = number;
	rule->actions[n] = (struct rte_flow_action){ .type = actions_known[row].type,
		.conf = has_number != 0 ? &rule->confs[n] : NULL };
}

int
flow_decode(const uint8_t *buf, size_t len, struct flow_rule *ret_rule)
{
	struct bytes b = { .at = (uint8_t *)(uintptr_t)buf, .left = len };
	unsigned int flags, n;

	memset(ret_rule, 0, sizeof(*ret_rule));
	ret_rule->attr.group = bytes_get32(&b);
	ret_rule->attr.priority = bytes_get32(&b);
	flags = get8(&b);
	ret_rule->attr.ingress = flags & 1;
	ret_rule->attr.egress = flags >> 1 & 1;
	ret_rule->attr.transfer = flags >> 2 & 1;
	n = get8(&b);
	b.bad = b.bad || flags > 7 || n > FLOW_ITEMS_MAX;
	for (unsigned int i = 0; !b.bad && i < n; i++)
		get_item(&b, ret_rule, i);
	n = get8(&b);
	b.bad = b.bad || n > FLOW_ACTIONS_MAX;
	for (unsigned int i = 0; !b.bad && i < n; i++)
		get_action(&b, ret_rule, i);
	return b.bad || b.left != 0 ? -EPROTO : 0; /* zeroes are END in both lists */
}
