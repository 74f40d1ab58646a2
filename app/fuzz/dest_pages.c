/* SPDX-License-Identifier: BSD-3-Clause */
/* Records of pages, and what the memory of the naive destination is then. */
#include <string.h>

#include "dest_parts.h"
#include "pack_priv.h"

static void
set_page(struct source *s, uint32_t region, uint64_t page, const uint8_t *bytes)
{
	memcpy(s->mem[region] + page * DEST_PAGE, bytes, DEST_PAGE);
	s->unsure[region][page] = false;
}

static uint64_t
count(const struct wherry_run *runs, uint32_t n)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < n; i++)
		pages += runs[i].count;
	return pages;
}

/* Apart or touching, in the region but now and then. */
static uint32_t
make_runs(struct source *s, struct wherry_run *runs)
{
	uint32_t n = 1 + (uint32_t)fuzz_below(s->in, 3);
	uint64_t at = fuzz_below(s->in, 3);

	for (uint32_t i = 0; i < n; i++) {
		runs[i] = (struct wherry_run){ .first = at, .count = 1 + fuzz_below(s->in, 2) };
		at += runs[i].count + fuzz_below(s->in, 2);
	}
	if (source_goes_wrong(s, 64))
		runs[n - 1].first += fuzz_take(s->in, 6);
	return n;
}

static bool
are_inside(const struct wherry_run *runs, uint32_t n)
{
	return runs[n - 1].first + runs[n - 1].count <= DEST_PAGES;
}

static void
put_runs(struct out *out, uint32_t region, const struct wherry_run *runs, uint32_t n)
{
	wherry_runs_put(out_payload(out), region, n);
	for (uint32_t i = 0; i < n; i++)
		wherry_runs_put_run(out_payload(out), i, runs[i]);
}

/* Pages that are all alike but for a byte. */
static void
make_bytes(struct source *s, uint8_t *to, uint64_t pages)
{
	memset(to, (int)fuzz_below(s->in, 4), pages * DEST_PAGE);
	for (uint64_t i = 0; i < pages; i++)
		to[i * DEST_PAGE + fuzz_take(s->in, 2) % DEST_PAGE] = (uint8_t)fuzz_take(s->in, 1);
}

/* Count them in, and if the record came, put them where they belong. */
static void
apply_pages(struct source *s, struct mig_digest *d, uint32_t region, const struct wherry_run *runs,
	uint32_t n, const uint8_t *bytes)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint64_t k = 0; k < runs[i].count; k++, bytes += DEST_PAGE) {
			mig_digest_add(d, region, runs[i].first + k, bytes);
			set_page(s, region, runs[i].first + k, bytes);
		}
}

static void
doubt_pages(struct source *s, uint32_t region, const struct wherry_run *runs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint64_t k = 0; k < runs[i].count; k++)
			s->unsure[region][runs[i].first + k] = true;
}

/* What the batch says of itself is a lie now and then. */
static bool
put_tail(struct source *s, struct out *out, uint32_t region, const struct wherry_run *runs,
	uint32_t n, struct wherry_batch *batch, const uint8_t *bytes)
{
	struct mig_digest sum = s->digest;
	bool lies = source_goes_wrong(s, 24);

	sum.low = sum.high = 0;
	for (uint32_t i = 0; i < n; i++)
		for (uint64_t k = 0; k < runs[i].count; k++, bytes += DEST_PAGE)
			mig_digest_add(&sum, region, runs[i].first + k, bytes);
	batch->low = sum.low + lies;
	batch->high = sum.high;
	wherry_batch_put(out_payload(out), n, batch);
	return lies;
}

static size_t
put_body(
	struct source *s, uint8_t *to, struct wherry_batch *batch, const uint8_t *bytes, size_t len)
{
	static struct mig_pack *pack;
	size_t shorter = 0;

