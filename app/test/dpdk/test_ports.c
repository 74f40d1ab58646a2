/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk: ports that move, with stock PMDs. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "eal.h"
#include "fault_priv.h"
#include "ports_priv.h"
#include "test.h"

static struct wherry_why why; /* the last refusal's */

/* Frames come endlessly from net_null, and only while its port is started. */
static unsigned int
frames(uint16_t id)
{
	struct rte_mbuf *m[32];
	uint16_t n = rte_eth_rx_burst(id, 0, m, 32);

	rte_pktmbuf_free_bulk(m, n);
	return n;
}

static struct port_shape
shape_of(const struct ports *ports)
{
	struct port_shape s = { 0 };

	CHECK_EQ(port_shape_get(&ports->port[0], &s), 0);
	return s;
}

static bool
same_shape(struct port_shape a, struct port_shape b)
{
	return rte_is_same_ether_addr(&a.mac, &b.mac) && a.mtu == b.mtu &&
		a.rx_queues == b.rx_queues && a.tx_queues == b.tx_queues &&
		a.promiscuous == b.promiscuous && a.allmulticast == b.allmulticast &&
		a.started == b.started;
}

static const struct rte_ether_addr other_mac = { { 0x02, 0x77, 0x68, 0x65, 0x72, 0x01 } };

/* Two ports of one kind: the one we are, the one we become. */
struct pair {
	struct ports here, there;
	uint8_t section[256];
	size_t len;
};

static void
make_pair(struct pair *pair, uint16_t queues_there)
{
	eal_need();
	*pair = (struct pair){ .len = 0 };
	CHECK_EQ(ports_add(&pair->here, eal_port("net_null_a", "", 2, eal_mempool())), 0);
	CHECK_EQ(ports_add(&pair->there, eal_port("net_null_b", "", queues_there, eal_mempool())),
		0);
	CHECK_EQ(ports_start(&pair->here), 0);
}

static void
save(struct pair *pair)
{
	int n = ports_save(&pair->here, pair->section, sizeof(pair->section));

	CHECK(n > 0);
	pair->len = (size_t)n;
}

static void
drop_pair(void)
{
	eal_port_close("net_null_a");
	eal_port_close("net_null_b");
}

TEST(ports_add_refuses_what_is_no_port_or_there_already)
{
	struct ports ports = { .n = 0 };
	uint16_t id;

	eal_need();
	CHECK_EQ(ports_add(&ports, 31), -ENODEV);
	id = eal_port("net_null_c", "", 1, eal_mempool());
	CHECK_EQ(ports_add(&ports, id), 0);
	CHECK_EQ(ports_add(&ports, id), -EEXIST);
	CHECK_EQ(ports.n, 1);
	eal_port_close("net_null_c");
}

TEST(ports_quiesce_stops_and_resume_restores)
{
	struct port_shape before;
	struct pair pair;
	uint16_t id;

	make_pair(&pair, 1);
	id = pair.here.port[0].id;
	CHECK(frames(id) > 0);
	CHECK_EQ(rte_eth_promiscuous_enable(id), 0);
	CHECK_EQ(rte_eth_dev_default_mac_addr_set(id, (struct rte_ether_addr *)&other_mac), 0);
	before = shape_of(&pair.here);
	CHECK_EQ(ports_quiesce(&pair.here), 0);
	CHECK_EQ(frames(id), 0);
	CHECK(pair.here.port[0].last.ipackets > 0); /* read before the stop */
	CHECK(same_shape(shape_of(&pair.here), before));
	ports_resume(&pair.here);
	CHECK(frames(id) > 0);
	CHECK(same_shape(shape_of(&pair.here), before));
	drop_pair();
}

TEST(ports_takeover_gives_the_port_the_peers_shape)
{
	struct port_shape source, before;
	struct pair pair;
	uint16_t id;

	make_pair(&pair, 2);
	id = pair.here.port[0].id;
	CHECK_EQ(rte_eth_dev_default_mac_addr_set(id, (struct rte_ether_addr *)&other_mac), 0);
	CHECK_EQ(rte_eth_promiscuous_enable(id), 0);
	CHECK_EQ(rte_eth_allmulticast_enable(id), 0);
	source = shape_of(&pair.here);
	CHECK_EQ(ports_quiesce(&pair.here), 0);
	save(&pair);
	id = pair.there.port[0].id;
	CHECK_EQ(ports_warm(&pair.there), 0);
	CHECK_EQ(ports_check(&pair.there, pair.section, pair.len, &why), 0);
	CHECK_EQ(ports_load(&pair.there, pair.section, pair.len, &why), 0);
	before = shape_of(&pair.there);
	CHECK(!rte_is_same_ether_addr(&before.mac, &other_mac)); /* waits for takeover */
	CHECK_EQ(ports_takeover(&pair.there), 0);
	CHECK(same_shape(shape_of(&pair.there), source));
	CHECK(frames(id) > 0);
	drop_pair();
}

