/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who owns, with an arbiter. What must hold whatever is lost, cut, killed or stopped:
 * never both, and one of them if the source survives. What the arbiter has written is
 * what the processes do.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base_priv.h"
#include "etcd.h"
#include "pair_priv.h"
#include "test.h"
#include "wherry_arbiter.h"
#include "wherry_stream.h"

#define SMALL ((size_t)64 * PAIR_PAGE)

static const char *const kinds[] = { "lock", "etcd", NULL };
static const unsigned int forward[] = { WHERRY_REC_HELLO, WHERRY_REC_PAGES, WHERRY_REC_ROUND,
	WHERRY_REC_SECTION, WHERRY_REC_DIGEST };
static const unsigned int backward[] = { WHERRY_REC_HELLO, WHERRY_REC_GOT, WHERRY_REC_READY,
	WHERRY_REC_RUNNING };

/* One runs, it is the one that the record names, and the other one knows. */
static void
check_one_owner(struct pair *pair, const struct wherry_status *st)
{
	uint64_t epoch;
	bool source = pair_source_owns(pair, &epoch);

	if (st->state == WHERRY_STATE_RELEASED) {
		CHECK(!source);
		pair_check_moved(pair, st);
	} else {
		CHECK(source);
		pair_check_stayed(pair, st);
	}
}

TEST_EACH(switchover_moves_the_record_with_the_state, kinds, kind)
{
	struct etcd_server *etcd = NULL;
	struct pair_opts opts = { .len = SMALL, .writer = true, .arbiter = "lock" };
	struct wherry_status st;
	struct pair *pair;
	uint64_t epoch;

	if (strcmp(kind, "etcd") == 0) {
		etcd = etcd_start();
		if (etcd == NULL)
			SKIP("no etcd: devtools/packages test installs etcd-server");
		opts.arbiter = etcd_spec(etcd);
	}
	pair = pair_create(&opts);
	CHECK(pair_source_owns(pair, &epoch));
	CHECK_EQ(epoch, 1);
	pair_migrate(pair, NULL, &st);
	pair_check_moved(pair, &st);
	CHECK(!pair_source_owns(pair, &epoch));
	CHECK_EQ(epoch, 2);
	CHECK(pair->shared->status.arbiter_ns > 0);
	CHECK(st.blackout_ns > pair->shared->status.arbiter_ns);
	CHECK_EQ(wherry_agent_migrate(pair->agent, pair->uri, NULL), -EPERM);
	pair_destroy(pair);
	if (etcd != NULL)
		etcd_stop(etcd);
}

/* False: the record never came by; a busy machine has called somebody silent before. */
static bool
strike(enum proxy_kind kind, bool back, unsigned int type, unsigned int timeout_ms)
{
	const struct wherry_migrate_params params = { .timeout_ms = timeout_ms };
	struct pair_opts opts = { .len = SMALL,
		.writer = true,
		.arbiter = "lock",
		.plan = { .kind = kind, .back = back, .type = type } };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;
	bool struck;

	pair_migrate(pair, &params, &st);
	struck = proxy_struck(pair->proxy);
	check_one_owner(pair, &st);
	if (struck && type == WHERRY_REC_RUNNING)
		CHECK_EQ(st.state, WHERRY_STATE_RELEASED);
	else if (struck && type != WHERRY_REC_READY && !proxy_is_healed(kind, type))
		CHECK_EQ(st.state, WHERRY_STATE_SERVING);
	pair_destroy(pair);
	return struck;
}

static void
strike_each(enum proxy_kind kind, bool back, const unsigned int *types, size_t n)
{
	bool is_waited_for = kind == PROXY_SWALLOW || kind == PROXY_SILENT;

	for (size_t i = 0; i < n; i++)
		if (!strike(kind, back, types[i], is_waited_for ? 800 : 3000) &&
			!strike(kind, back, types[i], 15000))
			FAIL("no %s record came by", wherry_record_name(types[i]));
}

TEST(switchover_leaves_one_owner_whatever_record_is_lost)
{
	static const enum proxy_kind each[] = { PROXY_CLOSE, PROXY_CUT, PROXY_CORRUPT,
		PROXY_SWALLOW };

	for (size_t i = 0; i < 4; i++) {
		strike_each(each[i], false, forward, 5);
		strike_each(each[i], true, backward, 4);
	}
	strike_each(PROXY_SILENT, false, forward + 4, 1);
	strike_each(PROXY_SILENT, true, backward + 2, 2);
}

