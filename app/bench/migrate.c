/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes per second of a migration over TCP on the loopback device: 256 MiB of state
 * that nobody writes, from this process to a child. The baseline is iperf3 with one
 * stream over the same device in the same run.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <wherry_migrate.h>

#include "bench.h"

#define SIZE (256 * MIB)
#define PATIENCE_MS 30000

/* The state, at an address that parent and child agree on because fork keeps it. */
struct state {
	char *memory;
};

/* One side of a migration: what it takes to be an agent. */
struct side {
	struct wherry_tracker *tracker;
	struct wherry_watch *watch;
	struct wherry_agent *agent;
	char name[64];
	char control[96];
};

static int
stamp(void *ctx, uint64_t *ret_burst_ns)
{
	(void)ctx;
	*ret_burst_ns = bench_now_ns();
	return 0;
}

static const struct wherry_agent_ops idle = { .quiesce = stamp, .takeover = stamp };

static void
side_fini(struct side *side)
{
	wherry_agent_destroy(side->agent);
	wherry_watch_destroy(side->watch);
	wherry_tracker_destroy(side->tracker);
}

static int
side_init(struct side *side, const struct state *state, const char *incoming)
{
	const struct wherry_tracker_opts defaults = { 0 };
	struct wherry_span span = { .iova = (uint64_t)(uintptr_t)state->memory, .len = SIZE };
	struct wherry_agent_opts opts = {
		.name = side->name, .control = side->control, .incoming = incoming, .ops = &idle
	};
	int rc;

	memset(side, 0, sizeof(*side));
	snprintf(side->name, sizeof(side->name), "wherry-bench-%d", (int)getpid());
	snprintf(side->control, sizeof(side->control), "/tmp/%s.sock", side->name);
	rc = wherry_tracker_create(&defaults, &side->tracker);
	if (rc == 0)
		rc = wherry_watch_create(side->tracker, "state", span, PAGE, &side->watch);
	opts.tracker = side->tracker;
	if (rc == 0)
		rc = wherry_agent_create(&opts, &side->agent);
	if (rc == 0)
		rc = wherry_agent_start(side->agent);
	return rc;
}

/* A port that was free a moment ago. */
static int
free_port(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port = -1;

	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 &&
		getsockname(fd, (struct sockaddr *)&at, &len) == 0)
		port = ntohs(at.sin_port);
	if (fd >= 0)
		close(fd);
	return port;
}

/* The child: memory of its own at the same address, then wait for what comes. */
static void receive(const struct state *state, const char *uri, int ready)
	__attribute__((noreturn));

static void
receive(const struct state *state, const char *uri, int ready)
{
	struct side side = { 0 };
	void *p = mmap(state->memory, SIZE, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0);
	int rc = p == state->memory ? side_init(&side, state, uri) : -ENOMEM;

	if (write(ready, &rc, sizeof(rc)) != sizeof(rc))
		_exit(1);
	if (rc == 0)
		rc = wherry_agent_wait(side.agent);
	side_fini(&side);
	_exit(rc != 0);
}

static pid_t
start_receiver(const struct state *state, const char *uri)
{
	int ready[2], rc = -EPIPE;
	pid_t pid;

	if (pipe(ready) != 0)
		return -1;
	pid = fork();
	if (pid == 0)
		receive(state, uri, ready[1]);
	close(ready[1]);
	if (pid > 0 && read(ready[0], &rc, sizeof(rc)) != sizeof(rc))
		rc = -EPIPE;
	close(ready[0]);
	if (pid > 0 && rc != 0) {
		waitpid(pid, NULL, 0);
		return rc;
	}
	return pid;
}

static bool
ended(enum wherry_state state)
{
	return state == WHERRY_STATE_SERVING || state == WHERRY_STATE_RELEASED ||
		state == WHERRY_STATE_UNKNOWN;
}

static int
migrate_once(struct side *side, const char *uri, struct wherry_status *ret_status)
{
	static const struct wherry_migrate_params unhurried = { 0 };
	int rc = wherry_agent_migrate(side->agent, uri, &unhurried);

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

static int
measure_migration(const struct state *state, struct bench_result *result)
{
	struct wherry_status status;
	struct side side;
	char uri[64];
	pid_t child;
	int rc;

	snprintf(uri, sizeof(uri), "tcp:127.0.0.1:%d", free_port());
	child = start_receiver(state, uri);
	if (child <= 0)
		return bench_cannot((int)child, "no destination on %s", uri);
	rc = side_init(&side, state, NULL);
	if (rc == 0)
		rc = migrate_once(&side, uri, &status);
	side_fini(&side);
	if (rc != 0)
		kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	if (rc != 0)
		return rc;
	bench_record(result, "migration", "MB/s",
		(double)status.bytes_sent / ((double)status.total_ns / 1e9) / 1e6);
	bench_record(result, "idle_blackout", "ms", (double)status.blackout_ns / 1e6);
	return 0;
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
	int port = free_port();
	double rate;
	FILE *in;

	snprintf(command, sizeof(command),
		"timeout 10 iperf3 -s -1 -p %d >/dev/null 2>&1 & sleep 0.2;"
		"timeout 10 iperf3 -c 127.0.0.1 -p %d -t 1 -J 2>/dev/null; kill $! 2>/dev/null; wait",
		port, port);
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
	state->memory = bench_memory(SIZE, 2 * MIB);
	if (state->memory == NULL) {
		free(state);
		return bench_cannot(-ENOMEM, "no memory");
	}
	memset(state->memory, 0x5a, SIZE);
	*ret_ctx = state;
	return 0;
}

static void
migrate_teardown(void *ctx)
{
	struct state *state = ctx;

	bench_memory_free(state->memory, SIZE);
	free(state);
}

static int
migrate_run(void *ctx, struct bench_result *result)
{
	double rate = iperf3();

	if (rate <= 0)
		return bench_cannot(-ENOENT, "iperf3 does not run: apt-get install iperf3");
	bench_record(result, "iperf3_1_stream", "MB/s", rate);
	return measure_migration(ctx, result);
}

static struct bench migrate = {
	.name = "migrate",
	.what = "bytes per second of a migration over loopback TCP, beside iperf3",
	.setup = migrate_setup,
	.run = migrate_run,
	.teardown = migrate_teardown,
};
BENCH(migrate)
