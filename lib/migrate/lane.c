/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "lane_priv.h"

#define PAGE WHERRY_STREAM_PAGE
#define ZEROS_AT_ONCE 65536 /* pages: 256 MiB are scanned in a fraction of a second */

static const uint8_t zero_page[PAGE];

static_assert(offsetof(struct mig_slab, body) == MIG_HEAD_MAX, "the body follows the head");

int
mig_lane_create(struct mig_channel *ch, const uint8_t *key, struct mig_known *known, bool compress,
	struct mig_lane **ret_lane)
{
	struct mig_lane *lane = wherry_fault("lane.alloc") ? NULL : calloc(1, sizeof(*lane));

	if (lane == NULL)
		return -ENOMEM;
	lane->ch = ch;
	lane->known = known;
	mig_digest_init(&lane->digest, key);
	mig_digest_init(&lane->batch, key);
	lane->raw = malloc(sizeof(*lane->raw));
	if (lane->raw == NULL)
		goto destroy;
	if (compress) {
		lane->packed = malloc(sizeof(*lane->packed));
		if (lane->packed == NULL || mig_pack_create(&lane->pack) != 0)
			goto destroy;
	}
	*ret_lane = lane;
	return 0;
destroy:
	mig_lane_destroy(lane);
	return -ENOMEM;
}

void
mig_lane_destroy(struct mig_lane *lane)
{
	if (lane == NULL)
		return;
	mig_pack_destroy(lane->pack);
	free(lane->packed);
	free(lane->raw);
	free(lane);
}

/* The C library compares at the speed of memory, with whatever vectors there are. */
bool
mig_page_is_zero(const void *p)
{
	const uint64_t *word = p;

	return *word == 0 && memcmp(word, word + 1, PAGE - sizeof(*word)) == 0;
}

/* A virtual address, as everywhere in the tracker. */
static const uint8_t *
page_at(const struct mig_region *region, uint64_t page)
{
	return (const uint8_t *)(uintptr_t)(region->span.iova + page * PAGE);
}

static void
count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED); /* nobody else writes it */
}

/* The tracker compares later content with what the receiver has, where it sees content only. */
static void
tell_tracker(const struct mig_region *region, uint64_t page, const void *sent)
{
	struct wherry_span span = { .iova = region->span.iova + page * PAGE, .len = PAGE };
	int rc = wherry_watch_sent(region->watch, span, sent);

	assert(rc == 0); /* the page came from this watch */
	(void)rc;
}

/* The runs of a payload that is to end right before the body. */
static uint8_t *
put_runs(struct mig_slab *slab, size_t size, uint32_t i, const struct wherry_run *runs, uint32_t n)
{
	uint8_t *payload = slab->head + sizeof(slab->head) - size;

	wherry_runs_put(payload, i, n);
	for (uint32_t k = 0; k < n; k++)
		wherry_runs_put_run(payload, k, runs[k]);
	return payload;
}

int
mig_lane_send_runs(struct mig_lane *lane, enum wherry_record_type type, uint32_t i,
	const struct wherry_run *runs, uint32_t n)
{
	struct mig_slab *slab = lane->packed != NULL ? lane->packed : lane->raw;
	size_t size = wherry_runs_size(n);

	return mig_channel_send(lane->ch, type, put_runs(slab, size, i, runs, n), size);
}

static int
send_zeros(struct mig_lane *lane)
{
	int rc = 0;

	if (lane->zeros.n > 0 && lane->out != NULL)
		rc = lane->out->zeros(
			lane->out->ctx, lane->number, lane->zeros.runs, lane->zeros.n);
	else if (lane->zeros.n > 0)
		rc = mig_lane_send_runs(
			lane, WHERRY_REC_ZEROS, lane->number, lane->zeros.runs, lane->zeros.n);
	lane->zeros.n = 0;
	lane->zeros.pages = 0;
	return rc;
}

