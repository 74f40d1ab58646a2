/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "fault_priv.h"
#include "free_port.h"
#include "pair_priv.h"
#include "test.h"
#include "wherry_arbiter.h"

#define PATIENCE_NS \
	UINT64_C(   \
		60000000000) /* for a process to begin or a disk to write, on a machine that does much else */

const char *const pair_region_names[PAIR_REGIONS] = { "arena", "table" };

void
pair_sleep_us(unsigned int us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L };

	nanosleep(&ts, NULL);
}

uint64_t
pair_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t
pair_hash(const struct pair *pair)
{
	uint64_t hash = 0;

	for (int i = 0; i < PAIR_REGIONS; i++) {
		const uint8_t *p = pair->mem[i];
		size_t skip = i == 0 && pair->opts.filter && !pair->opts.owned_at_last
			? 16 * PAIR_PAGE
			: 0;

		hash = XXH3_64bits_withSeed(p + skip, pair->len[i] - skip, hash);
	}
	return hash;
}

/* ---- both sides ---- */

static void
filter(void *ctx, bool final, struct wherry_bitmap *worthless)
{
	struct pair *pair = ctx;

	if (final && pair->opts.owned_at_last)
		return;
	wherry_bitmap_mark(worthless,
		(struct wherry_span){
			(uint64_t)(uintptr_t)pair->mem[0] + 8 * PAIR_PAGE, 8 * PAIR_PAGE });
}

int
pair_make_watches(struct pair *pair, const char *first_name, size_t less)
{
	struct wherry_tracker_opts opts = { .cpu = pair->opts.cpu };
	int rc = wherry_tracker_create(&opts, &pair->tracker);

	for (int i = 0; rc == 0 && i < PAIR_REGIONS; i++) {
		struct wherry_span span = { .iova = (uint64_t)(uintptr_t)pair->mem[i],
			.len = pair->len[i] - (i == 0 ? less : 0) };

		rc = wherry_watch_create(pair->tracker,
			i == 0 && first_name != NULL ? first_name : pair_region_names[i], span,
			PAIR_PAGE, &pair->watches[i]);
	}
	if (rc == 0 && pair->opts.filter)
		wherry_watch_set_filter(pair->watches[0], filter, pair);
	return rc;
}

void
pair_drop_watches(struct pair *pair)
{
	for (int i = 0; i < PAIR_REGIONS; i++)
		wherry_watch_destroy(pair->watches[i]);
	wherry_tracker_destroy(pair->tracker);
}

const char *
pair_arbiter(const struct pair *pair)
{
	return pair->opts.arbiter != NULL ? pair->arbiter : NULL;
}

int
pair_refuse(void *ctx, uint64_t *ret_ns)
{
	(void)ctx;
	(void)ret_ns;
	return -EPERM;
}

static void
name_everything(struct pair *pair)
{
	static unsigned int n;
	char base[64];

	snprintf(base, sizeof(base), "/tmp/wherry-test-%d-%u", (int)getpid(), n++);
	snprintf(pair->control, sizeof(pair->control), "%s.control", base);
	if (pair->opts.tcp)
		snprintf(pair->dest_uri, sizeof(pair->dest_uri), "tcp:%s:%u",
			pair->opts.dest_address != NULL ? pair->opts.dest_address : "127.0.0.1",
			free_port());
	else
		snprintf(pair->dest_uri, sizeof(pair->dest_uri), "unix:%s.dest", base);
	if (pair->opts.arbiter != NULL && strcmp(pair->opts.arbiter, "lock") != 0)
		snprintf(pair->arbiter, sizeof(pair->arbiter), "%s", pair->opts.arbiter);
	else
		snprintf(pair->arbiter, sizeof(pair->arbiter), "lock:%s.owner", base);
	memcpy(pair->uri, pair->dest_uri, sizeof(pair->uri));
	if (pair->opts.plan.kind != PROXY_NONE && pair->opts.tcp)
		snprintf(pair->uri, sizeof(pair->uri), "tcp:127.0.0.1:%u", free_port());
	else if (pair->opts.plan.kind != PROXY_NONE)
		snprintf(pair->uri, sizeof(pair->uri), "unix:%s.proxy", base);
}

