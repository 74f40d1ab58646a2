/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What comes on the first connection, until all is proved. Pages are place.c's business,
 * here and on the further connections (dest_lanes.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "dest_priv.h"
#include "sections_priv.h"
#include "spread_priv.h"
#include "verify_priv.h"

#define PAGE WHERRY_STREAM_PAGE
#define TORN_BYTES (16384u * MIG_TORN_ENTRY) /* in one record */

static int
refuse(struct mig_dest *d, const struct wherry_record *rec, const char *why)
{
	return mig_place_refuse(&d->reason, rec, why);
}

static int
placer_failed(struct mig_dest *d, int rc)
{
	if (rc != 0)
		d->reason = d->placer.reason;
	return rc;
}

static int
skip_run(struct mig_dest *d, uint32_t region, struct wherry_run run)
{
	const struct mig_region *r = d->map[region];
	int rc = 0;

	if (d->skip[region] == NULL)
		rc = wherry_bitmap_create(r->span, PAGE, &d->skip[region]);
	if (rc != 0)
		return mig_no_memory(&d->reason);
	wherry_bitmap_mark(d->skip[region],
		(struct wherry_span){
			.iova = r->span.iova + run.first * PAGE, .len = run.count * PAGE });
	return 0;
}

static int
skip_runs(struct mig_dest *d, const struct wherry_record *rec)
{
	struct wherry_runs runs;
	int rc = placer_failed(d, mig_place_check(&d->placer, rec));

	wherry_runs_get(rec, &runs);
	for (uint32_t i = 0; rc == 0 && i < runs.n; i++)
		rc = skip_run(d, runs.region, wherry_runs_get_run(rec, i));
	return rc;
}

static struct mig_torn *
next_torn(struct mig_dest *d)
{
	return d->placer.torn.len > 0 ? &d->placer.torn : mig_dest_lanes_torn(d->lanes);
}

/* All of the round is in its place, but for what is named, in as many records as it takes. */
static int
say_got(struct mig_dest *d, uint64_t n)
{
	struct mig_torn *from = next_torn(d);
	size_t most = from != NULL ? TORN_BYTES : 0, cap = most + 64;
	uint8_t *out = malloc(WHERRY_STREAM_HEADER + cap), *torn = malloc(most + 1);
	int rc = out == NULL || torn == NULL ? -ENOMEM : 0;

	if (rc != 0)
		mig_no_memory(&d->reason);
	do {
		struct wherry_table t = { .cap = cap };

		if (rc != 0)
			break;
		t.buf = out + WHERRY_STREAM_HEADER;
		wherry_table_put_u64(&t, WHERRY_GOT_N, n);
		if (from != NULL)
			wherry_table_put_bytes(
				&t, WHERRY_GOT_TORN, torn, mig_torn_take(from, torn, most));
		from = next_torn(d);
		if (from != NULL)
			wherry_table_put_u64(&t, WHERRY_GOT_MORE, 1);
		else
			mig_dest_lanes_thaw(d->lanes);
		rc = mig_channel_send(d->ch, WHERRY_REC_GOT, t.buf, t.len);
		if (rc != 0)
			mig_dest_channel_failed(d, rc);
	} while (from != NULL);
	free(out);
	free(torn);
	return rc;
}

/* Show what the source says of its round, and answer unless the application there waits. */
static int
end_round(struct mig_dest *d, const struct wherry_record *rec)
{
	const uint8_t *p = rec->payload;
	struct wherry_round round = {
		.n = (unsigned int)wherry_field_u64(p, rec->len, WHERRY_ROUND_N, 0),
		.final = wherry_field_u64(p, rec->len, WHERRY_ROUND_FINAL, 0) != 0,
		.iommu_dirty_pages = wherry_field_u64(p, rec->len, WHERRY_ROUND_IOMMU_PAGES, 0),
		.cpu_dirty_pages = wherry_field_u64(p, rec->len, WHERRY_ROUND_CPU_PAGES, 0),
		.pages = wherry_field_u64(p, rec->len, WHERRY_ROUND_PAGES, 0),
		.zero_pages = wherry_field_u64(p, rec->len, WHERRY_ROUND_ZERO_PAGES, 0),
		.same_pages = wherry_field_u64(p, rec->len, WHERRY_ROUND_SAME_PAGES, 0),
		.bytes = d->bytes_before + rec->offset - d->bytes,
	};
	int rc = mig_dest_lanes_await(d->lanes, round.n,
		wherry_field_u64(p, rec->len, WHERRY_ROUND_CHANNELS, 1), d->ch, &d->reason);

	if (rc != 0)
		return rc;
	d->bytes = d->bytes_before + rec->offset;
	mig_agent_set_round(d->agent, &round);
	d->final_seen = round.final;
	if (!round.final)
		return say_got(d, wherry_field_u64(p, rec->len, WHERRY_ROUND_N, 0));
	return next_torn(d) == NULL
		? 0
		: refuse(d, rec, "the application stands still, and pages are not those sent");
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
	struct mig_digest got = d->placer.digest;
	int rc = mig_dest_lanes_freeze(d->lanes, &d->reason);

	if (rc != 0)
		return rc;
	mig_dest_lanes_digest(d->lanes, &got);
	if (wherry_fault("dest.prove") ||
		wherry_field_u64(p, rec->len, WHERRY_DIGEST_LOW, 0) != got.low ||
		wherry_field_u64(p, rec->len, WHERRY_DIGEST_HIGH, 0) != got.high ||
		wherry_field_u64(p, rec->len, WHERRY_DIGEST_PAGES, 0) != got.pages)
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
		return placer_failed(d, mig_place(&d->placer, d->ch, rec));
	case WHERRY_REC_SKIP:
		return skip_runs(d, rec);
	case WHERRY_REC_ROUND:
		return end_round(d, rec);
	case WHERRY_REC_WANT:
		return mig_dest_have(d, rec);
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

static int
receive_all(struct mig_dest *d)
{
	struct wherry_record rec;
	bool done = false;
	int rc;

	for (bool first = true; !done; first = false) {
		rc = mig_channel_receive(d->ch, &rec);
		if (rc != 0)
			return mig_dest_channel_failed(d, rc);
		rc = first ? mig_agent_unpause(d->agent, WHERRY_STATE_RECEIVING) : 0;
		if (rc != 0)
			return mig_fail(&d->reason, rc, "cancelled");
		done = rec.type == WHERRY_REC_DIGEST;
		d->bytes_now = rec.offset + rec.len;
		rc = handle(d, &rec);
		if (rc != 0)
			return rc;
		rc = done ? 0 : mig_channel_pulse(d->ch);
		if (rc != 0)
			return mig_dest_channel_failed(d, rc);
		mig_agent_set_progress(d->agent, d->placer.pages + mig_dest_lanes_pages(d->lanes),
			0, d->bytes_before + d->bytes_now);
	}
	return 0;
}

/* A lane's failure ends what this thread waited for; the source may have said why. */
int
mig_dest_receive(struct mig_dest *d)
{
	int rc, words;

	mig_spread(0);
	rc = receive_all(d);
	if (rc == 0 || mig_dest_lanes_failed(d->lanes, &d->reason) == 0)
		return rc;
	rc = mig_dest_lanes_failed(d->lanes, &d->reason);
	words = rc == -ECONNRESET ? mig_channel_last_words(d->ch) : 0;
	return words != 0 ? mig_dest_channel_failed(d, words) : rc;
}
