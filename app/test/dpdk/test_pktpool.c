/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk: packet buffers in an arena. The CPU plays the NIC here. */
#include <errno.h>
#include <string.h>

#include <rte_mbuf.h>

#include "eal.h"
#include "fault_priv.h"
#include "test.h"
#include "wherry_bitmap.h"
#include "wherry_dpdk.h"

#define PAGE 4096u
#define ARENA_AT ((void *)UINT64_C(0x7ea000000000))
#define ARENA_LEN (UINT64_C(4) << 20)
#define MBUFS 127u
#define SPARES 40u
#define SLOTS (MBUFS + SPARES)

/* A pool in an arena, and the opts it was made with. */
struct bed {
	struct wherry_region *region;
	struct wherry_arena *arena;
	struct wherry_pktpool *pool;
	void *bound;
};

static struct wherry_pktpool *
make_pool(unsigned int room)
{
	const struct wherry_pktpool_opts opts = {
		.name = "pktpool",
		.mbufs = MBUFS,
		.spares = SPARES,
		.room = room,
		.cache = 0,
		.node = WHERRY_NODE_ANY,
	};
	struct wherry_pktpool *pool = NULL;

	CHECK_EQ(wherry_pktpool_create(&opts, &pool), 0);
	return pool;
}

static void
make_arena(struct bed *bed, size_t len)
{
	const struct wherry_region_opts opts = {
		.name = "pktpool",
		.vaddr = ARENA_AT,
		.len = len,
		.node = WHERRY_NODE_ANY,
	};

	eal_need();
	*bed = (struct bed){ .region = NULL };
	CHECK_EQ(wherry_region_create(&opts, &bed->region), 0);
	CHECK_EQ(wherry_arena_create(bed->region, &bed->arena), 0);
}

static void
make_bed(struct bed *bed, unsigned int room)
{
	make_arena(bed, ARENA_LEN);
	bed->pool = make_pool(room);
	bed->bound = wherry_pktpool_bind(bed->pool, bed->arena);
	CHECK(bed->bound != NULL);
}

static void
drop_bed(struct bed *bed)
{
	wherry_pktpool_destroy(bed->pool);
	wherry_arena_close(bed->arena);
	wherry_region_destroy(bed->region);
}

static struct rte_mbuf *
take(struct bed *bed)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(wherry_pktpool_mempool(bed->pool));

	CHECK(m != NULL);
	return m;
}

static void
take_all(struct bed *bed, struct rte_mbuf **m)
{
	CHECK_EQ(rte_pktmbuf_alloc_bulk(wherry_pktpool_mempool(bed->pool), m, MBUFS), 0);
}

/* A frame arrives: the whole buffer is written. */
static void
fill(struct rte_mbuf *m, uint8_t byte)
{
	memset(m->buf_addr, byte, m->buf_len);
}

static bool
holds(const void *data, unsigned int room, uint8_t byte)
{
	const uint8_t *p = (const uint8_t *)data - RTE_PKTMBUF_HEADROOM;

	for (unsigned int i = 0; i < room; i++)
		if (p[i] != byte)
			return false;
	return true;
}

/* No two mbufs share a buffer, all lie in the arena, devices find them where CPUs do. */
static void
check_mbufs(struct bed *bed, unsigned int room)
{
	struct rte_mbuf *m[MBUFS];

	take_all(bed, m);
	for (unsigned int i = 0; i < MBUFS; i++) {
		char *buf = m[i]->buf_addr;

		CHECK_EQ(m[i]->buf_len, room);
		CHECK(rte_mbuf_iova_get(m[i]) == (uintptr_t)buf);
		CHECK(wherry_arena_contains(bed->arena, buf));
		CHECK(wherry_arena_contains(bed->arena, buf + room - 1));
		fill(m[i], (uint8_t)i);
	}
	for (unsigned int i = 0; i < MBUFS; i++)
		CHECK(holds((char *)m[i]->buf_addr + RTE_PKTMBUF_HEADROOM, room, (uint8_t)i));
	rte_pktmbuf_free_bulk(m, MBUFS);
}

static const char *const rooms[] = { "2048", "4096", "1536", "3000", "9216", NULL };