static void *
map(size_t len, int flags)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

void
pair_map_file(struct pair *pair, int i, int fd, int prot)
{
	void *p = mmap(pair->mem[i], pair->len[i], prot,
		MAP_SHARED | (pair->mem[i] != NULL ? MAP_FIXED : 0), fd, 0);

	if (p != MAP_FAILED)
		pair->mem[i] = p;
}

int
pair_make_file(struct pair *pair, int i)
{
	int fd = memfd_create("pair", MFD_CLOEXEC);

	return fd >= 0 && ftruncate(fd, (off_t)pair->len[i]) == 0 ? fd : -1;
}

/* The memory of the source; a child has a copy of it unless it is a file. */
static void
make_memory(struct pair *pair, int i)
{
	if (!pair->opts.lend) {
		pair->mem[i] = map(pair->len[i], pair->opts.apart ? MAP_SHARED : MAP_PRIVATE);
		return;
	}
	pair->fd[i] = pair_make_file(pair, i);
	pair_map_file(pair, i, pair->fd[i], PROT_READ | PROT_WRITE);
	CHECK(pair->mem[i] != NULL);
}

/* Every third page holds zeroes, the others something. */
static void
fill(struct pair *pair)
{
	for (int i = 0; i < PAIR_REGIONS; i++)
		for (size_t page = 0; page < pair->len[i] / PAIR_PAGE; page++)
			if (page % 3 != 0)
				memset(pair->mem[i] + page * PAIR_PAGE, (int)(1 + page % 250),
					PAIR_PAGE);
}

void
pair_start_dest(struct pair *pair)
{
	uint64_t end = pair_now_ns() + PATIENCE_NS;

	memset(pair->shared, 0, sizeof(*pair->shared));
	pair->status = -1;
	pair->resumes = pair->quiesces = 0;
	fflush(stdout);
	pair->child = fork();
	CHECK(pair->child >= 0);
	if (pair->child == 0)
		pair_child_main(pair);
	while (!__atomic_load_n(&pair->shared->listening, __ATOMIC_ACQUIRE)) {
		if (waitpid(pair->child, &pair->status, WNOHANG) == pair->child)
			FAIL("the destination ended: %s", pair->shared->trouble);
		CHECK(pair_now_ns() < end);
		pair_sleep_us(500);
	}
}

/* A source in a process of its own: it serves, and has not begun to migrate. */
static void
start_apart(struct pair *pair)
{
	uint64_t end = pair_now_ns() + PATIENCE_NS;

	fflush(stdout);
	pair->source = fork();
	CHECK(pair->source >= 0);
	if (pair->source == 0)
		pair_apart_main(pair);
	CHECK_EQ(pair_make_watches(pair, NULL, 0), 0); /* of this process: for pair_serve_as */
	while (!__atomic_load_n(&pair->apart->serves, __ATOMIC_ACQUIRE)) {
		CHECK_EQ(waitpid(pair->source, NULL, WNOHANG), 0);
		CHECK(pair_now_ns() < end);
		pair_sleep_us(500);
	}
}

struct pair *
pair_create(const struct pair_opts *opts)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	CHECK(pair != NULL);
	pair->opts = *opts;
	pair->status = -1;
	pair->len[0] = opts->len != 0 ? opts->len : 4u << 20;
	pair->len[1] = 64 * PAIR_PAGE;
	for (int i = 0; i < PAIR_REGIONS; i++)
		make_memory(pair, i);
	pair->shared = map(sizeof(*pair->shared), MAP_SHARED);
	pair->apart = map(sizeof(*pair->apart), MAP_SHARED);
	name_everything(pair);
	if (!opts->no_dest)
		pair_start_dest(pair);
	fill(pair);
	pair->writing = opts->writer; /* the agent's thread reads it */
	if (opts->apart)
		start_apart(pair);
	else
		CHECK_EQ(pair_source_start(pair), 0);
	if (opts->plan.kind != PROXY_NONE)
		pair->proxy = proxy_create(pair->uri, pair->dest_uri, &opts->plan);
	return pair;
}

