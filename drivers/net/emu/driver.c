/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net_wherry as a DPDK driver: registered when the plugin is loaded, one port per
 *
 *	--vdev net_wherryN,wire=loop|tap=NAME|tap=-|pair=NAME[,queues=N][,iommu=SPEC]
 *
 * A driver is tied to one release of DPDK by structure layouts that no loader checks:
 * the plugin compares the release it was built for with the one it meets, and does not
 * register if they differ.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bus_vdev_driver.h>
#include <ethdev_driver.h>
#include <ethdev_vdev.h>
#include <rte_kvargs.h>
#include <rte_malloc.h>
#include <rte_version.h>

#include <wherry_dpdk.h>

#include "emu_priv.h"

#define DEFAULT_QUEUES 8u
#define PARAMS "wire=loop|tap=NAME|tap=-|pair=NAME queues=<1..16> iommu=<spec>|[<spec>]"

int emu_logtype;

/*
 * rte_kvargs knows no '=' in a value. The values pass through it with this in its place.
 */
#define EQUALS '\x01'

/* What stands behind --vdev net_wherry0, */
struct devargs {
	char wire[64];
	char iommu[128]; /* empty: the domain that is there, else "soft" */
	unsigned int queues;
};

static void
replace(char *text, char from, char to)
{
	for (; *text != '\0'; text++)
		if (*text == from)
			*text = to;
}

/* Every '=' but the first of each pair; pairs are parted by commas outside of brackets. */
static void
hide_equals(char *text)
{
	bool in_value = false, in_list = false;

	for (; *text != '\0'; text++) {
		in_list = *text == '[' || (in_list && *text != ']');
		if (*text == ',' && !in_list)
			in_value = false;
		else if (*text == '=' && in_value)
			*text = EQUALS;
		else if (*text == '=')
			in_value = true;
	}
}

static int
take_wire(const char *key, const char *value, void *arg)
{
	struct devargs *args = arg;

	(void)key;
	if (value == NULL || strlen(value) >= sizeof(args->wire))
		return -EINVAL;
	snprintf(args->wire, sizeof(args->wire), "%s", value);
	replace(args->wire, EQUALS, '=');
	return 0;
}

/* A spec with commas stands in brackets: iommu=[soft:format=vtdss,iotlb=64] */
static int
take_iommu(const char *key, const char *value, void *arg)
{
	struct devargs *args = arg;
	size_t n = value != NULL ? strlen(value) : 0;

	(void)key;
	if (n >= 2 && value[0] == '[' && value[n - 1] == ']') {
		value++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(args->iommu))
		return -EINVAL;
	snprintf(args->iommu, sizeof(args->iommu), "%.*s", (int)n, value);
	replace(args->iommu, EQUALS, '=');
	return 0;
}

static int
take_queues(const char *key, const char *value, void *arg)
{
	struct devargs *args = arg;
	char *end = NULL;
	unsigned long n = value != NULL ? strtoul(value, &end, 10) : 0;

	(void)key;
	if (n == 0 || n > EMU_MAX_QUEUES || *end != '\0') {
		EMU_LOG(ERR, "queues=%s: from 1 to %u", value, EMU_MAX_QUEUES);
		return -EINVAL;
	}
	args->queues = (unsigned int)n;
	return 0;
}

static struct rte_kvargs *
parse_pairs(const char *text)
{
	static const char *const keys[] = { "wire", "queues", "iommu", NULL };
	char *copy = strdup(text);
	struct rte_kvargs *kv = NULL;

	if (copy != NULL) {
		hide_equals(copy);
		kv = rte_kvargs_parse(copy, keys);
	}
	free(copy);
	return kv;
}

static int
parse_devargs(const char *text, struct devargs *ret_args)
{
	struct devargs args = { .wire = "loop", .queues = DEFAULT_QUEUES };
	struct rte_kvargs *kv = parse_pairs(text);
	int rc = -EINVAL;

	if (kv != NULL && rte_kvargs_process(kv, "wire", take_wire, &args) == 0 &&
		rte_kvargs_process(kv, "queues", take_queues, &args) == 0 &&
		rte_kvargs_process(kv, "iommu", take_iommu, &args) == 0)
		rc = 0;
	else
		EMU_LOG(ERR, "\"%s\": not understood; there are " PARAMS, text);
	rte_kvargs_free(kv);
	if (rc == 0)
		*ret_args = args;
	return rc;
}

static int
open_domain(struct emu *emu, const struct devargs *args)
{
	const char *spec = args->iommu[0] != '\0' ? args->iommu : NULL;
	int rc = wherry_dpdk_domain_get(spec, &emu->dom);

	if (rc == -EBUSY)
		EMU_LOG(ERR, "iommu=%s: this process has a domain with another spec", spec);
	else if (rc != 0)
		EMU_LOG(ERR, "no domain for EAL memory: %s", strerror(-rc));
	return rc;
}