	batch->encoding = (enum wherry_encoding)fuzz_below(s->in, 3);
	if (batch->encoding == WHERRY_ENCODING_ZSTD &&
		(pack != NULL || mig_pack_create(&pack) == 0))
		shorter = mig_pack(pack, to, bytes, len);
	if (shorter > 0)
		return shorter;
	if (batch->encoding == WHERRY_ENCODING_ZSTD)
		batch->encoding = WHERRY_ENCODING_RAW;
	memcpy(to, bytes, len);
	return len;
}

/* With pages that are not there it is refused as soon as its head has come; cut before, it is lost. */
static enum came
put_inside(struct source *s, struct out *out, enum wherry_record_type type, size_t head,
	size_t body, bool inside)
{
	size_t before = out->len;
	enum came came = source_put(s, out, type, head + body, body);

	if (!inside && came != ALTERED && out->len - before >= WHERRY_STREAM_HEADER + head)
		source_is_broken(s);
	return inside ? came : LOST;
}

/* Into the digest of this connection. */
void
source_put_pages(struct source *s, struct out *out, struct mig_digest *d, uint32_t region,
	const struct wherry_run *runs, uint32_t n)
{
	static uint8_t bytes[6 * DEST_PAGE];
	struct wherry_batch batch;
	uint64_t pages = count(runs, n);
	bool inside = are_inside(runs, n) && region < DEST_REGIONS, lies;
	size_t head = wherry_batch_size(n), body;

	put_runs(out, region, runs, n);
	make_bytes(s, bytes, pages);
	body = put_body(s, out_payload(out) + head, &batch, bytes, pages * DEST_PAGE);
	lies = put_tail(s, out, region, runs, n, &batch, bytes);
	if (put_inside(s, out, WHERRY_REC_PAGES, head, body, inside) != CAME) {
		if (inside)
			doubt_pages(s, region, runs, n);
		return;
	}
	apply_pages(s, d, region, runs, n, bytes);
	s->torn = s->torn || lies;
	if (lies && batch.encoding != WHERRY_ENCODING_LIVE)
		source_is_broken(s);
}

void
source_put_zeros(struct source *s, struct out *out, struct mig_digest *d, uint32_t region,
	const struct wherry_run *runs, uint32_t n)
{
	static const uint8_t zeroes[6 * DEST_PAGE];
	bool inside = are_inside(runs, n) && region < DEST_REGIONS;

	put_runs(out, region, runs, n);
	if (put_inside(s, out, WHERRY_REC_ZEROS, wherry_runs_size(n), 0, inside) == CAME)
		apply_pages(s, d, region, runs, n, zeroes);
}

/* Pages that are not verified, or asked about. */
static void
put_named(struct source *s, struct out *out, enum wherry_record_type type, uint32_t region,
	const struct wherry_run *runs, uint32_t n)
{
	bool inside = are_inside(runs, n) && region < DEST_REGIONS;

	put_runs(out, region, runs, n);
	if (put_inside(s, out, type, wherry_runs_size(n), 0, inside) == CAME &&
		type == WHERRY_REC_SKIP)
		for (uint32_t i = 0; i < n; i++)
			memset(&s->skip[region][runs[i].first], true, runs[i].count);
}

void
source_put_some_pages(struct source *s, struct out *out)
{
	struct wherry_run runs[3] = { { .count = 0 } };
	uint32_t n = make_runs(s, runs), region = (uint32_t)fuzz_below(s->in, DEST_REGIONS);

	if (s->channels > 1)
		region = 0; /* the other is theirs */
	if (source_goes_wrong(s, 64))
		region = (uint32_t)fuzz_take(s->in, 4) | DEST_REGIONS;
	switch (fuzz_below(s->in, 8)) {
	case 0:
	case 1:
		source_put_zeros(s, out, &s->digest, region, runs, n);
		break;
	case 2:
		put_named(s, out, WHERRY_REC_SKIP, region, runs, n);
		break;
	case 3:
		put_named(s, out, WHERRY_REC_WANT, region, runs, n);
		break;
	default:
		source_put_pages(s, out, &s->digest, region, runs, n);
		break;
	}
}
