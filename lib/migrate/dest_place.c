/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records into memory. The decoder has checked each record's form; here its numbers are
 * held against our regions, pages are put in their place, and the digest is taken of
 * what then stands there.
 */
#include <errno.h>
#include <string.h>

#include "base_priv.h"
#include "dest_priv.h"
#include "sections_priv.h"
#include "sender_priv.h"
#include "verify_priv.h"

#define PAGE WHERRY_STREAM_PAGE

static int
refuse(struct mig_dest *d, const struct wherry_record *rec, const char *why)
{
	return mig_fail(&d->reason, -EPROTO, "record %llu (%s) at byte %llu was refused: %s",
		(unsigned long long)rec->number, wherry_record_name(rec->type),
		(unsigned long long)rec->offset, why);
}

static uint8_t *
page_at(const struct mig_region *r, uint64_t page)
{
	return (uint8_t *)(uintptr_t)(r->span.iova + page * PAGE);
}

static void
place_page(struct mig_dest *d, uint32_t region, uint64_t page, const uint8_t *from)
{
	uint8_t *to = page_at(d->map[region], page);

	memcpy(to, from, PAGE);
	mig_digest_add(&d->digest, region, page, to);
}

/* Memory that was never written is not touched: it stays cheap. */
static void
place_zero(struct mig_dest *d, uint32_t region, uint64_t page)
{
	uint8_t *to = page_at(d->map[region], page);

	if (!mig_page_is_zero(to))
		memset(to, 0, PAGE);
	mig_digest_add_zero(&d->digest, region, page);
}

/* pages: their bytes; NULL: zeroes */
static void
place_run(struct mig_dest *d, uint32_t region, struct wherry_run run, const uint8_t *pages)
{
	for (uint64_t n = 0; n < run.count; n++) {
		if (pages != NULL)
			place_page(d, region, run.first + n, pages + n * PAGE);
		else
			place_zero(d, region, run.first + n);
	}
	d->pages += run.count;
}

static int
skip_run(struct mig_dest *d, uint32_t region, struct wherry_run run)
{
	const struct mig_region *r = d->map[region];
	int rc = 0;

	if (d->skip[region] == NULL)
		rc = wherry_bitmap_create(r->span, PAGE, &d->skip[region]);
	if (rc != 0)
		return mig_fail(&d->reason, rc, "out of memory");
	wherry_bitmap_mark(d->skip[region],
		(struct wherry_span){
			.iova = r->span.iova + run.first * PAGE, .len = run.count * PAGE });
	return 0;
}

/* Do the runs lie in the region? They ascend, so the last one tells. */
static bool
fits(const struct mig_dest *d, const struct wherry_record *rec, const struct wherry_runs *runs)
{
	struct wherry_run last = wherry_runs_get_run(rec, runs->n - 1);

	return last.first + last.count <= d->map[runs->region]->span.len / PAGE;
}

static int
place_runs(struct mig_dest *d, const struct wherry_record *rec)
{
	struct wherry_runs runs;
	const uint8_t *pages;

	wherry_runs_get(rec, &runs);
	if (runs.region >= d->n_map)
		return refuse(d, rec, "it names a region that is not there");
	if (!fits(d, rec, &runs))
		return refuse(d, rec, "it goes beyond the end of its region");
	pages = rec->type == WHERRY_REC_PAGES ? runs.pages : NULL;
	for (uint32_t i = 0; i < runs.n; i++) {
		struct wherry_run run = wherry_runs_get_run(rec, i);
		int rc = 0;

		if (rec->type == WHERRY_REC_SKIP)
			rc = skip_run(d, runs.region, run);
		else
			place_run(d, runs.region, run, pages);
		if (rc != 0)
			return rc;
		if (pages != NULL)
			pages += run.count * PAGE;
	}
	return 0;
}