static int
make_port(struct rte_vdev_device *vdev, struct rte_eth_dev *dev, const struct devargs *args)
{
	struct emu *emu = emu_of(dev);
	const char *name = rte_vdev_device_name(vdev);
	int rc;

	emu->dev = dev;
	emu->max_queues = args->queues;
	emu_rss_defaults(emu);
	dev->data->mac_addrs = rte_calloc(name, EMU_MAX_MACS, sizeof(emu->config.macs[0]), 0);
	if (dev->data->mac_addrs == NULL)
		return -ENOMEM; /* the rest goes with the port */
	rte_eth_random_addr(dev->data->mac_addrs[0].addr_bytes);
	emu->config.macs[0] = dev->data->mac_addrs[0];
	rc = emu_intr_create(dev);
	if (rc != 0)
		return rc;
	rc = open_domain(emu, args);
	if (rc != 0)
		goto destroy_intr;
	rc = emu_device_create(name, args->wire, emu->dom, &emu->device);
	if (rc != 0)
		goto put_domain;
	rc = emu_line_create(dev);
	if (rc != 0)
		goto destroy_device;
	return 0;
destroy_device:
	emu_device_destroy(emu->device);
put_domain:
	wherry_dpdk_domain_put(emu->dom);
destroy_intr:
	emu_intr_destroy(dev);
	return rc;
}

static int
emu_probe(struct rte_vdev_device *vdev)
{
	struct devargs args;
	struct rte_eth_dev *dev;
	int rc;

	if (rte_eal_process_type() != RTE_PROC_PRIMARY) {
		EMU_LOG(ERR, "the device half lives in the primary process: no use in a secondary");
		return -ENOTSUP;
	}
	rc = parse_devargs(rte_vdev_device_args(vdev), &args);
	if (rc != 0)
		return rc;
	dev = rte_eth_vdev_allocate(vdev, sizeof(struct emu));
	if (dev == NULL)
		return -ENOMEM;
	rc = make_port(vdev, dev, &args);
	if (rc != 0) {
		rte_eth_dev_release_port(dev);
		return rc;
	}
	dev->dev_ops = &emu_ops;
	dev->rx_pkt_burst = emu_rx_burst;
	dev->tx_pkt_burst = emu_tx_burst;
	dev->data->dev_flags |= RTE_ETH_DEV_AUTOFILL_QUEUE_XSTATS;
	rte_eth_dev_probing_finish(dev);
	return 0;
}

static int
emu_remove(struct rte_vdev_device *vdev)
{
	struct rte_eth_dev *dev = rte_eth_dev_allocated(rte_vdev_device_name(vdev));
	uint16_t port;

	if (dev == NULL)
		return 0; /* closed already */
	port = dev->data->port_id;
	if (dev->data->dev_started)
		(void)rte_eth_dev_stop(port);
	return rte_eth_dev_close(port);
}

static struct wherry_domain *
domain_of(const struct rte_vdev_device *vdev)
{
	const struct rte_eth_dev *dev = rte_eth_dev_allocated(rte_vdev_device_name(vdev));

	return dev != NULL ? emu_of(dev)->dom : NULL;
}

/* Memory of rte_extmem_register(). All ports share a domain: the second port finds it mapped. */
static int
emu_dma_map(struct rte_vdev_device *vdev, void *addr, uint64_t iova, size_t len)
{
	struct wherry_span span = { .iova = iova, .len = len };
	struct wherry_domain *dom = domain_of(vdev);
	int rc = -ENODEV;

	if (dom != NULL)
		rc = wherry_domain_map(dom, addr, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span);
	if (rc == -EEXIST)
		rc = 0;
	if (rc != 0)
		rte_errno = -rc;
	return rc;
}

static int
emu_dma_unmap(struct rte_vdev_device *vdev, void *addr, uint64_t iova, size_t len)
{
	struct wherry_span span = { .iova = iova, .len = len };
	struct wherry_domain *dom = domain_of(vdev);
	int rc = dom != NULL ? wherry_domain_unmap(dom, span) : -ENODEV;

	(void)addr;
	if (rc == -ENOENT)
		rc = 0;
	if (rc != 0)
		rte_errno = -rc;
	return rc;
}

static struct rte_vdev_driver emu_driver = {
	.driver = { .name = "net_wherry" },
	.probe = emu_probe,
	.remove = emu_remove,
	.dma_map = emu_dma_map,
	.dma_unmap = emu_dma_unmap,
	.drv_flags = RTE_VDEV_DRV_NEED_IOVA_AS_VA,
};

/* As rte_version() has it. */
static void
version_of_build(char *text, size_t room)
{
	if (strlen(RTE_VER_SUFFIX) == 0)
		snprintf(text, room, "%s %d.%02d.%d", RTE_VER_PREFIX, RTE_VER_YEAR, RTE_VER_MONTH,
			RTE_VER_MINOR);
	else
		snprintf(text, room, "%s %d.%02d.%d%s%d", RTE_VER_PREFIX, RTE_VER_YEAR,
			RTE_VER_MONTH, RTE_VER_MINOR, RTE_VER_SUFFIX,
			RTE_VER_RELEASE < 16 ? RTE_VER_RELEASE : RTE_VER_RELEASE - 16);
}

RTE_INIT(emu_register)
{
	char built[64];

	emu_logtype = rte_log_register_type_and_pick_level("pmd.net.wherry", RTE_LOG_NOTICE);
	version_of_build(built, sizeof(built));
	if (strcmp(built, rte_version()) != 0) {
		EMU_LOG(ERR,
			"not loaded: built for %s, this is %s; run devtools/dpdk-sdk and build it again",
			built, rte_version());
		return;
	}
	rte_vdev_register(&emu_driver);
}

RTE_PMD_REGISTER_PARAM_STRING(net_wherry, PARAMS);
