/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pre-copy under a real poll-mode driver: two ports on one cable, every page of EAL's memory
 * harvested and copied all the while, and a shadow that must equal the memory whenever the traffic
 * pauses, once a second, and in the end, when the ports have been stopped.
 *
 *	wherry exec -- pmd-soak EAL-ARG... -- SECONDS
 *
 * One core is the traffic (pmd_traffic.c); the main lcore harvests and copies. Device writes are
 * known by the domain's dirty bits alone: what ports receive lies in buffers apart from their
 * mbufs, and no CPU writes there. A descriptor log judges the same bits: no page with received
 * data may be missing from them.
 *
 * One line comes out, of NAME=NUMBER; the status is 0 when all of it ran. What the numbers have to
 * be is said by pmd_soak.sh.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_memory.h>

#include <wherry_dirty.h>
#include <wherry_dpdk.h>

#include "pmd_traffic.h"

#define PAGE UINT64_C(4096)
#define RUNS 8u
#define PAUSE_US 20000u /* times 0 to 7 */

/* A run of EAL's memory with its watch and its copy. */
struct run {
	struct wherry_span span;
	uint64_t page;
	struct wherry_watch *watch;
	struct wherry_bitmap *taken;
	uint8_t *shadow;
};

static struct soak {
	struct wherry_domain *dom;
	struct wherry_tracker *tr;
	struct wherry_rxlog *log;
	struct run run[RUNS];
	unsigned int n;
	uint64_t rounds, copied, compared, differ;
} soak;

static void
must(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "pmd-soak: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static int
collect(const struct rte_memseg_list *msl, const struct rte_memseg *ms, size_t len, void *arg)
{
	struct soak *s = arg;

	if (s->n == RUNS)
		return -ENOSPC;
	s->run[s->n].span = (struct wherry_span){ .iova = ms->addr_64, .len = len };
	s->run[s->n++].page = msl->page_sz;
	return 0;
}

static void
watch_run(struct soak *s, struct run *r)
{
	must(wherry_watch_create(s->tr, "eal", r->span, r->page, &r->watch), "watch");
	must(wherry_watch_add_domain(r->watch, s->dom), "domain");
	must(wherry_rxlog_add_watch(s->log, r->watch), "descriptor log");
	must(wherry_bitmap_create(r->span, PAGE, &r->taken), "bitmap");
	r->shadow =
		mmap(NULL, r->span.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(r->shadow == MAP_FAILED ? -errno : 0, "shadow");
}

static void
begin(struct soak *s)
{
	struct wherry_tracker_opts opts = { .cpu = WHERRY_CPU_AUTO };
	struct wherry_domain_caps caps;

	must(wherry_dpdk_domain_get(NULL, &s->dom), "domain of EAL");
	wherry_domain_get_caps(s->dom, &caps);
	must(caps.dirty == WHERRY_DIRTY_TRACKED ? 0 : -EOPNOTSUPP, "device writes are tracked");
	must(wherry_tracker_create(&opts, &s->tr), "tracker");
	must(wherry_rxlog_create(WHERRY_RXLOG_CHECK, &s->log), "descriptor log");
	must(wherry_rxlog_add_port(s->log, 0), "descriptor log of port 0");
	must(wherry_rxlog_add_port(s->log, 1), "descriptor log of port 1");
	must(rte_memseg_contig_walk(collect, s), "EAL's memory");
	for (unsigned int i = 0; i < s->n; i++)
		watch_run(s, &s->run[i]);
	must(wherry_tracker_start(s->tr), "tracking");
}

/* What a harvest reported is copied after it has returned, and not before. */
static void
copy_run(struct soak *s, struct run *r, bool final)
{
	uint64_t at = r->span.iova;
	struct wherry_span dirty;

	must(wherry_watch_take(r->watch, final, r->taken), "take");
	while (wherry_bitmap_next_run(r->taken, &at, &dirty)) {
		memcpy(r->shadow + (dirty.iova - r->span.iova), (void *)(uintptr_t)dirty.iova,
			dirty.len);
		must(wherry_watch_sent(r->watch, dirty, r->shadow + (dirty.iova - r->span.iova)),
			"sent");
		s->copied += dirty.len / PAGE;
	}
	wherry_bitmap_clear(r->taken);
}

static void
harvest_and_copy(struct soak *s, bool final)
{
	must(wherry_tracker_harvest(s->tr), "harvest");
	for (unsigned int i = 0; i < s->n; i++)
		copy_run(s, &s->run[i], final);
	s->rounds++;
}

static uint64_t
pages(const struct soak *s)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < s->n; i++)
		n += s->run[i].span.len / PAGE;
	return n;
}

static void
compare(struct soak *s)
{
	for (unsigned int i = 0; i < s->n; i++) {
		const struct run *r = &s->run[i];

		for (uint64_t at = 0; at < r->span.len; at += PAGE)
			s->differ += memcmp(r->shadow + at, (void *)(uintptr_t)(r->span.iova + at),
					     PAGE) != 0;
	}
	s->compared++;
}

/* For a second: the pauses between harvests vary, so that pages are written once in one, and often. */
static void
soak_on(struct soak *s, struct traffic *t)
{
	uint64_t end = rte_get_timer_cycles() + rte_get_timer_hz();

	while (rte_get_timer_cycles() < end) {
		harvest_and_copy(s, false);
		usleep((unsigned int)(s->rounds % 8) * PAUSE_US);
	}
	traffic_pause(t);
	harvest_and_copy(s, false);
	compare(s);
	traffic_resume(t);
}

static void
report(const struct soak *s, const struct traffic *t)
{
	struct wherry_rxlog_stats stats;

	wherry_rxlog_get_stats(s->log, &stats);
	printf("driver=%s frames=%" PRIu64 " damaged=%" PRIu64 " rounds=%" PRIu64 " copied=%" PRIu64
	       " pages=%" PRIu64 " compared=%" PRIu64 " differ=%" PRIu64 " checked=%" PRIu64
	       " missing=%" PRIu64 "\n",
		traffic_driver(), t->back, t->damaged, s->rounds, s->copied, pages(s), s->compared,
		s->differ, stats.checked_pages, stats.missing_pages);
}

int
main(int argc, char **argv)
{
	static struct traffic traffic;
	int n = rte_eal_init(argc, argv);
	unsigned int worker = rte_get_next_lcore(UINT_MAX, 1, 0);

	if (n < 0 || argc - n != 2 || worker >= RTE_MAX_LCORE)
		return fprintf(stderr, "usage: pmd-soak -l 0,1 EAL-ARG... -- SECONDS\n"), 2;
	must(traffic_open(), "two ports with a link");
	begin(&soak);
	must(rte_eal_remote_launch(traffic_run, &traffic, worker), "core");
	for (uint64_t seconds = strtoull(argv[n + 1], NULL, 10); seconds > 0; seconds--)
		soak_on(&soak, &traffic);
	__atomic_store_n(&traffic.quit, true, __ATOMIC_RELEASE);
	must(rte_eal_wait_lcore(worker), "traffic");
	must(traffic_close(), "ports");
	harvest_and_copy(&soak, true);
	compare(&soak);
	report(&soak, &traffic);
	return 0;
}
