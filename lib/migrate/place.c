/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "lane_priv.h"
#include "place_priv.h"

#define PAGE WHERRY_STREAM_PAGE
#define BATCH_BYTES ((size_t)WHERRY_STREAM_PAGES_MAX * PAGE)

void
mig_placer_init(struct mig_placer *p, const struct mig_region *const *map, uint32_t n_map,
	const uint8_t *key)
{
	memset(p, 0, sizeof(*p));
	p->map = map;
	p->n_map = n_map;
	mig_digest_init(&p->digest, key);
}

void
mig_placer_fini(struct mig_placer *p)
{
	mig_unpack_destroy(p->unpack);
	mig_torn_fini(&p->torn);
	free(p->buf);
}

int
mig_place_refuse(struct mig_reason *reason, const struct wherry_record *rec, const char *why)
{
	return mig_fail(reason, -EPROTO, "record %llu (%s) at byte %llu was refused: %s",
		(unsigned long long)rec->number, wherry_record_name(rec->type),
		(unsigned long long)rec->offset, why);
}

static uint8_t *
page_at(const struct mig_region *r, uint64_t page)
{
	return (uint8_t *)(uintptr_t)(r->span.iova + page * PAGE);
}

/* Runs ascend, so the last one tells whether they lie in the region. */
int
mig_place_check(struct mig_placer *p, const struct wherry_record *rec)
{
	struct wherry_runs runs;
	struct wherry_run last;

	wherry_runs_get(rec, &runs);
	if (runs.region >= p->n_map)
		return mig_place_refuse(&p->reason, rec, "it names a region that is not there");
	last = wherry_runs_get_run(rec, runs.n - 1);
	if (last.first + last.count > p->map[runs.region]->span.len / PAGE)
		return mig_place_refuse(&p->reason, rec, "it goes beyond the end of its region");
	return 0;
}

/* Memory that was never written is not touched: it stays cheap. */
static void
place_zeros(struct mig_placer *p, uint32_t region, struct wherry_run run)
{
	for (uint64_t page = run.first; page < run.first + run.count; page++) {
		uint8_t *to = page_at(p->map[region], page);

		if (!mig_page_is_zero(to))
			memset(to, 0, PAGE);
		mig_digest_add_zero(&p->digest, region, page);
	}
}

static int
channel_failed(struct mig_placer *p, struct mig_channel *ch, int rc)
{
	return rc == 0 ? 0 : mig_fail(&p->reason, rc, "%s", mig_channel_reason(ch));
}

static int
read_in_place(struct mig_placer *p, struct mig_channel *ch, const struct wherry_record *rec)
{
	struct iovec iov[WHERRY_STREAM_PAGES_MAX];
	struct wherry_runs runs;

	wherry_runs_get(rec, &runs);
	for (uint32_t i = 0; i < runs.n; i++) {
		struct wherry_run run = wherry_runs_get_run(rec, i);

		iov[i] = (struct iovec){ .iov_base = page_at(p->map[runs.region], run.first),
			.iov_len = run.count * PAGE };
	}
	return channel_failed(p, ch, mig_channel_read_body(ch, iov, runs.n));
}

static int
prepare_unpack(struct mig_placer *p)
{
	if (p->buf == NULL)
		p->buf = malloc(2 * BATCH_BYTES);
	if (p->buf != NULL && (p->unpack != NULL || mig_unpack_create(&p->unpack) == 0))
		return 0;
	return mig_no_memory(&p->reason);
}

uint64_t
mig_place_pages(const struct wherry_record *rec)
{
	struct wherry_runs runs;
	uint64_t pages = 0;

	wherry_runs_get(rec, &runs);
	for (uint32_t i = 0; i < runs.n; i++)
		pages += wherry_runs_get_run(rec, i).count;
	return pages;
}