/* net_wherry can do all that the stock PMDs here cannot. */
static void
make_wherry_pair(struct pair *pair, struct rte_mempool *mp)
{
	eal_need_net_wherry();
	*pair = (struct pair){ .len = 0 };
	CHECK_EQ(ports_add(&pair->here, eal_port("net_wherry_a", "wire=loop", 1, mp)), 0);
	CHECK_EQ(ports_add(&pair->there, eal_port("net_wherry_b", "wire=loop", 1, mp)), 0);
	CHECK_EQ(ports_start(&pair->here), 0);
}

static void
drop_wherry_pair(void)
{
	eal_port_close("net_wherry_a");
	eal_port_close("net_wherry_b");
}

static void
set_modes(uint16_t id, bool promiscuous, bool allmulticast)
{
	CHECK_EQ(promiscuous ? rte_eth_promiscuous_enable(id) : rte_eth_promiscuous_disable(id), 0);
	CHECK_EQ(allmulticast ? rte_eth_allmulticast_enable(id) : rte_eth_allmulticast_disable(id),
		0);
}

TEST(ports_takeover_moves_modes_and_mtu_whatever_they_were)
{
	for (unsigned int n = 0; n < 8; n++) {
		bool promiscuous = n & 1, allmulticast = n & 2;
		struct port_shape source;
		struct pair pair;

		make_wherry_pair(&pair, eal_mempool());
		set_modes(pair.here.port[0].id, promiscuous, allmulticast);
		set_modes(pair.there.port[0].id, n & 4, n & 4);
		CHECK_EQ(ports_quiesce(&pair.here), 0);
		CHECK_EQ(rte_eth_dev_set_mtu(pair.here.port[0].id, 1280), 0);
		source = shape_of(&pair.here);
		save(&pair);
		CHECK_EQ(ports_warm(&pair.there), 0);
		CHECK_EQ(ports_load(&pair.there, pair.section, pair.len, &why), 0);
		CHECK_EQ(ports_takeover(&pair.there), 0);
		CHECK(same_shape(shape_of(&pair.there), source));
		CHECK(source.promiscuous == promiscuous && source.allmulticast == allmulticast);
		CHECK_EQ(source.mtu, 1280);
		drop_wherry_pair();
	}
}

/* Frames that meanwhile came back over the loop. */
static unsigned int
loop_frames(uint16_t id, struct rte_mempool *mp)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < 4; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(mp);

		CHECK(m != NULL);
		memset(rte_pktmbuf_append(m, 60), 0xff, 60); /* broadcast */
		CHECK_EQ(rte_eth_tx_burst(id, 0, &m, 1), 1);
	}
	for (unsigned int i = 0; i < 200 && n < 4; i++) {
		struct rte_mbuf *m[4];
		uint16_t got = rte_eth_rx_burst(id, 0, m, 4);

		rte_pktmbuf_free_bulk(m, got);
		n += got;
		usleep(100);
	}
	return n;
}

