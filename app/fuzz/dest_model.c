/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The destination of a live migration against a source that means no good: the real state
 * machine behind a real socket, from hello to the last late frame, with further connections
 * and with a recovery. The input says which records come, which of them are wrong,
 * damaged or cut short; dest_source.c writes them, and keeps a naive destination beside: memory,
 * digests, and whether the whole was RIGHT, BROKEN, or EITHER because damage was sealed
 * in and may have hit something that does not matter.
 *
 * What must hold: it takes over exactly if all was right and COMMIT came, with the memory that
 * was sent; else it discards, once, says why in text, and has written nowhere else; it waits for a
 * lost source exactly if that may be recovered; what it answered is a sound stream. Pages that come
 * when it has taken over change nothing.
 *
 * No thread runs but those of further connections: all bytes are in the sockets before the
 * destination looks, and what has to come later is sent by its own callbacks. But for further
 * connections after a recovery, for which nothing calls: a thread of ours waits for the answer to it.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent_priv.h"
#include "dest_source.h"
#include "fuzz.h"
#include "models.h"

/* A process that got no CPU for so long may have run into a time-out: then it need not come through. */
#define STALL_NS UINT64_C(1000000000)

struct rig {
	struct fuzz_input *in;
	struct source source;
	uint8_t *mem; /* DEST_REGIONS of them, each between pages that nobody may touch */
	struct wherry_tracker *tracker;
	struct wherry_watch *watches[DEST_REGIONS];
	struct wherry_agent *agent;
	char path[64];
	int fds[2 * (1 + DEST_LANES)]; /* of the source, and of its second life */
	unsigned int n_fds;
	unsigned int lanes; /* the present further ones are the last so many of them */
	unsigned int takeovers, discards, holds;
	bool prepared;
	pthread_t opener; /* of the further connections after a recovery */
	bool opens;       /* there is such a thread */
};

static int
never(void *ctx, uint64_t *ret_ns)
{
	(void)ctx;
	(void)ret_ns;
	return -EPERM;
}

/* Pages for an application that runs: they are not to be placed. */
static void
say_late(struct rig *r)
{
	static struct out out;

	for (unsigned int i = 1; i <= r->lanes; i++) {
		source_put_late(&r->source, i, &out);
		send(r->fds[r->n_fds - r->lanes + i - 1], out.bytes, out.len,
			MSG_NOSIGNAL); /* it may be gone */
	}
}

static int
takeover(void *ctx, uint64_t *ret_first_burst_ns)
{
	struct rig *r = ctx;

	r->takeovers++;
	say_late(r);
	*ret_first_burst_ns = 1;
	return 0;
}

static void
discard(void *ctx)
{
	struct rig *r = ctx;

	r->discards++;
}

static int
load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	struct rig *r = ctx;

	(void)ret_why;
	FUZZ_EXPECT(r->in, len == 0 || buf != NULL);
	return 0;
}

static void
inject(void *ctx, const struct wherry_late_frame *frame)
{
	struct rig *r = ctx;

	FUZZ_EXPECT(r->in, r->takeovers == 1 && frame->bytes != NULL);
}

/* ---- connections ---- */

static int
dial(struct rig *r)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", r->path);
	FUZZ_EXPECT(r->in, fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0);
	r->fds[r->n_fds++] = fd;
	return fd;
}

/* Another one, with all that will ever be said on it. */
static void
say(struct rig *r, const struct out *out, bool and_end)
{
	int fd = dial(r);

	FUZZ_EXPECT(r->in, send(fd, out->bytes, out->len, MSG_NOSIGNAL) == (ssize_t)out->len);
	if (and_end)
		shutdown(fd, SHUT_WR);
}

static void
say_lanes(struct rig *r)
{
	r->lanes = r->source.channels - 1;
	for (unsigned int i = 0; i < r->lanes; i++)
		say(r, &r->source.lane[i], r->source.lane[i].closed);
}

