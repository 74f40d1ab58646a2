/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A migration over TCP on the loopback device, from this process to a child: state of
 * random bytes that nobody writes, as fast as it goes, and what it costs the CPUs of both
 * sides; the same into memory that has not been populated, over TLS, with zstd on bytes that
 * do not shrink and on some that do; how many bytes are sent for those that matter; and
 * blackouts (blackout.c). Beside it, in the same run: the same bytes with no format at all
 * (raw.c), and iperf3 with as many streams. devtools/bench-migrate sets QEMU's beside it.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wherry_bitmap.h>

#include "move.h"

#define WORTHLESS_RUN 8u /* pages */

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

struct names {
	const char *rate, *cost, *sent; /* NULL: not recorded */
};

static int
measure_idle(char *memory, struct bench_result *result, const struct move_opts *opts,
	const struct names *names, struct moved *ret_moved)
{
	int rc = move_to_child(memory, opts, ret_moved);

	if (rc != 0)
		return rc;
	if (names->rate != NULL)
		bench_record(result, names->rate, "MB/s",
			mb_per_s((double)ret_moved->status.total_ns / 1e9));
	if (names->cost != NULL)
		bench_record(result, names->cost, "CPU s/GiB", per_gib(ret_moved->cpu));
	if (names->sent != NULL)
		bench_record(result, names->sent, "of state",
			(double)ret_moved->status.bytes_sent / (double)bench_size);
	return 0;
}

static struct move_opts
plainly(void)
{
	return (struct move_opts){ .params = { .channels = bench_channels } };
}

static int
measure_plain(char *memory, struct bench_result *result)
{
	const struct names names = { "migration", "migration_cpu", "migration_sent" };
	struct move_opts opts = plainly();
	struct moved moved = { .cpu = 0 };
	int rc = measure_idle(memory, result, &opts, &names, &moved);

	if (rc == 0)
		bench_record(result, "idle_blackout", "ms", (double)moved.status.blackout_ns / 1e6);
	return rc;
}

static int
measure_cold(char *memory, struct bench_result *result)
{
	const struct names names = { "migration_cold", "migration_cold_cpu", NULL };
	struct move_opts opts = plainly();
	struct moved moved = { .cpu = 0 };

	opts.cold = true;
	return measure_idle(memory, result, &opts, &names, &moved);
}

static int
measure_tls(char *memory, struct bench_result *result)
{
	const struct names names = { "tls", "tls_cpu", NULL };
	struct move_opts opts = plainly();
	struct moved moved = { .cpu = 0 };
	int rc = side_make_psk();

	if (rc == 0)
		rc = measure_idle(memory, result, &opts, &names, &moved);
	else
		bench_cannot(rc, "no file for a key in /tmp");
	side_drop_psk();
	return rc;
}

static int
measure_zstd(char *memory, struct bench_result *result, const struct names *names)
{
	struct move_opts opts = plainly();
	struct moved moved = { .cpu = 0 };

	opts.params.compress = true;
	return measure_idle(memory, result, &opts, names, &moved);
}

/* Of any eight pages four: as of a pool of packet buffers half of which are free. */
static void
half_is_worthless(void *ctx, bool final, struct wherry_bitmap *worthless)
{
	struct wherry_span span = wherry_bitmap_span(worthless),
			   run = { .len = WORTHLESS_RUN / 2 * PAGE };

	(void)ctx;
	(void) final;
	for (run.iova = span.iova; run.iova - span.iova < span.len;
		run.iova += WORTHLESS_RUN * PAGE)
		wherry_bitmap_mark(worthless, run);
}