static unsigned int
number(const char *s)
{
	return (unsigned int)strtoul(s, NULL, 10);
}

TEST(pktpool_create_refuses_shapes_that_cannot_be)
{
	struct wherry_pktpool_opts good = { .name = "shape",
		.mbufs = 7,
		.room = 2048,
		.node = WHERRY_NODE_ANY },
				   opts;
	struct wherry_pktpool *pool, *second;

	eal_need();
	opts = good, opts.name = NULL;
	CHECK_EQ(wherry_pktpool_create(&opts, &pool), -EINVAL);
	opts = good, opts.mbufs = 0;
	CHECK_EQ(wherry_pktpool_create(&opts, &pool), -EINVAL);
	opts = good, opts.room = RTE_PKTMBUF_HEADROOM;
	CHECK_EQ(wherry_pktpool_create(&opts, &pool), -EINVAL);
	opts = good, opts.room = 65536;
	CHECK_EQ(wherry_pktpool_create(&opts, &pool), -EINVAL);
	opts = good, opts.cache = 100;
	CHECK_EQ(wherry_pktpool_create(&opts, &pool), -EINVAL);
	CHECK_EQ(wherry_pktpool_create(&good, &pool), 0);
	CHECK_EQ(wherry_pktpool_create(&good, &second), -EEXIST);
	wherry_pktpool_destroy(pool);
	wherry_pktpool_destroy(NULL);
}

TEST(pktpool_create_failure_leaves_nothing)
{
	eal_need();
	FOR_EACH_FAULT(nth) {
		const struct wherry_pktpool_opts opts = {
			.name = "sweep",
			.mbufs = 15,
			.room = 2048,
			.node = WHERRY_NODE_ANY,
		};
		struct wherry_pktpool *pool = NULL;
		int rc = wherry_pktpool_create(&opts, &pool);

		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		wherry_pktpool_destroy(pool);
		CHECK(rte_mempool_lookup("sweep") == NULL);
	}
}

TEST(pktpool_mempool_is_usable_before_bind)
{
	struct rte_mbuf *m[MBUFS];
	struct bed bed;

	eal_need();
	bed = (struct bed){ .pool = make_pool(2048) };
	take_all(&bed, m);
	for (unsigned int i = 0; i < MBUFS; i++) {
		CHECK_EQ(rte_pktmbuf_tailroom(m[i]), 2048 - RTE_PKTMBUF_HEADROOM);
		CHECK(m[i]->buf_addr == m[0]->buf_addr); /* the placeholder */
		CHECK(rte_mbuf_iova_get(m[i]) == rte_mem_virt2iova(m[i]->buf_addr));
		CHECK(wherry_pktpool_keep(bed.pool, m[i]) == NULL);
	}
	rte_pktmbuf_free_bulk(m, MBUFS);
	wherry_pktpool_destroy(bed.pool);
}

TEST_EACH(pktpool_bind_gives_each_mbuf_a_buffer_of_its_own, rooms, room)
{
	struct bed bed;

	make_bed(&bed, number(room));
	check_mbufs(&bed, number(room));
	drop_bed(&bed);
}

TEST(pktpool_bind_changes_nothing_while_mbufs_are_in_use)
{
	struct wherry_arena_stats before, after;
	struct rte_mbuf *m;
	struct bed bed;

	make_arena(&bed, ARENA_LEN);
	bed.pool = make_pool(2048);
	m = take(&bed);
	wherry_arena_get_stats(bed.arena, &before);
	CHECK(wherry_pktpool_bind(bed.pool, bed.arena) == NULL);
	wherry_arena_get_stats(bed.arena, &after);
	CHECK_EQ(after.used, before.used);
	CHECK(!wherry_arena_contains(bed.arena, m->buf_addr));
	rte_pktmbuf_free(m);
	CHECK(wherry_pktpool_bind(bed.pool, bed.arena) != NULL);
	drop_bed(&bed);
}

