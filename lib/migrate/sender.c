/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base_priv.h"
#include "sender_priv.h"
#include "socket_priv.h"
#include "spread_priv.h"

#define PAGE WHERRY_STREAM_PAGE
#define CHUNK_PAGES 256u /* taken at once by a lane */
#define PULSE_MS 300

/* A lane with a thread. */
struct helper {
	struct mig_sender *sender;
	struct mig_lane *lane;
	pthread_t thread;
	uint64_t seen; /* the last round it took part in, or was not needed for */
};

struct mig_sender {
	struct mig_lane *lanes[MIG_CHANNELS_MAX];
	struct helper helpers[MIG_CHANNELS_MAX]; /* the first is not used */
	unsigned int n;                          /* lanes */
	struct mig_sender_opts opts;
	int done_fd;             /* an eventfd: the last helper is through */
	unsigned int lanes_used; /* in the round; set before it is begun */

	struct wherry_mutex lock;
	pthread_cond_t go; /* round or quit */
	/* all under lock */
	bool quit;
	uint64_t round;       /* begun so far */
	unsigned int working; /* helpers that are not through */
	uint64_t number;      /* of the round, for FLUSH */
	struct wherry_bitmap *const *taken;
	uint32_t region;         /* where the next chunk comes from */
	uint64_t cursor;         /* in its bitmap */
	struct wherry_span span; /* found there, and not shared out */
	int rc;                  /* of the lane that failed first */
	struct mig_reason reason;
};

int
mig_sender_create(
	struct mig_channel *ch, const struct mig_sender_opts *opts, struct mig_sender **ret_sender)
{
	struct mig_sender *s = wherry_fault("sender.alloc") ? NULL : calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	wherry_mutex_init(&s->lock);
	pthread_cond_init(&s->go, NULL);
	s->opts = *opts;
	s->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->done_fd < 0 ||
		mig_lane_create(ch, opts->key, opts->known, opts->compress, &s->lanes[0]) != 0) {
		mig_sender_destroy(s);
		return -ENOMEM;
	}
	s->lanes[0]->out = opts->out;
	s->n = 1;
	*ret_sender = s;
	return 0;
}

void
mig_sender_destroy(struct mig_sender *s)
{
	if (s == NULL)
		return;
	wherry_mutex_lock(&s->lock);
	s->quit = true;
	pthread_cond_broadcast(&s->go);
	wherry_mutex_unlock(&s->lock);
	for (unsigned int i = 1; i < s->n; i++) {
		pthread_join(s->helpers[i].thread, NULL);
		mig_channel_destroy(s->lanes[i]->ch);
		mig_lane_destroy(s->lanes[i]);
	}
	mig_lane_destroy(s->lanes[0]);
	if (s->done_fd >= 0)
		close(s->done_fd);
	pthread_cond_destroy(&s->go);
	wherry_mutex_fini(&s->lock);
	free(s);
}

/* The next run of pages to send, of region *ret_i; false: that was all. */
static bool
next_chunk(struct mig_sender *s, uint32_t *ret_i, struct wherry_run *ret_run)
{
	const struct mig_regions *regions = s->opts.regions;
	uint64_t len = (uint64_t)CHUNK_PAGES * PAGE, base;

	wherry_mutex_lock(&s->lock);
	while (s->span.len == 0 && s->region < regions->n &&
		!wherry_bitmap_next_run(s->taken[s->region], &s->cursor, &s->span)) {
		s->span.len = 0;
		if (++s->region < regions->n)
			s->cursor = regions->list[s->region].span.iova;
	}
	if (s->span.len != 0) {
		base = regions->list[s->region].span.iova;
		len = len < s->span.len ? len : s->span.len;
		*ret_i = s->region;
		*ret_run = (struct wherry_run){ .first = (s->span.iova - base) / PAGE,
			.count = len / PAGE };
		s->span.iova += len;
		s->span.len -= len;
	} else {
		len = 0;
	}
	wherry_mutex_unlock(&s->lock);
	return len != 0;
}

/* Lane n's share of the round. */
static int
send_share(struct mig_sender *s, unsigned int n)
{
	struct mig_lane *lane = s->lanes[n];
	struct wherry_run run;
	uint32_t i;
	int rc = 0;

	if (s->number == 1)
		mig_spread(n);
	while (rc == 0 && next_chunk(s, &i, &run)) {
		rc = mig_lane_add(lane, i, &s->opts.regions->list[i], run);
		if (n == 0)
			s->opts.progress(s->opts.progress_ctx);
	}
	return rc != 0 ? rc : mig_lane_flush(lane);
}