static void
kill_etcd(void *ctx)
{
	etcd_kill(*(struct etcd_server **)ctx);
}

/* While nobody can say who owns, nobody runs; when it can be said again, one does. */
TEST(switchover_waits_for_an_arbiter_that_is_down)
{
	struct etcd_server *etcd = etcd_start();
	struct pair_opts opts = { .len = SMALL,
		.writer = true,
		.plan = { .kind = PROXY_CALL,
			.type = WHERRY_REC_DIGEST,
			.call = kill_etcd,
			.ctx = &etcd } };
	const struct wherry_migrate_params params = { .timeout_ms = 500 };
	struct wherry_status st;
	struct pair *pair;

	if (etcd == NULL)
		SKIP("no etcd: devtools/packages test installs etcd-server");
	opts.arbiter = etcd_spec(etcd);
	pair = pair_create(&opts);
	CHECK_EQ(pair_begin(pair, &params), 0);
	pair_wait(pair, WHERRY_STATE_UNKNOWN, &st);
	CHECK_EQ(st.state, WHERRY_STATE_UNKNOWN);
	CHECK_EQ(pair->resumes, 0);
	CHECK_EQ(pair->shared->takeovers, 0);
	CHECK_EQ(wherry_agent_cancel(pair->agent), -EALREADY);
	CHECK_EQ(wherry_agent_resolve(pair->agent, true), -EPERM);
	etcd_revive(etcd);
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	check_one_owner(pair, &st);
	pair_destroy(pair);
	etcd_stop(etcd);
}

/* ---- the arbiter's disk is full, and then it is not ---- */

static unsigned int *disk_is_full; /* atomic, of both processes */

static ssize_t
pwrite_unless_full(int fd, const void *buf, size_t len, off_t offset)
{
	if (__atomic_load_n(disk_is_full, __ATOMIC_ACQUIRE))
		return -ENOSPC;
	return wherry_sys_kernel.pwrite(fd, buf, len, offset);
}

static void
fill_disk(void *ctx)
{
	(void)ctx;
	__atomic_store_n(disk_is_full, 1, __ATOMIC_RELEASE);
}

