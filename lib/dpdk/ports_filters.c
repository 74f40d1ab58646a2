/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a port sorts frames by: RSS (types, key, indirection table), the list of multicast
 * addresses, what is done with VLAN tags and the VLANs it lets in. RSS and the treatment of
 * tags are asked of the port; ethdev tells nobody the other two, so the application sets them
 * through us. An empty part is left alone at the destination.
 *
 * A port that stops may forget: many PMDs set RSS and multicast addresses up anew, as they
 * were configured. So both are looked at before it stops, and set again when it has started.
 */
#define ALLOW_EXPERIMENTAL_API /* rte_eth_dev_conf_get() */
#include <errno.h>
#include <string.h>

#include <rte_errno.h>

#include "base_priv.h"
#include "filters_priv.h"
#include "why_priv.h"

#define LOG_PREFIX "dpdk/ports"

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

	if (id >= PORT_VLANS)
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

static void
read_reta(const struct port *p, uint16_t size, struct port_rss *r)
{
	struct rte_eth_rss_reta_entry64 reta[PORT_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];

	memset(reta, 0xff, sizeof(reta));
	if (size == 0 || size > PORT_RETA_MAX || rte_eth_dev_rss_reta_query(p->id, reta, size) != 0)
		return;
	r->n_reta = size;
	for (unsigned int i = 0; i < r->n_reta; i++)
		r->reta[i] = reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
}

/* A port without RSS has none. */
static void
read_rss(const struct port *p, struct port_rss *r)
{
	struct rte_eth_dev_info info;
	struct rte_eth_rss_conf conf = { .rss_key = r->key };

	memset(r, 0, sizeof(*r));
	if (!has_rss(p) || rte_eth_dev_info_get(p->id, &info) != 0)
		return;
	conf.rss_key_len = key_size(&info);
	if (key_size(&info) <= PORT_RSS_KEY_MAX &&
		rte_eth_dev_rss_hash_conf_get(p->id, &conf) == 0) {
		r->types = conf.rss_hf;
		r->key_len = key_size(&info);
	}
	read_reta(p, info.reta_size, r);
}

static uint16_t
vlan_offload(const struct port *p)
{
	int mask = rte_eth_dev_get_vlan_offload(p->id);

	return mask > 0 ? (uint16_t)(mask & FILTERS_VLAN_OFFLOADS) : 0;
}

static void
read_filters(const struct port *p, struct filters *f)
{
	memset(f, 0, sizeof(*f));
	read_rss(p, &f->rss);
	memcpy(f->mcasts, p->mcasts, p->n_mcasts * sizeof(f->mcasts[0]));
	f->n_mcasts = (uint16_t)p->n_mcasts;
	f->vlan_offload = vlan_offload(p);
	memcpy(f->vlans, p->vlans, sizeof(f->vlans));
	for (unsigned int id = 0; id < PORT_VLANS; id++)
		f->n_vlans = (uint16_t)(f->n_vlans + filters_has_vlan(f->vlans, id));
}

int
filters_save(void *ctx, void *buf, size_t cap)
{
	const struct ports *ports = ctx;
	struct bytes b = { .at = buf, .left = cap };
	struct filters f;

	for (unsigned int i = 0; i < ports->n; i++) {
		read_filters(&ports->port[i], &f);
		filters_encode(&f, &b);
	}
	return b.bad ? -ENOSPC : (int)(cap - b.left);
}

