/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/mem: arenas, what each sentence of the header promises. Hostile bytes: test_arena_open.c. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault_priv.h"
#include "fuzz_random.h"
#include "models.h"
#include "test.h"
#include "wherry_mem.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)

struct fixture {
	struct wherry_region *region;
	struct wherry_region_info info;
	struct wherry_arena *arena;
};

static struct fixture
setup(size_t len)
{
	struct wherry_region_opts opts = WHERRY_REGION_OPTS_INIT;
	struct fixture f;

	opts.len = len;
	CHECK_EQ(wherry_region_create(&opts, &f.region), 0);
	wherry_region_get_info(f.region, &f.info);
	CHECK_EQ(wherry_arena_create(f.region, &f.arena), 0);
	return f;
}

static void
teardown(struct fixture *f)
{
	wherry_arena_close(f->arena);
	wherry_region_destroy(f->region);
}

static struct wherry_arena_stats
stats_of(const struct fixture *f)
{
	struct wherry_arena_stats stats;

	wherry_arena_get_stats(f->arena, &stats);
	return stats;
}

TEST(mem_arena_wants_64_kib)
{
	struct wherry_region_opts opts = { .len = 60 * KIB, .node = WHERRY_NODE_ANY };
	struct wherry_arena *arena = NULL;
	struct fixture f;

	CHECK_EQ(wherry_region_create(&opts, &f.region), 0);
	CHECK_EQ(wherry_arena_create(f.region, &arena), -EINVAL);
	CHECK_EQ(wherry_arena_open(f.region, &arena), -EPROTO);
	CHECK(arena == NULL);
	wherry_region_destroy(f.region);
	f = setup(64 * KIB);
	CHECK(stats_of(&f).total >= 48 * KIB);
	teardown(&f);
	wherry_arena_close(NULL);
}

TEST(mem_arena_create_forgets_what_the_region_held)
{
	struct fixture f = setup(MIB);

	CHECK(wherry_arena_alloc(f.arena, 100000) != NULL);
	wherry_arena_set_root(f.arena, wherry_arena_alloc(f.arena, 10));
	wherry_arena_close(f.arena);
	CHECK_EQ(wherry_arena_create(f.region, &f.arena), 0);
	CHECK_EQ(stats_of(&f).used, 0);
	CHECK(wherry_arena_root(f.arena) == NULL);
	teardown(&f);
}

TEST(mem_arena_objects_waste_little_and_are_aligned)
{
	struct fixture f = setup(4 * MIB);

	for (size_t len = 1; len <= 3 * PAGE; len++) {
		char *p = wherry_arena_alloc(f.arena, len);
		size_t usable = wherry_arena_usable(f.arena, p), most = len + len / 4 + 31;
		size_t align = len > 16 && len <= PAGE && (len & (len - 1)) == 0 ? len : 16;

		CHECK(usable >= len);
		CHECK(usable <= (len > 2048 ? (len + PAGE - 1) / PAGE * PAGE : most));
		CHECK_EQ((uintptr_t)p % align, 0);
		wherry_arena_free(f.arena, p);
	}
	teardown(&f);
}

TEST(mem_arena_aligns_to_any_power_of_two)
{
	struct fixture f = setup(8 * MIB);

	for (size_t align = 1; align <= 2 * MIB; align *= 2)
		for (size_t len = 1; len <= 5000; len += 499) {
			void *p = wherry_arena_alloc_aligned(f.arena, align, len);

			CHECK(p != NULL);
			CHECK_EQ((uintptr_t)p % align, 0);
			wherry_arena_free(f.arena, p);
		}
	CHECK(wherry_arena_alloc_aligned(f.arena, 0, 8) == NULL);
	CHECK(wherry_arena_alloc_aligned(f.arena, 24, 8) == NULL);
	CHECK(wherry_arena_alloc_aligned(f.arena, (size_t)1 << 63, 8) == NULL);
	CHECK_EQ(stats_of(&f).objects, 0);
	teardown(&f);
}

TEST(mem_arena_full_is_null_and_empties_again)
{
	static void *p[40000];
	struct fixture f = setup(MIB);
	struct wherry_span span;
	uint64_t cursor = 0;
	size_t n = 0;

	CHECK(wherry_arena_alloc(f.arena, SIZE_MAX) == NULL);
	CHECK(wherry_arena_alloc(f.arena, MIB) == NULL);
	while ((p[n] = wherry_arena_alloc(f.arena, 32)) != NULL)
		n++;
	CHECK_EQ(n * 32, stats_of(&f).total);
	CHECK_EQ(stats_of(&f).used, stats_of(&f).total);
	CHECK(!wherry_arena_next_free(f.arena, &cursor, &span));
	while (n > 0)
		wherry_arena_free(f.arena, p[--n]);
	CHECK_EQ(stats_of(&f).used, 0);
	CHECK(wherry_arena_alloc(f.arena, stats_of(&f).total) != NULL);
	teardown(&f);
}

