/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk: what is compared of ports and of the IOMMU before the first byte, one difference at a time. */
#include <errno.h>
#include <string.h>

#include <rte_ethdev.h>

#include "eal.h"
#include "filters_priv.h"
#include "iommu_section_priv.h"
#include "test.h"

static void
check_said(const char *what, int rc, const struct wherry_why *why, const char *const say[4])
{
	if (rc == 0)
		FAIL("%s is taken", what);
	for (unsigned int k = 0; k < 4 && say[k] != NULL; k++)
		if (strstr(why->text, say[k]) == NULL)
			FAIL("%s: no \"%s\" in \"%s\"", what, say[k], why->text);
	if (strlen(why->text) + 1 == sizeof(why->text))
		FAIL("%s: cut: %s", what, why->text);
}

/* ---- ports ---- */

static struct ports
one_port(const char *name, uint16_t queues)
{
	struct ports ports = { .n = 0 };

	eal_need();
	CHECK_EQ(ports_add(&ports, eal_port(name, "", queues, eal_mempool())), 0);
	return ports;
}

/* Two bytes of the section are changed: where, and to what. A port's description begins at 2. */
static const struct {
	const char *what;
	unsigned int at;
	uint16_t to;
	const char *say[4];
} port_differences[] = {
	{ "number of ports", 0, 2,
		{ "2 ports at the source", "1 at the destination", "the same" } },
	{ "MTU", 8, 45,
		{ "MTU 45 at the source", "46 to ", "at the destination", "both can have" } },
	{ "receive queues", 10, 7,
		{ "7 receive and 2 transmit", "2 and 2 at the destination", "alike" } },
	{ "transmit queues", 12, 5,
		{ "2 receive and 5 transmit", "2 and 2 at the destination", "alike" } },
};

TEST(ports_that_differ_are_refused_with_both_values_and_a_remedy)
{
	struct ports ports = one_port("net_null_a", 2);
	uint8_t plain[64], bytes[64];
	struct wherry_why why = { "" };
	int n = ports_save(&ports, plain, sizeof(plain));

	CHECK(n == 16);
	CHECK_EQ(ports_check(&ports, plain, (size_t)n, &why), 0);
	for (size_t i = 0; i < RTE_DIM(port_differences); i++) {
		size_t len = (size_t)n;

		memcpy(bytes, plain, len);
		bytes_put16(&(struct bytes){ .at = bytes + port_differences[i].at, .left = 2 },
			port_differences[i].to);
		if (port_differences[i].at == 0) { /* one port more is longer */
			memcpy(bytes + len, plain + 2, len - 2);
			len += len - 2;
		}
		check_said(port_differences[i].what, ports_check(&ports, bytes, len, &why), &why,
			port_differences[i].say);
	}
	eal_port_close("net_null_a");
}

/* A net_ring keeps its MAC address: nothing can be changed, so nothing moves there. */
TEST(ports_mac_address_that_cannot_be_set_is_refused_with_both)
{
	struct ports ports = one_port("net_ring_a", 2);
	static const char *const say[4] = { "MAC address 02:", "at the source", "stays with",
		"that can change it" };
	uint8_t bytes[64];
	struct wherry_why why = { "" };
	int n = ports_save(&ports, bytes, sizeof(bytes));

	CHECK_EQ(n, 16);
	bytes[2] = 0x02; /* another than its own */
	bytes[7] = 0x5a;
	check_said("MAC address", ports_check(&ports, bytes, (size_t)n, &why), &why, say);
	eal_port_close("net_ring_a");
}

static void
configure_rss(const struct ports *ports)
{
	const struct rte_eth_conf conf = { .rxmode.mq_mode = RTE_ETH_MQ_RX_RSS };
	uint16_t id = ports->port[0].id;

	CHECK_EQ(rte_eth_dev_configure(id, 2, 2, &conf), 0);
	for (uint16_t q = 0; q < 2; q++) {
		CHECK_EQ(rte_eth_rx_queue_setup(id, q, 128, 0, NULL, eal_mempool()), 0);
		CHECK_EQ(rte_eth_tx_queue_setup(id, q, 128, 0, NULL), 0);
	}
}

/* What the source's filters have that a net_null has not. */
static void
add_types(struct filters *f)
{
	f->rss.types |= UINT64_C(1) << 60;
}

static void
shorten_key(struct filters *f)
{
	f->rss.key_len = 24;
}

static void
shorten_table(struct filters *f)
{
	f->rss.n_reta = 64;
}

static void
name_queue(struct filters *f)
{
	f->rss.reta[5] = 9;
}

static void
add_mcast(struct filters *f)
{
	f->mcasts[0] = (struct rte_ether_addr){ { 0x33, 0x33, 0, 0, 0, 1 } };
	f->n_mcasts = 1;
}

static void
add_vlan(struct filters *f)
{
	f->vlan_offload = RTE_ETH_VLAN_FILTER_OFFLOAD;
	f->vlans[1] = 1;
	f->n_vlans = 1;
}

static void
strip(struct filters *f)
{
	f->vlan_offload = RTE_ETH_VLAN_STRIP_OFFLOAD;
}

