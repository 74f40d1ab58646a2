/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FILTERS_PRIV_H
#define FILTERS_PRIV_H

/* What a port sorts frames by: as it is read, as it goes to a peer, as it is given to a port. */

#include "bytes_priv.h"
#include "ports_priv.h"

/* All that rte_eth_dev_get_vlan_offload() knows. */
#define FILTERS_VLAN_OFFLOADS                                                                     \
	(RTE_ETH_VLAN_STRIP_OFFLOAD | RTE_ETH_VLAN_FILTER_OFFLOAD | RTE_ETH_VLAN_EXTEND_OFFLOAD | \
		RTE_ETH_QINQ_STRIP_OFFLOAD)

struct filters {
	struct port_rss rss;
	struct rte_ether_addr mcasts[PORT_MCASTS_MAX];
	uint16_t n_mcasts;
	uint16_t vlan_offload; /* FILTERS_VLAN_OFFLOADS */
	uint8_t vlans[PORT_VLANS / 8];
	uint16_t n_vlans;
};

static inline bool
filters_has_vlan(const uint8_t *vlans, unsigned int id)
{
	return (vlans[id / 8] >> id % 8 & 1) != 0;
}

/* One port's, onto the end; and from the front: -EPROTO, or sound. */
void filters_encode(const struct filters *f, struct bytes *b);
int filters_decode(struct bytes *b, struct filters *f);

#endif /* FILTERS_PRIV_H */