void
pair_wait(struct pair *pair, enum wherry_state state, struct wherry_status *ret_status)
{
	uint64_t end = pair_now_ns() + PATIENCE_NS;

	for (;;) {
		wherry_agent_get_status(pair->agent, ret_status);
		if (ret_status->state == state || ret_status->state == WHERRY_STATE_RELEASED ||
			(ret_status->state == WHERRY_STATE_UNKNOWN && pair->opts.arbiter == NULL) ||
			ret_status->state == WHERRY_STATE_SERVING)
			break;
		CHECK(pair_now_ns() < end);
		pair_sleep_us(300);
	}
}

int
pair_begin(struct pair *pair, const struct wherry_migrate_params *params)
{
	struct wherry_migrate_params p =
		params != NULL ? *params : (struct wherry_migrate_params){ 0 };

	if (p.channels == 0)
		p.channels = 1; /* as the proxy has */
	if (p.downtime_limit_ms == 0)
		p.downtime_limit_ms = 1000; /* a busy machine converges late */
	if (p.pause_limit_ms == 0)
		p.pause_limit_ms = WHERRY_NO_PAUSE;
	return wherry_agent_migrate(pair->agent, pair->uri, &p);
}

void
pair_migrate(struct pair *pair, const struct wherry_migrate_params *params,
	struct wherry_status *ret_status)
{
	CHECK_EQ(pair_begin(pair, params), 0);
	pair_wait(pair, WHERRY_STATE_RELEASED, ret_status);
}

/* One request to the destination's control socket, and one answer; false: none. */
static bool
ask_dest(const struct pair *pair, const char *request, char *answer, size_t cap)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ssize_t n = -1;

	snprintf(un.sun_path, sizeof(un.sun_path), "%.100s.dest", pair->control);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
		send(fd, request, strlen(request), MSG_NOSIGNAL) > 0)
		n = recv(fd, answer, cap - 1, 0);
	answer[n > 0 ? n : 0] = '\0';
	close(fd);
	return n > 0;
}

/* The source never came so far: the destination listens on, until it is told not to. */
static void
end_listening(const struct pair *pair)
{
	char answer[4096];

	if (ask_dest(pair, "{\"cmd\":\"status\"}\n", answer, sizeof(answer)) &&
		strstr(answer, "\"state\":\"listen\"") != NULL)
		ask_dest(pair, "{\"cmd\":\"cancel\"}\n", answer, sizeof(answer));
}

void
pair_reap(struct pair *pair)
{
	uint64_t end = pair_now_ns() + PATIENCE_NS;
	unsigned int tries = 0;

	while (pair->status == -1) {
		if (waitpid(pair->child, &pair->status, WNOHANG) == pair->child)
			break;
		pair->status = -1;
		CHECK(pair_now_ns() < end);
		pair_sleep_us(500);
		if (++tries % 100 == 0 && strncmp(pair->dest_uri, "file:", 5) != 0)
			end_listening(pair);
	}
	if (pair->status != 0)
		FAIL("the destination's process ended with %#x: %s", (unsigned int)pair->status,
			pair->shared->trouble);
}

void
pair_check_moved(struct pair *pair, const struct wherry_status *status)
{
	if (status->state != WHERRY_STATE_RELEASED)
		FAIL("%s: %s", wherry_state_name(status->state), status->reason);
	pair_reap(pair);
	CHECK_EQ(pair->shared->wait_rc, 0);
	CHECK_EQ(pair->shared->status.state, WHERRY_STATE_SERVING);
	CHECK_EQ(pair->shared->takeovers, 1);
	CHECK_EQ(pair->shared->discards, 0);
	CHECK_EQ(pair->quiesces, 1);
	CHECK_EQ(pair->resumes, 0);
	while (__atomic_load_n(&pair->releases, __ATOMIC_ACQUIRE) == 0)
		pair_sleep_us(100);
	CHECK(pair->shared->hash == pair_hash(pair));
}