/* The first failure counts; what it makes of the others does not. */
static void
lane_failed(struct mig_sender *s, const struct mig_lane *lane, int rc)
{
	wherry_mutex_lock(&s->lock);
	if (s->rc == 0)
		s->rc = mig_fail(&s->reason, rc, "%s", mig_lane_reason(lane));
	wherry_mutex_unlock(&s->lock);
	mig_stop_raise(s->opts.stop);
}

static int
send_flush(struct mig_lane *lane, uint64_t n)
{
	uint8_t rec[WHERRY_STREAM_HEADER + 32];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 32 };

	wherry_table_put_u64(&t, WHERRY_FLUSH_N, n);
	return mig_channel_send(lane->ch, WHERRY_REC_FLUSH, t.buf, t.len);
}

static bool
is_needed_locked(struct mig_sender *s, struct helper *h) WHERRY_REQUIRES(&s->lock)
{
	bool is_new = s->round != h->seen;

	h->seen = s->round;
	return is_new && (unsigned int)(h - s->helpers) < s->lanes_used;
}

/* Wait for a round that needs this helper; false: quit. */
static bool
await_round(struct helper *h, uint64_t *ret_number)
{
	struct mig_sender *s = h->sender;
	bool go;

	wherry_mutex_lock(&s->lock);
	while (!s->quit && !is_needed_locked(s, h))
		wherry_cond_wait(&s->go, &s->lock);
	*ret_number = s->number;
	go = !s->quit;
	wherry_mutex_unlock(&s->lock);
	return go;
}

static void
say_done(struct mig_sender *s)
{
	uint64_t one = 1;
	bool last;

	wherry_mutex_lock(&s->lock);
	last = --s->working == 0;
	wherry_mutex_unlock(&s->lock);
	if (last && write(s->done_fd, &one, sizeof(one)) < 0)
		mig_stop_raise(s->opts.stop); /* cannot be: it was read to 0 */
}

static void *
helper_main(void *arg)
{
	struct helper *h = arg;
	uint64_t number;

	while (await_round(h, &number)) {
		int rc = send_share(h->sender, (unsigned int)(h - h->sender->helpers));

		if (rc == 0)
			rc = send_flush(h->lane, number);
		if (rc != 0)
			lane_failed(h->sender, h->lane, rc);
		say_done(h->sender);
	}
	return NULL;
}

int
mig_sender_add(struct mig_sender *s, struct mig_channel *ch)
{
	struct helper *h = &s->helpers[s->n];
	int rc = mig_lane_create(ch, s->opts.key, s->opts.known, s->opts.compress, &s->lanes[s->n]);

	if (rc != 0)
		goto destroy_channel;
	*h = (struct helper){ .sender = s, .lane = s->lanes[s->n], .seen = s->round };
	rc = wherry_fault("sender.thread") ? EAGAIN
					   : pthread_create(&h->thread, NULL, helper_main, h);
	if (rc != 0)
		goto destroy_lane;
	s->n++;
	return 0;
destroy_lane:
	mig_lane_destroy(h->lane);
	rc = -rc;
destroy_channel:
	mig_channel_destroy(ch);
	return rc;
}

static void
begin_round(struct mig_sender *s, uint64_t n, struct wherry_bitmap *const *taken, uint64_t n_pages)
{
	uint64_t worth = 1 + n_pages / (2 * (uint64_t)CHUNK_PAGES);

	for (unsigned int i = 0; i < s->n; i++) {
		s->lanes[i]->counts = (struct mig_counts){ 0 };
		s->lanes[i]->busy_ns = s->lanes[i]->same_ns = s->lanes[i]->same_timed = 0;
	}
	wherry_mutex_lock(&s->lock);
	s->number = n;
	s->taken = taken;
	s->region = 0;
	s->cursor = s->opts.regions->n > 0 ? s->opts.regions->list[0].span.iova : 0;
	s->span.len = 0;
	s->lanes_used = worth < s->n ? (unsigned int)worth : s->n;
	s->working = s->lanes_used - 1;
	s->round++;
	if (s->working > 0)
		pthread_cond_broadcast(&s->go);
	wherry_mutex_unlock(&s->lock);
}

/* Until the helpers are through; the peer hears that we live. */
static int
await_helpers(struct mig_sender *s, int rc)
{
	uint64_t drained;
	int left;

	for (;;) {
		wherry_mutex_lock(&s->lock);
		left = (int)s->working;
		wherry_mutex_unlock(&s->lock);
		if (left == 0)
			break;
		if (mig_wait(s->done_fd, POLLIN, -1, PULSE_MS) == 0 && rc == 0) {
			rc = mig_channel_send_empty(s->lanes[0]->ch, WHERRY_REC_PULSE);
			if (rc != 0)
				lane_failed(s, s->lanes[0], rc);
		}
	}
	if (read(s->done_fd, &drained, sizeof(drained)) < 0 && errno != EAGAIN)
		return -errno;
	return rc;
}

