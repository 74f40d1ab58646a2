/* SPDX-License-Identifier: BSD-3-Clause */
#define LOG_PREFIX "migrate/dest"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base_priv.h"
#include "dest_lanes_priv.h"
#include "socket_priv.h"
#include "spread_priv.h"

#define JOIN_MS 10000u    /* for all of them */
#define JOIN_ONE_MS 2000u /* for the first record of each */
#define LISTEN_MS 100u    /* at most, until the source is heard that has given up */
#define LOOK_MS 300u      /* at what the lanes have got meanwhile */
#define IDLE_MS 3600000u  /* a lane may have nothing to do; the first one notices silence */

struct lane {
	struct mig_dest_lanes *lanes;
	struct mig_channel *ch;
	struct mig_placer placer;
	unsigned int number;
	uint64_t flushed; /* round; under the lanes' lock */
	bool placing;     /* likewise */
	pthread_t thread;
};

/* Pages placed, and since when no more. */
struct progress {
	uint64_t pages, since;
};

struct mig_dest_lanes {
	struct mig_dest_lanes_opts opts;
	struct lane *list[MIG_CHANNELS_MAX]; /* by channel number; the first is not used */
	int news_fd;                         /* an eventfd: a lane has flushed or failed */
	struct wherry_mutex lock;
	bool frozen;              /* under lock */
	int rc;                   /* under lock: of the lane that failed first */
	struct mig_reason reason; /* under lock */
};

int
mig_dest_lanes_create(const struct mig_dest_lanes_opts *opts, struct mig_dest_lanes **ret_lanes)
{
	struct mig_dest_lanes *lanes =
		wherry_fault("dest_lanes.alloc") ? NULL : calloc(1, sizeof(*lanes));

	if (lanes == NULL)
		return -ENOMEM;
	lanes->opts = *opts;
	lanes->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (lanes->news_fd < 0) {
		free(lanes);
		return -ENOMEM;
	}
	wherry_mutex_init(&lanes->lock);
	*ret_lanes = lanes;
	return 0;
}

static void
destroy_lane(struct lane *lane)
{
	mig_channel_destroy(lane->ch);
	mig_placer_fini(&lane->placer);
	free(lane);
}

void
mig_dest_lanes_destroy(struct mig_dest_lanes *lanes)
{
	if (lanes == NULL)
		return;
	mig_stop_raise(lanes->opts.stop);
	for (unsigned int i = 1; i < MIG_CHANNELS_MAX; i++) {
		if (lanes->list[i] == NULL)
			continue;
		pthread_join(lanes->list[i]->thread, NULL);
		destroy_lane(lanes->list[i]);
	}
	close(lanes->news_fd);
	wherry_mutex_fini(&lanes->lock);
	free(lanes);
}

static void
tell(struct mig_dest_lanes *lanes)
{
	uint64_t one = 1;

	if (write(lanes->news_fd, &one, sizeof(one)) < 0)
		LOG_DEBUG("there is news already");
}

static void
flushed(struct lane *lane, const struct wherry_record *rec)
{
	uint64_t n = wherry_field_u64(rec->payload, rec->len, WHERRY_FLUSH_N, 0);

	wherry_mutex_lock(&lane->lanes->lock);
	lane->flushed = n;
	wherry_mutex_unlock(&lane->lanes->lock);
	tell(lane->lanes);
}

/* Only while nobody looks at what stands there, or has found it to be right. */
static bool
begin_to_place(struct lane *lane)
{
	bool may;

	wherry_mutex_lock(&lane->lanes->lock);
	may = !lane->lanes->frozen;
	lane->placing = may;
	wherry_mutex_unlock(&lane->lanes->lock);
	return may;
}