TEST(pktpool_bind_in_a_full_arena_changes_nothing)
{
	struct wherry_arena_stats before, after;
	struct rte_mbuf *m;
	struct bed bed;

	make_arena(&bed, 128 * 1024); /* room for the table, not for the buffers */
	bed.pool = make_pool(2048);
	wherry_arena_get_stats(bed.arena, &before);
	CHECK(wherry_pktpool_bind(bed.pool, bed.arena) == NULL);
	wherry_arena_get_stats(bed.arena, &after);
	CHECK_EQ(after.used, before.used);
	m = take(&bed);
	CHECK(!wherry_arena_contains(bed.arena, m->buf_addr));
	rte_pktmbuf_free(m);
	drop_bed(&bed);
}

/* What the application keeps, as a naive list. */
struct kept {
	void *data;
	uint8_t byte;
};

static void
receive_one(struct bed *bed, struct kept *kept, unsigned int *n)
{
	struct rte_mbuf *m = take(bed);
	uint8_t byte = (uint8_t)test_random();
	void *at = rte_pktmbuf_mtod(m, void *), *data;

	fill(m, byte);
	if (test_random() % 2 == 0) {
		data = wherry_pktpool_keep(bed->pool, m);
		CHECK((data == NULL) == (*n == SPARES));
		if (data != NULL) {
			CHECK(data == at);
			CHECK(rte_pktmbuf_mtod(m, void *) != data);
			kept[(*n)++] = (struct kept){ data, byte };
		}
	}
	rte_pktmbuf_free(m);
}

static void
release_one(struct bed *bed, struct kept *kept, unsigned int *n, unsigned int room)
{
	unsigned int i = (unsigned int)(test_random() % *n);
	uint8_t *slot = (uint8_t *)kept[i].data - RTE_PKTMBUF_HEADROOM;

	wherry_pktpool_release(bed->pool, slot + test_random() % room);
	kept[i] = kept[--(*n)];
}

TEST_EACH(pktpool_kept_data_stays_while_traffic_goes_on, rooms, variant)
{
	unsigned int n = 0, room = number(variant);
	struct kept kept[SPARES];
	struct bed bed;

	make_bed(&bed, room);
	for (unsigned int step = 0; step < 3000; step++) {
		receive_one(&bed, kept, &n);
		if (n != 0 && test_random() % 3 == 0)
			release_one(&bed, kept, &n, room);
		for (unsigned int i = 0; i < n && step % 16 == 0; i++)
			CHECK(holds(kept[i].data, room, kept[i].byte));
	}
	for (unsigned int i = 0; i < n; i++)
		CHECK(holds(kept[i].data, room, kept[i].byte));
	check_mbufs(&bed, room);
	drop_bed(&bed);
}

TEST(pktpool_keep_without_a_spare_changes_nothing)
{
	struct rte_mbuf *m;
	struct bed bed;
	void *buf;

	make_bed(&bed, 2048);
	for (unsigned int i = 0; i < SPARES; i++) {
		m = take(&bed);
		CHECK(wherry_pktpool_keep(bed.pool, m) != NULL);
		rte_pktmbuf_free(m);
	}
	m = take(&bed);
	buf = m->buf_addr;
	CHECK(wherry_pktpool_keep(bed.pool, m) == NULL);
	CHECK(m->buf_addr == buf);
	CHECK(rte_mbuf_iova_get(m) == (uintptr_t)buf);
	rte_pktmbuf_free(m);
	check_mbufs(&bed, 2048);
	drop_bed(&bed);
}

TEST(pktpool_keep_refuses_an_mbuf_of_another_pool)
{
	struct rte_mbuf *m;
	struct bed bed;
	void *buf;

	make_bed(&bed, 2048);
	m = rte_pktmbuf_alloc(eal_mempool());
	buf = m->buf_addr;
	CHECK(wherry_pktpool_keep(bed.pool, m) == NULL);
	CHECK(m->buf_addr == buf);
	rte_pktmbuf_free(m);
	drop_bed(&bed);
}

static void
keep_some(struct bed *bed, struct kept *kept, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		struct rte_mbuf *m = take(bed);

		fill(m, (uint8_t)(0x80 + i));
		kept[i] = (struct kept){ wherry_pktpool_keep(bed->pool, m), (uint8_t)(0x80 + i) };
		CHECK(kept[i].data != NULL);
		rte_pktmbuf_free(m);
	}
}