/* Bytes sent over bytes that matter. */
static int
measure_owned(char *memory, struct bench_result *result)
{
	const struct names none = { NULL, NULL, NULL };
	struct move_opts opts = plainly();
	struct moved moved = { .cpu = 0 };
	int rc;

	opts.filter = half_is_worthless;
	rc = measure_idle(memory, result, &opts, &none, &moved);
	if (rc == 0)
		bench_record(result, "half_free_sent", "of owned",
			(double)moved.status.bytes_sent / ((double)bench_size / 2));
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

/* What --arbiter asks for is a row more. */
static int
measure_arbiters(struct bench_result *result)
{
	char lock[64];
	int rc;

	snprintf(lock, sizeof(lock), "lock:/tmp/wherry-bench-%d.swap", (int)getpid());
	rc = measure_arbiter(lock, result);
	unlink(lock + strlen("lock:"));
	return rc == 0 && bench_arbiter != NULL ? measure_arbiter(bench_arbiter, result) : rc;
}

static int
migrate_setup(void **ret_ctx)
{
	*ret_ctx = bench_memory(bench_size, 2 * MIB);
	return *ret_ctx != NULL ? 0 : bench_cannot(-ENOMEM, "no memory");
}

static void
migrate_teardown(void *ctx)
{
	bench_memory_free(ctx, bench_size);
}

static int
measure_raw(char *memory, struct bench_result *result, const struct raw_opts *opts,
	const struct names *names)
{
	double seconds, cpu;
	int rc = raw_transfer(memory, opts, &seconds, &cpu);

	if (rc != 0)
		return bench_cannot(rc, "the raw transfer broke");
	bench_record(result, names->rate, "MB/s", mb_per_s(seconds));
	bench_record(result, names->cost, "CPU s/GiB", per_gib(cpu));
	return 0;
}

/* The baseline first: what is divided by it is measured next to it. */
static int
measure_warm(char *memory, struct bench_result *result)
{
	const struct names raw = { "raw", "raw_cpu", NULL },
			   near_raw = { "raw_near", "raw_near_cpu", NULL };
	int rc = measure_raw(memory, result, &(struct raw_opts){ .cold = false }, &raw);

	if (rc == 0)
		rc = measure_plain(memory, result);
	return rc == 0 ? measure_raw(memory, result, &(struct raw_opts){ .near = true }, &near_raw)
		       : rc;
}

static int
measure_into_cold(char *memory, struct bench_result *result)
{
	const struct names raw = { "raw_cold", "raw_cold_cpu", NULL };
	int rc = measure_raw(memory, result, &(struct raw_opts){ .cold = true }, &raw);

	return rc == 0 ? measure_cold(memory, result) : rc;
}

static int
measure_iperf3(struct bench_result *result)
{
	double rate = iperf3();

	if (rate <= 0)
		return bench_cannot(-ENOENT, "iperf3 does not run: apt-get install iperf3");
	bench_record(result, "iperf3", "MB/s", rate);
	return 0;
}

/* What a baseline and a migration are made of is measured next to each other. */
static int
measure_random(char *memory, struct bench_result *result)
{
	const struct names in_vain = { "zstd_in_vain", "zstd_in_vain_cpu", NULL };
	int rc;

	fill(memory, false);
	rc = measure_warm(memory, result);
	if (rc == 0)
		rc = measure_iperf3(result);
	if (rc == 0)
		rc = measure_into_cold(memory, result);
	if (rc == 0)
		rc = measure_tls(memory, result);
	if (rc == 0)
		rc = measure_zstd(memory, result, &in_vain);
	return rc == 0 ? measure_owned(memory, result) : rc;
}

static int
migrate_run(void *ctx, struct bench_result *result)
{
	const struct names names = { "zstd", "zstd_cpu", "zstd_sent" };
	int rc = measure_random(ctx, result);

	if (rc == 0)
		rc = measure_busy(ctx, result);
	if (rc == 0)
		rc = measure_arbiters(result);
	if (rc == 0)
		rc = measure_handover(result);
	fill(ctx, true);
	return rc == 0 ? measure_zstd(ctx, result, &names) : rc;
}

static struct bench migrate_bench = {
	.name = "migrate",
	.what = "a migration over loopback TCP, beside the raw bytes and iperf3",
	.setup = migrate_setup,
	.run = migrate_run,
	.teardown = migrate_teardown,
};
BENCH(migrate_bench)