/* Once the source is known again; before that they would be taken for it. It may be gone by then. */
static void *
open_lanes(void *arg)
{
	struct rig *r = arg;
	const int *fds = &r->fds[r->n_fds - r->lanes];
	struct pollfd again = { .fd = fds[-1], .events = POLLIN };

	poll(&again, 1, -1);
	for (unsigned int i = 0; i < r->lanes; i++) {
		const struct out *out = &r->source.lane[i];

		send(fds[i], out->bytes, out->len, MSG_NOSIGNAL);
		if (out->closed)
			shutdown(fds[i], SHUT_WR);
	}
	return NULL;
}

static void
say_lanes_again(struct rig *r)
{
	r->lanes = r->source.channels - 1;
	for (unsigned int i = 0; i < r->lanes; i++)
		dial(r);
	r->opens = r->lanes > 0 && pthread_create(&r->opener, NULL, open_lanes, r) == 0;
}

/* It has answered our hello, and waits for the further connections. */
static void
prepare(void *ctx)
{
	struct rig *r = ctx;

	r->prepared = true;
	say_lanes(r);
}

/* The one way to learn from its own thread that it waits: what it says then. */
static void
hear(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	struct rig *r = ctx;
	static struct out out;

	(void)level;
	(void)area;
	FUZZ_EXPECT(r->in, fuzz_is_utf8(line));
	if (strncmp(line, "held: ", 6) == 0) {
		FUZZ_EXPECT(r->in, source_may_recover(&r->source));
		if (r->holds++ == 0) {
			source_put_again(&r->source, &out);
			say(r, &out, true);
			say_lanes_again(r);
			return;
		}
	} else if (strstr(line, "sent away") == NULL || (r->prepared && r->holds == 0)) {
		return;
	}
	wherry_agent_cancel(r->agent); /* nobody else will come */
}

/* ---- what is there before, and is looked at afterwards ---- */

static uint8_t *
region_of(const struct rig *r, unsigned int i)
{
	return r->mem + (1 + i * (DEST_PAGES + 1)) * DEST_PAGE;
}

static bool
make_memory(struct rig *r)
{
	static uint8_t *mem;
	size_t len = (1 + DEST_REGIONS * (DEST_PAGES + 1)) * DEST_PAGE;

	if (mem == NULL) {
		mem = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mem == MAP_FAILED)
			return false;
	}
	r->mem = mem;
	for (unsigned int i = 0; i < DEST_REGIONS; i++) {
		if (mprotect(region_of(r, i), DEST_BYTES, PROT_READ | PROT_WRITE) != 0)
			return false;
		memset(region_of(r, i), DEST_FILL, DEST_BYTES);
	}
	return true;
}

static bool
make_agent(struct rig *r)
{
	const struct wherry_agent_ops ops = { .quiesce = never,
		.prepare = prepare,
		.takeover = takeover,
		.discard = discard,
		.inject = inject,
		.ctx = r };
	const struct wherry_section section = {
		.name = "port0", .version = 1, .load = load, .ctx = r
	};
	char control[80], uri[80];
	struct wherry_agent_opts opts = { .name = "model",
		.control = control,
		.incoming = uri,
		.tracker = r->tracker,
		.ops = &ops };

	snprintf(r->path, sizeof(r->path), "/tmp/wherry-dest-%d.sock", (int)getpid());
	snprintf(control, sizeof(control), "%s.control", r->path);
	snprintf(uri, sizeof(uri), "unix:%s", r->path);
	return wherry_agent_create(&opts, &r->agent) == 0 &&
		wherry_agent_add_section(r->agent, &section) == 0;
}

static bool
setup(struct rig *r)
{
	struct wherry_tracker_opts how = { .cpu = WHERRY_CPU_NONE };

	if (!make_memory(r) || wherry_tracker_create(&how, &r->tracker) != 0)
		return false;
	for (unsigned int i = 0; i < DEST_REGIONS; i++) {
		struct wherry_span span = { .iova = (uint64_t)(uintptr_t)region_of(r, i),
			.len = DEST_BYTES };

		if (wherry_watch_create(
			    r->tracker, dest_region_names[i], span, DEST_PAGE, &r->watches[i]) != 0)
			return false;
	}
	return make_agent(r);
}

