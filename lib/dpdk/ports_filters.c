/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a port sorts frames by: RSS (types, key, indirection table), the list of multicast
 * addresses and the VLANs it lets in. RSS is asked of the port; ethdev tells nobody the
 * other two, so the application sets them through us. The section, little-endian: for
 * each port four times a 16-bit length in bytes and so many of them: RSS types (8) and
 * key, table (2 for each entry), multicast addresses (6), VLANs (2). An empty part is
 * left alone at the destination. Its bytes come from a peer: every length is checked.
 */
#define ALLOW_EXPERIMENTAL_API /* rte_eth_dev_conf_get() */
#include <errno.h>
#include <string.h>

#include <rte_errno.h>

#include "base_priv.h"
#include "bytes_priv.h"
#include "ports_priv.h"

#define LOG_PREFIX "dpdk/ports"
#define KEY_MAX 64u
#define RETA_MAX 512u
#define VLANS 4096u

/* As it is read, and as it is given to a port. */
struct filters {
	uint64_t rss_types;
	uint8_t key[KEY_MAX];
	uint16_t key_len;
	uint16_t reta[RETA_MAX];
	uint16_t n_reta;
	struct rte_ether_addr mcasts[PORT_MCASTS_MAX];
	uint16_t n_mcasts;
	uint8_t vlans[VLANS / 8];
	uint16_t n_vlans;
};

static bool
has_vlan(const uint8_t *vlans, unsigned int id)
{
	return (vlans[id / 8] >> id % 8 & 1) != 0;
}

int
port_set_multicast(struct port *p, const struct rte_ether_addr *addrs, unsigned int n)
{
	int rc;

	for (unsigned int i = 0; i < n; i++)
		if (!rte_is_multicast_ether_addr(&addrs[i]))
			return -EINVAL;
	if (n > PORT_MCASTS_MAX)
		return -ENOSPC;
	rc = rte_eth_dev_set_mc_addr_list(p->id, (struct rte_ether_addr *)addrs, n);
	if (rc != 0)
		return rc == -ENOTSUP ? -EOPNOTSUPP : rc;
	memcpy(p->mcasts, addrs, n * sizeof(*addrs));
	p->n_mcasts = n;
	return 0;
}

int
port_set_vlan(struct port *p, unsigned int id, bool on)
{
	int rc;

	if (id >= VLANS)
		return -EINVAL;
	rc = rte_eth_dev_vlan_filter(p->id, (uint16_t)id, on);
	if (rc != 0)
		return rc == -ENOTSUP || rc == -ENOSYS ? -EOPNOTSUPP : rc;
	p->vlans[id / 8] =
		(uint8_t)((p->vlans[id / 8] & ~(1u << id % 8)) | (unsigned int)on << id % 8);
	return 0;
}

static bool
has_rss(const struct port *p)
{
	struct rte_eth_conf conf;

	return rte_eth_dev_conf_get(p->id, &conf) == 0 &&
		(conf.rxmode.mq_mode & RTE_ETH_MQ_RX_RSS_FLAG) != 0;
}

/* Of the key; PMDs that do not say have the one that all had at first. */
static uint8_t
key_size(const struct rte_eth_dev_info *info)
{
	return info->hash_key_size != 0 ? info->hash_key_size : 40;
}

