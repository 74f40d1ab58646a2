/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol's part of a blackout: of a migration while a thread writes 100 MB/s, of a
 * handover of the memory itself, and what an arbiter adds to either.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <wherry_arbiter.h>
#include <wherry_mem.h>

#include "move.h"

#define DIRTY_BYTES_PER_S 100000000.0
#define LOOSE_LIMIT_MS 1000
#define DIRTY_LIMIT_MS 10 /* the forecast reckons 5 ms for what it cannot measure */
#define SWAPS 21

/* ---- a thread that writes ---- */

struct writer {
	char *memory;
	unsigned int stop, standing; /* atomic */
	pthread_t thread;
};

/* One word in each of 100 pages, wherever, then a pause that makes it 100 MB/s. */
static void *
writer_main(void *arg)
{
	struct writer *w = arg;
	uint64_t x = 88172645463325252u, begin = bench_now_ns(), pages = bench_size / PAGE;
	double bytes = 0;

	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		bytes += 100 * (double)PAGE;
		for (int i = 0; i < 100; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			*(volatile uint64_t *)(void *)(w->memory + x % pages * PAGE) = x;
		}
		while ((double)(bench_now_ns() - begin) / 1e9 * DIRTY_BYTES_PER_S < bytes &&
			!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE))
			usleep(100);
	}
	__atomic_store_n(&w->standing, 1, __ATOMIC_RELEASE);
	return NULL;
}

static int
stop_writer(void *ctx, uint64_t *ret_burst_ns)
{
	struct writer *w = ctx;

	*ret_burst_ns = bench_now_ns();
	__atomic_store_n(&w->stop, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&w->standing, __ATOMIC_ACQUIRE))
		sched_yield();
	return 0;
}

/* ---- a migration beside it ---- */

static void
lock_spec(char spec[64])
{
	snprintf(spec, 64, "lock:/tmp/wherry-bench-%d.owner", (int)getpid());
}

static int
move_busy(char *memory, unsigned int limit_ms, struct moved *ret_moved)
{
	struct writer w = { .memory = memory };
	struct wherry_agent_ops ops = { .quiesce = stop_writer, .takeover = move_stamp, .ctx = &w };
	struct move_opts opts = { .ops = &ops,
		.params = { .channels = bench_channels,
			.downtime_limit_ms = limit_ms,
			.max_rounds = 100 } };
	char spec[64];
	uint64_t unused;
	int rc = -pthread_create(&w.thread, NULL, writer_main, &w);

	if (rc != 0)
		return rc;
	lock_spec(spec);
	opts.arbiter = spec;
	rc = move_to_child(memory, &opts, ret_moved);
	unlink(spec + strlen("lock:"));
	stop_writer(&w, &unused);
	pthread_join(w.thread, NULL);
	return rc;
}

/* A machine too busy for the tight limit takes the loose one. */
int
measure_busy(char *memory, struct bench_result *result)
{
	struct moved moved = { .cpu = 0 };
	int rc = move_busy(memory, DIRTY_LIMIT_MS, &moved);

	if (rc != 0)
		rc = move_busy(memory, LOOSE_LIMIT_MS, &moved);
	if (rc != 0)
		return rc;
	bench_record(result, "busy_blackout", "ms", (double)moved.status.blackout_ns / 1e6);
	bench_record(result, "busy_arbiter", "ms", (double)moved.status.arbiter_ns / 1e6);
	bench_record(result, "busy_sent", "of state",
		(double)moved.status.bytes_sent / (double)bench_size);
	return 0;
}

/* ---- the arbiter alone ---- */