/* So that no frame is written where the peer's bytes arrive, and buffers can be adopted. */
TEST(ports_warm_holds_no_mbuf_and_receives_from_takeover_on)
{
	struct rte_mempool *mp;
	struct pair pair;
	uint16_t id;

	eal_need_net_wherry();
	mp = rte_pktmbuf_pool_create("warm", 511, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	CHECK(mp != NULL);
	make_wherry_pair(&pair, mp);
	CHECK_EQ(loop_frames(pair.here.port[0].id, eal_mempool()), 4);
	CHECK_EQ(ports_quiesce(&pair.here), 0);
	save(&pair);
	CHECK_EQ(ports_warm(&pair.there), 0);
	CHECK_EQ(pair.there.port[0].at, PORT_WARM);
	CHECK_EQ(rte_mempool_in_use_count(mp), 0);
	CHECK_EQ(ports_load(&pair.there, pair.section, pair.len, &why), 0);
	CHECK_EQ(rte_mempool_in_use_count(mp), 0);
	CHECK_EQ(ports_takeover(&pair.there), 0);
	id = pair.there.port[0].id;
	CHECK_EQ(loop_frames(id, eal_mempool()), 4);
	drop_wherry_pair();
	rte_mempool_free(mp);
}

/* A busy moment's measure would stand between every migration and its downtime limit. */
TEST(ports_takeover_is_measured_again_after_a_busy_moment)
{
	const char *point = "";

	eal_need_net_wherry();
	for (unsigned int nth = 1; strcmp(point, "ports.busy") != 0; nth++) {
		struct pair pair;

		make_wherry_pair(&pair, eal_mempool());
		wherry_fault_arm(nth);
		(void)ports_warm(&pair.there);
		wherry_fault_disarm();
		point = wherry_fault_fired();
		CHECK(point != NULL);
		if (strcmp(point, "ports.busy") == 0) {
			CHECK_EQ(pair.there.port[0].at, PORT_WARM);
			CHECK(ports_takeover_ns(&pair.there) != UINT64_MAX);
		}
		drop_wherry_pair();
	}
}

TEST(ports_check_changes_nothing)
{
	struct port_shape before;
	struct pair pair;

	make_pair(&pair, 2);
	CHECK_EQ(rte_eth_promiscuous_enable(pair.here.port[0].id), 0);
	save(&pair);
	before = shape_of(&pair.there);
	CHECK_EQ(ports_check(&pair.there, pair.section, pair.len, &why), 0);
	CHECK(same_shape(shape_of(&pair.there), before));
	CHECK_EQ(frames(pair.there.port[0].id), 0);
	drop_pair();
}

TEST(ports_check_refuses_other_numbers_of_queues)
{
	struct pair pair;

	make_pair(&pair, 1);
	save(&pair);
	CHECK_EQ(ports_check(&pair.there, pair.section, pair.len, &why), -EOPNOTSUPP);
	drop_pair();
}

TEST(ports_check_refuses_another_number_of_ports)
{
	struct pair pair;

	make_pair(&pair, 2);
	save(&pair);
	CHECK_EQ(ports_add(&pair.there, pair.here.port[0].id), 0);
	CHECK_EQ(ports_check(&pair.there, pair.section, pair.len, &why), -EOPNOTSUPP);
	drop_pair();
}

/* Every length but the right one, and each field out of range. */
TEST(ports_section_of_a_hostile_peer_is_refused)
{
	static const struct {
		size_t at;
		uint8_t byte;
	} bad[] = {
		{ 2, 0x01 },  /* a multicast address */
		{ 14, 0x08 }, /* a flag nobody knows */
		{ 15, 0x01 }, /* the zero byte */
		{ 1, 0xff },  /* ports */
	};
	struct pair pair;

	make_pair(&pair, 2);
	save(&pair);
	for (size_t len = 0; len < sizeof(pair.section); len++)
		CHECK(ports_check(&pair.there, pair.section, len, &why) == 0 ? len == pair.len
									     : true);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint8_t good = pair.section[bad[i].at];

		pair.section[bad[i].at] = bad[i].byte;
		CHECK_EQ(ports_check(&pair.there, pair.section, pair.len, &why), -EPROTO);
		CHECK_EQ(ports_load(&pair.there, pair.section, pair.len, &why), -EPROTO);
		pair.section[bad[i].at] = good;
	}
	drop_pair();
}

TEST(ports_check_refuses_an_mtu_the_port_cannot_have)
{
	struct pair pair;

	make_pair(&pair, 2);
	save(&pair);
	pair.section[8] = 1;
	pair.section[9] = 0;
	CHECK_EQ(ports_check(&pair.there, pair.section, pair.len, &why), -EOPNOTSUPP);
	drop_pair();
}

TEST(ports_that_were_not_started_stay_so_after_takeover)
{
	struct pair pair;

	make_pair(&pair, 2);
	pair.here.port[0].serves = false;
	save(&pair);
	CHECK_EQ(ports_warm(&pair.there), 0);
	CHECK_EQ(ports_load(&pair.there, pair.section, pair.len, &why), 0);
	CHECK_EQ(ports_takeover(&pair.there), 0);
	CHECK_EQ(frames(pair.there.port[0].id), 0);
	drop_pair();
}