/* As after a migration: a new pool meets bytes of the old one. */
TEST_EACH(pktpool_adopt_gives_mbufs_what_nobody_keeps, rooms, variant)
{
	unsigned int room = number(variant);
	struct kept kept[SPARES];
	struct bed bed;
	char *copy;

	make_bed(&bed, room);
	keep_some(&bed, kept, SPARES / 2);
	wherry_pktpool_destroy(bed.pool);
	bed.pool = make_pool(room);
	copy = malloc(ARENA_LEN);
	CHECK(copy != NULL);
	memcpy(copy, ARENA_AT, ARENA_LEN);
	CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, bed.bound), 0);
	CHECK_EQ(memcmp(copy, ARENA_AT, ARENA_LEN), 0); /* nothing was written */
	free(copy);
	check_mbufs(&bed, room);
	for (unsigned int i = 0; i < SPARES / 2; i++)
		CHECK(holds(kept[i].data, room, kept[i].byte));
	keep_some(&bed, kept + SPARES / 2, SPARES - SPARES / 2);
	for (unsigned int i = 0; i < SPARES; i++)
		wherry_pktpool_release(bed.pool, kept[i].data);
	keep_some(&bed, kept, SPARES);
	drop_bed(&bed);
}

TEST(pktpool_adopt_changes_nothing_while_mbufs_are_in_use)
{
	struct rte_mbuf *m;
	struct bed bed;

	make_bed(&bed, 2048);
	wherry_pktpool_destroy(bed.pool);
	bed.pool = make_pool(2048);
	m = take(&bed);
	CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, bed.bound), -EBUSY);
	CHECK(!wherry_arena_contains(bed.arena, m->buf_addr));
	rte_pktmbuf_free(m);
	drop_bed(&bed);
}

TEST(pktpool_adopt_refuses_what_is_no_table_in_the_arena)
{
	char *last_page = (char *)ARENA_AT + ARENA_LEN - PAGE;
	char *elsewhere;
	struct bed bed;

	make_bed(&bed, 2048);
	elsewhere = aligned_alloc(PAGE, 64 * PAGE);
	CHECK(elsewhere != NULL);
	memcpy(elsewhere, bed.bound, 2 * PAGE);
	CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, NULL), -EPROTO);
	CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, elsewhere), -EPROTO);
	CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, (char *)bed.bound + 8), -EPROTO);
	CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, (void *)UINTPTR_MAX), -EPROTO);
	free(elsewhere);
	memcpy(last_page, bed.bound, PAGE); /* buffers and all, but cut by the end */
	CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, last_page + PAGE), -EPROTO);
	wherry_pktpool_destroy(bed.pool);
	bed.pool = make_pool(4096);
	CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, bed.bound), -EPROTO);
	drop_bed(&bed);
}

/* The table as 64-bit words: see struct table of pktpool.c for what they mean. */
TEST(pktpool_adopt_refuses_each_broken_field)
{
	struct bed bed;
	uint32_t *word;

	make_bed(&bed, 2048);
	word = bed.bound;
	for (unsigned int i = 0; i < 10; i++) {
		static const uint32_t bad[] = { 0xffffffff, 0x80000000, SLOTS + 1 };
		uint32_t good = word[i];

		for (unsigned int b = 0; b < 3 && i != 7; b++) { /* word 7 is reserved */
			word[i] = bad[b];
			CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, bed.bound), -EPROTO);
		}
		word[i] = good;
	}
	((uint8_t *)(word + 10 + SLOTS))[SLOTS] = 1; /* behind the states, a tempting SPARE */
	for (unsigned int i = 0; i < SPARES; i++) {  /* the stack: out of range, pooled, twice */
		const uint32_t bad[] = { SLOTS, UINT32_MAX, 0, word[10 + (i + 1) % SPARES] };
		uint32_t good = word[10 + i];

		for (unsigned int b = 0; b < 4; b++) {
			word[10 + i] = bad[b];
			CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, bed.bound), -EPROTO);
		}
		word[10 + i] = good;
	}
	for (unsigned int i = 0; i < SLOTS; i++) { /* the states: unknown, or one too many */
		uint8_t *state = (uint8_t *)(word + 10 + SLOTS) + i, good = *state;

		for (unsigned int b = 0; b < 256; b++) {
			if (b == good)
				continue;
			*state = (uint8_t)b;
			CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, bed.bound), -EPROTO);
		}
		*state = good;
	}
	CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, bed.bound), 0);
	drop_bed(&bed);
}