int
measure_arbiter(const char *spec, struct bench_result *result)
{
	double ms[SWAPS];
	struct wherry_arbiter *arbiter;
	struct wherry_owner now;
	int rc = wherry_arbiter_open(spec, &arbiter);

	if (rc != 0)
		return bench_cannot(rc, "no arbiter %s", spec);
	rc = wherry_arbiter_read(arbiter, &now);
	for (unsigned int i = 0; rc == 0 && i < SWAPS; i++) {
		uint64_t begin = bench_now_ns();
		struct wherry_owner known = now;

		rc = wherry_arbiter_swap(arbiter, &known, "wherry-bench", &now);
		ms[i] = (double)(bench_now_ns() - begin) / 1e6;
	}
	wherry_arbiter_close(arbiter);
	if (rc != 0)
		return bench_cannot(rc, "the arbiter %s does not answer", spec);
	bench_record(result, strncmp(spec, "etcd", 4) == 0 ? "etcd_swap" : "lock_swap", "ms",
		bench_median(ms, SWAPS));
	return 0;
}

/* ---- a handover ---- */

/* One side; the child begins with a copy of the parent's. */
struct owner {
	struct wherry_region *region;
	struct wherry_region_info info;
	struct wherry_agent_ops ops;
	char uri[64];
	struct side side;
};

static int
lend(void *ctx, unsigned int i, struct wherry_lent *ret_lent)
{
	const struct owner *o = ctx;

	if (i > 0)
		return 0;
	snprintf(ret_lent->name, sizeof(ret_lent->name), "state");
	ret_lent->fd = o->info.fd;
	return 1;
}

static int
borrow(void *ctx, const struct wherry_lent *lent)
{
	struct owner *o = ctx;

	return wherry_region_borrow(o->region, lent->fd);
}

static int
take_over(void *ctx, uint64_t *ret_burst_ns)
{
	struct owner *o = ctx;
	int rc = wherry_region_own(o->region);

	return rc != 0 ? rc : move_stamp(NULL, ret_burst_ns);
}

/* Memory of its own where the parent's was. */
static int
heir_ready(void *ctx)
{
	struct owner *o = ctx;
	struct wherry_region_opts opts = WHERRY_REGION_OPTS_INIT;
	struct side_opts how = { .ops = &o->ops, .incoming = o->uri };
	int rc;

	opts.vaddr = o->info.vaddr;
	opts.len = bench_size;
	wherry_region_destroy(o->region);
	rc = wherry_region_create(&opts, &o->region);
	o->ops = (struct wherry_agent_ops){
		.quiesce = move_stamp, .borrow = borrow, .takeover = take_over, .ctx = o
	};
	return rc != 0 ? rc : side_init(&o->side, o->info.vaddr, &how);
}

static int
heir_main(void *ctx)
{
	struct owner *o = ctx;
	int rc = wherry_agent_wait(o->side.agent);

	side_fini(&o->side);
	return rc;
}

static int
hand_over(struct owner *o, struct wherry_status *ret_status)
{
	struct wherry_migrate_params params = { 0 };
	struct side_opts how = { .ops = &o->ops };
	struct receiver r = { .told = -1 };
	int rc = receiver_start(&r, NULL, heir_ready, heir_main, o);

	if (rc != 0)
		return bench_cannot(rc, "no destination on %s", o->uri);
	o->ops = (struct wherry_agent_ops){
		.quiesce = move_stamp, .takeover = move_stamp, .lend = lend, .ctx = o
	};
	rc = side_init(&o->side, o->info.vaddr, &how);
	if (rc == 0)
		rc = move_once(&o->side, o->uri, &params, ret_status);
	side_fini(&o->side);
	return receiver_end(&r, rc != 0, NULL) != 0 && rc == 0 ? -EIO : rc;
}

int
measure_handover(struct bench_result *result)
{
	struct wherry_region_opts opts = WHERRY_REGION_OPTS_INIT;
	struct wherry_status status = { 0 };
	struct owner o = { .region = NULL };
	int rc;

	opts.len = bench_size;
	rc = wherry_region_create(&opts, &o.region);
	if (rc != 0)
		return bench_cannot(rc, "no memory");
	wherry_region_get_info(o.region, &o.info);
	memset(o.info.vaddr, 1, bench_size);
	snprintf(o.uri, sizeof(o.uri), "unix:/tmp/wherry-bench-%d.in", (int)getpid());
	rc = hand_over(&o, &status);
	wherry_region_destroy(o.region);
	if (rc == 0)
		bench_record(result, "handover_blackout", "ms", (double)status.blackout_ns / 1e6);
	return rc;
}