/* Nobody's swap is written, so nobody runs; with room one of them is. */
TEST(switchover_waits_while_the_disk_of_its_arbiter_is_full)
{
	struct wherry_sys_calls table = wherry_sys_kernel;
	struct pair_opts opts = { .len = SMALL,
		.writer = true,
		.arbiter = "lock",
		.plan = { .kind = PROXY_CALL, .type = WHERRY_REC_DIGEST, .call = fill_disk } };
	const struct wherry_migrate_params params = { .timeout_ms = 2500 };
	struct wherry_status st;
	struct pair *pair;
	uint64_t epoch;

	disk_is_full = mmap(NULL, sizeof(*disk_is_full), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(disk_is_full != MAP_FAILED);
	table.pwrite = pwrite_unless_full;
	wherry_sys = &table;
	pair = pair_create(&opts);
	CHECK_EQ(pair_begin(pair, &params), 0);
	pair_wait(pair, WHERRY_STATE_UNKNOWN, &st);
	CHECK_EQ(st.state, WHERRY_STATE_UNKNOWN);
	CHECK(pair_source_owns(pair, &epoch));
	CHECK_EQ(epoch, 1);
	CHECK_EQ(pair->resumes, 0);
	CHECK_EQ(pair->shared->takeovers, 0);
	__atomic_store_n(disk_is_full, 0, __ATOMIC_RELEASE);
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	wherry_sys = &wherry_sys_kernel;
	check_one_owner(pair, &st);
	pair_destroy(pair);
	munmap(disk_is_full, sizeof(*disk_is_full));
}

TEST(switchover_mismatch_of_arbiters_is_refused_by_name)
{
	struct pair_opts opts = { .len = SMALL, .no_dest = true, .arbiter = "lock" };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair->opts.arbiter = NULL; /* the destination gets none */
	pair_start_dest(pair);
	pair->opts.arbiter = "lock";
	pair_migrate(pair, NULL, &st);
	pair_check_stayed(pair, &st);
	if (strstr(st.reason, "arbiter: only the source") == NULL)
		FAIL("%s", st.reason);
	pair->arbiter[strlen(pair->arbiter) - 1]++; /* and now another */
	pair_start_dest(pair);
	unlink(pair->arbiter + strlen("lock:"));
	pair->arbiter[strlen(pair->arbiter) - 1]--;
	pair_migrate(pair, NULL, &st);
	pair_check_stayed(pair, &st);
	if (strstr(st.reason, "arbiter: the source's is") == NULL)
		FAIL("%s", st.reason);
	pair_destroy(pair);
}

static void
write_record(const char *path, const char *id, uint64_t epoch)
{
	FILE *file = fopen(path, "we");

	CHECK(file != NULL);
	fprintf(file, "%s %llu\n", id, (unsigned long long)epoch);
	fclose(file);
}

/* An operator, or another process, has moved the record: whoever held it finds out. */
TEST(switchover_source_that_is_no_longer_owner_does_not_begin)
{
	struct pair_opts opts = { .len = SMALL, .arbiter = "lock" };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	write_record(pair->arbiter + strlen("lock:"), "elsewhere:/s", 7);
	pair_migrate(pair, NULL, &st);
	CHECK_EQ(st.state, WHERRY_STATE_SERVING);
	if (strstr(st.reason, "elsewhere:/s owns") == NULL)
		FAIL("%s", st.reason);
	pair_destroy(pair);
}

TEST(switchover_process_that_is_not_owner_does_not_start)
{
	struct pair_opts opts = { .len = SMALL, .no_dest = true, .arbiter = "lock" };
	struct pair *pair = pair_create(&opts);
	struct wherry_agent *other;
	char control[160];
	uint64_t epoch;

	snprintf(control, sizeof(control), "%s.other", pair->control);
	CHECK_EQ(pair_serve_as(pair, control, &other), -EPERM);
	wherry_agent_destroy(other);
	/* but one that was owner, and died, is: in a new epoch */
	wherry_agent_destroy(pair->agent);
	CHECK_EQ(pair_serve_as(pair, pair->control, &pair->agent), 0);
	CHECK(pair_source_owns(pair, &epoch));
	CHECK_EQ(epoch, 2);
	pair_destroy(pair);
}

/* ---- without an arbiter: an operator decides ---- */

static struct pair *
lose_commit(struct wherry_status *st)
{
	struct pair_opts opts = { .len = SMALL,
		.writer = true,
		.plan = { .kind = PROXY_CLOSE, .type = WHERRY_REC_COMMIT } };
	struct pair *pair = pair_create(&opts);

	pair_migrate(pair, NULL, st);
	CHECK_EQ(st->state, WHERRY_STATE_UNKNOWN);
	pair_reap(pair);
	CHECK_EQ(pair->resumes, 0);
	return pair;
}

TEST(resolve_lets_a_source_serve_again_when_an_operator_says_so)
{
	struct wherry_status st;
	struct pair *pair = lose_commit(&st);

	CHECK_EQ(wherry_agent_resolve(pair->agent, true), 0);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	while (st.state == WHERRY_STATE_UNKNOWN)
		wherry_agent_get_status(pair->agent, &st);
	CHECK_EQ(st.state, WHERRY_STATE_SERVING);
	CHECK_EQ(pair->resumes, 1);
	CHECK_EQ(wherry_agent_resolve(pair->agent, true), -EALREADY);
	pair_start_dest(pair);
	snprintf(pair->uri, sizeof(pair->uri), "%s", pair->dest_uri);
	pair_migrate(pair, NULL, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST(resolve_releases_a_source_when_an_operator_says_so)
{
	struct wherry_status st;
	struct pair *pair = lose_commit(&st);

	CHECK_EQ(wherry_agent_resolve(pair->agent, false), 0);
	do
		wherry_agent_get_status(pair->agent, &st);
	while (st.state == WHERRY_STATE_UNKNOWN);
	CHECK_EQ(st.state, WHERRY_STATE_RELEASED);
	CHECK_EQ(pair->resumes, 0);
	CHECK_EQ(wherry_agent_migrate(pair->agent, pair->uri, NULL), -EPERM);
	pair_destroy(pair);
}
