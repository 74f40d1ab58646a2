/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Out of memory: each allocation that a migration makes fails once, on either side. The
 * linker leads every call of malloc() and its kin in our own objects through here
 * (--wrap); those of the tests' own threads are left alone. What must hold is what holds
 * after any failure: one owner, both at rest, both say why.
 *
 * Each takes seconds, most of which it waits: all kinds of migration with WHERRY_LONG.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keys.h"
#include "pair.h"
#include "test.h"

#define SMALL ((size_t)64 * PAIR_PAGE)

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker names them so */
void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_realloc(void *old, size_t len);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_realloc(void *old, size_t len);
char *__wrap_strdup(const char *text);

/* Shared with the destination's process. */
struct shortage {
	bool at_source;
	unsigned int nth;  /* the allocation that fails; 0: none */
	unsigned int seen; /* atomic */
	unsigned int hit;  /* atomic: it has failed */
};

static struct shortage *shortage;
static pthread_t tester;
static pid_t tester_pid;

static bool
is_refused(void)
{
	if (shortage == NULL || shortage->nth == 0 || pthread_equal(pthread_self(), tester) ||
		(getpid() == tester_pid) != shortage->at_source ||
		__atomic_add_fetch(&shortage->seen, 1, __ATOMIC_RELAXED) != shortage->nth)
		return false;
	__atomic_store_n(&shortage->hit, 1, __ATOMIC_RELAXED);
	errno = ENOMEM;
	return true;
}

void *
__wrap_malloc(size_t len)
{
	return is_refused() ? NULL : __real_malloc(len);
}

void *
__wrap_calloc(size_t n, size_t len)
{
	return is_refused() ? NULL : __real_calloc(n, len);
}

void *
__wrap_realloc(void *old, size_t len)
{
	return is_refused() ? NULL : __real_realloc(old, len);
}

char *
__wrap_strdup(const char *text)
{
	return is_refused() ? NULL : __real_strdup(text);
}

/* NOLINTEND(bugprone-reserved-identifier) */

static void
begin(bool at_source)
{
	shortage = mmap(
		NULL, sizeof(*shortage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shortage != MAP_FAILED);
	shortage->at_source = at_source;
	tester = pthread_self();
	tester_pid = getpid();
}

static void
end(void)
{
	struct shortage *s = shortage;

	shortage = NULL;
	munmap(s, sizeof(*s));
}

/* One migration in which the nth fails; false: there was no nth. */
static bool
starve(const struct pair_opts *opts, unsigned int nth)
{
	static const struct wherry_migrate_params params = {
		.timeout_ms = 3000, .channels = 2, .compress = true
	};
	struct pair *pair = pair_create(opts);
	struct wherry_status st;
	bool hit;

	shortage->seen = shortage->hit = 0;
	shortage->nth = nth;
	pair_migrate(pair, &params, &st);
	if (st.state == WHERRY_STATE_RELEASED)
		pair_check_moved(pair, &st);
	else if (st.state == WHERRY_STATE_SERVING)
		pair_check_stayed(pair, &st);
	else
		FAIL("allocation %u: %s: %s", nth, wherry_state_name(st.state), st.reason);
	hit = shortage->hit != 0;
	shortage->nth = 0;
	pair_destroy(pair);
	return hit;
}

static void
starve_each(bool at_source, const struct pair_opts *opts, unsigned int least)
{
	unsigned int nth = 1;

	begin(at_source);
	while (starve(opts, nth))
		nth++;
	end();
	if (nth <= least)
		FAIL("only %u allocations could fail", nth - 1);
}

static void
need_time(void)
{
	const char *is_long = getenv("WHERRY_LONG");

	if (is_long == NULL || is_long[0] == '\0')
		SKIP("WHERRY_LONG=1 runs it: devtools/test --long does");
}

TEST(migrate_source_without_memory_anywhere_leaves_one_owner)
{
	starve_each(true, &(struct pair_opts){ .len = SMALL, .writer = true, .filter = true }, 10);
}

TEST(migrate_destination_without_memory_anywhere_leaves_one_owner)
{
	starve_each(false, &(struct pair_opts){ .len = SMALL, .writer = true, .filter = true }, 5);
}

TEST(migrate_handover_without_memory_anywhere_leaves_one_owner)
{
	need_time();
	starve_each(true, &(struct pair_opts){ .len = SMALL, .lend = true }, 5);
	starve_each(false, &(struct pair_opts){ .len = SMALL, .lend = true }, 2);
}

TEST(migrate_with_an_arbiter_without_memory_anywhere_leaves_one_owner)
{
	need_time();
	starve_each(true, &(struct pair_opts){ .len = SMALL, .arbiter = "lock" }, 10);
	starve_each(false, &(struct pair_opts){ .len = SMALL, .arbiter = "lock" }, 5);
}

TEST(migrate_over_tls_without_memory_anywhere_leaves_one_owner)
{
	struct pair_opts opts = { .tcp = true, .len = SMALL };
	struct keys *keys;

	need_time();
	keys = keys_make();
	keys_sign(keys, "node", NULL);
	opts.tls = opts.dest_tls = keys_of(keys, "node");
	starve_each(true, &opts, 10);
	starve_each(false, &opts, 5);
	keys_drop(keys);
}