TEST(ports_start_failure_leaves_none_running)
{
	FOR_EACH_FAULT(nth) {
		struct pair pair;
		int rc;

		wherry_fault_disarm();
		make_pair(&pair, 1);
		CHECK_EQ(ports_add(&pair.here, pair.there.port[0].id), 0);
		ports_stop(&pair.here);
		wherry_fault_arm(nth);
		rc = ports_start(&pair.here);
		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -EIO);
		for (unsigned int i = 0; i < 2; i++)
			CHECK((frames(pair.here.port[i].id) > 0) == (rc == 0));
		drop_pair();
	}
}

TEST(ports_quiesce_failure_leaves_all_running)
{
	FOR_EACH_FAULT(nth) {
		struct pair pair;
		int rc;

		wherry_fault_disarm();
		make_pair(&pair, 1);
		CHECK_EQ(ports_add(&pair.here, pair.there.port[0].id), 0);
		CHECK_EQ(ports_start(&pair.here), 0);
		wherry_fault_arm(nth);
		rc = ports_quiesce(&pair.here);
		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -EIO);
		for (unsigned int i = 0; i < 2; i++)
			CHECK((frames(pair.here.port[i].id) > 0) == (rc != 0));
		drop_pair();
	}
}

TEST(ports_save_needs_room)
{
	struct pair pair;

	make_pair(&pair, 1);
	CHECK_EQ(ports_save(&pair.here, pair.section, 15), -ENOSPC);
	CHECK_EQ(ports_save(&pair.here, pair.section, 16), 16);
	drop_pair();
}

/* ---- what a port sorts frames by ---- */

#define KEY_LEN 40

static void
configure_rss(struct ports *ports)
{
	const struct rte_eth_conf conf = { .rxmode.mq_mode = RTE_ETH_MQ_RX_RSS };
	uint16_t id = ports->port[0].id;

	ports_stop(ports);
	CHECK_EQ(rte_eth_dev_configure(id, 2, 2, &conf), 0);
	for (uint16_t q = 0; q < 2; q++) {
		CHECK_EQ(rte_eth_rx_queue_setup(id, q, 128, 0, NULL, eal_mempool()), 0);
		CHECK_EQ(rte_eth_tx_queue_setup(id, q, 128, 0, NULL), 0);
	}
	CHECK_EQ(ports_start(ports), 0);
}

/* Two ports with RSS, or only the first. */
static void
make_rss_pair(struct pair *pair, bool both)
{
	make_pair(pair, 2);
	configure_rss(&pair->here);
	if (both)
		configure_rss(&pair->there);
}

static void
set_rss(uint16_t id, uint8_t seed)
{
	struct rte_eth_rss_reta_entry64 reta[2];
	uint8_t key[KEY_LEN];
	struct rte_eth_rss_conf conf = {
		.rss_key = key, .rss_key_len = KEY_LEN, .rss_hf = RTE_ETH_RSS_IPV4
	};

	memset(key, seed, sizeof(key));
	memset(reta, 0xff, sizeof(reta));
	for (unsigned int i = 0; i < 128; i++)
		reta[i / 64].reta[i % 64] = (uint16_t)((i + seed) % 2);
	CHECK_EQ(rte_eth_dev_rss_hash_update(id, &conf), 0);
	CHECK_EQ(rte_eth_dev_rss_reta_update(id, reta, 128), 0);
}

static bool
has_rss(uint16_t id, uint8_t seed)
{
	struct rte_eth_rss_reta_entry64 reta[2];
	uint8_t key[KEY_LEN] = { 0 };
	struct rte_eth_rss_conf conf = { .rss_key = key, .rss_key_len = KEY_LEN };
	bool same = true;

	memset(reta, 0xff, sizeof(reta));
	CHECK_EQ(rte_eth_dev_rss_hash_conf_get(id, &conf), 0);
	CHECK_EQ(rte_eth_dev_rss_reta_query(id, reta, 128), 0);
	for (unsigned int i = 0; i < 128; i++)
		same = same && reta[i / 64].reta[i % 64] == (i + seed) % 2;
	return same && key[0] == seed && key[KEY_LEN - 1] == seed &&
		conf.rss_hf == RTE_ETH_RSS_IPV4;
}