int
mig_sender_round(
	struct mig_sender *s, uint64_t n, struct wherry_bitmap *const *taken, uint64_t n_pages)
{
	int rc;

	begin_round(s, n, taken, n_pages);
	rc = send_share(s, 0);
	if (rc != 0)
		lane_failed(s, s->lanes[0], rc);
	if (s->lanes_used > 1)
		rc = await_helpers(s, rc);
	if (rc == 0)
		rc = mig_sender_failed(s, NULL);
	return rc;
}

void
mig_sender_set_live(struct mig_sender *s, bool live)
{
	for (unsigned int i = 0; i < s->n; i++)
		s->lanes[i]->live = live;
}

bool
mig_sender_torn(struct mig_sender *s, uint32_t region, uint64_t page, const uint64_t hash[2])
{
	uint64_t said[2];

	if (mig_known_has(s->opts.known, region, page, hash))
		return false;
	mig_known_get(s->opts.known, region, page, said);
	mig_digest_exchange(&s->lanes[0]->digest, region, page, said, hash);
	mig_known_set(s->opts.known, region, page, hash);
	return true;
}

int
mig_sender_runs(struct mig_sender *s, enum wherry_record_type type, uint32_t i,
	const struct wherry_bitmap *pages)
{
	struct wherry_span region = s->opts.regions->list[i].span, span;
	struct wherry_run runs[MIG_BATCH_PAGES];
	uint64_t cursor = region.iova;
	uint32_t n = 0;

	for (;;) {
		bool more = wherry_bitmap_next_run(pages, &cursor, &span);
		int rc = 0;

		if (n == MIG_BATCH_PAGES || (!more && n > 0)) {
			rc = mig_lane_send_runs(s->lanes[0], type, i, runs, n);
			n = 0;
		}
		if (rc != 0 || !more)
			return rc;
		runs[n++] = (struct wherry_run){ .first = (span.iova - region.iova) / PAGE,
			.count = span.len / PAGE };
	}
}

void
mig_sender_get_sent(const struct mig_sender *s, struct mig_sent *ret_sent)
{
	uint64_t same_ns = 0, timed = 0;

	*ret_sent = (struct mig_sent){ .lanes = s->lanes_used };
	for (unsigned int i = 0; i < s->n; i++) {
		const struct mig_counts *c = &s->lanes[i]->counts;

		ret_sent->counts.pages += __atomic_load_n(&c->pages, __ATOMIC_RELAXED);
		ret_sent->counts.zero_pages += __atomic_load_n(&c->zero_pages, __ATOMIC_RELAXED);
		ret_sent->counts.same_pages += __atomic_load_n(&c->same_pages, __ATOMIC_RELAXED);
		ret_sent->busy_ns += __atomic_load_n(&s->lanes[i]->busy_ns, __ATOMIC_RELAXED);
		same_ns += __atomic_load_n(&s->lanes[i]->same_ns, __ATOMIC_RELAXED);
		timed += __atomic_load_n(&s->lanes[i]->same_timed, __ATOMIC_RELAXED);
	}
	if (s->lanes_used > 1)
		ret_sent->busy_ns /= s->lanes_used;
	if (timed > 0)
		ret_sent->same_ns = (double)same_ns / (double)timed / s->lanes_used;
}

uint64_t
mig_sender_bytes(const struct mig_sender *s)
{
	uint64_t bytes = 0;

	if (s->opts.out != NULL)
		return __atomic_load_n(&s->opts.out->bytes, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < s->n; i++)
		bytes += mig_channel_sent(s->lanes[i]->ch);
	return bytes;
}

void
mig_sender_digest(const struct mig_sender *s, struct mig_digest *ret_digest)
{
	*ret_digest = s->lanes[0]->digest;
	for (unsigned int i = 1; i < s->n; i++)
		mig_digest_merge(ret_digest, &s->lanes[i]->digest);
}

void
mig_sender_placed(const struct mig_sender *s, struct mig_digest *ret_digest)
{
	mig_digest_init(ret_digest, s->opts.key);
	mig_known_count(s->opts.known, s->opts.regions, ret_digest);
}

int
mig_sender_failed(struct mig_sender *s, struct mig_reason *ret_reason)
{
	int rc;

	wherry_mutex_lock(&s->lock);
	rc = s->rc;
	if (rc != 0 && ret_reason != NULL)
		*ret_reason = s->reason;
	wherry_mutex_unlock(&s->lock);
	return rc;
}