/* Show what the source says of its round, and answer unless the application there waits. */
static int
end_round(struct mig_dest *d, const struct wherry_record *rec)
{
	uint8_t out[WHERRY_STREAM_HEADER + 64];
	struct wherry_table t = { .buf = out + WHERRY_STREAM_HEADER, .cap = 64 };
	const uint8_t *p = rec->payload;
	struct wherry_round round = {
		.n = (unsigned int)wherry_field_u64(p, rec->len, WHERRY_ROUND_N, 0),
		.final = wherry_field_u64(p, rec->len, WHERRY_ROUND_FINAL, 0) != 0,
		.iommu_dirty_pages = wherry_field_u64(p, rec->len, WHERRY_ROUND_IOMMU_PAGES, 0),
		.cpu_dirty_pages = wherry_field_u64(p, rec->len, WHERRY_ROUND_CPU_PAGES, 0),
		.pages = wherry_field_u64(p, rec->len, WHERRY_ROUND_PAGES, 0),
		.zero_pages = wherry_field_u64(p, rec->len, WHERRY_ROUND_ZERO_PAGES, 0),
		.bytes = rec->offset - d->bytes,
	};
	int rc;

	d->bytes = rec->offset;
	mig_agent_set_round(d->agent, &round);
	if (round.final)
		return 0;
	wherry_table_put_u64(&t, WHERRY_GOT_N, wherry_field_u64(p, rec->len, WHERRY_ROUND_N, 0));
	rc = mig_channel_send(d->ch, WHERRY_REC_GOT, t.buf, t.len);
	return rc == 0 ? 0 : mig_dest_channel_failed(d, rc);
}

static int
verify(struct mig_dest *d, const struct wherry_record *rec)
{
	struct mig_verify v = { .regions = d->map, .skip = d->skip, .n = d->n_map };
	int rc;

	if (!d->peer.verify || d->verified)
		return refuse(d, rec, "a verification was not announced, or has been done");
	mig_digest_init(&d->memory, d->peer.key);
	rc = mig_verify_hash(&v, d->ch, &d->memory, &d->verify_ns);
	if (rc != 0)
		return mig_dest_channel_failed(d, rc);
	d->verified = true;
	return 0;
}

/* Is this what the source has sent, and, if asked, what its memory holds? */
static int
prove(struct mig_dest *d, const struct wherry_record *rec)
{
	const uint8_t *p = rec->payload;
	uint64_t ns = wherry_field_u64(p, rec->len, WHERRY_DIGEST_VERIFY_NS, 0);

	if (wherry_fault("dest.prove") ||
		wherry_field_u64(p, rec->len, WHERRY_DIGEST_LOW, 0) != d->digest.low ||
		wherry_field_u64(p, rec->len, WHERRY_DIGEST_HIGH, 0) != d->digest.high ||
		wherry_field_u64(p, rec->len, WHERRY_DIGEST_PAGES, 0) != d->digest.pages)
		return mig_fail(&d->reason, -EPROTO,
			"the digest of the pages received is not that of the pages sent");
	if (d->peer.verify != d->verified)
		return mig_fail(&d->reason, -EPROTO,
			"the source announced a verification and sent none, or the reverse");
	if (d->verified &&
		(wherry_field_u64(p, rec->len, WHERRY_DIGEST_VERIFY_LOW, 0) != d->memory.low ||
			wherry_field_u64(p, rec->len, WHERRY_DIGEST_VERIFY_HIGH, 0) !=
				d->memory.high))
		return mig_fail(&d->reason, -EPROTO,
			"memory differs from the source's: a write was missed by dirty tracking");
	d->last_burst = wherry_field_u64(p, rec->len, WHERRY_DIGEST_LAST_BURST, 0);
	if (ns > d->verify_ns)
		d->verify_ns = ns;
	return mig_sections_complete(d->agent, d->sections_seen, &d->reason);
}

static int
handle(struct mig_dest *d, const struct wherry_record *rec)
{
	switch (rec->type) {
	case WHERRY_REC_PAGES:
	case WHERRY_REC_ZEROS:
	case WHERRY_REC_SKIP:
		return place_runs(d, rec);
	case WHERRY_REC_ROUND:
		return end_round(d, rec);
	case WHERRY_REC_SECTION:
		return mig_section_load(d->agent, rec, &d->sections_seen, &d->reason);
	case WHERRY_REC_VERIFY:
		return verify(d, rec);
	case WHERRY_REC_DIGEST:
		return prove(d, rec);
	default:
		return refuse(d, rec, "it has no place here");
	}
}

int
mig_dest_receive(struct mig_dest *d)
{
	struct wherry_record rec;
	bool done = false;
	int rc;

	for (bool first = true; !done; first = false) {
		rc = mig_channel_receive(d->ch, &rec);
		if (rc != 0)
			return mig_dest_channel_failed(d, rc);
		rc = first ? mig_agent_move(d->agent, WHERRY_STATE_RECEIVING) : 0;
		if (rc != 0)
			return mig_fail(&d->reason, rc, "cancelled");
		done = rec.type == WHERRY_REC_DIGEST;
		rc = handle(d, &rec);
		if (rc != 0)
			return rc;
		mig_agent_set_progress(d->agent, d->pages, 0, rec.offset + rec.len);
	}
	return 0;
}
