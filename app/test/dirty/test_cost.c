/* SPDX-License-Identifier: BSD-3-Clause */
/* What tracking costs in memory: as the tracker says, and as the allocator says. */
#include <malloc.h>
#include <sys/mman.h>

#include "ground.h"

#define TRACKED (UINT64_C(256) << 20)
/*
 * What glibc keeps for a thread (tcache) counts as allocated, before and after; since 2.41 calloc
 * takes from there, so that small objects may come without the sum growing.
 */
#define KEPT 4096

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_ALLOCATOR 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_ALLOCATOR 1
#endif
#endif

static uint64_t
allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* in thousandths of the tracked memory */
static uint64_t
limit(const char *kind)
{
	return strcmp(kind, "hash") == 0 ? 5 : 2;
}

TEST_EACH(dirty_tracking_costs_little_memory, every_source, kind)
{
	struct wherry_span span = { .iova = 0, .len = TRACKED };
	struct wherry_watch_stats stats;
	struct wherry_watch *w;
	uint64_t before;
	struct ground g;
	void *mem;

	ground_open(&g, kind, 1);
	mem = mmap(NULL, TRACKED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mem != MAP_FAILED);
	span.iova = (uint64_t)(uintptr_t)mem;
	before = allocated();
	CHECK_EQ(wherry_watch_create(g.tr, "large", span, PAGE, &w), 0);
	CHECK_EQ(wherry_watch_always(w, span), 0);
	wherry_watch_get_stats(w, &stats);
	CHECK(stats.footprint * 1000 <= TRACKED * limit(kind));
#ifndef OWN_ALLOCATOR
	CHECK((allocated() - before) * 1000 <= TRACKED * limit(kind));
	CHECK(stats.footprint <= allocated() - before + KEPT); /* and nothing is made up */
	CHECK(allocated() - before <= stats.footprint + stats.footprint / 20 + KEPT);
#else
	(void)before;
	(void)allocated;
#endif
	wherry_watch_destroy(w);
	munmap(mem, TRACKED);
	ground_close(&g);
}