static int
read_packed(struct mig_placer *p, struct mig_channel *ch, const struct wherry_record *rec)
{
	struct iovec iov = { .iov_len = rec->body };
	const uint8_t *from;
	struct wherry_runs runs;
	int rc = prepare_unpack(p);

	if (rc != 0)
		return rc;
	iov.iov_base = p->buf + BATCH_BYTES;
	rc = channel_failed(p, ch, mig_channel_read_body(ch, &iov, 1));
	if (rc != 0)
		return rc;
	wherry_runs_get(rec, &runs);
	if (mig_unpack(p->unpack, p->buf, mig_place_pages(rec) * PAGE, p->buf + BATCH_BYTES,
		    rec->body) != 0)
		return mig_place_refuse(&p->reason, rec, "its bytes cannot be unpacked");
	from = p->buf;
	for (uint32_t i = 0; i < runs.n; i++) {
		struct wherry_run run = wherry_runs_get_run(rec, i);

		memcpy(page_at(p->map[runs.region], run.first), from, run.count * PAGE);
		from += run.count * PAGE;
	}
	return 0;
}

/* The source is to know what stands there. */
static int
note_torn(struct mig_placer *p, const struct wherry_record *rec, const uint64_t (*hash)[2])
{
	struct wherry_runs runs;
	int rc = 0;

	wherry_runs_get(rec, &runs);
	for (uint32_t i = 0; i < runs.n; i++) {
		struct wherry_run run = wherry_runs_get_run(rec, i);

		for (uint64_t k = 0; rc == 0 && k < run.count; k++)
			rc = mig_torn_add(&p->torn, runs.region, run.first + k, *hash++);
	}
	return rc == 0 ? 0 : mig_fail(&p->reason, rc, "out of memory");
}

/* Do the hashes of what stands there add up? */
static int
prove_batch(struct mig_placer *p, const struct wherry_record *rec, const struct wherry_batch *batch)
{
	uint64_t low = p->digest.low, high = p->digest.high, hash[WHERRY_STREAM_PAGES_MAX][2];
	struct wherry_runs runs;
	uint32_t n = 0;

	wherry_runs_get(rec, &runs);
	for (uint32_t i = 0; i < runs.n; i++) {
		struct wherry_run run = wherry_runs_get_run(rec, i);

		for (uint64_t page = run.first; page < run.first + run.count; page++, n++) {
			mig_digest_hash(&p->digest, page_at(p->map[runs.region], page), hash[n]);
			mig_digest_count(&p->digest, runs.region, page, hash[n]);
		}
	}
	low += batch->low;
	high += batch->high + (low < batch->low);
	if (p->digest.low == low && p->digest.high == high)
		return 0;
	if (batch->encoding == WHERRY_ENCODING_LIVE)
		return note_torn(p, rec, hash);
	return mig_place_refuse(&p->reason, rec, "its pages are not those that were sent");
}

static int
place_batch(struct mig_placer *p, struct mig_channel *ch, const struct wherry_record *rec)
{
	struct wherry_batch batch;
	int rc;

	wherry_batch_get(rec, &batch);
	rc = batch.encoding == WHERRY_ENCODING_ZSTD ? read_packed(p, ch, rec)
						    : read_in_place(p, ch, rec);
	return rc != 0 ? rc : prove_batch(p, rec, &batch);
}

int
mig_place(struct mig_placer *p, struct mig_channel *ch, const struct wherry_record *rec)
{
	int rc = mig_place_check(p, rec);
	struct wherry_runs runs;

	if (rc != 0)
		return rc;
	wherry_runs_get(rec, &runs);
	if (rec->type == WHERRY_REC_PAGES)
		rc = place_batch(p, ch, rec);
	else
		for (uint32_t i = 0; i < runs.n; i++)
			place_zeros(p, runs.region, wherry_runs_get_run(rec, i));
	if (rc == 0)
		__atomic_fetch_add(&p->pages, mig_place_pages(rec), __ATOMIC_RELAXED);
	return rc;
}
