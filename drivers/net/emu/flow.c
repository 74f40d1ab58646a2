/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rte_flow, the driver's side: a pattern of headers becomes bytes and a mask over the
 * beginning of a frame. Ethernet, then IPv4 without options, then UDP or TCP; to a queue, or
 * away. Rules last until the port is stopped. More than that it refuses, and says what.
 */
#include <errno.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ip.h>

#include "emu_priv.h"

#define IPV4_AT ((size_t)RTE_ETHER_HDR_LEN)
#define PORTS_AT (IPV4_AT + sizeof(struct rte_ipv4_hdr))
#define PROTO_AT (IPV4_AT + offsetof(struct rte_ipv4_hdr, next_proto_id))

/* Where an item's header stands, and what it takes for granted. */
static const struct header {
	enum rte_flow_item_type type;
	size_t at, len;
	const void *mask; /* without one of its own */
} headers[] = {
	{ RTE_FLOW_ITEM_TYPE_ETH, 0, RTE_ETHER_HDR_LEN, &rte_flow_item_eth_mask },
	{ RTE_FLOW_ITEM_TYPE_IPV4, IPV4_AT, sizeof(struct rte_ipv4_hdr), &rte_flow_item_ipv4_mask },
	{ RTE_FLOW_ITEM_TYPE_UDP, PORTS_AT, 8, &rte_flow_item_udp_mask },
	{ RTE_FLOW_ITEM_TYPE_TCP, PORTS_AT, 20, &rte_flow_item_tcp_mask },
};

static int
refuse(struct rte_flow_error *error, enum rte_flow_error_type type, const char *why)
{
	return rte_flow_error_set(error, ENOTSUP, type, NULL, why);
}

static void
want(struct emu_flow *f, size_t at, uint8_t byte)
{
	f->value[at] = byte;
	f->mask[at] = 0xff;
}

/* What has to stand before this header for it to be one. */
static void
want_protocol(struct emu_flow *f, enum rte_flow_item_type type)
{
	if (type == RTE_FLOW_ITEM_TYPE_IPV4) {
		want(f, IPV4_AT - 2, RTE_ETHER_TYPE_IPV4 >> 8);
		want(f, IPV4_AT - 1, RTE_ETHER_TYPE_IPV4 & 0xff);
		want(f, IPV4_AT, RTE_IPV4_VHL_DEF);
	} else if (type != RTE_FLOW_ITEM_TYPE_ETH) {
		want(f, PROTO_AT, type == RTE_FLOW_ITEM_TYPE_UDP ? IPPROTO_UDP : IPPROTO_TCP);
	}
}

static void
want_header(struct emu_flow *f, const struct header *h, const struct rte_flow_item *item)
{
	const uint8_t *spec = item->spec, *mask = item->mask != NULL ? item->mask : h->mask;

	for (size_t i = 0; spec != NULL && i < h->len; i++) {
		f->mask[h->at + i] |= mask[i];
		f->value[h->at + i] |= spec[i] & mask[i];
	}
	want_protocol(f, item->type);
	f->len = (uint16_t)(h->at + h->len);
}

static const struct header *
find_header(enum rte_flow_item_type type)
{
	for (unsigned int i = 0; i < RTE_DIM(headers); i++)
		if (headers[i].type == type)
			return &headers[i];
	return NULL;
}

static int
read_pattern(struct emu_flow *f, const struct rte_flow_item *item, struct rte_flow_error *error)
{
	for (; item->type != RTE_FLOW_ITEM_TYPE_END; item++) {
		const struct header *h = find_header(item->type);

		if (item->type == RTE_FLOW_ITEM_TYPE_VOID)
			continue;
		if (h == NULL || item->last != NULL)
			return refuse(error, RTE_FLOW_ERROR_TYPE_ITEM,
				"net_wherry looks at Ethernet, IPv4, UDP and TCP, and at no ranges");
		if (h->at < f->len || (h->at > IPV4_AT && f->len != PORTS_AT))
			return refuse(error, RTE_FLOW_ERROR_TYPE_ITEM,
				"headers in another order than in a frame");
		want_header(f, h, item);
	}
	return 0;
}

static int
read_action(struct emu_flow *f, const struct rte_flow_action *action, unsigned int queues,
	struct rte_flow_error *error)
{
	const struct rte_flow_action_queue *queue = action->conf;

