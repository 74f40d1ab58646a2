/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mempool whose mbufs stay and whose data buffers move.
 *
 * mbufs are EAL memory of this process. Buffers are one row of equal *slots* in the
 * arena, and a *table*, which lies in the arena too but on pages of its own, so that
 * writing to it never dirties a page of packets. Each slot is
 *
 *	POOLED	some mbuf of this process points at it; nobody else cares for its bytes
 *	SPARE	on the stack of the table, for the next keep
 *	KEPT	the application's, named by its address
 *
 * and keep swaps: the mbuf's slot becomes KEPT and the mbuf gets the top of the stack,
 * so there are always as many POOLED slots as mbufs. That is why another process can
 * adopt the row without a word being written: its mbufs take the POOLED slots. What is
 * in the arena after a migration came from a peer; table_check() trusts none of it.
 *
 * Until a row is bound every mbuf points at one placeholder in EAL memory, so that a
 * queue can be set up, and even receive, before the arena is there.
 *
 * Threads: states and stack are written by the one core that keeps and releases; the
 * filter reads states from another thread, relaxed. A racing answer is harmless: what
 * is called worthless before the final question stays pending and is asked about again.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALLOW_EXPERIMENTAL_API /* rte_pktmbuf_pool_create_extbuf(), unchanged since 20.02 */
#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "base_priv.h"
#include "wherry_dpdk.h"

#define LOG_PREFIX "dpdk/pktpool"
#define PAGE UINT64_C(4096)
#define TABLE_MAGIC UINT64_C(0x6c6f6f70746b7077) /* "wpktpool" */
#define TABLE_VERSION 1u
#define MAX_SLOTS (1u << 26) /* keeps every product below far from 2^64 */

enum slot { SLOT_POOLED, SLOT_SPARE, SLOT_KEPT, SLOT_STATES };

/* In the arena, at bound. Followed by uint32_t stack[n_slots], uint8_t state[n_slots]. */
struct table {
	uint64_t magic;
	uint32_t version;
	uint32_t room;     /* bytes of a slot */
	uint32_t n_mbufs;  /* how many slots are POOLED */
	uint32_t n_slots;  /* n_mbufs and the spares */
	uint32_t n_spares; /* in use on the stack */
	uint32_t reserved;
	uint64_t slots; /* address of slot 0, a multiple of a page */
};

struct wherry_pktpool {
	struct rte_mempool *mp;
	void *placeholder; /* what mbufs point at until bound, EAL memory */
	unsigned int n_mbufs, n_slots, room;
	/* once bound or adopted; copies, so that the table's fields are read once */
	struct table *table; /* NULL: not bound */
	uint32_t *stack;
	uint8_t *state;
	char *slots;
};

static uint64_t
table_len(uint64_t n_slots)
{
	uint64_t len = sizeof(struct table) + n_slots * (sizeof(uint32_t) + sizeof(uint8_t));

	return round_up(len, PAGE);
}

static uint64_t
slots_len(uint64_t n_slots, uint64_t room)
{
	return round_up(n_slots * room, PAGE);
}

static enum slot
slot_get(const uint8_t *state, size_t i)
{
	return (enum slot)__atomic_load_n(&state[i], __ATOMIC_RELAXED);
}

static void
slot_set(struct wherry_pktpool *pool, size_t i, enum slot s)
{
	__atomic_store_n(&pool->state[i], (uint8_t)s, __ATOMIC_RELAXED);
}

/* The slot of an address, or n_slots if it lies in none. */
static size_t
slot_of(const struct wherry_pktpool *pool, const void *p)
{
	uint64_t at = (uint64_t)(uintptr_t)p - (uint64_t)(uintptr_t)pool->slots;
	uint64_t i = at / pool->room; /* huge if p lies below */

	return i < pool->n_slots ? (size_t)i : pool->n_slots;
}

static void
point_at(struct rte_mbuf *m, char *slot)
{
	m->buf_addr = slot;
	rte_mbuf_iova_set(m, (rte_iova_t)(uintptr_t)slot); /* arenas are mapped so */
}