static int
place(struct lane *lane, const struct wherry_record *rec)
{
	int rc;

	if (!begin_to_place(lane)) {
		LOG_WARN("channel %u brings pages when no more were due: refused", lane->number);
		return mig_place_refuse(&lane->placer.reason, rec, "no more pages were due");
	}
	rc = mig_place(&lane->placer, lane->ch, rec);
	wherry_mutex_lock(&lane->lanes->lock);
	lane->placing = false;
	wherry_mutex_unlock(&lane->lanes->lock);
	return rc;
}

static int
handle(struct lane *lane, const struct wherry_record *rec)
{
	switch (rec->type) {
	case WHERRY_REC_PAGES:
	case WHERRY_REC_ZEROS:
		return place(lane, rec);
	case WHERRY_REC_FLUSH:
		flushed(lane, rec);
		return 0;
	default:
		return mig_place_refuse(
			&lane->placer.reason, rec, "it has no place on a further connection");
	}
}

static void
lane_failed(struct lane *lane, int rc)
{
	struct mig_dest_lanes *lanes = lane->lanes;

	wherry_mutex_lock(&lanes->lock);
	if (lanes->rc == 0) {
		lanes->rc = rc;
		lanes->reason = lane->placer.reason;
	}
	wherry_mutex_unlock(&lanes->lock);
	mig_stop_raise(lanes->opts.stop);
	tell(lanes);
}

static void *
lane_main(void *arg)
{
	struct lane *lane = arg;
	struct wherry_record rec;
	int rc;

	mig_spread(lane->number);
	do {
		rc = mig_channel_receive(lane->ch, &rec);
		if (rc != 0)
			mig_fail(&lane->placer.reason, rc, "%s", mig_channel_reason(lane->ch));
		else
			rc = handle(lane, &rec);
	} while (rc == 0);
	if (rc != -ECANCELED)
		lane_failed(lane, rc);
	return NULL;
}

/* Which channel is it? 0: none of ours. */
static unsigned int
read_join(const struct mig_dest_lanes *lanes, const struct wherry_record *rec)
{
	const struct mig_hello *peer = lanes->opts.peer;
	uint64_t i = wherry_field_u64(rec->payload, rec->len, WHERRY_JOIN_CHANNEL, 0);
	struct wherry_field session;

	if (!wherry_field_find(rec->payload, rec->len, WHERRY_JOIN_SESSION, &session) ||
		session.len != sizeof(peer->session) ||
		memcmp(session.bytes, peer->session, sizeof(peer->session)) != 0)
		return 0;
	return i < peer->channels && lanes->list[i] == NULL ? (unsigned int)i : 0;
}

static int
start_lane(struct mig_dest_lanes *lanes, unsigned int i, struct mig_channel *ch)
{
	struct lane *lane = wherry_fault("dest_lanes.lane") ? NULL : calloc(1, sizeof(*lane));
	int rc;

	if (lane == NULL) {
		mig_channel_destroy(ch);
		return -ENOMEM;
	}
	lane->lanes = lanes;
	lane->ch = ch;
	lane->number = i;
	mig_channel_set_timeout(ch, IDLE_MS);
	mig_placer_init(&lane->placer, lanes->opts.map, lanes->opts.n_map, lanes->opts.peer->key);
	rc = pthread_create(&lane->thread, NULL, lane_main, lane);
	if (rc != 0) {
		destroy_lane(lane);
		return -rc;
	}
	lanes->list[i] = lane;
	return 0;
}

/* Somebody has connected. 1: a lane more; 0: a stranger, sent away. */
static int
greet(struct mig_dest_lanes *lanes, struct mig_conn *conn, struct mig_reason *reason)
{
	struct wherry_record rec;
	struct mig_channel *ch;
	unsigned int i = 0;
	int rc;

	if (mig_channel_create_on(conn, lanes->opts.stop->fd, &ch) != 0)
		return mig_no_memory(reason);
	mig_channel_set_limit(ch, JOIN_ONE_MS);
	rc = mig_channel_expect(ch, WHERRY_REC_JOIN, &rec);
	if (rc == 0 && mig_channel_is(ch, lanes->opts.source))
		i = read_join(lanes, &rec);
	if (i == 0) {
		bool cancelled = mig_channel_is_cancelled(ch, rc);

		LOG_WARN("a stranger connected and was sent away: %s", mig_channel_reason(ch));
		mig_channel_destroy(ch);
		return cancelled ? mig_fail(reason, rc, "cancelled") : 0;
	}
	rc = start_lane(lanes, i, ch);
	return rc == 0 ? 1 : mig_fail(reason, rc, "no thread or memory for channel %u", i);
}

