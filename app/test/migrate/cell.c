/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cell.h"
#include "pair_priv.h"
#include "test.h"
#include "wherry_stream.h"

#define LEN ((size_t)64 * PAIR_PAGE)
#define LEN_SLOW ((size_t)5 << 20)
#define TRIES 40 /* a loaded machine may be silent before its turn comes */

static const struct cell_record by_arbiter[] = { { false, WHERRY_REC_HELLO, false },
	{ true, WHERRY_REC_HELLO, false }, { false, WHERRY_REC_PAGES, false },
	{ false, WHERRY_REC_ZEROS, false }, { false, WHERRY_REC_ROUND, false },
	{ true, WHERRY_REC_GOT, false }, { false, WHERRY_REC_SECTION, false },
	{ false, WHERRY_REC_DIGEST, true }, { true, WHERRY_REC_READY, true },
	{ true, WHERRY_REC_RUNNING, true }, { .type = 0 } };
static const struct cell_record by_commit[] = { { false, WHERRY_REC_HELLO, false },
	{ true, WHERRY_REC_HELLO, false }, { false, WHERRY_REC_PAGES, false },
	{ false, WHERRY_REC_ZEROS, false }, { false, WHERRY_REC_ROUND, false },
	{ true, WHERRY_REC_GOT, false }, { false, WHERRY_REC_SECTION, true },
	{ false, WHERRY_REC_DIGEST, false }, { true, WHERRY_REC_READY, true },
	{ false, WHERRY_REC_COMMIT, true }, { true, WHERRY_REC_RUNNING, false }, { .type = 0 } };

const struct cell_record *
cell_records(const char *arbiter)
{
	return strcmp(arbiter, "none") == 0 ? by_commit : by_arbiter;
}

unsigned int
cell_runs(void)
{
	const char *runs = getenv("WHERRY_RUNS");

	return runs != NULL ? (unsigned int)strtoul(runs, NULL, 10) : 0;
}

/* What stands in the way of the record that is meant. */
struct trap {
	const struct cell *cell;
	struct pair *pair;
};

static pid_t
victim_of(const struct trap *trap)
{
	return trap->cell->victim == CELL_SOURCE ? trap->pair->source : trap->pair->child;
}

/* On the proxy's thread; the record is passed on then. Who is killed is dead before that. */
static void
spring(void *ctx)
{
	const struct trap *trap = ctx;
	siginfo_t info;

	kill(victim_of(trap), trap->cell->signal);
	if (trap->cell->signal == SIGKILL)
		waitid(P_PID, (id_t)victim_of(trap), &info, WEXITED | WNOWAIT);
}

static bool
is_killed(const struct cell *cell, enum cell_victim who)
{
	return cell->victim == who && cell->signal == SIGKILL;
}

static struct pair *
create(struct trap *trap)
{
	const struct cell *cell = trap->cell;
	struct pair_opts opts = { .len = cell->kind == PROXY_SLOW ? LEN_SLOW : LEN,
		.apart = true,
		.writer = !cell->still,
		.dest_verify_waits = cell->untold,
		.tcp = cell->victim == CELL_NOBODY,
		.arbiter = strcmp(cell->arbiter, "none") == 0 ? NULL : cell->arbiter,
		.plan = { .kind = cell->victim == CELL_NOBODY ? cell->kind : PROXY_CALL,
			.back = cell->back,
			.type = cell->type,
			.last = cell->signal == SIGKILL,
			.call = spring,
			.ctx = trap } };

	return pair_create(&opts);
}

/* Who has not been killed comes to rest. */
static void
await_rest(const struct trap *trap)
{
	uint64_t end = pair_now_ns() + 90000000000u;

	while (!__atomic_load_n(&trap->pair->apart->rests, __ATOMIC_ACQUIRE)) {
		if (is_killed(trap->cell, CELL_SOURCE) && proxy_struck(trap->pair->proxy))
			return;
		CHECK(pair_now_ns() < end);
		pair_sleep_us(300);
	}
}

static void
stop_for_a_while(const struct trap *trap)
{
	struct pair *pair = trap->pair;

	while (!proxy_struck(pair->proxy)) {
		if (__atomic_load_n(&pair->apart->rests, __ATOMIC_ACQUIRE))
			return;
		pair_sleep_us(300);
	}
	pair_sleep_us(trap->cell->stop_ms * 1000);
	kill(victim_of(trap), SIGCONT);
}

/* The source is gone, and so is the way to it: only now the destination finds that it is ready. */
static void
let_it_be_ready(const struct trap *trap)
{
	uint64_t end = pair_now_ns() + 90000000000u;

	while (!proxy_is_over(trap->pair->proxy)) {
		CHECK(pair_now_ns() < end);
		pair_sleep_us(300);
	}
	__atomic_store_n(&trap->pair->shared->verify_go, 1, __ATOMIC_RELEASE);
}

/* By its own will, or by SIGKILL. */
static void
reap(pid_t pid, bool killed)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (killed ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL : status != 0)
		FAIL("a process ended with %#x", (unsigned int)status);
}

/* The destination first: it is at rest when it has ended. */
static void
reap_both(const struct trap *trap)
{
	struct pair *pair = trap->pair;

	if (is_killed(trap->cell, CELL_DEST)) {
		reap(pair->child, true);
		pair->status = SIGKILL;
	} else {
		pair_reap(pair);
	}
	__atomic_store_n(&pair->apart->end, 1, __ATOMIC_RELEASE);
	reap(pair->source, is_killed(trap->cell, CELL_SOURCE));
}

/* ---- the property ---- */

static bool
dest_ran(const struct pair *pair)
{
	return pair->shared->takeovers != 0;
}