/* A table that overlaps its own buffers would be overwritten by the NIC. */
TEST(pktpool_adopt_refuses_buffers_that_cover_the_table)
{
	uint64_t *slots;
	struct bed bed;

	make_bed(&bed, 2048);
	slots = (uint64_t *)bed.bound + 4;
	for (uint64_t back = 0; back < SLOTS / 2 + 1; back++) {
		uint64_t good = *slots, at = (uintptr_t)bed.bound - back * PAGE;

		if (at < (uintptr_t)ARENA_AT)
			break;
		*slots = at;
		CHECK_EQ(wherry_pktpool_adopt(bed.pool, bed.arena, bed.bound), -EPROTO);
		*slots = good;
	}
	drop_bed(&bed);
}

/* Whatever bits flip: refused, or what is adopted is sound. Run under ASan, too. */
TEST(pktpool_adopt_survives_random_bytes)
{
	struct bed bed;
	uint8_t *table, good[PAGE];

	make_bed(&bed, 2048);
	table = bed.bound;
	memcpy(good, table, PAGE);
	for (unsigned int n = 0; n < 20000; n++) {
		unsigned int flips = (unsigned int)(test_random() % 4) + 1;

		for (unsigned int i = 0; i < flips; i++)
			table[test_random() % PAGE] = (uint8_t)test_random();
		if (wherry_pktpool_adopt(bed.pool, bed.arena, table) == 0)
			check_mbufs(&bed, 2048);
		memcpy(table, good, PAGE);
	}
	drop_bed(&bed);
}

static struct wherry_bitmap *
ask_filter(struct bed *bed)
{
	struct wherry_span span = { .iova = (uintptr_t)ARENA_AT, .len = ARENA_LEN };
	struct wherry_bitmap *bm;

	CHECK_EQ(wherry_bitmap_create(span, PAGE, &bm), 0);
	wherry_pktpool_filter(bed->pool, true, bm);
	return bm;
}

/* By the naive rule: all bytes of the page are in buffers (or after the last), none kept. */
static bool
worthless(struct bed *bed, const struct kept *kept, unsigned int n, unsigned int room, char *page)
{
	char *slots = (char *)(uintptr_t)((uint64_t *)bed->bound)[4];
	size_t row = ((size_t)SLOTS * room + PAGE - 1) / PAGE * PAGE;

	if (page < slots || page >= slots + row)
		return false;
	for (unsigned int i = 0; i < n; i++) {
		char *first = (char *)kept[i].data - RTE_PKTMBUF_HEADROOM;

		if (first < page + PAGE && first + room > page)
			return false;
	}
	return true;
}

TEST_EACH(pktpool_filter_names_pages_without_kept_buffers, rooms, variant)
{
	unsigned int n = 0, room = number(variant);
	struct kept kept[SPARES];
	struct bed bed;

	make_bed(&bed, room);
	for (unsigned int step = 0; step < 100; step++) {
		struct wherry_bitmap *bm = ask_filter(&bed);

		for (char *page = ARENA_AT; page < (char *)ARENA_AT + ARENA_LEN; page += PAGE)
			CHECK_EQ(wherry_bitmap_test(bm, (uintptr_t)page),
				worthless(&bed, kept, n, room, page));
		wherry_bitmap_destroy(bm);
		for (unsigned int i = 0; i < 8; i++)
			receive_one(&bed, kept, &n);
		if (n != 0)
			release_one(&bed, kept, &n, room);
	}
	drop_bed(&bed);
}

TEST(pktpool_filter_knows_nothing_before_bind)
{
	struct wherry_bitmap *bm;
	struct bed bed;

	make_arena(&bed, ARENA_LEN);
	bed.pool = make_pool(2048);
	bm = ask_filter(&bed);
	CHECK_EQ(wherry_bitmap_count(bm), 0);
	wherry_bitmap_destroy(bm);
	drop_bed(&bed);
}
