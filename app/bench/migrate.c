/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A migration over TCP on the loopback device, from this process to a child: state of
 * random bytes that nobody writes, as fast as it goes, and what it costs the CPUs of both
 * sides; the same over TLS; the same with zstd, on bytes that do not shrink and on some
 * that do; and the blackout, with nobody writing and with a thread that writes 100 MB/s.
 * Beside it, in the same run: the same bytes with no format at all (raw.c), and iperf3
 * with as many streams.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "side.h"

#define PATIENCE_MS 120000
#define DIRTY_BYTES_PER_S 100000000.0
#define LOOSE_LIMIT_MS 1000
#define DIRTY_LIMIT_MS 10 /* the forecast reckons 5 ms for what it cannot measure */

/* The state, at an address that parent and child agree on because fork keeps it. */
struct state {
	char *memory;
	char uri[64];
	struct side *side; /* of the child */
};

static int
stamp(void *ctx, uint64_t *ret_burst_ns)
{
	(void)ctx;
	*ret_burst_ns = bench_now_ns();
	return 0;
}

static const struct wherry_agent_ops idle = { .quiesce = stamp, .takeover = stamp };

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

/* ---- a migration ---- */

static int
child_ready(void *ctx)
{
	struct state *state = ctx;

	state->side = calloc(1, sizeof(*state->side));
	return state->side == NULL ? -ENOMEM
				   : side_init(state->side, state->memory, &idle, state->uri);
}

static int
child_main(void *ctx)
{
	struct state *state = ctx;
	int rc = wherry_agent_wait(state->side->agent);

	side_fini(state->side);
	return rc;
}

static bool
ended(enum wherry_state state)
{
	return state == WHERRY_STATE_SERVING || state == WHERRY_STATE_RELEASED ||
		state == WHERRY_STATE_UNKNOWN;
}

static int
migrate_once(struct side *side, const char *uri, const struct wherry_migrate_params *params,
	struct wherry_status *ret_status)
{
	int rc = wherry_agent_migrate(side->agent, uri, params);

	for (unsigned int ms = 0; rc == 0 && ms < PATIENCE_MS; ms += 10) {
		usleep(10000);
		wherry_agent_get_status(side->agent, ret_status);
		if (ended(ret_status->state))
			return ret_status->state == WHERRY_STATE_RELEASED
				? 0
				: bench_cannot(-EIO, "%s", ret_status->reason);
	}
	return rc != 0 ? rc : -ETIMEDOUT;
}

/* To a new child; *ret_cpu: seconds of both sides. */
static int
migrate(struct state *state, const struct wherry_agent_ops *ops,
	const struct wherry_migrate_params *params, struct wherry_status *ret_status,
	double *ret_cpu)
{
	double cpu, theirs = 0;
	struct receiver r = { .told = -1 };
	struct side side = { 0 };
	int rc;

	snprintf(state->uri, sizeof(state->uri), "tcp:127.0.0.1:%d", bench_free_port());
	rc = receiver_start(&r, state->memory, child_ready, child_main, state);
	if (rc != 0)
		return bench_cannot(rc, "no destination on %s", state->uri);
	rc = side_init(&side, state->memory, ops, NULL);
	cpu = bench_cpu();
	if (rc == 0)
		rc = migrate_once(&side, state->uri, params, ret_status);
	*ret_cpu = bench_cpu() - cpu;
	side_fini(&side);
	rc = receiver_end(&r, rc != 0, &theirs) != 0 && rc == 0 ? -EIO : rc;
	*ret_cpu += theirs;
	return rc;
}

static double
per_gib(double seconds)
{
	return seconds / ((double)bench_size / (double)GIB);
}

static double
mb_per_s(double seconds)
{
	return (double)bench_size / seconds / 1e6;
}

/* ---- what is measured ---- */

/* Random words; text: such that three quarters of each page are one word over and over. */
static void
fill(char *memory, bool text)
{
	uint64_t x = 0x9e3779b97f4a7c15u;

	for (uint64_t i = 0; i < bench_size; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(memory + i, &x, 8);
		if (text && i % PAGE >= PAGE / 4)
			memset(memory + i, 'w', 8);
	}
}

static int
measure_idle(struct state *state, struct bench_result *result, bool compress, const char *rate,
	const char *cost)
{
	struct wherry_migrate_params params = { .channels = bench_channels, .compress = compress };
	struct wherry_status status = { 0 };
	double cpu = 0;
	int rc = migrate(state, &idle, &params, &status, &cpu);

	if (rc != 0)
		return rc;
	bench_record(result, rate, "MB/s", mb_per_s((double)status.total_ns / 1e9));
	bench_record(result, cost, "CPU s/GiB", per_gib(cpu));
	if (!compress && side_psk[0] == '\0')
		bench_record(result, "idle_blackout", "ms", (double)status.blackout_ns / 1e6);
	return 0;
}

