/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk: the descriptor log, as a source of the tracker and as the judge of the IOMMU's bits. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <rte_memzone.h>

#include <wherry_bitmap.h>
#include <wherry_dirty.h>

#include "base_priv.h"
#include "net.h"

#define PAGE UINT64_C(4096)
#define RING 32u

/* A port that receives into external buffers, and a tracker that asks a log about them. */
struct scene {
	struct net_external e;
	struct port port;
	struct wherry_rxlog *log;
	struct wherry_tracker *tr;
	struct wherry_watch *w;
	struct wherry_bitmap *taken;
	unsigned char copy[EXTERNAL_BYTES]; /* what a receiver would have */
};

static void
open_scene_of(struct scene *s, enum wherry_rxlog_role role, unsigned int room)
{
	const struct wherry_tracker_opts opts = { .cpu = WHERRY_CPU_NONE };

	s->e = net_external_of(room);
	s->port = net_open(&(struct port_opts){ .mp = s->e.mp, .ring = RING });
	CHECK_EQ(wherry_rxlog_create(role, &s->log), 0);
	CHECK_EQ(wherry_rxlog_add_port(s->log, s->port.id), 0);
	CHECK_EQ(wherry_tracker_create(&opts, &s->tr), 0);
	CHECK_EQ(wherry_watch_create(s->tr, "buffers", s->e.span, PAGE, &s->w), 0);
	CHECK_EQ(wherry_rxlog_add_watch(s->log, s->w), 0);
	if (role == WHERRY_RXLOG_CHECK)
		CHECK_EQ(wherry_watch_add_domain(s->w, s->e.dom), 0);
	CHECK_EQ(wherry_bitmap_create(s->e.span, PAGE, &s->taken), 0);
}

static void
open_scene(struct scene *s, enum wherry_rxlog_role role)
{
	open_scene_of(s, role, EXTERNAL_ROOM);
}

static void
close_scene(struct scene *s)
{
	wherry_tracker_destroy(s->tr);
	wherry_bitmap_destroy(s->taken);
	wherry_rxlog_destroy(s->log);
	net_close(&s->port);
	net_external_drop(&s->e);
}

static struct wherry_rxlog_stats
stats_of(struct scene *s)
{
	struct wherry_rxlog_stats stats;

	wherry_rxlog_get_stats(s->log, &stats);
	return stats;
}

/* One frame to itself, not yet taken out. */
static void
send_frame(struct scene *s, unsigned char seed)
{
	net_send(&s->port, 0, net_frame(&s->port.mac, 1000, seed));
}

static struct rte_mbuf *
pass(struct scene *s, unsigned char seed)
{
	send_frame(s, seed);
	return net_receive(&s->port, 0);
}

/* Harvest, and copy what is pending. */
static uint64_t
copy(struct scene *s)
{
	uint64_t at = s->e.span.iova;
	struct wherry_span run;

	wherry_bitmap_clear(s->taken);
	CHECK_EQ(wherry_tracker_harvest(s->tr), 0);
	CHECK_EQ(wherry_watch_take(s->w, false, s->taken), 0);
	while (wherry_bitmap_next_run(s->taken, &at, &run)) {
		uint64_t offset = run.iova - s->e.span.iova;

		memcpy(s->copy + offset, (unsigned char *)s->e.vaddr + offset, run.len);
	}
	return wherry_bitmap_count(s->taken);
}

static bool
is_taken(const struct scene *s, const struct rte_mbuf *m)
{
	return wherry_bitmap_test(s->taken, (uintptr_t)rte_pktmbuf_mtod(m, void *));
}