void
pair_check_stayed(struct pair *pair, const struct wherry_status *status)
{
	uint64_t before = __atomic_load_n(&pair->writes, __ATOMIC_RELAXED);

	CHECK_EQ(status->state, WHERRY_STATE_SERVING);
	CHECK(status->reason[0] != '\0');
	pair_reap(pair);
	CHECK(pair->shared->wait_rc < 0);
	CHECK_EQ(pair->shared->status.state, WHERRY_STATE_FAILED);
	CHECK(pair->shared->status.reason[0] != '\0');
	CHECK_EQ(pair->shared->takeovers, 0);
	CHECK_EQ(pair->shared->discards, 1);
	CHECK_EQ(pair->releases, 0);
	CHECK_EQ(pair->resumes, pair->quiesces);
	for (uint64_t end = pair_now_ns() + PATIENCE_NS; pair->writing && pair_now_ns() < end;) {
		if (__atomic_load_n(&pair->writes, __ATOMIC_RELAXED) != before)
			return;
		pair_sleep_us(1000);
	}
	CHECK(!pair->writing); /* else it stands still */
}

void
pair_check_one_owner(struct pair *pair, const struct wherry_status *status)
{
	if (status->state == WHERRY_STATE_RELEASED) {
		pair_check_moved(pair, status);
	} else if (status->state == WHERRY_STATE_SERVING) {
		pair_check_stayed(pair, status);
	} else {
		CHECK_EQ(status->state, WHERRY_STATE_UNKNOWN);
		CHECK(strstr(status->reason, "COMMIT was sent") != NULL);
		pair_reap(pair);
		CHECK_EQ(pair->resumes, 0);
		CHECK_EQ(pair->releases, 0);
		CHECK_EQ(pair->quiesces, 1);
	}
}

bool
pair_source_owns(const struct pair *pair, uint64_t *ret_epoch)
{
	struct wherry_arbiter *arbiter;
	struct wherry_owner now;

	CHECK_EQ(wherry_arbiter_open(pair->arbiter, &arbiter), 0);
	CHECK_EQ(wherry_arbiter_read(arbiter, &now), 0);
	wherry_arbiter_close(arbiter);
	*ret_epoch = now.epoch;
	return strcmp(strchr(now.id, ':') + 1, pair->control) == 0;
}

int
pair_serve_as(const struct pair *pair, const char *control, struct wherry_agent **ret_agent)
{
	const struct wherry_agent_ops ops = { .quiesce = pair_refuse, .takeover = pair_refuse };
	const struct wherry_agent_opts opts = { .name = "other",
		.control = control,
		.tracker = pair->tracker,
		.ops = &ops,
		.arbiter = pair->arbiter };

	CHECK_EQ(wherry_agent_create(&opts, ret_agent), 0);
	return wherry_agent_start(*ret_agent);
}

void
pair_destroy(struct pair *pair)
{
	pair_source_stop(pair);
	if (pair->child > 0 && pair->status == -1)
		pair_reap(pair);
	pair_drop_watches(pair);
	proxy_destroy(pair->proxy);
	for (int i = 0; i < PAIR_REGIONS; i++)
		munmap(pair->mem[i], pair->len[i]);
	for (int i = 0; pair->opts.lend && i < PAIR_REGIONS; i++)
		close(pair->fd[i]);
	munmap(pair->shared, sizeof(*pair->shared));
	munmap(pair->apart, sizeof(*pair->apart));
	if (pair->opts.arbiter != NULL)
		unlink(pair->arbiter + strlen("lock:"));
	free(pair);
}