/*
 * Each mbuf is described by a piece of external memory of its own, all the same
 * placeholder: rte_pktmbuf_pool_create_extbuf() hands one element to each.
 */
static int
create_mempool(struct wherry_pktpool *pool, const struct wherry_pktpool_opts *opts, int socket)
{
	struct rte_pktmbuf_extmem one = {
		.buf_ptr = pool->placeholder,
		.buf_iova = rte_malloc_virt2iova(pool->placeholder),
		.buf_len = opts->room,
		.elt_size = (uint16_t)opts->room,
	};
	struct rte_pktmbuf_extmem *all =
		wherry_fault("pktpool.extmem") ? NULL : calloc(opts->mbufs, sizeof(*all));

	if (all == NULL)
		return -ENOMEM;
	for (unsigned int i = 0; i < opts->mbufs; i++)
		all[i] = one;
	pool->mp = rte_pktmbuf_pool_create_extbuf(opts->name, opts->mbufs, opts->cache, 0,
		(uint16_t)opts->room, socket, all, opts->mbufs);
	free(all);
	if (pool->mp == NULL)
		return rte_errno == EEXIST || rte_errno == EINVAL ? -rte_errno : -ENOMEM;
	return 0;
}

static bool
opts_valid(const struct wherry_pktpool_opts *opts)
{
	return opts->name != NULL && opts->mbufs > 0 && opts->mbufs <= MAX_SLOTS &&
		opts->spares <= MAX_SLOTS && opts->room > RTE_PKTMBUF_HEADROOM &&
		opts->room <= UINT16_MAX && opts->cache <= RTE_MEMPOOL_CACHE_MAX_SIZE;
}

int
wherry_pktpool_create(const struct wherry_pktpool_opts *opts, struct wherry_pktpool **ret_pool)
{
	int rc = -ENOMEM, socket = opts->node == WHERRY_NODE_ANY ? SOCKET_ID_ANY : opts->node;
	struct wherry_pktpool *pool;

	if (!opts_valid(opts))
		return -EINVAL;
	pool = wherry_fault("pktpool.alloc") ? NULL : calloc(1, sizeof(*pool));
	if (pool == NULL)
		return -ENOMEM;
	pool->n_mbufs = opts->mbufs;
	pool->n_slots = opts->mbufs + opts->spares;
	pool->room = opts->room;
	pool->placeholder = wherry_fault("pktpool.placeholder")
		? NULL
		: rte_zmalloc_socket(opts->name, opts->room, RTE_CACHE_LINE_SIZE, socket);
	if (pool->placeholder == NULL)
		goto free_pool;
	rc = create_mempool(pool, opts, socket);
	if (rc != 0)
		goto free_placeholder;
	*ret_pool = pool;
	return 0;
free_placeholder:
	rte_free(pool->placeholder);
free_pool:
	free(pool);
	return rc;
}

void
wherry_pktpool_destroy(struct wherry_pktpool *pool)
{
	if (pool == NULL)
		return;
	rte_mempool_free(pool->mp);
	rte_free(pool->placeholder);
	free(pool);
}

struct rte_mempool *
wherry_pktpool_mempool(struct wherry_pktpool *pool)
{
	return pool->mp;
}

static void
use_table(struct wherry_pktpool *pool, struct table *t)
{
	pool->table = t;
	pool->slots = (char *)(uintptr_t)t->slots;
	pool->stack = (uint32_t *)(t + 1);
	pool->state = (uint8_t *)(pool->stack + pool->n_slots);
}

/* Walks POOLED slots, one for each mbuf it is called for. */
struct assign {
	struct wherry_pktpool *pool;
	size_t next;
};

static void
assign_one(struct rte_mempool *mp, void *arg, void *obj, unsigned int i)
{
	struct assign *a = arg;
	struct wherry_pktpool *pool = a->pool;

	(void)mp;
	(void)i;
	while (slot_get(pool->state, a->next) != SLOT_POOLED)
		a->next++; /* as many as mbufs: table_check() or table_init() */
	point_at(obj, pool->slots + a->next * pool->room);
	a->next++;
}

