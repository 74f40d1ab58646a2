/* SPDX-License-Identifier: BSD-3-Clause */
/* Statistics: the device half counts and never stops, a reset moves the base. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <wherry_soft.h>

#include "emu_priv.h"

static uint64_t
since_reset(const struct emu *emu, size_t offset)
{
	const char *now = (const char *)emu_device_counters(emu->device);

	return emu_count_read((const uint64_t *)(now + offset)) -
		*(const uint64_t *)((const char *)&emu->base + offset);
}

#define SINCE_RESET(emu, field) since_reset(emu, offsetof(struct emu_counters, field))

static uint64_t
no_mbufs(const struct rte_eth_dev *dev)
{
	uint64_t sum = 0;

	for (uint16_t id = 0; id < dev->data->nb_rx_queues; id++) {
		const struct emu_rxq *q = dev->data->rx_queues[id];

		if (q != NULL)
			sum += __atomic_load_n(&q->no_mbufs, __ATOMIC_RELAXED);
	}
	return sum;
}

static void
add_queue(const struct emu *emu, unsigned int id, struct rte_eth_stats *stats,
	struct emu_queue_stats *queues)
{
	const uint64_t in = SINCE_RESET(emu, rx[id].packets),
		       out = SINCE_RESET(emu, tx[id].packets);
	const uint64_t in_bytes = SINCE_RESET(emu, rx[id].bytes);
	const uint64_t out_bytes = SINCE_RESET(emu, tx[id].bytes);
	const uint64_t in_errors = SINCE_RESET(emu, rx[id].errors);

	stats->ipackets += in;
	stats->opackets += out;
	stats->ibytes += in_bytes;
	stats->obytes += out_bytes;
	stats->ierrors += in_errors;
	stats->oerrors += SINCE_RESET(emu, tx[id].errors);
	if (queues == NULL || id >= RTE_DIM(queues->q_ipackets))
		return;
	queues->q_ipackets[id] = in;
	queues->q_opackets[id] = out;
	queues->q_ibytes[id] = in_bytes;
	queues->q_obytes[id] = out_bytes;
	queues->q_errors[id] = in_errors;
}

static int
get_stats(
	const struct rte_eth_dev *dev, struct rte_eth_stats *stats, struct emu_queue_stats *queues)
{
	const struct emu *emu = emu_of(dev);

	for (unsigned int id = 0; id < EMU_MAX_QUEUES; id++)
		add_queue(emu, id, stats, queues);
	stats->imissed = SINCE_RESET(emu, rx_no_descriptor);
	stats->rx_nombuf = no_mbufs(dev) - emu->base_no_mbufs;
	return 0;
}

#ifdef EMU_QUEUE_STATS_APART
int
emu_stats_get(struct rte_eth_dev *dev, struct rte_eth_stats *stats, struct emu_queue_stats *queues)
{
	return get_stats(dev, stats, queues);
}
#else
int
emu_stats_get(struct rte_eth_dev *dev, struct rte_eth_stats *stats)
{
	return get_stats(dev, stats, stats);
}
#endif

/* Word by word: the device half may be counting. */
int
emu_stats_reset(struct rte_eth_dev *dev)
{
	struct emu *emu = emu_of(dev);
	const uint64_t *now = (const uint64_t *)emu_device_counters(emu->device);
	uint64_t *base = (uint64_t *)&emu->base;

	for (size_t i = 0; i < sizeof(emu->base) / sizeof(base[0]); i++)
		base[i] = emu_count_read(&now[i]);
	emu->base_no_mbufs = no_mbufs(dev);
	return 0;
}

static const struct {
	const char *name;
	size_t offset; /* in struct emu_counters */
} counters[] = {
	{ "rx_no_descriptor", offsetof(struct emu_counters, rx_no_descriptor) },
	{ "rx_disabled", offsetof(struct emu_counters, rx_disabled) },
	{ "rx_filtered", offsetof(struct emu_counters, rx_filtered) },
	{ "rx_bad_length", offsetof(struct emu_counters, rx_bad_length) },
	{ "rx_faults", offsetof(struct emu_counters, rx_faults) },
	{ "tx_faults", offsetof(struct emu_counters, tx_faults) },
	{ "tx_bad_length", offsetof(struct emu_counters, tx_bad_length) },
	{ "tx_wire_lost", offsetof(struct emu_counters, tx_wire_lost) },
	{ "interrupts", offsetof(struct emu_counters, interrupts) },
	{ "sleeps", offsetof(struct emu_counters, sleeps) },
	{ "doorbells", offsetof(struct emu_counters, doorbells) },
};

/* Since the port was made: they belong to the IOMMU, which knows no reset. */
static const struct {
	const char *name;
	size_t offset; /* in struct wherry_soft_stats */
} translations[] = {
	{ "iotlb_hits", offsetof(struct wherry_soft_stats, hits) },
	{ "iotlb_walks", offsetof(struct wherry_soft_stats, walks) },
	{ "iotlb_invalidations", offsetof(struct wherry_soft_stats, invalidations) },
	{ "iommu_faults", offsetof(struct wherry_soft_stats, faults) },
};

#define N_XSTATS (RTE_DIM(counters) + RTE_DIM(translations))

int
emu_xstats_get(struct rte_eth_dev *dev, struct rte_eth_xstat *xstats, unsigned int n)
{
	const struct emu *emu = emu_of(dev);
	struct wherry_soft_stats soft;

	if (n < N_XSTATS || xstats == NULL)
		return (int)N_XSTATS;
	wherry_soft_get_stats(emu_device_iommu(emu->device), &soft);
	for (unsigned int i = 0; i < N_XSTATS; i++)
		xstats[i].id = i;
	for (unsigned int i = 0; i < RTE_DIM(counters); i++)
		xstats[i].value = since_reset(emu, counters[i].offset);
	for (unsigned int i = 0; i < RTE_DIM(translations); i++)
		memcpy(&xstats[RTE_DIM(counters) + i].value,
			(const char *)&soft + translations[i].offset, sizeof(uint64_t));
	return (int)N_XSTATS;
}

int
emu_xstats_get_names(struct rte_eth_dev *dev, struct rte_eth_xstat_name *names, unsigned int n)
{
	(void)dev;
	if (n < N_XSTATS || names == NULL)
		return (int)N_XSTATS;
	for (unsigned int i = 0; i < RTE_DIM(counters); i++)
		snprintf(names[i].name, sizeof(names[i].name), "%s", counters[i].name);
	for (unsigned int i = 0; i < RTE_DIM(translations); i++)
		snprintf(names[RTE_DIM(counters) + i].name, sizeof(names[0].name), "%s",
			translations[i].name);
	return (int)N_XSTATS;
}