TEST(rxlog_pages_with_received_data_are_dirty)
{
	static struct scene s;
	struct rte_mbuf *m;

	open_scene(&s, WHERRY_RXLOG_SOURCE);
	rte_pktmbuf_free(pass(&s, 1)); /* before start: forgotten */
	CHECK_EQ(wherry_tracker_start(s.tr), 0);
	CHECK_EQ(copy(&s), EXTERNAL_BYTES / PAGE);
	CHECK_EQ(copy(&s), 0);
	m = pass(&s, 2);
	CHECK_EQ(copy(&s), 1);
	CHECK(is_taken(&s, m));
	rte_pktmbuf_free(m);
	CHECK_EQ(copy(&s), 0);
	send_frame(&s, 3); /* in the ring, nobody's yet */
	net_wait_xstat(&s.port, "rx_good_packets", 3);
	CHECK_EQ(copy(&s), 0);
	m = net_receive(&s.port, 0);
	CHECK_EQ(copy(&s), 1);
	CHECK(is_taken(&s, m));
	rte_pktmbuf_free(m);
	CHECK_EQ(stats_of(&s).descriptors, 3);
	close_scene(&s);
}

TEST(rxlog_buffer_across_pages_makes_all_of_them_dirty)
{
	static struct scene s;

	open_scene_of(&s, WHERRY_RXLOG_SOURCE, 3072);
	CHECK_EQ(wherry_tracker_start(s.tr), 0);
	copy(&s);
	for (unsigned int i = 0; i < 8; i++) {
		struct rte_mbuf *m = pass(&s, 1);

		copy(&s);
		CHECK(wherry_bitmap_test(s.taken, (uintptr_t)m->buf_addr));
		CHECK(wherry_bitmap_test(s.taken, (uintptr_t)m->buf_addr + m->buf_len - 1));
		rte_pktmbuf_free(m);
	}
	close_scene(&s);
}

/* What the application holds at the end is in the copy, however harvests and bursts fall. */
TEST(rxlog_copy_has_all_data_that_was_received)
{
	struct rte_mbuf *held[RING / 2] = { NULL };
	static struct scene s;

	open_scene(&s, WHERRY_RXLOG_SOURCE);
	CHECK_EQ(wherry_tracker_start(s.tr), 0);
	for (unsigned int i = 0; i < 2000; i++) {
		struct rte_mbuf **slot = &held[test_random() % RTE_DIM(held)];

		rte_pktmbuf_free(*slot);
		*slot = pass(&s, (unsigned char)test_random());
		if (test_random() % 4 == 0)
			copy(&s);
	}
	copy(&s);
	for (unsigned int i = 0; i < RTE_DIM(held); i++) {
		const char *data;

		if (held[i] == NULL)
			continue;
		data = rte_pktmbuf_mtod(held[i], const char *);
		CHECK(memcmp(data, s.copy + (data - (const char *)s.e.vaddr), 1000) == 0);
		rte_pktmbuf_free(held[i]);
	}
	close_scene(&s);
}

/* Enough traffic for so many laps of eight harvests. */
static void
run_laps(struct scene *s, unsigned int laps)
{
	for (unsigned int i = 0; i < laps * 8; i++) {
		for (unsigned int n = 0; n < RING; n++)
			rte_pktmbuf_free(pass(s, (unsigned char)n));
		copy(s);
	}
}

TEST(rxlog_judge_finds_every_page_in_the_iommus_bitmap)
{
	static struct scene s;

	open_scene(&s, WHERRY_RXLOG_CHECK);
	CHECK_EQ(wherry_tracker_start(s.tr), 0);
	run_laps(&s, 6);
	CHECK(stats_of(&s).checked_pages >= 5 * 16);
	CHECK_EQ(stats_of(&s).missing_pages, 0);
	CHECK_EQ(copy(&s), 0); /* a judge makes nothing dirty itself */
	close_scene(&s);
}

