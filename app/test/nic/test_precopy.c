/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pre-copy under continuous DMA: pages are harvested and copied while the NIC writes. After it
 * was stopped and harvested for the last time, the copy equals the memory.
 *
 * Half of the frames are sent from pages that also receive, so that translations are filled by
 * reads before writes go through them. Without that, an IOMMU that forgets D after a read
 * passes. WHERRY_TEST_SOAK is the time in seconds.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "bay.h"

#define BURST 8u
#define FRAME_LEN 1000u
#define FRAMES_AT_LEAST 1000u

struct soak {
	struct bay *g;
	bool stop;       /* atomic */
	uint64_t frames; /* atomic */
	int rc;          /* atomic; what ended the thread early */
};

static unsigned int
next_random(uint32_t *state)
{
	*state = *state * 1103515245u + 12345u;
	return *state >> 16;
}

/* A page that receives; mostly one of the hugepages' pages, if there are any. */
static uint64_t
random_target(const struct bay *g, uint32_t *state)
{
	unsigned int n = next_random(state) % (g->large != NULL ? 1600 : RX_PAGES);

	if (n < RX_PAGES)
		return rx_iova(n);
	return LARGE_IOVA + (n % LARGE_PAGES) * LARGE_PAGE +
		(n % (LARGE_PAGE / NIC_PAGE)) * NIC_PAGE;
}

static void *
make_dma(void *ctx)
{
	struct nic_frame frames[BURST];
	struct soak *soak = ctx;
	uint32_t state = 1, seed = 12345;
	int rc = 0;

	while (!__atomic_load_n(&soak->stop, __ATOMIC_ACQUIRE) && rc == 0) {
		for (unsigned int i = 0; i < BURST; i++)
			frames[i] = (struct nic_frame){
				.tx = i % 2 != 0 ? rx_iova(next_random(&state) % RX_PAGES) : 0,
				.rx = random_target(soak->g, &state),
				.len = FRAME_LEN,
			};
		rc = nic_send(soak->g->nic, frames, BURST, seed & NIC_WRITE_BACK, seed);
		__atomic_fetch_add(&soak->frames, BURST, __ATOMIC_RELAXED);
		seed += BURST + 1; /* with and without write-back */
	}
	__atomic_store_n(&soak->rc, rc, __ATOMIC_RELEASE);
	return NULL;
}

/* The copies of the pages that receive, and of the large memory. */
struct shadow {
	uint8_t *small, *large;
};

/* A page is copied only after the harvest that reported it has returned. Pages, or -errno. */
static int64_t
copy_dirty(struct bay *g, struct wherry_span span, const uint8_t *from, uint8_t *to)
{
	struct wherry_bitmap *bm = NULL;
	uint64_t cursor = span.iova;
	struct wherry_span run;
	int64_t n = 0;
	int rc = wherry_bitmap_create(span, NIC_PAGE, &bm);

	if (rc == 0)
		rc = wherry_domain_dirty_harvest(g->dom, span, bm);
	while (rc == 0 && wherry_bitmap_next_run(bm, &cursor, &run)) {
		memcpy(to + (run.iova - span.iova), from + (run.iova - span.iova), run.len);
		n += (int64_t)(run.len / NIC_PAGE);
	}
	wherry_bitmap_destroy(bm);
	return rc != 0 ? rc : n;
}

static int64_t
copy_round(struct bay *g, struct shadow *shadow)
{
	struct wherry_span small = { .iova = SMALL_IOVA, .len = SMALL_PAGES * NIC_PAGE };
	struct wherry_span large = { .iova = LARGE_IOVA, .len = LARGE_PAGES * LARGE_PAGE };
	int64_t n = copy_dirty(g, small, g->small, shadow->small), more = 0;

	if (n >= 0 && g->large != NULL)
		more = copy_dirty(g, large, g->large, shadow->large);
	return n < 0 || more < 0 ? (n < 0 ? n : more) : n + more;
}

static uint64_t
pages_that_differ(const uint8_t *a, const uint8_t *b, uint64_t n)
{
	uint64_t differ = 0;

	for (uint64_t i = 0; i < n; i++)
		differ += memcmp(a + i * NIC_PAGE, b + i * NIC_PAGE, NIC_PAGE) != 0;
	return differ;
}

static void
shadow_open(struct shadow *shadow, const struct bay *g)
{
	shadow->small = malloc(SMALL_PAGES * NIC_PAGE);
	shadow->large = malloc(LARGE_PAGES * LARGE_PAGE);
	CHECK(shadow->small != NULL && shadow->large != NULL);
	memcpy(shadow->small, g->small, SMALL_PAGES * NIC_PAGE);
	if (g->large != NULL)
		memcpy(shadow->large, g->large, LARGE_PAGES * LARGE_PAGE);
}

static void
shadow_close(struct shadow *shadow)
{
	free(shadow->small);
	free(shadow->large);
}

static time_t
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Rings and what is sent are the CPU's work too: only pages that receive are compared. */
static uint64_t
lost_pages(const struct bay *g, const struct shadow *shadow)
{
	uint64_t lost =
		pages_that_differ(rx_vaddr(g, 0), shadow->small + NIC_PAGES * NIC_PAGE, RX_PAGES);

	if (g->large != NULL)
		lost += pages_that_differ(
			g->large, shadow->large, LARGE_PAGES * LARGE_PAGE / NIC_PAGE);
	return lost;
}

/* Until the time is over and enough has been sent; pages copied, or -errno. The NIC stops. */
static int64_t
copy_all(struct soak *soak, struct shadow *shadow, pthread_t thread, uint64_t *ret_rounds)
{
	const char *soak_time = getenv("WHERRY_TEST_SOAK");
	time_t end = seconds() + (soak_time != NULL ? strtol(soak_time, NULL, 10) : 3);
	int64_t n = 0, copied = 0;

	do {
		n = copy_round(soak->g, shadow);
		copied += n;
		++*ret_rounds;
	} while (n >= 0 && __atomic_load_n(&soak->rc, __ATOMIC_ACQUIRE) == 0 &&
		(seconds() < end ||
			__atomic_load_n(&soak->frames, __ATOMIC_RELAXED) < FRAMES_AT_LEAST));
	__atomic_store_n(&soak->stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	if (n >= 0)
		n = copy_round(soak->g, shadow);
	return n < 0 ? n : copied + n;
}

TEST_EACH(tracking_precopy_under_dma_copies_all, tracking, spec)
{
	struct shadow shadow;
	struct bay g;
	struct soak soak = { .g = &g };
	uint64_t rounds = 0, lost;
	pthread_t thread;
	int64_t copied;

	bay_open(&g, spec);
	bay_start(&g);
	shadow_open(&shadow, &g);
	CHECK_EQ(pthread_create(&thread, NULL, make_dma, &soak), 0);
	copied = copy_all(&soak, &shadow, thread, &rounds);
	lost = lost_pages(&g, &shadow);
	shadow_close(&shadow);
	printf("# %s: %llu frames, %llu rounds, %lld pages copied, %llu lost\n", spec,
		(unsigned long long)soak.frames, (unsigned long long)rounds, (long long)copied,
		(unsigned long long)lost);
	CHECK_EQ(soak.rc, 0);
	CHECK(copied > 0);
	CHECK_EQ(lost, 0);
	bay_close(&g);
}