/* The next who connects. Meanwhile the source may say on the first connection that it has given up. */
static int
await_next(struct mig_dest_lanes *lanes, const struct mig_dest_door *door, uint64_t end,
	struct mig_conn *ret_conn, struct mig_reason *reason)
{
	for (;;) {
		uint64_t now = mig_now(), look = now + LISTEN_MS * UINT64_C(1000000);
		int rc = mig_porter_next(
			door->porter, lanes->opts.stop->fd, look < end ? look : end, ret_conn);

		if (rc == -ECANCELED)
			return mig_fail(reason, rc, "cancelled");
		if (rc != -ETIMEDOUT)
			return rc == 0
				? 0
				: mig_fail(reason, rc, "no source can connect: %s", strerror(-rc));
		rc = mig_channel_listen_in(door->first);
		if (rc != 0)
			return mig_fail(reason, rc, "%s", mig_channel_reason(door->first));
		if (mig_now() >= end)
			return -ETIMEDOUT;
	}
}

static int
accept_all(
	struct mig_dest_lanes *lanes, const struct mig_dest_door *door, struct mig_reason *reason)
{
	uint64_t end = mig_now() + JOIN_MS * UINT64_C(1000000);
	unsigned int n = 1;

	while (n < lanes->opts.peer->channels) {
		struct mig_conn conn;
		int rc = await_next(lanes, door, end, &conn, reason);

		if (rc == -ETIMEDOUT)
			return mig_fail(reason, rc,
				"the source announced %u channels and opened %u",
				lanes->opts.peer->channels, n);
		if (rc == 0)
			rc = greet(lanes, &conn, reason);
		if (rc < 0)
			return rc;
		n += (unsigned int)rc;
	}
	return 0;
}

/* One that is lost before the others are there stops the wait for them: nobody has cancelled. */
int
mig_dest_lanes_accept(
	struct mig_dest_lanes *lanes, const struct mig_dest_door *door, struct mig_reason *reason)
{
	int rc = accept_all(lanes, door, reason);
	int lost = rc == -ECANCELED ? mig_dest_lanes_failed(lanes, reason) : 0;

	return lost != 0 ? lost : rc;
}

/* 1: all of the first used are through; 0: not yet; else a failure. */
static int
look(struct mig_dest_lanes *lanes, uint64_t n, uint64_t used, struct mig_reason *reason)
{
	bool through = true;
	int rc;

	wherry_mutex_lock(&lanes->lock);
	rc = lanes->rc;
	if (rc != 0)
		*reason = lanes->reason;
	for (unsigned int i = 1; rc == 0 && through && i < used; i++) {
		if (i >= MIG_CHANNELS_MAX || lanes->list[i] == NULL)
			rc = mig_fail(reason, -EPROTO,
				"the source says that it used channel %u, which is not there", i);
		else
			through = lanes->list[i]->flushed >= n;
	}
	wherry_mutex_unlock(&lanes->lock);
	return rc != 0 ? rc : through;
}

/* Have pages come since it was asked last? The source, whose bytes may wait in the kernel, is told. */
static int
go_on(struct mig_dest_lanes *lanes, struct mig_channel *ch, struct progress *p,
	struct mig_reason *reason)
{
	uint64_t pages = mig_dest_lanes_pages(lanes), now = mig_now();
	int rc;