/* Bits that somebody else takes away are bits that hardware forgot. */
TEST(rxlog_judge_misses_pages_that_are_not_reported)
{
	static struct scene s;

	open_scene(&s, WHERRY_RXLOG_CHECK);
	CHECK_EQ(wherry_tracker_start(s.tr), 0);
	run_laps(&s, 2);
	CHECK_EQ(stats_of(&s).missing_pages, 0);
	for (unsigned int i = 0; i < 24; i++) {
		for (unsigned int n = 0; n < RING; n++)
			rte_pktmbuf_free(pass(&s, (unsigned char)n));
		CHECK_EQ(wherry_domain_dirty_harvest(s.e.dom, s.e.span, s.taken), 0);
		copy(&s);
	}
	CHECK(stats_of(&s).missing_pages > 0);
	close_scene(&s);
}

/* A frame may lie in its ring for many harvests: its bit was reported long ago. */
TEST(rxlog_judge_waits_for_frames_that_lay_in_the_ring)
{
	static struct scene s;
	uint64_t good = 0;

	open_scene(&s, WHERRY_RXLOG_CHECK);
	CHECK_EQ(wherry_tracker_start(s.tr), 0);
	for (unsigned int lap = 0; lap < 6; lap++) {
		for (unsigned int n = 0; n < RING / 2; n++)
			send_frame(&s, (unsigned char)n);
		good += RING / 2;
		net_wait_xstat(&s.port, "rx_good_packets", good);
		for (unsigned int i = 0; i < 9; i++)
			copy(&s); /* a lap passes while they lie there */
		for (unsigned int n = 0; n < RING / 2; n++)
			rte_pktmbuf_free(net_receive(&s.port, 0));
	}
	CHECK_EQ(stats_of(&s).missing_pages, 0);
	run_laps(&s, 3);
	CHECK(stats_of(&s).checked_pages > 0);
	CHECK_EQ(stats_of(&s).missing_pages, 0);
	close_scene(&s);
}

static bool stop_traffic;

static void *
make_traffic(void *arg)
{
	struct scene *s = arg;

	while (!__atomic_load_n(&stop_traffic, __ATOMIC_RELAXED))
		rte_pktmbuf_free(pass(s, 7));
	return NULL;
}

TEST(rxlog_watches_come_and_go_under_traffic)
{
	static struct scene s;
	pthread_t core;

	open_scene(&s, WHERRY_RXLOG_SOURCE);
	__atomic_store_n(&stop_traffic, false, __ATOMIC_RELAXED);
	CHECK_EQ(pthread_create(&core, NULL, make_traffic, &s), 0);
	for (unsigned int i = 0; i < 300; i++) {
		CHECK_EQ(wherry_tracker_start(s.tr), 0);
		copy(&s);
		wherry_tracker_stop(s.tr);
	}
	CHECK_EQ(wherry_tracker_start(s.tr), 0);
	copy(&s);
	for (unsigned int i = 0; copy(&s) == 0; i++) {
		CHECK(i < 10000);
		usleep(1000);
	}
	__atomic_store_n(&stop_traffic, true, __ATOMIC_RELAXED);
	CHECK_EQ(pthread_join(core, NULL), 0);
	close_scene(&s);
}

/* Finds a page of the first receive ring: net_wherry keeps it in a memzone. */
static const struct rte_memzone *zone;

static void
keep_ring(const struct rte_memzone *mz, void *arg)
{
	(void)arg;
	if (strstr(mz->name, "rx") != NULL && strncmp(mz->name, "MP_", 3) != 0)
		zone = mz;
}