/* One free page is too little for a slab of four, but not for the object. */
TEST(mem_arena_uses_its_last_page_for_a_small_object)
{
	struct fixture f = setup(MIB);

	CHECK(wherry_arena_alloc(f.arena, stats_of(&f).total - PAGE) != NULL);
	CHECK(wherry_arena_alloc(f.arena, 2 * PAGE) == NULL);
	CHECK(wherry_arena_alloc(f.arena, 1500) != NULL);
	CHECK(wherry_arena_alloc(f.arena, 1) == NULL);
	teardown(&f);
}

TEST(mem_arena_holds_runs_of_128_mib)
{
	struct fixture f = setup(300 * MIB);
	char *a = wherry_arena_alloc(f.arena, 128 * MIB),
	     *b = wherry_arena_alloc(f.arena, 128 * MIB);

	CHECK(a != NULL && b != NULL);
	a[128 * MIB - 1] = b[128 * MIB - 1] = 1;
	CHECK(wherry_arena_alloc(f.arena, 128 * MIB) == NULL);
	wherry_arena_free(f.arena, a);
	CHECK(wherry_arena_alloc(f.arena, 128 * MIB) == a);
	/* 32 bytes a page, and the header */
	CHECK(stats_of(&f).metadata < 300 * MIB / 100);
	teardown(&f);
}

TEST(mem_arena_realloc_is_as_realloc)
{
	struct fixture f = setup(MIB);
	char *p = wherry_arena_realloc(f.arena, NULL, 10), *q;

	memset(p, 'a', 10);
	CHECK(wherry_arena_realloc(f.arena, p, 20) == p);
	q = wherry_arena_realloc(f.arena, p, 10000);
	CHECK(q != p && q[0] == 'a' && q[9] == 'a');
	CHECK(wherry_arena_realloc(f.arena, q, 2 * MIB) == NULL);
	CHECK(q[0] == 'a' && stats_of(&f).objects == 1);
	q = wherry_arena_realloc(f.arena, q, 9);
	CHECK(q[0] == 'a' && q[8] == 'a' && wherry_arena_usable(f.arena, q) <= 32);
	p = wherry_arena_alloc(f.arena, 0);
	CHECK(p != NULL && p != q);
	wherry_arena_free(f.arena, p);
	CHECK(wherry_arena_realloc(f.arena, q, 0) == NULL);
	CHECK_EQ(stats_of(&f).objects, 0);
	wherry_arena_free(f.arena, NULL);
	teardown(&f);
}

TEST(mem_arena_contains_its_region_only)
{
	struct fixture f = setup(MIB);
	const char *first = f.info.vaddr;

	CHECK(wherry_arena_contains(f.arena, first));
	CHECK(wherry_arena_contains(f.arena, first + f.info.len - 1));
	CHECK(!wherry_arena_contains(f.arena, first - 1));
	CHECK(!wherry_arena_contains(f.arena, first + f.info.len));
	CHECK(!wherry_arena_contains(f.arena, NULL));
	teardown(&f);
}

