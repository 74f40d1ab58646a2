/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unmapping under the DMA of a real NIC: pages are taken away and mapped again while the
 * NIC writes them all the time, each frame with new content. A *shadow* of the pages is
 * kept from what is reported alone. A page that differs from its shadow and was not
 * reported is a lost write.
 *
 * EXACT loses none. SNAPSHOT in its place does: that the losses are there to be had is
 * what makes the other result worth something. WHERRY_SOAK_ROUNDS has the number of
 * unmaps, 300 if it is not set.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "bay.h"
#include "wherry_iommu.h"

#define FIRST 8u  /* of the receive pages, the first that is taken away */
#define TAKEN 40u /* as many: more than are copied, so that hashes are used, too */
#define BURST 32u
#define MAX_SNAPSHOTS 20000u

struct soak {
	struct bay bay;
	pthread_t thread;
	bool quit;       /* atomic */
	uint64_t frames; /* atomic */
	int failed;      /* of the NIC; atomic */
	uint8_t shadow[TAKEN][4096];
	uint8_t at_return[TAKEN][4096]; /* what the pages held when the unmap returned */
	uint64_t in_harvest, in_unmap;  /* a bit per page: reported in this round */
	uint64_t returned_ns;           /* when it did */
	uint64_t lost, reported, unmaps;
};