/* Every mbuf is in the pool, where its buffer may change. */
static bool
all_free(struct wherry_pktpool *pool)
{
	if (rte_mempool_full(pool->mp))
		return true;
	LOG_ERR("%s: %u mbufs are in use: stop the receive queues first, or set them up later",
		pool->mp->name, rte_mempool_in_use_count(pool->mp));
	return false;
}

static void
assign_all(struct wherry_pktpool *pool)
{
	struct assign a = { .pool = pool };

	rte_mempool_obj_iter(pool->mp, assign_one, &a);
}

static void
table_init(const struct wherry_pktpool *pool, struct table *t, const void *slots)
{
	uint32_t *stack = (uint32_t *)(t + 1);
	uint8_t *state = (uint8_t *)(stack + pool->n_slots);

	*t = (struct table){
		.magic = TABLE_MAGIC,
		.version = TABLE_VERSION,
		.room = pool->room,
		.n_mbufs = pool->n_mbufs,
		.n_slots = pool->n_slots,
		.n_spares = pool->n_slots - pool->n_mbufs,
		.slots = (uint64_t)(uintptr_t)slots,
	};
	memset(stack, 0, pool->n_slots * sizeof(*stack));
	memset(state, SLOT_POOLED, pool->n_mbufs);
	memset(state + pool->n_mbufs, SLOT_SPARE, t->n_spares);
	for (uint32_t i = 0; i < t->n_spares; i++)
		stack[i] = pool->n_slots - 1 - i; /* the lowest is on top */
}

void *
wherry_pktpool_bind(struct wherry_pktpool *pool, struct wherry_arena *arena)
{
	struct table *t;
	void *slots;

	if (!all_free(pool))
		return NULL;
	t = wherry_arena_alloc_aligned(arena, PAGE, table_len(pool->n_slots));
	if (t == NULL)
		return NULL;
	slots = wherry_arena_alloc_aligned(arena, PAGE, slots_len(pool->n_slots, pool->room));
	if (slots == NULL)
		goto free_table;
	table_init(pool, t, slots);
	use_table(pool, t);
	assign_all(pool);
	return t;
free_table:
	wherry_arena_free(arena, t);
	return NULL;
}

/* Does [at, at + len) lie in the arena? len > 0 */
static bool
inside(const struct wherry_arena *arena, uint64_t at, uint64_t len)
{
	uint64_t last = at + (len - 1);

	/* an arena is one range: both ends in it, the whole in it */
	return last >= at && wherry_arena_contains(arena, (const void *)(uintptr_t)at) &&
		wherry_arena_contains(arena, (const void *)(uintptr_t)last);
}

static bool
header_sound(
	const struct wherry_pktpool *pool, const struct wherry_arena *arena, const struct table *t)
{
	uint64_t at = (uint64_t)(uintptr_t)t, len = slots_len(pool->n_slots, pool->room);

	return t->magic == TABLE_MAGIC && t->version == TABLE_VERSION && t->room == pool->room &&
		t->n_mbufs == pool->n_mbufs && t->n_slots == pool->n_slots &&
		t->n_spares <= pool->n_slots - pool->n_mbufs && t->slots % PAGE == 0 &&
		inside(arena, at, table_len(pool->n_slots)) && inside(arena, t->slots, len) &&
		(t->slots + len <= at || at + table_len(pool->n_slots) <= t->slots);
}

/* Every slot has a known state, as many are POOLED as there are mbufs, SPARE as on the stack. */
static bool
states_sound(const struct table *t, const uint8_t *state)
{
	uint32_t count[SLOT_STATES] = { 0 };

	for (uint32_t i = 0; i < t->n_slots; i++) {
		if (state[i] >= SLOT_STATES)
			return false;
		count[state[i]]++;
	}
	return count[SLOT_POOLED] == t->n_mbufs && count[SLOT_SPARE] == t->n_spares;
}