	if (pages == p->pages) {
		if (now - p->since < lanes->opts.peer->timeout_ms * UINT64_C(1000000))
			return 0;
		return mig_fail(reason, -ETIMEDOUT,
			"the peer was silent for %u ms: is it alive, and the network up?",
			lanes->opts.peer->timeout_ms);
	}
	*p = (struct progress){ .pages = pages, .since = now };
	rc = mig_channel_pulse(ch);
	return rc == 0 ? 0 : mig_fail(reason, rc, "%s", mig_channel_reason(ch));
}

int
mig_dest_lanes_await(struct mig_dest_lanes *lanes, uint64_t n, uint64_t used,
	struct mig_channel *ch, struct mig_reason *reason)
{
	struct progress p = { .pages = mig_dest_lanes_pages(lanes), .since = mig_now() };
	unsigned int timeout_ms = lanes->opts.peer->timeout_ms;
	uint64_t drained;
	int rc;

	while ((rc = look(lanes, n, used, reason)) == 0) {
		rc = mig_wait(lanes->news_fd, POLLIN, lanes->opts.stop->fd,
			timeout_ms < LOOK_MS ? timeout_ms : LOOK_MS);
		if (rc == -ECANCELED && mig_dest_lanes_failed(lanes, reason) == 0)
			return mig_fail(reason, rc, "cancelled");
		if (rc > 0 && read(lanes->news_fd, &drained, sizeof(drained)) < 0)
			LOG_DEBUG("no news");
		rc = go_on(lanes, ch, &p, reason);
		if (rc != 0)
			return rc;
	}
	return rc < 0 ? rc : mig_dest_lanes_freeze(lanes, reason);
}

int
mig_dest_lanes_freeze(struct mig_dest_lanes *lanes, struct mig_reason *reason)
{
	int rc = 0;

	wherry_mutex_lock(&lanes->lock);
	for (unsigned int i = 1; rc == 0 && i < MIG_CHANNELS_MAX; i++)
		if (lanes->list[i] != NULL && lanes->list[i]->placing)
			rc = mig_fail(reason, -EPROTO,
				"channel %u brings pages when no more were due", i);
	lanes->frozen = rc == 0;
	wherry_mutex_unlock(&lanes->lock);
	return rc;
}

void
mig_dest_lanes_thaw(struct mig_dest_lanes *lanes)
{
	wherry_mutex_lock(&lanes->lock);
	lanes->frozen = false;
	wherry_mutex_unlock(&lanes->lock);
}

int
mig_dest_lanes_failed(struct mig_dest_lanes *lanes, struct mig_reason *reason)
{
	int rc;

	wherry_mutex_lock(&lanes->lock);
	rc = lanes->rc;
	if (rc != 0)
		*reason = lanes->reason;
	wherry_mutex_unlock(&lanes->lock);
	return rc;
}

uint64_t
mig_dest_lanes_pages(const struct mig_dest_lanes *lanes)
{
	uint64_t pages = 0;

	for (unsigned int i = 1; i < MIG_CHANNELS_MAX; i++)
		if (lanes->list[i] != NULL)
			pages += __atomic_load_n(&lanes->list[i]->placer.pages, __ATOMIC_RELAXED);
	return pages;
}

void
mig_dest_lanes_digest(const struct mig_dest_lanes *lanes, struct mig_digest *d)
{
	for (unsigned int i = 1; i < MIG_CHANNELS_MAX; i++)
		if (lanes->list[i] != NULL)
			mig_digest_merge(d, &lanes->list[i]->placer.digest);
}

struct mig_torn *
mig_dest_lanes_torn(struct mig_dest_lanes *lanes)
{
	for (unsigned int i = 1; i < MIG_CHANNELS_MAX; i++)
		if (lanes->list[i] != NULL && lanes->list[i]->placer.torn.len > 0)
			return &lanes->list[i]->placer.torn;
	return NULL;
}