static const struct {
	const char *what;
	void (*change)(struct filters *f);
	const char *say[4];
} filter_differences[] = {
	{ "RSS types", add_types, { "0x1000", "at the source", "at the destination", "both can" } },
	{ "RSS key", shorten_key, { "key of 24 bytes at the source", "40 at", "one kind" } },
	{ "RSS table", shorten_table, { "table of 64 entries at", "128 at", "one kind" } },
	{ "queue", name_queue, { "queue 9", "the destination has 2", "alike" } },
	{ "multicast", add_mcast, { "list of 1", "takes none", "all-multicast" } },
	{ "VLANs", add_vlan, { "mask 0x2 at", "lets 1 in", "do 0 at", "does the same" } },
	{ "VLAN tags", strip, { "mask 0x1 at", "do 0 at", "does the same" } },
};

TEST(ports_filters_that_differ_are_refused_with_both_values_and_a_remedy)
{
	struct ports ports = one_port("net_null_a", 2);
	struct wherry_why why = { "" };
	struct filters plain, f;
	uint8_t bytes[4096];
	int n;

	configure_rss(&ports);
	n = filters_save(&ports, bytes, sizeof(bytes));
	CHECK(n > 0);
	CHECK_EQ(filters_check(&ports, bytes, (size_t)n, &why), 0);
	CHECK_EQ(filters_decode(&(struct bytes){ .at = bytes, .left = (size_t)n }, &plain), 0);
	for (size_t i = 0; i < RTE_DIM(filter_differences); i++) {
		struct bytes b = { .at = bytes, .left = sizeof(bytes) };

		f = plain;
		filter_differences[i].change(&f);
		filters_encode(&f, &b);
		check_said(filter_differences[i].what,
			filters_check(&ports, bytes, sizeof(bytes) - b.left, &why), &why,
			filter_differences[i].say);
	}
	eal_port_close("net_null_a");
}

/* ---- the IOMMU ---- */

static const struct wherry_span low_only[] = { { 0, 0x80000000 } };
static const struct wherry_span with_hole[] = { { 0, 0xfee00000 }, { 0xfef00000, 0x7fff01100000 } };
static const struct wherry_domain_caps plain_caps = {
	.dirty = WHERRY_DIRTY_TRACKED, .granule = 4096, .usable = with_hole, .n_usable = 2
};
static const struct wherry_span region = { 0x550000000000, 0x400000 };

static const struct {
	const char *what;
	bool here; /* it is the destination that is so */
	struct wherry_domain_caps caps;
	struct wherry_span region;
	const char *say[4];
} iommu_differences[] = {
	{ "granule", false,
		{ .dirty = WHERRY_DIRTY_TRACKED,
			.granule = 2097152,
			.usable = with_hole,
			.n_usable = 2 },
		{ 0x550000000000, 0x400000 },
		{ "2097152 bytes at the source", "4096 at the destination", "leaf=" } },
	{ "range at the source", false,
		{ .dirty = WHERRY_DIRTY_TRACKED,
			.granule = 4096,
			.usable = low_only,
			.n_usable = 1 },
		{ 0x550000000000, 0x400000 },
		{ "0x550000000000 to 0x5500003fffff", "to 0x7fffffff at the source", "address" } },
	{ "range at the destination", true,
		{ .dirty = WHERRY_DIRTY_TRACKED,
			.granule = 4096,
			.usable = low_only,
			.n_usable = 1 },
		{ 0x550000000000, 0x400000 },
		{ "\"arena\"", "to 0x7fffffff at the destination", "usable at both" } },
	{ "hole at the destination", true,
		{ .dirty = WHERRY_DIRTY_TRACKED,
			.granule = 4096,
			.usable = with_hole,
			.n_usable = 2 },
		{ 0xfed00000, 0x400000 },
		{ "0xfed00000 to 0xff0fffff", "to 0xfedfffff at the destination", "usable" } },
};

static int
check_iommu(const struct wherry_domain_caps *theirs, const struct wherry_domain_caps *ours,
	struct wherry_span at, struct wherry_why *ret_why)
{
	uint8_t bytes[256];
	int n = iommu_encode(theirs, bytes, sizeof(bytes)), rc;

	CHECK(n > 0);
	CHECK_EQ(iommu_encode(theirs, bytes, (size_t)n - 1), -ENOSPC);
	for (size_t len = 0; len < (size_t)n; len++)
		CHECK_EQ(iommu_compare(bytes, len, ours, ret_why), -EPROTO);
	(void)iommu_encode(theirs, bytes, sizeof(bytes));
	rc = iommu_compare(bytes, (size_t)n, ours, ret_why);
	return rc != 0 ? rc : iommu_reaches(bytes, (size_t)n, ours, "arena", at, ret_why);
}

TEST(iommu_that_differs_is_refused_with_both_values_and_a_remedy)
{
	struct wherry_domain_caps none = plain_caps;
	struct wherry_why why = { "" };

	CHECK_EQ(check_iommu(&plain_caps, &plain_caps, region, &why), 0);
	none.dirty = WHERRY_DIRTY_NONE; /* another way to know, another granule: not refused */
	none.granule = 0;
	CHECK_EQ(check_iommu(&plain_caps, &none, region, &why), 0);
	for (size_t i = 0; i < RTE_DIM(iommu_differences); i++) {
		const struct wherry_domain_caps *caps = &iommu_differences[i].caps;
		int rc = iommu_differences[i].here
			? check_iommu(&plain_caps, caps, iommu_differences[i].region, &why)
			: check_iommu(caps, &plain_caps, iommu_differences[i].region, &why);

		check_said(iommu_differences[i].what, rc, &why, iommu_differences[i].say);
	}
}