/* Take the sum of the batch under way, and count it into the digest. */
static struct wherry_batch
close_batch(struct mig_lane *lane)
{
	struct wherry_batch batch = {
		.encoding = WHERRY_ENCODING_RAW, .low = lane->batch.low, .high = lane->batch.high
	};

	mig_digest_merge(&lane->digest, &lane->batch);
	lane->batch.low = lane->batch.high = lane->batch.pages = 0;
	return batch;
}

static int
write_content(struct mig_lane *lane)
{
	int rc;

	close_batch(lane);
	rc = lane->out->pages(
		lane->out->ctx, lane->number, lane->content.runs, lane->content.n, lane->raw->body);
	lane->content.n = 0;
	lane->content.pages = 0;
	return rc;
}

static int
send_content(struct mig_lane *lane)
{
	size_t size = wherry_batch_size(lane->content.n), len = lane->content.pages * PAGE;
	struct wherry_batch batch = close_batch(lane);
	struct mig_slab *slab = lane->raw;
	uint8_t *payload;
	size_t packed = 0;
	int rc;

	if (lane->pack != NULL)
		packed = mig_pack(lane->pack, lane->packed->body, lane->raw->body, len);
	if (packed != 0) {
		batch.encoding = WHERRY_ENCODING_ZSTD;
		slab = lane->packed;
		len = packed;
	}
	payload = put_runs(slab, size, lane->number, lane->content.runs, lane->content.n);
	wherry_batch_put(payload, lane->content.n, &batch);
	rc = mig_channel_send(lane->ch, WHERRY_REC_PAGES, payload, size + len);
	lane->content.n = 0;
	lane->content.pages = 0;
	return rc;
}

/* From where they stand. */
static int
send_live(struct mig_lane *lane)
{
	size_t size = wherry_batch_size(lane->content.n), len = lane->content.pages * PAGE;
	struct wherry_batch batch = close_batch(lane);
	uint8_t *payload;
	uint32_t n = lane->content.n;

	batch.encoding = WHERRY_ENCODING_LIVE;
	payload = put_runs(lane->raw, size, lane->number, lane->content.runs, n);
	wherry_batch_put(payload, n, &batch);
	for (uint32_t i = 0; i < n; i++)
		lane->iov[1 + i] = (struct iovec){
			.iov_base = (void *)(uintptr_t)(lane->region->span.iova +
				lane->content.runs[i].first * PAGE),
			.iov_len = lane->content.runs[i].count * PAGE,
		};
	lane->content.n = 0;
	lane->content.pages = 0;
	return mig_channel_send_batch(lane->ch, payload, size, lane->iov, n, len);
}

static int
pass_on(struct mig_lane *lane)
{
	if (lane->content.n == 0)
		return 0;
	if (lane->live)
		return send_live(lane);
	return lane->out != NULL ? write_content(lane) : send_content(lane);
}

/* Lengthen the last run, or begin one. */
static void
append(struct mig_gathered *g, uint64_t page)
{
	struct wherry_run *last = g->n > 0 ? &g->runs[g->n - 1] : NULL;

	if (last != NULL && last->first + last->count == page)
		last->count++;
	else
		g->runs[g->n++] = (struct wherry_run){ .first = page, .count = 1 };
	g->pages++;
}

static void
add_zero(struct mig_lane *lane, uint64_t page)
{
	const uint64_t *hash = lane->digest.zero;

	if (mig_known_has(lane->known, lane->number, page, hash)) {
		count(&lane->counts.same_pages, 1);
		return;
	}
	mig_digest_count(&lane->digest, lane->number, page, hash);
	mig_known_set(lane->known, lane->number, page, hash);
	count(&lane->counts.zero_pages, 1);
	append(&lane->zeros, page);
}