TEST(rxlog_rest_of_eal_memory_is_always_dirty)
{
	const struct wherry_tracker_opts opts = { .cpu = WHERRY_CPU_NONE };
	struct rte_memseg_list *msl;
	struct wherry_bitmap *dirty;
	struct wherry_rxlog *log;
	struct wherry_tracker *tr;
	struct wherry_watch *w;
	struct wherry_span span;
	struct port port;
	struct rte_mbuf *m;

	port = net_open(&(struct port_opts){ .ring = RING });
	zone = NULL;
	rte_memzone_walk(keep_ring, NULL);
	CHECK(zone != NULL);
	msl = rte_mem_virt2memseg_list(zone->addr);
	CHECK(msl != NULL);
	if (msl->page_sz != PAGE)
		SKIP("EAL has hugepages: the walk below is for --no-huge");
	span = (struct wherry_span){ .iova = (uintptr_t)msl->base_va, .len = msl->len };
	CHECK_EQ(wherry_rxlog_create(WHERRY_RXLOG_SOURCE, &log), 0);
	CHECK_EQ(wherry_rxlog_add_port(log, port.id), 0);
	CHECK_EQ(wherry_tracker_create(&opts, &tr), 0);
	CHECK_EQ(wherry_watch_create(tr, "eal", span, PAGE, &w), 0);
	CHECK_EQ(wherry_rxlog_add_watch(log, w), 0);
	CHECK_EQ(wherry_rxlog_add_rest(log, w), 0);
	CHECK_EQ(wherry_bitmap_create(span, PAGE, &dirty), 0);
	CHECK_EQ(wherry_tracker_start(tr), 0);
	CHECK_EQ(wherry_tracker_harvest(tr), 0);
	CHECK_EQ(wherry_watch_take(w, false, dirty), 0);
	net_send(&port, 0, net_frame(&port.mac, 300, 1));
	m = net_receive(&port, 0);
	wherry_bitmap_clear(dirty);
	CHECK_EQ(wherry_tracker_harvest(tr), 0);
	CHECK_EQ(wherry_watch_take(w, false, dirty), 0);
	CHECK(wherry_bitmap_test(dirty, (uintptr_t)zone->addr));
	CHECK(wherry_bitmap_test(dirty, (uintptr_t)rte_pktmbuf_mtod(m, void *)));
	rte_pktmbuf_free(m);
	wherry_bitmap_clear(dirty);
	CHECK_EQ(wherry_tracker_harvest(tr), 0);
	CHECK_EQ(wherry_watch_take(w, false, dirty), 0);
	CHECK(wherry_bitmap_test(dirty, (uintptr_t)zone->addr));
	CHECK(!wherry_bitmap_test(dirty, (uintptr_t)rte_pktmbuf_mtod(m, void *)));
	wherry_bitmap_destroy(dirty);
	wherry_tracker_destroy(tr);
	wherry_rxlog_destroy(log);
	net_close(&port);
}

/* The number of a closed port goes to the next one, with the callbacks that were left there. */
TEST(rxlog_of_a_closed_port_is_no_burden_for_the_next)
{
	struct port port = net_open(&(struct port_opts){ .queues = 2 });
	uint16_t id = port.id;
	struct wherry_rxlog *log;

	CHECK_EQ(wherry_rxlog_create(WHERRY_RXLOG_SOURCE, &log), 0);
	CHECK_EQ(wherry_rxlog_add_port(log, port.id), 0);
	net_close(&port);
	wherry_rxlog_destroy(log);
	port = net_open(&(struct port_opts){ .queues = 2 });
	CHECK_EQ(port.id, id);
	CHECK(net_passes(&port, &port.mac, 64));
	net_close(&port);
}

TEST(rxlog_failure_changes_nothing)
{
	struct port port = net_open(&(struct port_opts){ .queues = 3 });

	FOR_EACH_FAULT(nth) {
		struct wherry_rxlog *log = NULL;
		int rc = wherry_rxlog_create(WHERRY_RXLOG_CHECK, &log);

		if (rc == 0)
			rc = wherry_rxlog_add_port(log, port.id);
		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		if (log == NULL)
			continue;
		CHECK_EQ(wherry_rxlog_add_port(log, port.id), rc == 0 ? -EEXIST : 0);
		CHECK_EQ(wherry_rxlog_add_port(log, 77), -ENODEV);
		CHECK(net_passes(&port, &port.mac, 64));
		CHECK(stats_of(&(struct scene){ .log = log }).descriptors != 0);
		wherry_rxlog_destroy(log);
		CHECK(net_passes(&port, &port.mac, 64));
	}
	net_close(&port);
}