static void
teardown(struct rig *r)
{
	for (unsigned int i = 0; i < r->n_fds; i++)
		close(r->fds[i]);
	wherry_agent_destroy(r->agent);
	for (unsigned int i = 0; i < DEST_REGIONS; i++)
		wherry_watch_destroy(r->watches[i]);
	wherry_tracker_destroy(r->tracker);
}

/* What was answered on one connection: sound, and READY at most once. */
static void
check_answers(struct rig *r, int fd)
{
	struct wherry_decoder *dec = NULL;
	struct wherry_record rec;
	unsigned int ready = 0;
	int rc = wherry_decoder_create(&dec);

	FUZZ_EXPECT(r->in, rc == 0);
	while (r->in->failed == NULL && (rc = wherry_decoder_next(dec, &rec)) >= 0) {
		size_t cap;
		uint8_t *to;
		ssize_t n;

		if (rc == 1) {
			ready += rec.type == WHERRY_REC_READY;
			FUZZ_EXPECT(r->in, rec.type != WHERRY_REC_RUNNING || r->takeovers == 1);
			continue;
		}
		to = wherry_decoder_space(dec, &cap);
		n = recv(fd, to, cap, MSG_DONTWAIT);
		if (n <= 0)
			break;
		wherry_decoder_fed(dec, (size_t)n);
	}
	FUZZ_EXPECT(r->in, rc >= 0 && ready <= 1);
	wherry_decoder_destroy(dec);
}

static void
check(struct rig *r)
{
	const struct source *s = &r->source;
	struct wherry_status st;

	wherry_agent_get_status(r->agent, &st);
	FUZZ_EXPECT(r->in, r->takeovers + r->discards == 1);
	FUZZ_EXPECT(r->in, r->takeovers == 0 || s->commit_sent);
	FUZZ_EXPECT(r->in, s->verdict != RIGHT || (r->takeovers == 1) == source_is_through(s));
	FUZZ_EXPECT(r->in, s->verdict != BROKEN || r->takeovers == 0);
	FUZZ_EXPECT(r->in, (st.state == WHERRY_STATE_SERVING) == (r->takeovers == 1));
	FUZZ_EXPECT(r->in, r->takeovers == 1 || (st.reason[0] != '\0' && fuzz_is_utf8(st.reason)));
	if (r->takeovers == 1)
		for (unsigned int i = 0; i < DEST_REGIONS; i++)
			FUZZ_EXPECT(r->in, source_has(s, i, region_of(r, i)));
	for (unsigned int i = 0; i < r->n_fds; i++)
		check_answers(r, r->fds[i]);
}

const char *
dest_model_run(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { .next = data, .end = data + len };
	static struct rig r;
	static struct out out;
	bool expects_hold;
	uint64_t begin;

	memset(&r, 0, sizeof(r));
	r.in = &in;
	FUZZ_EXPECT(&in, setup(&r));
	if (in.failed == NULL) {
		const uint8_t *mem[DEST_REGIONS] = { region_of(&r, 0), region_of(&r, 1) };

		source_put_all(&r.source, &in, mem, &out);
		expects_hold = source_may_recover(&r.source) && r.source.verdict == RIGHT;
		say(&r, &out, true);
		wherry_log_set(hear, &r, WHERRY_LOG_WARN);
		begin = mig_now();
		mig_dest_run(r.agent);
		if (r.opens)
			pthread_join(r.opener, NULL);
		wherry_log_set(NULL, NULL, WHERRY_LOG_ERR);
		if (mig_now() - begin > STALL_NS && r.source.verdict == RIGHT)
			r.source.verdict = EITHER;
		FUZZ_EXPECT(&in, !expects_hold || r.holds > 0 || r.source.verdict == EITHER);
		check(&r);
	}
	teardown(&r);
	r.in = r.source.in = NULL;
	return in.failed;
}
