/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive side scaling, the driver's side: key and table for the device half. */
#include <errno.h>
#include <string.h>

#include "emu_priv.h"

/* The key of the Toeplitz hash as Microsoft published it for verification. */
static const uint8_t default_key[EMU_RSS_KEY] = {
	0x6d,
	0x5a,
	0x56,
	0xda,
	0x25,
	0x5b,
	0x0e,
	0xc2,
	0x41,
	0x67,
	0x25,
	0x3d,
	0x43,
	0xa3,
	0x8f,
	0xb0,
	0xd0,
	0xca,
	0x2b,
	0xcb,
	0xae,
	0x7b,
	0x30,
	0xb4,
	0x77,
	0xcb,
	0x2d,
	0xa3,
	0x80,
	0x30,
	0xf2,
	0x0c,
	0x6a,
	0x42,
	0xb7,
	0x3b,
	0xbe,
	0xac,
	0x01,
	0xfa,
};

void
emu_rss_defaults(struct emu *emu)
{
	memcpy(emu->config.rss_key, default_key, sizeof(default_key));
}

static int
take_conf(struct emu *emu, const struct rte_eth_rss_conf *conf)
{
	if (conf->rss_key != NULL && conf->rss_key_len != 0 && conf->rss_key_len != EMU_RSS_KEY)
		return -EINVAL;
	if (conf->rss_key != NULL)
		memcpy(emu->config.rss_key, conf->rss_key, EMU_RSS_KEY);
	emu->config.rss = conf->rss_hf & EMU_RSS_TYPES;
	return 0;
}

int
emu_rss_configure(struct rte_eth_dev *dev)
{
	const struct rte_eth_conf *conf = &dev->data->dev_conf;
	const unsigned int queues = dev->data->nb_rx_queues != 0 ? dev->data->nb_rx_queues : 1;
	struct emu *emu = emu_of(dev);
	int rc = 0;

	for (unsigned int i = 0; i < EMU_RETA; i++)
		emu->config.reta[i] = (uint16_t)(i % queues);
	emu->config.rss = 0;
	if ((conf->rxmode.mq_mode & RTE_ETH_MQ_RX_RSS_FLAG) != 0)
		rc = take_conf(emu, &conf->rx_adv_conf.rss_conf);
	if (rc == 0)
		emu_device_configure(emu->device, &emu->config);
	return rc;
}

int
emu_rss_update(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf)
{
	int rc = take_conf(emu_of(dev), conf);

	if (rc == 0)
		emu_device_configure(emu_of(dev)->device, &emu_of(dev)->config);
	return rc;
}

int
emu_rss_get(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf)
{
	const struct emu_config *config = &emu_of(dev)->config;

	if (conf->rss_key != NULL && conf->rss_key_len >= EMU_RSS_KEY) {
		memcpy(conf->rss_key, config->rss_key, EMU_RSS_KEY);
		conf->rss_key_len = EMU_RSS_KEY;
	}
	conf->rss_hf = config->rss;
	return 0;
}

static bool
is_chosen(const struct rte_eth_rss_reta_entry64 *conf, unsigned int i)
{
	return (conf[i / RTE_ETH_RETA_GROUP_SIZE].mask &
		       (UINT64_C(1) << (i % RTE_ETH_RETA_GROUP_SIZE))) != 0;
}

int
emu_reta_update(struct rte_eth_dev *dev, struct rte_eth_rss_reta_entry64 *conf, uint16_t size)
{
	struct emu *emu = emu_of(dev);
	struct emu_config config = emu->config;

	if (size != EMU_RETA)
		return -EINVAL;
	for (unsigned int i = 0; i < EMU_RETA; i++) {
		const uint16_t id =
			conf[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];

		if (!is_chosen(conf, i))
			continue;
		if (id >= dev->data->nb_rx_queues)
			return -EINVAL;
		config.reta[i] = id;
	}
	emu->config = config;
	emu_device_configure(emu->device, &emu->config);
	return 0;
}

int
emu_reta_query(struct rte_eth_dev *dev, struct rte_eth_rss_reta_entry64 *conf, uint16_t size)
{
	if (size != EMU_RETA)
		return -EINVAL;
	for (unsigned int i = 0; i < EMU_RETA; i++)
		if (is_chosen(conf, i))
			conf[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] =
				emu_of(dev)->config.reta[i];
	return 0;
}