/* The stack names SPARE slots, each once. */
static int
check_stack(const struct table *t, const uint32_t *stack, const uint8_t *state)
{
	bool *seen = wherry_fault("pktpool.check") ? NULL : calloc(t->n_slots, sizeof(*seen));
	int rc = 0;

	if (seen == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n_spares && rc == 0; i++) {
		uint32_t s = stack[i];

		if (s >= t->n_slots || state[s] != SLOT_SPARE || seen[s])
			rc = -EPROTO;
		else
			seen[s] = true;
	}
	free(seen);
	return rc;
}

/* The arena is a peer's; nobody writes to it now, so what was checked stays so. */
static int
table_check(
	const struct wherry_pktpool *pool, const struct wherry_arena *arena, const struct table *t)
{
	const uint32_t *stack;
	const uint8_t *state;

	if ((uintptr_t)t % PAGE != 0 || !inside(arena, (uintptr_t)t, sizeof(*t)) ||
		!header_sound(pool, arena, t))
		return -EPROTO;
	stack = (const uint32_t *)(t + 1);
	state = (const uint8_t *)(stack + pool->n_slots);
	return states_sound(t, state) ? check_stack(t, stack, state) : -EPROTO;
}

int
wherry_pktpool_adopt(struct wherry_pktpool *pool, struct wherry_arena *arena, void *bound)
{
	int rc;

	if (!all_free(pool))
		return -EBUSY;
	rc = table_check(pool, arena, bound);
	if (rc == -EPROTO)
		LOG_ERR("%s: the arena does not hold the buffers of a pool of %u x %u bytes",
			pool->mp->name, pool->n_slots, pool->room);
	if (rc != 0)
		return rc;
	use_table(pool, bound);
	assign_all(pool);
	return 0;
}

void *
wherry_pktpool_keep(struct wherry_pktpool *pool, struct rte_mbuf *m)
{
	void *data = rte_pktmbuf_mtod(m, void *);
	struct table *t = pool->table;
	uint32_t spare;
	size_t i;

	if (t == NULL || t->n_spares == 0 || m->pool != pool->mp)
		return NULL;
	i = slot_of(pool, m->buf_addr);
	if (i == pool->n_slots)
		return NULL;
	spare = pool->stack[--t->n_spares];
	slot_set(pool, i, SLOT_KEPT); /* before anything else may call the page worthless */
	slot_set(pool, spare, SLOT_POOLED);
	point_at(m, pool->slots + (size_t)spare * pool->room);
	return data;
}

void
wherry_pktpool_release(struct wherry_pktpool *pool, const void *data)
{
	size_t i = slot_of(pool, data);

	assert(i < pool->n_slots && slot_get(pool->state, i) == SLOT_KEPT);
	if (i == pool->n_slots || slot_get(pool->state, i) != SLOT_KEPT)
		return;
	slot_set(pool, i, SLOT_SPARE);
	pool->stack[pool->table->n_spares++] = (uint32_t)i;
}

/* Is any slot that touches the page at offset at into the row kept? */
static bool
page_has_kept(const struct wherry_pktpool *pool, uint64_t at)
{
	uint64_t i = at / pool->room, last = (at + PAGE - 1) / pool->room;

	for (; i <= last && i < pool->n_slots; i++)
		if (slot_get(pool->state, (size_t)i) == SLOT_KEPT)
			return true;
	return false;
}

void
wherry_pktpool_filter(void *ctx, bool final, struct wherry_bitmap *worthless)
{
	const struct wherry_pktpool *pool = ctx;
	uint64_t base = (uint64_t)(uintptr_t)pool->slots, len;
	uint64_t from = 0; /* start of the run of worthless pages that reaches at */

	(void) final; /* states are always right about buffers nobody keeps */
	if (pool->table == NULL)
		return;
	len = slots_len(pool->n_slots, pool->room);
	for (uint64_t at = 0; at <= len; at += PAGE) {
		if (at < len && !page_has_kept(pool, at))
			continue;
		if (at > from)
			wherry_bitmap_mark(worthless,
				(struct wherry_span){ .iova = base + from, .len = at - from });
		from = at + PAGE;
	}
}
