/* SPDX-License-Identifier: BSD-3-Clause */
/* The source of a pair: what its application does, in the test's process or in one of its own. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pair_priv.h"
#include "vitals.h"

/* Pages of zeroes stay such. */
static void
write_one(struct pair *pair, int region, size_t at)
{
	if (at / PAIR_PAGE % 3 != 0)
		pair->mem[region][at]++;
}

static void *
writer_main(void *arg)
{
	struct pair *pair = arg;
	uint64_t x = 88172645463325252u, n = 0;

	while (!__atomic_load_n(&pair->stop, __ATOMIC_ACQUIRE)) {
		if (__atomic_load_n(&pair->pause, __ATOMIC_ACQUIRE) != 0) {
			unsigned int asked = 1; /* what ends the pause meanwhile must not be lost */

			__atomic_compare_exchange_n(
				&pair->pause, &asked, 2, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
			pair_sleep_us(200);
			continue;
		}
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (pair->opts.writer_us != 0 && n++ % (pair->opts.writer_burst + 1) == 0)
			pair_sleep_us(pair->opts.writer_us);
		if (x % 100 < __atomic_load_n(&pair->throttle, __ATOMIC_ACQUIRE))
			continue; /* not taken in */
		write_one(pair, 0, x % pair->len[0]);
		write_one(pair, 1, (x >> 20) % pair->len[1]);
		__atomic_fetch_add(&pair->writes, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static int
source_quiesce(void *ctx, uint64_t *ret_last_burst_ns)
{
	struct pair *pair = ctx;

	pair->quiesces++;
	pair_sleep_us(pair->opts.quiesce_ms * 1000);
	if (pair->opts.quiesce_rc != 0)
		return pair->opts.quiesce_rc;
	if (pair->writing) {
		__atomic_store_n(&pair->pause, 1, __ATOMIC_RELEASE);
		while (__atomic_load_n(&pair->pause, __ATOMIC_ACQUIRE) != 2)
			pair_sleep_us(50);
	}
	write_one(pair, 0, PAIR_PAGE); /* the last burst leaves something, too */
	*ret_last_burst_ns = pair_now_ns();
	return 0;
}

static void
source_resume(void *ctx)
{
	struct pair *pair = ctx;

	pair->resumes++;
	pair->resumed_hash = pair_hash(pair);
	__atomic_store_n(&pair->pause, 0, __ATOMIC_RELEASE);
}

static void
source_released(void *ctx)
{
	struct pair *pair = ctx;

	__atomic_fetch_add(&pair->releases, 1, __ATOMIC_RELEASE);
}

static void
source_throttle(void *ctx, unsigned int percent)
{
	struct pair *pair = ctx;

	pair->throttles++;
	if (percent > pair->throttle_most)
		__atomic_store_n(&pair->throttle_most, percent, __ATOMIC_RELEASE);
	__atomic_store_n(&pair->throttle, percent, __ATOMIC_RELEASE);
}

/* Somebody who can reach the socket, and does not know the token. */
static void
send_stranger(struct pair *pair)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	uint8_t rubbish[80];

	memset(rubbish, 'x', sizeof(rubbish));
	snprintf(un.sun_path, sizeof(un.sun_path), "%.100s", pair->dest_uri + 5);
	pair->stranger = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(pair->stranger, (struct sockaddr *)&un, sizeof(un)) != 0 ||
		send(pair->stranger, rubbish, sizeof(rubbish), MSG_NOSIGNAL) < 0)
		pair->stranger = -1;
}

static int
source_lend(void *ctx, unsigned int i, struct wherry_lent *ret_lent)
{
	struct pair *pair = ctx;

	pair->lends += i == 0;
	/* at first it is asked whether it could; then it is connected, and has said nothing */
	if (pair->opts.stranger && pair->lends == 2 && pair->stranger == 0)
		send_stranger(pair);
	if (i == PAIR_REGIONS - (unsigned int)pair->opts.lend_less)
		return 0;
	snprintf(ret_lent->name, sizeof(ret_lent->name), "%s", pair_region_names[i]);
	ret_lent->fd = pair->fd[i];
	return 1;
}

static int
source_late(void *ctx, struct wherry_late_frame *ret_frame)
{
	static uint8_t bytes[1024];
	struct pair *pair = ctx;
	unsigned int n = pair->late_asked;

	if (n == pair->opts.late || pair->quiesces == 0)
		return 0;
	memset(bytes, (int)n, sizeof(bytes));
	*ret_frame = (struct wherry_late_frame){
		.port = 3, .queue = n % 4, .bytes = bytes, .len = n + 14
	};
	pair->late_asked++;
	return 1;
}

static void
source_silence(void *ctx)
{
	struct pair *pair = ctx;

	pair->silences++;
}

static uint64_t
source_rehearse(void *ctx)
{
	struct pair *pair = ctx;

	if (pair->rehearsals++ < pair->opts.busy_rehearsals)
		return UINT64_C(60000000000);
	return pair->opts.rehearses ? pair->opts.quiesce_ms * UINT64_C(1000000) : 0;
}

static int
section_save(void *ctx, void *buf, size_t cap)
{
	struct pair *pair = ctx;

	if (pair->opts.leak && pair->quiesces > 0) /* all pages have been sent */
		write_one(pair, 0, PAIR_PAGE);
	return snprintf(buf, cap, "quiesced %u", pair->quiesces);
}

int
pair_source_start(struct pair *pair)
{
	struct wherry_agent_ops ops = { .quiesce = source_quiesce,
		.rehearse = source_rehearse,
		.throttle = source_throttle,
		.resume = source_resume,
		.released = source_released,
		.late = pair->opts.late != 0 ? source_late : NULL,
		.silence = source_silence,
		.lend = pair->opts.lend ? source_lend : NULL,
		.takeover = pair_refuse,
		.ctx = pair };
	struct wherry_section section = {
		.name = "port0", .version = 1, .save = section_save, .ctx = pair
	};
	struct wherry_agent_opts opts = { .name = "test",
		.control = pair->control,
		.ops = &ops,
		.arbiter = pair_arbiter(pair),
		.tls = pair->opts.tls,
		.insecure = pair->opts.insecure };
	int rc = pair_make_watches(pair, NULL, 0);

	opts.tracker = pair->tracker;
	if (rc == 0)
		rc = wherry_agent_create(&opts, &pair->agent);
	if (rc == 0)
		rc = wherry_agent_add_section(pair->agent, &section);
	if (rc == 0 && wherry_agent_add_section(pair->agent, &section) != -EEXIST)
		rc = -EINVAL;
	if (rc == 0)
		rc = wherry_agent_start(pair->agent);
	if (rc == 0 && pair->opts.writer)
		rc = -pthread_create(&pair->writer, NULL, writer_main, pair);
	return rc;
}

void
pair_source_stop(struct pair *pair)
{
	wherry_agent_destroy(pair->agent);
	pair->agent = NULL;
	if (pair->writing) {
		__atomic_store_n(&pair->stop, 1, __ATOMIC_RELEASE);
		pthread_join(pair->writer, NULL);
	}
	pair->writing = false;
}

/* ---- in a process of its own ---- */

static bool
is_at_rest(const struct pair *pair, const struct wherry_status *st)
{
	return st->state == WHERRY_STATE_SERVING || st->state == WHERRY_STATE_RELEASED ||
		(st->state == WHERRY_STATE_UNKNOWN && pair->opts.arbiter == NULL);
}

/* released comes after the state that says so, on the agent's thread. */
static void
await_release(const struct pair *pair)
{
	while (pair->apart->status.state == WHERRY_STATE_RELEASED &&
		__atomic_load_n(&pair->releases, __ATOMIC_ACQUIRE) == 0)
		pair_sleep_us(100);
}

static void
migrate_apart(struct pair *pair)
{
	struct pair_apart *apart = pair->apart;

	apart->before = vitals_now();
	apart->rc = pair_begin(pair, &apart->params);
	do {
		pair_sleep_us(300);
		wherry_agent_get_status(pair->agent, &apart->status);
	} while (apart->rc == 0 && !is_at_rest(pair, &apart->status));
	await_release(pair);
	apart->after = vitals_settled(apart->before);
	apart->quiesces = pair->quiesces;
	apart->resumes = pair->resumes;
	apart->releases = pair->releases;
}

static void
await(const unsigned int *word)
{
	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE))
		pair_sleep_us(300);
}

void
pair_apart_main(struct pair *pair)
{
	struct pair_apart *apart = pair->apart;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* whatever becomes of the test */
	apart->rc = pair_source_start(pair);
	if (apart->rc != 0)
		_exit(1);
	__atomic_store_n(&apart->serves, 1, __ATOMIC_RELEASE);
	await(&apart->go);
	migrate_apart(pair);
	__atomic_store_n(&apart->rests, 1, __ATOMIC_RELEASE);
	await(&apart->end);
	pair_source_stop(pair);
	pair_drop_watches(pair);
	pair_save_coverage();
	_exit(0);
}