	f->drop = action->type == RTE_FLOW_ACTION_TYPE_DROP;
	if (f->drop)
		return 0;
	if (action->type != RTE_FLOW_ACTION_TYPE_QUEUE)
		return refuse(
			error, RTE_FLOW_ERROR_TYPE_ACTION, "net_wherry drops, or chooses a queue");
	if (queue->index >= queues)
		return refuse(error, RTE_FLOW_ERROR_TYPE_ACTION_CONF, "there is no such queue");
	f->queue = queue->index;
	return 0;
}

static int
read_actions(struct emu_flow *f, const struct rte_flow_action *action, unsigned int queues,
	struct rte_flow_error *error)
{
	unsigned int n = 0;
	int rc = 0;

	for (; rc == 0 && action->type != RTE_FLOW_ACTION_TYPE_END; action++) {
		if (action->type == RTE_FLOW_ACTION_TYPE_VOID)
			continue;
		rc = n++ == 0 ? read_action(f, action, queues, error)
			      : refuse(error, RTE_FLOW_ERROR_TYPE_ACTION_NUM,
					"one action is all it does");
	}
	if (rc == 0 && n == 0)
		return refuse(error, RTE_FLOW_ERROR_TYPE_ACTION_NUM, "it does nothing");
	return rc;
}

static int
compile(const struct rte_eth_dev *dev, const struct rte_flow_attr *attr,
	const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
	struct emu_flow *f, struct rte_flow_error *error)
{
	int rc;

	*f = (struct emu_flow){ .used = true };
	if (!attr->ingress || attr->egress || attr->transfer || attr->group != 0 ||
		attr->priority != 0)
		return refuse(error, RTE_FLOW_ERROR_TYPE_ATTR,
			"net_wherry has ingress rules in one group, the first of them goes first");
	rc = read_pattern(f, pattern, error);
	return rc == 0 ? read_actions(f, actions, dev->data->nb_rx_queues, error) : rc;
}

static int
flow_validate(struct rte_eth_dev *dev, const struct rte_flow_attr *attr,
	const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
	struct rte_flow_error *error)
{
	struct emu_flow f;

	return compile(dev, attr, pattern, actions, &f, error);
}

static struct rte_flow *
flow_create(struct rte_eth_dev *dev, const struct rte_flow_attr *attr,
	const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
	struct rte_flow_error *error)
{
	struct emu *emu = emu_of(dev);
	struct emu_flow f;
	unsigned int i = 0;

	if (compile(dev, attr, pattern, actions, &f, error) != 0)
		return NULL;
	while (i < EMU_FLOWS && emu->config.flows[i].used)
		i++;
	if (i == EMU_FLOWS) {
		rte_flow_error_set(error, ENOSPC, RTE_FLOW_ERROR_TYPE_HANDLE, NULL,
			"16 rules are all it has room for");
		return NULL;
	}
	emu->config.flows[i] = f;
	emu->flows[i].place = i;
	emu_device_configure(emu->device, &emu->config);
	return &emu->flows[i];
}

static int
flow_destroy(struct rte_eth_dev *dev, struct rte_flow *flow, struct rte_flow_error *error)
{
	struct emu *emu = emu_of(dev);

	if (!emu->config.flows[flow->place].used)
		return rte_flow_error_set(error, ENOENT, RTE_FLOW_ERROR_TYPE_HANDLE, NULL,
			"this rule is gone: the port was stopped");
	emu->config.flows[flow->place].used = false;
	emu_device_configure(emu->device, &emu->config);
	return 0;
}

void
emu_flow_forget(struct emu *emu)
{
	memset(emu->config.flows, 0, sizeof(emu->config.flows));
}

static int
flow_flush(struct rte_eth_dev *dev, struct rte_flow_error *error)
{
	(void)error;
	emu_flow_forget(emu_of(dev));
	emu_device_configure(emu_of(dev)->device, &emu_of(dev)->config);
	return 0;
}

int
emu_flow_ops(struct rte_eth_dev *dev, const struct rte_flow_ops **ret_ops)
{
	static const struct rte_flow_ops ops = {
		.validate = flow_validate,
		.create = flow_create,
		.destroy = flow_destroy,
		.flush = flow_flush,
	};

	(void)dev;
	*ret_ops = &ops;
	return 0;
}