/* Into the batch, unless the destination has these bytes. */
static void
add_content(struct mig_lane *lane, uint64_t page, const uint8_t *from)
{
	uint8_t *to = lane->raw->body + lane->content.pages * PAGE;
	uint64_t hash[2];

	if (lane->live) {
		mig_digest_hash(&lane->digest, from, hash);
	} else {
		memcpy(to, from, PAGE);
		mig_digest_hash(&lane->digest, to, hash);
		tell_tracker(lane->region, page, to);
	}
	if (mig_known_has(lane->known, lane->number, page, hash)) {
		count(&lane->counts.same_pages, 1);
		return;
	}
	mig_digest_count(&lane->batch, lane->number, page, hash);
	mig_known_set(lane->known, lane->number, page, hash);
	append(&lane->content, page);
}

/* Nothing here may block: who pauses these pages waits for it. */
static int
gather(struct mig_lane *lane, struct wherry_run run)
{
	struct wherry_span span = { .iova = lane->region->span.iova + run.first * PAGE,
		.len = run.count * PAGE };
	int rc = wherry_watch_copy_begin(lane->region->watch, span);

	if (rc != 0) /* nothing that another connection would mend */
		return mig_fail(&lane->reason, -EBUSY,
			"memory that is to be sent stays paused: who paused it has to resume it");
	for (uint64_t page = run.first; page < run.first + run.count; page++) {
		const uint8_t *from = page_at(lane->region, page);

		if (!mig_page_is_zero(from)) {
			add_content(lane, page, from);
		} else {
			tell_tracker(lane->region, page, zero_page);
			add_zero(lane, page);
		}
	}
	wherry_watch_copy_end(lane->region->watch, span);
	return 0;
}

/* How many pages fit, whatever is in them; at least one after pass_on_full(). */
static uint64_t
room(const struct mig_lane *lane)
{
	uint64_t content = MIG_BATCH_PAGES - lane->content.pages;
	uint64_t zeros = MIG_BATCH_PAGES - lane->zeros.n;

	return content < zeros ? content : zeros;
}

static int
pass_on_full(struct mig_lane *lane)
{
	int rc = 0;

	if (lane->zeros.n == MIG_BATCH_PAGES || lane->zeros.pages >= ZEROS_AT_ONCE)
		rc = send_zeros(lane);
	if (rc == 0 && lane->content.pages == MIG_BATCH_PAGES)
		rc = pass_on(lane);
	return rc;
}

static int
add_run(struct mig_lane *lane, struct wherry_run run)
{
	int rc = 0;

	while (rc == 0 && run.count > 0) {
		uint64_t n = run.count < room(lane) ? run.count : room(lane);

		rc = gather(lane, (struct wherry_run){ .first = run.first, .count = n });
		if (rc == 0)
			rc = pass_on_full(lane);
		run.first += n;
		run.count -= n;
	}
	return rc;
}

int
mig_lane_add(
	struct mig_lane *lane, uint32_t i, const struct mig_region *region, struct wherry_run run)
{
	struct mig_counts before = lane->counts;
	uint64_t begin = mig_now(), zeros, same;
	int rc = 0;

	if (lane->region != region)
		rc = mig_lane_flush(lane);
	lane->reason.text[0] = '\0'; /* a lane may outlive a failure */
	lane->number = i;
	lane->region = region;
	if (rc == 0)
		rc = add_run(lane, run);
	count(&lane->counts.pages, run.count);
	zeros = lane->counts.zero_pages - before.zero_pages;
	same = lane->counts.same_pages - before.same_pages;
	if (same == run.count) {
		count(&lane->same_ns, mig_now() - begin);
		count(&lane->same_timed, same);
	} else if (zeros + same < run.count) {
		count(&lane->busy_ns, mig_now() - begin);
	}
	return rc;
}

const char *
mig_lane_reason(const struct mig_lane *lane)
{
	if (lane->reason.text[0] != '\0')
		return lane->reason.text;
	return lane->out != NULL ? lane->out->reason.text : mig_channel_reason(lane->ch);
}

int
mig_lane_flush(struct mig_lane *lane)
{
	int rc = send_zeros(lane);

	return rc != 0 ? rc : pass_on(lane);
}