static int
migrate_busy(struct state *state, unsigned int limit_ms, struct wherry_status *ret_status)
{
	struct wherry_migrate_params params = {
		.channels = bench_channels, .downtime_limit_ms = limit_ms, .max_rounds = 100
	};
	struct writer w = { .memory = state->memory };
	struct wherry_agent_ops ops = { .quiesce = stop_writer, .takeover = stamp, .ctx = &w };
	uint64_t unused;
	double cpu = 0;
	int rc = -pthread_create(&w.thread, NULL, writer_main, &w);

	if (rc != 0)
		return rc;
	rc = migrate(state, &ops, &params, ret_status, &cpu);
	stop_writer(&w, &unused);
	pthread_join(w.thread, NULL);
	return rc;
}

/* A machine too busy for the tight limit takes the loose one. */
static int
measure_busy(struct state *state, struct bench_result *result)
{
	struct wherry_status status = { 0 };
	int rc = migrate_busy(state, DIRTY_LIMIT_MS, &status);

	if (rc != 0)
		rc = migrate_busy(state, LOOSE_LIMIT_MS, &status);
	if (rc == 0)
		bench_record(result, "busy_blackout", "ms", (double)status.blackout_ns / 1e6);
	return rc;
}

static int
measure_tls(struct state *state, struct bench_result *result)
{
	int rc = side_make_psk();

	if (rc == 0)
		rc = measure_idle(state, result, false, "tls", "tls_cpu");
	else
		bench_cannot(rc, "no file for a key in /tmp");
	side_drop_psk();
	return rc;
}

/* MB/s of iperf3's own report, or 0. */
static double
parse_iperf(FILE *in)
{
	json_t *report = json_loadf(in, 0, NULL), *received;
	double bits;

	received = json_object_get(json_object_get(report, "end"), "sum_received");
	bits = json_number_value(json_object_get(received, "bits_per_second"));
	json_decref(report);
	return bits / 8 / 1e6;
}

/* The server ends after one test, or is ended if the client never came. */
static double
iperf3(void)
{
	char command[256];
	int port = bench_free_port();
	double rate;
	FILE *in;

	snprintf(command, sizeof(command),
		"timeout 10 iperf3 -s -1 -p %d >/dev/null 2>&1 & sleep 0.2;"
		"timeout 10 iperf3 -c 127.0.0.1 -p %d -P %u -t 1 -J 2>/dev/null;"
		"kill $! 2>/dev/null; wait",
		port, port, bench_channels);
	in = popen(command, "re");
	if (in == NULL)
		return 0;
	rate = parse_iperf(in);
	pclose(in);
	return rate;
}

static int
migrate_setup(void **ret_ctx)
{
	struct state *state = calloc(1, sizeof(*state));

	if (state == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	state->memory = bench_memory(bench_size, 2 * MIB);
	if (state->memory == NULL) {
		free(state);
		return bench_cannot(-ENOMEM, "no memory");
	}
	*ret_ctx = state;
	return 0;
}

static void
migrate_teardown(void *ctx)
{
	struct state *state = ctx;

	bench_memory_free(state->memory, bench_size);
	free(state);
}

static int
measure_raw(const struct state *state, struct bench_result *result)
{
	double seconds, cpu;
	int rc = raw_transfer(state->memory, &seconds, &cpu);

	if (rc != 0)
		return bench_cannot(rc, "the raw transfer broke");
	bench_record(result, "raw", "MB/s", mb_per_s(seconds));
	bench_record(result, "raw_cpu", "CPU s/GiB", per_gib(cpu));
	return 0;
}

static int
migrate_run(void *ctx, struct bench_result *result)
{
	struct state *state = ctx;
	double rate;
	int rc;

	fill(state->memory, false);
	rc = measure_raw(state, result);
	rate = rc == 0 ? iperf3() : 0;
	if (rc == 0 && rate <= 0)
		rc = bench_cannot(-ENOENT, "iperf3 does not run: apt-get install iperf3");
	if (rc == 0)
		bench_record(result, "iperf3", "MB/s", rate);
	if (rc == 0)
		rc = measure_idle(state, result, false, "migration", "migration_cpu");
	if (rc == 0)
		rc = measure_tls(state, result);
	if (rc == 0)
		rc = measure_idle(state, result, true, "zstd_in_vain", "zstd_in_vain_cpu");
	if (rc == 0)
		rc = measure_busy(state, result);
	fill(state->memory, true);
	return rc == 0 ? measure_idle(state, result, true, "zstd", "zstd_cpu") : rc;
}

static struct bench migrate_bench = {
	.name = "migrate",
	.what = "a migration over loopback TCP, beside the raw bytes and iperf3",
	.setup = migrate_setup,
	.run = migrate_run,
	.teardown = migrate_teardown,
};
BENCH(migrate_bench)
