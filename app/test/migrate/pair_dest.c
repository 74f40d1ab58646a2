/* SPDX-License-Identifier: BSD-3-Clause */
/* The destination of a pair: an agent in a child, which leaves what it did in shared memory. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent_priv.h"
#include "fault_priv.h"
#include "pair_priv.h"

#ifdef WHERRY_COVERAGE
void __gcov_dump(void);
#endif

void
pair_save_coverage(void)
{
#ifdef WHERRY_COVERAGE
	__gcov_dump();
#endif
}

static int
section_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	struct pair *pair = ctx;

	(void)buf;
	(void)len;
	snprintf(ret_why->text, sizeof(ret_why->text), "%s",
		pair->opts.dest_why != NULL ? pair->opts.dest_why : "");
	return pair->opts.dest_check_rc;
}

static int
section_load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	struct pair *pair = ctx;

	(void)ret_why;
	pair->shared->loads++;
	memcpy(pair->shared->section, buf,
		len < sizeof(pair->shared->section) ? len : sizeof(pair->shared->section) - 1);
	return pair->opts.dest_load_rc;
}

/* A test that has failed ends it, too. */
static void
await_verify_go(const struct pair *pair)
{
	while (pair->opts.dest_verify_waits &&
		!__atomic_load_n(&pair->shared->verify_go, __ATOMIC_ACQUIRE))
		pair_sleep_us(300);
}

static int
dest_verify(void *ctx)
{
	struct pair *pair = ctx;

	await_verify_go(pair);
	pair->shared->verifies++;
	return pair->opts.dest_verify_rc;
}

/* To be read only: whoever writes before takeover is killed by it. */
static enum wherry_mappings
dest_mappings(void *ctx)
{
	const struct pair *pair = ctx;

	return pair->opts.dest_mappings;
}

static int
dest_borrow(void *ctx, const struct wherry_lent *lent)
{
	struct pair *pair = ctx;
	int i = strcmp(lent->name, "arena") == 0 ? 0 : 1;

	pair_map_file(pair, i, lent->fd, PROT_READ);
	close(lent->fd);
	pair->shared->borrowed++;
	return 0;
}

/* It is ours: leave a mark that the source can see. */
static void
own_borrowed(struct pair *pair)
{
	for (int i = 0; pair->opts.lend && pair->shared->borrowed != 0 && i < PAIR_REGIONS; i++)
		mprotect(pair->mem[i], pair->len[i], PROT_READ | PROT_WRITE);
	if (pair->shared->borrowed != 0)
		pair->mem[1][0] = 0x77;
}

static int
dest_takeover(void *ctx, uint64_t *ret_first_burst_ns)
{
	struct pair *pair = ctx;

	own_borrowed(pair);
	pair_sleep_us(pair->opts.dest_takeover_ms * 1000);
	pair->shared->takeovers++;
	*ret_first_burst_ns = pair_now_ns();
	return pair->opts.dest_takeover_rc;
}

/* Frame n has n + 14 bytes of n. */
static void
dest_inject(void *ctx, const struct wherry_late_frame *frame)
{
	struct pair *pair = ctx;
	const uint8_t *bytes = frame->bytes;
	unsigned int n = pair->shared->injected;
	bool right = frame->port == 3 && frame->queue == n % 4 && frame->len == n + 14 &&
		pair->shared->takeovers == 1;

	for (size_t i = 0; right && i < frame->len; i++)
		right = bytes[i] == (uint8_t)n;
	pair->shared->injected_wrong += !right;
	__atomic_store_n(&pair->shared->injected, n + 1, __ATOMIC_RELEASE);
}

/* The source's last frames may come after its last word of the migration. */
static void
await_injected(const struct pair *pair)
{
	uint64_t end = pair_now_ns() + 5000000000u;

	while (pair->shared->wait_rc == 0 && pair_now_ns() < end &&
		__atomic_load_n(&pair->shared->injected, __ATOMIC_ACQUIRE) < pair->opts.late)
		pair_sleep_us(500);
}

static void
dest_discard(void *ctx)
{
	struct pair *pair = ctx;

	pair->shared->discards++;
}