static bool
source_serves(const struct trap *trap)
{
	return !is_killed(trap->cell, CELL_SOURCE) &&
		trap->pair->apart->status.state == WHERRY_STATE_SERVING;
}

/* From here on the destination may own. */
static bool
is_late(const struct cell *cell)
{
	return cell->type == WHERRY_REC_READY || cell->type == WHERRY_REC_RUNNING ||
		cell->type == WHERRY_REC_COMMIT;
}

/* One that lives does what the record says; the source can be started again if it was owner only. */
static void
check_by_arbiter(const struct trap *trap)
{
	struct pair *pair = trap->pair;
	struct wherry_agent *again;
	uint64_t epoch, before;
	bool source = pair_source_owns(pair, &before);

	if (source) {
		CHECK(!dest_ran(pair));
		CHECK(source_serves(trap) || is_killed(trap->cell, CELL_SOURCE));
		if (is_killed(trap->cell, CELL_SOURCE)) /* the other one lived: it was not ready */
			CHECK(!is_late(trap->cell) && pair->shared->verifies == 0);
	} else {
		CHECK(!source_serves(trap));
		CHECK(dest_ran(pair) || is_killed(trap->cell, CELL_DEST));
	}
	CHECK_EQ(pair_serve_as(pair, pair->control, &again), source ? 0 : -EPERM);
	wherry_agent_destroy(again);
	CHECK_EQ(pair_source_owns(pair, &epoch), source);
	CHECK_EQ(epoch, before + source);
}

static void
check_by_commit(const struct trap *trap)
{
	const struct wherry_status *st = &trap->pair->apart->status;

	if (source_serves(trap)) {
		CHECK(!dest_ran(trap->pair));
	} else if (!is_killed(trap->cell, CELL_SOURCE) && st->state != WHERRY_STATE_RELEASED) {
		CHECK_EQ(st->state, WHERRY_STATE_UNKNOWN);
		CHECK(is_late(trap->cell));
		CHECK(strstr(st->reason, "COMMIT was sent") != NULL);
	} else if (!is_killed(trap->cell, CELL_DEST) && !is_killed(trap->cell, CELL_SOURCE)) {
		CHECK(dest_ran(trap->pair));
	}
}

/* What each who lives says of itself. */
static void
check_source(const struct trap *trap)
{
	const struct pair_apart *apart = trap->pair->apart;

	if (is_killed(trap->cell, CELL_SOURCE))
		return;
	CHECK_EQ(apart->rc, 0);
	CHECK_EQ(apart->resumes, source_serves(trap) ? apart->quiesces : 0);
	CHECK_EQ(apart->releases, apart->status.state == WHERRY_STATE_RELEASED);
	if (!vitals_are_no_more(apart->after, apart->before))
		FAIL("the source holds %u descriptors, %u threads, and held %u, %u",
			apart->after.fds, apart->after.threads, apart->before.fds,
			apart->before.threads);
}

static void
check_dest(const struct trap *trap)
{
	const struct pair_shared *dest = trap->pair->shared;

	if (is_killed(trap->cell, CELL_DEST))
		return;
	CHECK_EQ(dest->wait_rc == 0, dest->takeovers == 1);
	CHECK_EQ(dest->discards + dest->takeovers, 1);
	if (dest->takeovers == 1 && dest->hash != pair_hash(trap->pair))
		FAIL("the destination runs with other memory");
	if (!vitals_are_no_more(dest->after, dest->before))
		FAIL("the destination holds %u descriptors, %u threads, and held %u, %u",
			dest->after.fds, dest->after.threads, dest->before.fds,
			dest->before.threads);
}

/* A socket of who was killed stays, and is taken by the next. */
static void
check_left(const char *path, bool killed)
{
	if (killed)
		unlink(path);
	else if (access(path, F_OK) == 0)
		FAIL("%s is left", path);
}

static void
check_files(const struct trap *trap)
{
	const struct pair *pair = trap->pair;
	char control[160];

	snprintf(control, sizeof(control), "%s.dest", pair->control);
	check_left(pair->control, is_killed(trap->cell, CELL_SOURCE));
	check_left(control, is_killed(trap->cell, CELL_DEST));
	if (!pair->opts.tcp)
		check_left(pair->dest_uri + strlen("unix:"), is_killed(trap->cell, CELL_DEST));
}

static void
check_all(const struct trap *trap)
{
	CHECK(!source_serves(trap) || !dest_ran(trap->pair));
	check_files(trap);
	check_source(trap);
	check_dest(trap);
	if (trap->pair->opts.arbiter != NULL)
		check_by_arbiter(trap);
	else
		check_by_commit(trap);
}

/* False: it did not come to that record. */
static bool
run_once(const struct cell *cell, struct wherry_status *ret_status)
{
	struct trap trap = { .cell = cell };
	struct pair *pair = create(&trap);
	bool struck;

	trap.pair = pair;
	pair->apart->params.timeout_ms = cell->timeout_ms;
	__atomic_store_n(&pair->apart->go, 1, __ATOMIC_RELEASE);
	if (cell->signal == SIGSTOP)
		stop_for_a_while(&trap);
	await_rest(&trap);
	if (cell->untold)
		let_it_be_ready(&trap);
	struck = proxy_struck(pair->proxy);
	if (!struck)
		trap.cell = &(struct cell){ .arbiter = cell->arbiter };
	reap_both(&trap);
	check_all(&trap);
	*ret_status = pair->apart->status;
	pair_destroy(pair);
	return struck;
}

void
cell_run(const struct cell *cell, struct wherry_status *ret_status)
{
	for (unsigned int i = 0; i < TRIES; i++)
		if (run_once(cell, ret_status))
			return;
	FAIL("no %s record came by in %u tries", wherry_record_name(cell->type), TRIES);
}