/* Does freeing this kill the process? It must, and only that process. */
static bool
free_aborts(struct wherry_arena *arena, void *p)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		close(STDERR_FILENO);
		wherry_arena_free(arena, p);
		_exit(0);
	}
	CHECK(child > 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

TEST(mem_arena_free_catches_what_alloc_did_not_return)
{
	struct fixture f = setup(MIB);
	char *small = wherry_arena_alloc(f.arena, 100),
	     *run = wherry_arena_alloc(f.arena, 9 * PAGE);
	char *large = wherry_arena_alloc(f.arena, 1024), *gone = wherry_arena_alloc(f.arena, 64);
	int elsewhere;

#ifdef NDEBUG
	SKIP("built without assertions: meson configure -Db_ndebug=false");
#endif
	wherry_arena_free(f.arena, gone);
	CHECK(!free_aborts(f.arena, small));
	CHECK(free_aborts(f.arena, small + 16));
	CHECK(free_aborts(f.arena, small + 112)); /* the next object, not handed out */
	CHECK(free_aborts(f.arena, run + PAGE));
	CHECK(free_aborts(f.arena, run + 8 * PAGE));
	CHECK(free_aborts(f.arena, large + 3 * PAGE));
	CHECK(free_aborts(f.arena, gone));
	CHECK(free_aborts(f.arena, &elsewhere));
	CHECK(free_aborts(f.arena, f.info.vaddr));
	CHECK(free_aborts(f.arena, (char *)f.info.vaddr + MIB - PAGE));
	teardown(&f);
}

static void
note_changes(const char *now, char *before, size_t len, bool *changed)
{
	for (size_t at = 0; at < len; at += PAGE) {
		if (memcmp(now + at, before + at, PAGE) == 0)
			continue;
		changed[at / PAGE] = true;
		memcpy(before + at, now + at, PAGE);
	}
}

/* What an allocation writes has to be migrated: a thousand connections, a handful of pages. */
TEST(mem_arena_alloc_writes_few_pages_of_its_own)
{
	struct fixture f = setup(64 * MIB);
	size_t len = stats_of(&f).metadata, n_changed = 0;
	char *before = malloc(len);
	bool changed[200] = { false };
	void *p[1000];

	CHECK(before != NULL && len / PAGE < 200);
	CHECK(wherry_arena_alloc(f.arena, 20 * MIB) != NULL);
	memcpy(before, f.info.vaddr, len);
	for (unsigned int i = 0; i < 1000; i++)
		p[i] = wherry_arena_alloc(f.arena, i % 3 == 0 ? 1536 : 200);
	for (unsigned int i = 0; i < 1000; i += 2)
		wherry_arena_free(f.arena, p[i]);
	note_changes(f.info.vaddr, before, len, changed);
	for (size_t i = 0; i < len / PAGE; i++)
		n_changed += changed[i];
	CHECK(n_changed >= 1 && n_changed <= 5);
	free(before);
	teardown(&f);
}

TEST(mem_arena_root_and_objects_survive_in_the_bytes_alone)
{
	struct wherry_region_opts opts = { .len = MIB, .node = WHERRY_NODE_ANY };
	struct fixture f = setup(MIB);
	struct wherry_arena_stats before;
	char *bytes = malloc(MIB), **root = wherry_arena_alloc(f.arena, sizeof(char *));

	*root = wherry_arena_alloc(f.arena, 50);
	memcpy(*root, "found again", 12);
	wherry_arena_set_root(f.arena, root);
	before = stats_of(&f);
	memcpy(bytes, f.info.vaddr, MIB);
	opts.vaddr = f.info.vaddr;
	teardown(&f);

	CHECK_EQ(wherry_region_create(&opts, &f.region), 0);
	CHECK_EQ(wherry_arena_open(f.region, &f.arena), -EPROTO);
	memcpy(opts.vaddr, bytes, MIB);
	free(bytes);
	CHECK_EQ(wherry_arena_open(f.region, &f.arena), 0);
	root = wherry_arena_root(f.arena);
	CHECK(strcmp(*root, "found again") == 0);
	CHECK_EQ(stats_of(&f).used, before.used);
	CHECK_EQ(stats_of(&f).objects, 2);
	wherry_arena_free(f.arena, *root);
	CHECK(wherry_arena_alloc(f.arena, 500000) != NULL);
	teardown(&f);
}

TEST(mem_arena_failure_leaves_nothing)
{
	struct fixture f = setup(MIB);

	CHECK(wherry_arena_alloc(f.arena, 100) != NULL);
	wherry_arena_close(f.arena);
	FOR_EACH_FAULT(nth) {
		struct wherry_arena *arena = NULL;
		int rc = wherry_arena_open(f.region, &arena);
		void *p = rc == 0 ? wherry_arena_alloc(arena, 100) : NULL;
		struct wherry_arena_stats stats = { .objects = 1 };

		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		if (rc == 0)
			wherry_arena_get_stats(arena, &stats);
		CHECK_EQ(stats.objects, 1 + (p != NULL));
		if (p != NULL)
			wherry_arena_free(arena, p);
		wherry_arena_close(arena);
	}
	wherry_region_destroy(f.region);
}

#define THREADS 4
#define HELD 64

struct job {
	pthread_t thread;
	struct wherry_arena *arena;
	unsigned char pattern;
	bool torn; /* another thread's bytes were seen */
};

static void *
churn(void *ctx)
{
	struct job *job = ctx;
	unsigned char *held[HELD] = { NULL };

	for (unsigned int i = 0; i < 20000; i++) {
		unsigned char **slot = &held[i * 7 % HELD];
		size_t len = 1 + i * 31 % 700;

		if (*slot != NULL)
			job->torn |= (*slot)[0] != job->pattern;
		wherry_arena_free(job->arena, *slot);
		*slot = wherry_arena_alloc(job->arena, len);
		memset(*slot, job->pattern, len);
	}
	for (unsigned int i = 0; i < HELD; i++)
		wherry_arena_free(job->arena, held[i]);
	return NULL;
}

TEST(mem_arena_allocation_is_safe_from_any_thread)
{
	struct fixture f = setup(4 * MIB);
	struct job jobs[THREADS];

	for (unsigned int i = 0; i < THREADS; i++) {
		jobs[i] = (struct job){ .arena = f.arena, .pattern = (unsigned char)(i + 1) };
		CHECK_EQ(pthread_create(&jobs[i].thread, NULL, churn, &jobs[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(jobs[i].thread, NULL);
		CHECK(!jobs[i].torn);
	}
	CHECK_EQ(stats_of(&f).objects, 0);
	wherry_arena_close(f.arena);
	CHECK_EQ(wherry_arena_open(f.region, &f.arena), 0);
	CHECK_EQ(stats_of(&f).used, 0);
	teardown(&f);
}

TEST(mem_arena_agrees_with_a_list_of_objects)
{
	fuzz_random(arena_model_run, 100, 4096);
}