static uint64_t
dest_rehearse(void *ctx)
{
	const struct pair *pair = ctx;

	return pair->opts.rehearses ? pair->opts.dest_takeover_ms * UINT64_C(1000000) : 0;
}

/* On the thread that says the line, which goes on when this returns. */
static void
note_state(struct pair *pair)
{
	struct wherry_status st;

	wherry_agent_get_status(pair->agent, &st);
	snprintf(pair->shared->untold, sizeof(pair->shared->untold), "%s",
		wherry_state_name(st.state));
	wherry_mutex_lock(&pair->agent->lock);
	pair->shared->let_go = pair->agent->dest_over;
	wherry_mutex_unlock(&pair->agent->lock);
}

static void
child_log(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	struct pair *pair = ctx;
	struct pair_shared *shared = pair->shared;
	size_t at = strlen(shared->log);

	(void)level;
	if (strstr(line, "could not be told") != NULL)
		note_state(pair);
	snprintf(shared->log + at, sizeof(shared->log) - at, "%s: %s\n", area, line);
}

static int
dest_create(struct pair *pair)
{
	struct wherry_agent_ops ops = { .quiesce = pair_refuse,
		.rehearse = dest_rehearse,
		.verify = dest_verify,
		.takeover = dest_takeover,
		.inject = dest_inject,
		.discard = dest_discard,
		.borrow = pair->opts.lend ? dest_borrow : NULL,
		.mappings = pair->opts.dest_mappings != 0 ? dest_mappings : NULL,
		.ctx = pair };
	struct wherry_section section = { .name = "port0",
		.version =
			pair->opts.dest_section_version != 0 ? pair->opts.dest_section_version : 1,
		.check = section_check,
		.load = section_load,
		.ctx = pair };
	char control[160];
	struct wherry_agent_opts opts = { .name = "test",
		.control = control,
		.incoming = pair->dest_uri,
		.tracker = pair->tracker,
		.ops = &ops,
		.arbiter = pair_arbiter(pair),
		.tls = pair->opts.dest_tls,
		.insecure = pair->opts.insecure };
	int rc;

	snprintf(control, sizeof(control), "%s.dest", pair->control);
	rc = wherry_agent_create(&opts, &pair->agent);
	if (rc == 0)
		rc = wherry_agent_add_section(pair->agent, &section);
	return rc == 0 ? wherry_agent_start(pair->agent) : rc;
}

void
pair_child_main(struct pair *pair)
{
	int rc = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* whatever becomes of the test */
	wherry_log_set(child_log, pair, WHERRY_LOG_WARN);
	for (int i = 0; (pair->opts.lend || pair->opts.apart) && i < PAIR_REGIONS; i++)
		pair_map_file(pair, i, pair_make_file(pair, i), PROT_READ | PROT_WRITE);
	for (int i = 0; i < PAIR_REGIONS; i++)
		memset(pair->mem[i], i == 0 ? 0x55 : 0, pair->len[i]);
	if (pair->opts.dest_netns != 0 && setns(pair->opts.dest_netns, CLONE_NEWNET) != 0)
		rc = -errno;
	if (rc == 0)
		rc = pair_make_watches(pair, pair->opts.dest_region_name, pair->opts.dest_less);
	if (rc == 0)
		rc = dest_create(pair);
	if (rc != 0) {
		snprintf(pair->shared->trouble, sizeof(pair->shared->trouble), "start: %s",
			strerror(-rc));
		_exit(1);
	}
	if (pair->opts.dest_fault != 0)
		wherry_fault_arm(pair->opts.dest_fault);
	pair->shared->before = vitals_now();
	__atomic_store_n(&pair->shared->listening, 1, __ATOMIC_RELEASE);
	pair->shared->wait_rc = wherry_agent_wait(pair->agent);
	await_injected(pair);
	pair->shared->after = vitals_settled(pair->shared->before);
	wherry_agent_get_status(pair->agent, &pair->shared->status);
	pair->shared->hash = pair_hash(pair);
	if (wherry_fault_fired() != NULL)
		snprintf(pair->shared->trouble, sizeof(pair->shared->trouble), "fault %s",
			wherry_fault_fired());
	wherry_fault_disarm();
	wherry_agent_destroy(pair->agent);
	pair_drop_watches(pair);
	pair_save_coverage();
	_exit(0);
}