TEST(ports_filters_move_rss)
{
	uint8_t buf[4096];
	struct pair pair;
	int n;

	make_rss_pair(&pair, true);
	set_rss(pair.here.port[0].id, 7);
	set_rss(pair.there.port[0].id, 8);
	n = filters_save(&pair.here, buf, sizeof(buf));
	CHECK(n > 0);
	CHECK_EQ(filters_check(&pair.there, buf, (size_t)n, &why), 0);
	CHECK(has_rss(pair.there.port[0].id, 8)); /* looking changes nothing */
	CHECK_EQ(filters_load(&pair.there, buf, (size_t)n, &why), 0);
	CHECK(has_rss(pair.there.port[0].id, 7));
	CHECK_EQ(filters_save(&pair.here, buf, (size_t)n - 1), -ENOSPC);
	drop_pair();
}

TEST(ports_filters_that_a_port_cannot_have_are_refused)
{
	const struct rte_ether_addr group = { { 0x33, 0x33, 0, 0, 0, 1 } };
	uint8_t buf[4096];
	struct pair pair;
	int n;

	make_pair(&pair, 2);
	CHECK_EQ(port_set_multicast(&pair.here.port[0], &group, 1), -EOPNOTSUPP);
	CHECK_EQ(port_set_multicast(&pair.here.port[0], &other_mac, 1), -EINVAL);
	CHECK_EQ(port_set_vlan(&pair.here.port[0], 4096, true), -EINVAL);
	pair.here.port[0].mcasts[0] = group; /* as if it could */
	pair.here.port[0].n_mcasts = 1;
	n = filters_save(&pair.here, buf, sizeof(buf));
	CHECK_EQ(filters_check(&pair.there, buf, (size_t)n, &why), -EOPNOTSUPP);
	pair.here.port[0].n_mcasts = 0;
	pair.here.port[0].vlans[1] = 1;
	n = filters_save(&pair.here, buf, sizeof(buf));
	CHECK_EQ(filters_check(&pair.there, buf, (size_t)n, &why), -EOPNOTSUPP);
	pair.here.port[0].vlans[1] = 0;
	n = filters_save(&pair.here, buf, sizeof(buf));
	CHECK_EQ(filters_check(&pair.there, buf, (size_t)n, &why), 0);
	drop_pair();
	make_rss_pair(&pair, false);
	n = filters_save(&pair.here, buf, sizeof(buf));
	CHECK_EQ(filters_check(&pair.there, buf, (size_t)n, &why), -EOPNOTSUPP);
	drop_pair();
}

/* Cut anywhere, and with each byte changed: refused, or sound; never out of bounds. */
TEST(ports_filters_of_a_hostile_peer_are_refused)
{
	uint8_t buf[4096], bad[4096];
	struct pair pair;
	int n;

	make_rss_pair(&pair, true);
	pair.here.port[0].vlans[1] = 1;
	n = filters_save(&pair.here, buf, sizeof(buf));
	for (int len = 0; len < n; len++)
		CHECK(filters_check(&pair.there, buf, (size_t)len, &why) < 0);
	buf[n] = 0;
	CHECK(filters_check(&pair.there, buf, (size_t)n + 1, &why) < 0);
	for (int at = 0; at < n; at++) {
		memcpy(bad, buf, (size_t)n);
		bad[at] ^= 0xff;
		(void)filters_check(&pair.there, bad, (size_t)n, &why);
	}
	drop_pair();
}

TEST(ports_filters_move_multicast_addresses)
{
	const struct rte_ether_addr groups[] = { { { 0x33, 0x33, 0, 0, 0, 1 } },
		{ { 0x01, 0x00, 0x5e, 0, 0, 9 } } };
	struct pair pair = { .len = 0 };
	uint8_t buf[4096];
	int n;

	eal_need_net_wherry();
	CHECK_EQ(ports_add(&pair.here, eal_port("net_wherry_a", "wire=loop", 1, eal_mempool())), 0);
	CHECK_EQ(
		ports_add(&pair.there, eal_port("net_wherry_b", "wire=loop", 1, eal_mempool())), 0);
	CHECK_EQ(port_set_multicast(&pair.here.port[0], groups, 2), 0);
	n = filters_save(&pair.here, buf, sizeof(buf));
	CHECK(n > 0);
	CHECK_EQ(filters_check(&pair.there, buf, (size_t)n, &why), 0);
	CHECK_EQ(pair.there.port[0].n_mcasts, 0);
	CHECK_EQ(filters_load(&pair.there, buf, (size_t)n, &why), 0);
	CHECK_EQ(pair.there.port[0].n_mcasts, 2);
	CHECK(memcmp(pair.there.port[0].mcasts, groups, sizeof(groups)) == 0);
	eal_port_close("net_wherry_a");
	eal_port_close("net_wherry_b");
}