/* Nothing is asked of a PMD that is right already: not every one changes while it runs. */
static int
set_rss(const struct port *p, const struct port_rss *wanted)
{
	struct rte_eth_rss_reta_entry64 reta[PORT_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
	struct port_rss now, r = *wanted;
	struct rte_eth_rss_conf conf = {
		.rss_key = r.key, .rss_key_len = (uint8_t)r.key_len, .rss_hf = r.types
	};
	int rc = 0;

	read_rss(p, &now);
	if (r.key_len != 0 && r.types != 0 &&
		(now.types != r.types || memcmp(now.key, r.key, sizeof(r.key)) != 0))
		rc = rte_eth_dev_rss_hash_update(p->id, &conf);
	if (rc != 0 || r.n_reta == 0 || memcmp(now.reta, r.reta, sizeof(r.reta)) == 0)
		return rc;
	memset(reta, 0xff, sizeof(reta));
	for (unsigned int i = 0; i < r.n_reta; i++)
		reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = r.reta[i];
	return rte_eth_dev_rss_reta_update(p->id, reta, r.n_reta);
}

void
port_filters_stop(struct port *p)
{
	read_rss(p, &p->rss);
}

/* Frames that are sorted otherwise than before are no reason not to receive any. */
void
port_filters_start(struct port *p)
{
	int rc = p->rss.key_len + p->rss.n_reta != 0 ? set_rss(p, &p->rss) : 0;

	if (rc == 0 && p->n_mcasts != 0)
		rc = rte_eth_dev_set_mc_addr_list(p->id, p->mcasts, p->n_mcasts);
	if (rc != 0)
		LOG_ERR("port %u does not sort frames as before it was stopped: %s", p->id,
			rte_strerror(-rc));
}

/* ---- at the destination ---- */

static int
can_spread(const struct port *p, const struct rte_eth_dev_info *info, const struct port_rss *r,
	struct wherry_why *ret_why)
{
	if (r->key_len + r->n_reta != 0 && !has_rss(p))
		return refuse(ret_why, -EOPNOTSUPP,
			"port %u has RSS at the source, none at the destination: configure both alike",
			p->id);
	if ((r->types & ~info->flow_type_rss_offloads) != 0)
		return refuse(ret_why, -EOPNOTSUPP,
			"port %u has RSS types %#" PRIx64 " at the source, and can have %#" PRIx64
			" at the destination: take those that both can have",
			p->id, r->types, info->flow_type_rss_offloads);
	if (r->key_len != 0 && r->key_len != key_size(info))
		return refuse(ret_why, -EOPNOTSUPP,
			"port %u has an RSS key of %u bytes at the source, %u at the destination: take NICs of one kind, or no RSS",
			p->id, r->key_len, key_size(info));
	if (r->n_reta != 0 && r->n_reta != info->reta_size)
		return refuse(ret_why, -EOPNOTSUPP,
			"port %u has an RSS table of %u entries at the source, %u at the destination: take NICs of one kind, or no RSS",
			p->id, r->n_reta, info->reta_size);
	for (unsigned int i = 0; i < r->n_reta; i++)
		if (r->reta[i] >= info->nb_rx_queues)
			return refuse(ret_why, -EOPNOTSUPP,
				"port %u: the source's RSS table names queue %u, the destination has %u: configure both alike",
				p->id, r->reta[i], info->nb_rx_queues);
	return 0;
}

/* What the port could do with VLAN tags if it were told to. */
static uint16_t
vlan_capabilities(const struct rte_eth_dev_info *info)
{
	static const struct {
		uint64_t offload;
		uint16_t mask;
	} map[] = {
		{ RTE_ETH_RX_OFFLOAD_VLAN_STRIP, RTE_ETH_VLAN_STRIP_OFFLOAD },
		{ RTE_ETH_RX_OFFLOAD_VLAN_FILTER, RTE_ETH_VLAN_FILTER_OFFLOAD },
		{ RTE_ETH_RX_OFFLOAD_VLAN_EXTEND, RTE_ETH_VLAN_EXTEND_OFFLOAD },
		{ RTE_ETH_RX_OFFLOAD_QINQ_STRIP, RTE_ETH_QINQ_STRIP_OFFLOAD },
	};
	uint16_t mask = 0;

	for (unsigned int i = 0; i < RTE_DIM(map); i++)
		if ((info->rx_offload_capa & map[i].offload) != 0)
			mask = (uint16_t)(mask | map[i].mask);
	return mask;
}

static int
can_sort(const struct port *p, const struct filters *f, struct wherry_why *ret_why)
{
	struct rte_eth_dev_info info;
	uint16_t possible;
	int rc;

	if (rte_eth_dev_info_get(p->id, &info) != 0)
		return refuse(ret_why, -EOPNOTSUPP, "port %u is gone at the destination", p->id);
	rc = can_spread(p, &info, &f->rss, ret_why);
	if (rc != 0)
		return rc;
	if (f->n_mcasts != 0 &&
		rte_eth_dev_set_mc_addr_list(
			p->id, (struct rte_ether_addr *)p->mcasts, p->n_mcasts) != 0)
		return refuse(ret_why, -EOPNOTSUPP,
			"port %u has a list of %u multicast addresses at the source, and takes none at the destination: use all-multicast mode there",
			p->id, f->n_mcasts);
	possible = (uint16_t)(vlan_capabilities(&info) | vlan_offload(p));
	if ((f->vlan_offload & ~possible) != 0 ||
		(f->n_vlans != 0 && (f->vlan_offload & RTE_ETH_VLAN_FILTER_OFFLOAD) == 0))
		return refuse(ret_why, -EOPNOTSUPP,
			"port %u treats VLANs by mask %#x at the source, lets %u in, and can do %#x at the destination: take a NIC that does the same",
			p->id, f->vlan_offload, f->n_vlans, possible);
	return 0;
}

static int
apply_vlans(struct port *p, const struct filters *f)
{
	int rc = vlan_offload(p) != f->vlan_offload
		? rte_eth_dev_set_vlan_offload(p->id, f->vlan_offload)
		: 0;

	for (unsigned int id = 0; rc == 0 && id < PORT_VLANS; id++)
		if (filters_has_vlan(f->vlans, id) != filters_has_vlan(p->vlans, id))
			rc = port_set_vlan(p, id, filters_has_vlan(f->vlans, id));
	return rc;
}

static int
apply(struct port *p, const struct filters *f)
{
	/* a stopped port may refuse RSS (net_e1000_igb): then it is set when it starts */
	int rc = p->at == PORT_STOPPED ? 0 : set_rss(p, &f->rss);

	if (rc == 0)
		p->rss = f->rss;
	if (rc == 0 && f->n_mcasts + p->n_mcasts != 0)
		rc = port_set_multicast(p, f->mcasts, f->n_mcasts);
	if (rc == 0)
		rc = apply_vlans(p, f);
	if (rc != 0)
		LOG_ERR("port %u does not sort as the peer's: %s", p->id, rte_strerror(-rc));
	return rc;
}

static int
each_port(struct ports *ports, const void *buf, size_t len, bool load, struct wherry_why *ret_why)
{
	struct bytes b = { .at = (uint8_t *)(uintptr_t)buf, .left = len };
	struct filters f;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < ports->n; i++) {
		rc = filters_decode(&b, &f);
		if (rc == 0)
			rc = can_sort(&ports->port[i], &f, ret_why);
		if (rc == 0 && load)
			rc = apply(&ports->port[i], &f);
	}
	return rc == 0 && b.left != 0 ? -EPROTO : rc;
}

int
filters_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	return each_port(ctx, buf, len, false, ret_why);
}

int
filters_load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	return each_port(ctx, buf, len, true, ret_why);
}