static void *
keep_writing(void *arg)
{
	struct soak *s = arg;
	uint32_t seed = 1;
	int rc = 0;

	while (rc == 0 && !__atomic_load_n(&s->quit, __ATOMIC_RELAXED)) {
		struct nic_frame frames[BURST];

		for (unsigned int i = 0; i < BURST; i++, seed = seed * 1664525 + 1013904223)
			frames[i] = (struct nic_frame){ .rx = rx_iova(FIRST + (seed >> 16) % TAKEN),
				.len = 1000 };
		rc = nic_send(s->bay.nic, frames, BURST, 0, seed);
		__atomic_fetch_add(&s->frames, BURST, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&s->failed, rc, __ATOMIC_RELAXED);
	return NULL;
}

/* Let the device go on for a while. */
static void
wait_for_frames(struct soak *s, uint64_t n)
{
	uint64_t until = __atomic_load_n(&s->frames, __ATOMIC_RELAXED) + n;
	struct timespec moment = { .tv_nsec = 20000 };

	while (__atomic_load_n(&s->frames, __ATOMIC_RELAXED) < until) {
		CHECK_EQ(__atomic_load_n(&s->failed, __ATOMIC_RELAXED), 0);
		nanosleep(&moment, NULL);
	}
}

static struct wherry_span
page_span(unsigned int n)
{
	return (struct wherry_span){ .iova = rx_iova(FIRST + n), .len = NIC_PAGE };
}

static void
map_pages(struct soak *s)
{
	for (unsigned int i = 0; i < TAKEN; i++) {
		struct wherry_span span = page_span(i);

		CHECK_EQ(wherry_domain_map(s->bay.dom, rx_vaddr(&s->bay, FIRST + i),
				 WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
			0);
	}
}

static uint64_t
copy_reported(struct soak *s, const struct wherry_bitmap *bm)
{
	uint64_t which = 0;

	for (unsigned int i = 0; i < TAKEN; i++) {
		if (!wherry_bitmap_test(bm, page_span(i).iova))
			continue;
		memcpy(s->shadow[i], rx_vaddr(&s->bay, FIRST + i), NIC_PAGE);
		s->reported++;
		which |= BIT64(i);
	}
	return which;
}

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* "same", or which bytes differ and how many of them. */
static const char *
difference(const uint8_t *a, const uint8_t *b, char text[64])
{
	unsigned int first = NIC_PAGE, last = 0, n = 0;

	for (unsigned int i = 0; i < NIC_PAGE; i++)
		if (a[i] != b[i]) {
			first = n == 0 ? i : first;
			last = i;
			n++;
		}
	if (n == 0)
		return "same";
	snprintf(text, 64, "%u bytes in %u..%u", n, first, last);
	return text;
}

/*
 * All there is to know about a lost write. A page that has changed since the unmap returned was
 * written through a translation that should be gone; else its dirty bit was lost before.
 */
static void
tell_of_loss(const struct soak *s, unsigned int i, uint64_t seen_ns)
{
	const uint8_t *page = rx_vaddr(&s->bay, FIRST + i);
	struct timespec while_ = { .tv_nsec = 20000000 };
	uint8_t then[4096];
	char a[64], b[64];

	memcpy(then, page, sizeof(then));
	printf("# lost: unmap %llu, page %u, harvested %s, reported by harvest %d, by unmap %d\n",
		(unsigned long long)s->unmaps, i, s->unmaps % 2 == 1 ? "before" : "not",
		(s->in_harvest & BIT64(i)) != 0, (s->in_unmap & BIT64(i)) != 0);
	printf("# lost: from the shadow: %s; since the return, in %llu us: %s\n",
		difference(s->shadow[i], then, a),
		(unsigned long long)(seen_ns - s->returned_ns) / 1000,
		difference(s->at_return[i], then, b));
	nanosleep(&while_, NULL);
	printf("# lost: in the 20 ms after: %s; frames %llu\n", difference(then, page, a),
		(unsigned long long)__atomic_load_n(&s->frames, __ATOMIC_RELAXED));
}

/* A lost write is counted once. */
static void
count_lost(struct soak *s, bool tell)
{
	for (unsigned int i = 0; i < TAKEN; i++) {
		const uint8_t *page = rx_vaddr(&s->bay, FIRST + i);

		if (memcmp(s->shadow[i], page, NIC_PAGE) == 0)
			continue;
		if (tell)
			tell_of_loss(s, i, now_ns());
		memcpy(s->shadow[i], page, NIC_PAGE);
		s->lost++;
	}
}

/* Mapped and written, harvested now and then, taken away, and looked at. */
static void
one_round(struct soak *s, enum wherry_unmap_mode mode)
{
	struct wherry_span all = { rx_iova(FIRST), TAKEN * NIC_PAGE };
	struct wherry_bitmap *bm = NULL;

	CHECK_EQ(wherry_bitmap_create(all, NIC_PAGE, &bm), 0);
	s->in_harvest = 0;
	if (s->unmaps % 3 != 0) /* else taken away at once */
		wait_for_frames(s, 1 + s->unmaps % 5 * BURST);
	if (s->unmaps % 2 == 0) {
		CHECK_EQ(wherry_domain_dirty_harvest(s->bay.dom, all, bm), 0);
		s->in_harvest = copy_reported(s, bm);
		wherry_bitmap_clear(bm);
	}
	CHECK_EQ(wherry_domain_unmap_dirty(s->bay.dom, all, mode, bm), 0);
	s->returned_ns = now_ns();
	memcpy(s->at_return, rx_vaddr(&s->bay, FIRST), sizeof(s->at_return));
	s->unmaps++;
	s->in_unmap = copy_reported(s, bm);
	count_lost(s, mode == WHERRY_UNMAP_EXACT);
	wherry_bitmap_destroy(bm);
}

/* The device goes on, aiming at what is gone: nothing there changes. */
static void
check_nothing_lands(struct soak *s)
{
	wait_for_frames(s, 4 * BURST);
	for (unsigned int i = 0; i < TAKEN; i++)
		CHECK_EQ(memcmp(s->shadow[i], rx_vaddr(&s->bay, FIRST + i), NIC_PAGE), 0);
}

static void
start_soak(struct soak *s, const char *spec)
{
	memset(s, 0, sizeof(*s));
	bay_open(&s->bay, spec);
	bay_start(&s->bay);
	if (s->bay.caps.exact_by != WHERRY_UNMAP_BY_CONTENT)
		SKIP("no exact unmap here: %s", s->bay.caps.reason);
	for (unsigned int i = 0; i < TAKEN; i++)
		CHECK_EQ(wherry_domain_unmap(s->bay.dom, page_span(i)), 0);
	CHECK_EQ(pthread_create(&s->thread, NULL, keep_writing, s), 0);
	wait_for_frames(s, 1);
}

static void
end_soak(struct soak *s)
{
	__atomic_store_n(&s->quit, true, __ATOMIC_RELAXED);
	pthread_join(s->thread, NULL);
	CHECK_EQ(s->failed, 0);
	bay_close(&s->bay);
}

static void
say_result(const struct soak *s)
{
	printf("# %llu unmaps of %u pages under %llu frames, %llu pages reported, %llu lost\n",
		(unsigned long long)s->unmaps, TAKEN, (unsigned long long)s->frames,
		(unsigned long long)s->reported, (unsigned long long)s->lost);
}

static unsigned long
rounds_wanted(void)
{
	const char *n = getenv("WHERRY_SOAK_ROUNDS");

	return n != NULL ? strtoul(n, NULL, 10) : 300;
}

static struct soak soak; /* it is large, and outlives a test that fails */

TEST_EACH(exact_unmap_loses_no_write_of_a_real_nic, tracking, spec)
{
	struct soak *s = &soak;

	start_soak(s, spec);
	for (unsigned long i = 0; i < rounds_wanted() && s->lost == 0; i++) {
		map_pages(s);
		one_round(s, WHERRY_UNMAP_EXACT);
		if (i % 16 == 0)
			check_nothing_lands(s);
	}
	end_soak(s);
	CHECK_EQ(s->lost, 0);
	say_result(s);
}

TEST_EACH(exact_snapshot_in_its_place_loses, tracking, spec)
{
	struct soak *s = &soak;

	start_soak(s, spec);
	while (s->unmaps < rounds_wanted() || (s->lost == 0 && s->unmaps < MAX_SNAPSHOTS)) {
		map_pages(s);
		one_round(s, WHERRY_UNMAP_SNAPSHOT);
	}
	end_soak(s);
	CHECK(s->lost > 0);
	say_result(s);
}

/* One page at a time is copied, not hashed. */
TEST_EACH(exact_unmap_of_one_page_loses_none, tracking, spec)
{
	struct soak *s = &soak;

	start_soak(s, spec);
	map_pages(s);
	for (unsigned long i = 0; i < rounds_wanted(); i++) {
		unsigned int n = (unsigned int)(i % TAKEN);
		struct wherry_span span = page_span(n);
		struct wherry_bitmap *bm = NULL;

		wait_for_frames(s, i % 3);
		CHECK_EQ(wherry_bitmap_create(span, NIC_PAGE, &bm), 0);
		CHECK_EQ(wherry_domain_unmap_dirty(s->bay.dom, span, WHERRY_UNMAP_EXACT, bm), 0);
		if (!wherry_bitmap_test(bm, span.iova))
			CHECK_EQ(memcmp(s->shadow[n], rx_vaddr(&s->bay, FIRST + n), NIC_PAGE), 0);
		memcpy(s->shadow[n], rx_vaddr(&s->bay, FIRST + n), NIC_PAGE);
		wherry_bitmap_destroy(bm);
		CHECK_EQ(wherry_domain_map(s->bay.dom, rx_vaddr(&s->bay, FIRST + n),
				 WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
			0);
	}
	end_soak(s);
}