/* A port without RSS has none to move. */
static void
read_rss(const struct port *p, const struct rte_eth_dev_info *info, struct filters *f)
{
	struct rte_eth_rss_reta_entry64 reta[RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
	struct rte_eth_rss_conf conf = { .rss_key = f->key, .rss_key_len = key_size(info) };

	if (!has_rss(p))
		return;
	if (key_size(info) <= KEY_MAX && rte_eth_dev_rss_hash_conf_get(p->id, &conf) == 0) {
		f->rss_types = conf.rss_hf;
		f->key_len = key_size(info);
	}
	memset(reta, 0xff, sizeof(reta));
	if (info->reta_size == 0 || info->reta_size > RETA_MAX ||
		rte_eth_dev_rss_reta_query(p->id, reta, info->reta_size) != 0)
		return;
	f->n_reta = info->reta_size;
	for (unsigned int i = 0; i < f->n_reta; i++)
		f->reta[i] = reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
}

static int
read_filters(const struct port *p, struct filters *f)
{
	struct rte_eth_dev_info info;
	int rc = rte_eth_dev_info_get(p->id, &info);

	memset(f, 0, sizeof(*f));
	if (rc != 0)
		return rc;
	read_rss(p, &info, f);
	memcpy(f->mcasts, p->mcasts, p->n_mcasts * sizeof(f->mcasts[0]));
	f->n_mcasts = (uint16_t)p->n_mcasts;
	memcpy(f->vlans, p->vlans, sizeof(f->vlans));
	for (unsigned int id = 0; id < VLANS; id++)
		f->n_vlans = (uint16_t)(f->n_vlans + has_vlan(f->vlans, id));
	return 0;
}

/* ---- bytes ---- */

/* The length of a part: a multiple of each, at most max times. How many. */
static uint16_t
get_count(struct bytes *b, uint16_t each, uint16_t max)
{
	uint16_t len = bytes_get16(b);

	if (len % each != 0 || len / each > max)
		b->bad = true;
	if (b->bad)
		return 0;
	return (uint16_t)(len / each);
}

static void
encode(const struct filters *f, struct bytes *b)
{
	bytes_put16(b, f->key_len != 0 ? (uint16_t)(8 + f->key_len) : 0);
	for (unsigned int i = 0; f->key_len != 0 && i < 4; i++)
		bytes_put16(b, (uint16_t)(f->rss_types >> 16 * i & 0xffff));
	bytes_put(b, f->key, f->key_len);
	bytes_put16(b, (uint16_t)(f->n_reta * 2));
	for (unsigned int i = 0; i < f->n_reta; i++)
		bytes_put16(b, f->reta[i]);
	bytes_put16(b, (uint16_t)(f->n_mcasts * RTE_ETHER_ADDR_LEN));
	bytes_put(b, f->mcasts, f->n_mcasts * sizeof(f->mcasts[0]));
	bytes_put16(b, (uint16_t)(f->n_vlans * 2));
	for (unsigned int id = 0; id < VLANS; id++)
		if (has_vlan(f->vlans, id))
			bytes_put16(b, (uint16_t)id);
}

static void
decode_rss(struct bytes *b, struct filters *f)
{
	uint16_t len = get_count(b, 1, 8 + KEY_MAX);
	const uint8_t *key;

	if (len != 0 && len <= 8)
		b->bad = true;
	if (len == 0 || b->bad)
		return;
	for (unsigned int i = 0; i < 4; i++)
		f->rss_types |= (uint64_t)bytes_get16(b) << 16 * i;
	f->key_len = (uint16_t)(len - 8);
	key = bytes_step(b, f->key_len);
	if (key != NULL)
		memcpy(f->key, key, f->key_len);
	f->n_reta = 0;
}

static void
decode_mcasts(struct bytes *b, struct filters *f)
{
	const uint8_t *addrs;

	f->n_mcasts = get_count(b, RTE_ETHER_ADDR_LEN, PORT_MCASTS_MAX);
	addrs = bytes_step(b, f->n_mcasts * sizeof(f->mcasts[0]));
	for (unsigned int i = 0; addrs != NULL && i < f->n_mcasts; i++) {
		memcpy(&f->mcasts[i], addrs + i * sizeof(f->mcasts[0]), sizeof(f->mcasts[0]));
		if (!rte_is_multicast_ether_addr(&f->mcasts[i]))
			b->bad = true;
	}
}

static int
decode(struct bytes *b, struct filters *f)
{
	memset(f, 0, sizeof(*f));
	decode_rss(b, f);
	f->n_reta = get_count(b, 2, RETA_MAX);
	for (unsigned int i = 0; i < f->n_reta; i++)
		f->reta[i] = bytes_get16(b);
	decode_mcasts(b, f);
	f->n_vlans = get_count(b, 2, VLANS);
	for (unsigned int i = 0; i < f->n_vlans; i++) {
		uint16_t id = bytes_get16(b);

		if (id >= VLANS || has_vlan(f->vlans, id))
			b->bad = true;
		else
			f->vlans[id / 8] = (uint8_t)(f->vlans[id / 8] | 1u << id % 8);
	}
	return b->bad ? -EPROTO : 0;
}

int
filters_save(void *ctx, void *buf, size_t cap)
{
	const struct ports *ports = ctx;
	struct bytes b = { .at = buf, .left = cap };
	struct filters f;

	for (unsigned int i = 0; i < ports->n; i++) {
		int rc = read_filters(&ports->port[i], &f);

		if (rc != 0)
			return rc;
		encode(&f, &b);
	}
	return b.bad ? -ENOSPC : (int)(cap - b.left);
}

/* ---- at the destination ---- */

/* NULL, or why the port cannot sort as the peer's does. */
static const char *
why_not(const struct port *p, const struct filters *f)
{
	struct rte_eth_dev_info info;
	bool filters_vlans =
		(rte_eth_dev_get_vlan_offload(p->id) & RTE_ETH_VLAN_FILTER_OFFLOAD) != 0;

	if (rte_eth_dev_info_get(p->id, &info) != 0)
		return "it is gone";
	if (f->key_len + f->n_reta != 0 && !has_rss(p))
		return "it was configured without RSS, the peer's with";
	if ((f->rss_types & ~info.flow_type_rss_offloads) != 0)
		return "it cannot spread the peer's kinds of packets over its queues (RSS types)";
	if (f->key_len != 0 && f->key_len != key_size(&info))
		return "its RSS key has another length than the peer's";
	if (f->n_reta != 0 && f->n_reta != info.reta_size)
		return "its RSS table has another size than the peer's";
	for (unsigned int i = 0; i < f->n_reta; i++)
		if (f->reta[i] >= info.nb_rx_queues)
			return "the peer's RSS table names a queue that it does not have";
	if (f->n_mcasts != 0 &&
		rte_eth_dev_set_mc_addr_list(
			p->id, (struct rte_ether_addr *)p->mcasts, p->n_mcasts) != 0)
		return "it takes no list of multicast addresses";
	if (f->n_vlans != 0 && !filters_vlans)
		return "it filters no VLANs: configure it with RTE_ETH_RX_OFFLOAD_VLAN_FILTER";
	return NULL;
}

static int
apply_rss(const struct port *p, struct filters *f)
{
	struct rte_eth_rss_reta_entry64 reta[RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
	struct rte_eth_rss_conf conf = {
		.rss_key = f->key, .rss_key_len = (uint8_t)f->key_len, .rss_hf = f->rss_types
	};
	int rc = f->key_len != 0 && f->rss_types != 0 ? rte_eth_dev_rss_hash_update(p->id, &conf)
						      : 0;

	memset(reta, 0xff, sizeof(reta));
	for (unsigned int i = 0; i < f->n_reta; i++)
		reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = f->reta[i];
	if (rc == 0 && f->n_reta != 0)
		rc = rte_eth_dev_rss_reta_update(p->id, reta, f->n_reta);
	return rc;
}

static bool
same_rss(const struct filters *a, const struct filters *b)
{
	return a->rss_types == b->rss_types && a->key_len == b->key_len && a->n_reta == b->n_reta &&
		memcmp(a->key, b->key, sizeof(a->key)) == 0 &&
		memcmp(a->reta, b->reta, sizeof(a->reta)) == 0;
}

/* Nothing is asked of a PMD that is right already: not every one changes while it runs. */
static int
apply(struct port *p, struct filters *f)
{
	struct filters now;
	int rc = read_filters(p, &now);

	if (rc == 0 && !same_rss(&now, f))
		rc = apply_rss(p, f);

	if (rc == 0 && f->n_mcasts + p->n_mcasts != 0)
		rc = port_set_multicast(p, f->mcasts, f->n_mcasts);
	for (unsigned int id = 0; rc == 0 && id < VLANS; id++)
		if (has_vlan(f->vlans, id) != has_vlan(p->vlans, id))
			rc = port_set_vlan(p, id, has_vlan(f->vlans, id));
	if (rc != 0)
		LOG_ERR("port %u does not sort as the peer's: %s", p->id, rte_strerror(-rc));
	return rc;
}

static int
each_port(struct ports *ports, const void *buf, size_t len, bool load)
{
	struct bytes b = { .at = (uint8_t *)(uintptr_t)buf, .left = len };
	struct filters f;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < ports->n; i++) {
		const char *reason;

		rc = decode(&b, &f);
		if (rc != 0)
			break;
		reason = why_not(&ports->port[i], &f);
		if (reason != NULL) {
			LOG_ERR("port %u cannot take over the peer's: %s", ports->port[i].id,
				reason);
			rc = -EOPNOTSUPP;
		} else if (load) {
			rc = apply(&ports->port[i], &f);
		}
	}
	return rc == 0 && b.left != 0 ? -EPROTO : rc;
}

int
filters_check(void *ctx, const void *buf, size_t len)
{
	return each_port(ctx, buf, len, false);
}

int
filters_load(void *ctx, const void *buf, size_t len)
{
	return each_port(ctx, buf, len, true);
}
