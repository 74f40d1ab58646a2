/* SPDX-License-Identifier: BSD-3-Clause */
/* See dest_model.c. Every record is applied to the naive destination as soon as it is written. */
#include <string.h>

#include "dest_source.h"
#include "pack_priv.h"

#define OUT_FULL (100u << 10) /* then no further record is begun */
#define RECORDS 40u           /* on a connection */
#define FLUSHED 1000u         /* further connections are through with any round */

const char *const dest_region_names[DEST_REGIONS] = { "arena", "heap" };

static const uint8_t *const id = (const uint8_t *)"migration number";
static const uint8_t *const id_again = (const uint8_t *)"its second life.";

/* What comes after COMMIT changes nothing. */
static void
is_broken(struct source *s)
{
	if (s->phase != THROUGH)
		s->verdict = BROKEN;
}

/* Does something go wrong here, as it does once in so often, while the input's supply lasts? */
static bool
goes_wrong(struct source *s, uint64_t often)
{
	bool wrong = s->harm > 0 && fuzz_below(s->in, often) == 1;

	s->harm -= wrong;
	return wrong;
}

static uint8_t *
payload(struct out *out)
{
	return out->bytes + out->len + WHERRY_STREAM_HEADER;
}

static struct wherry_table
table(struct out *out)
{
	return (struct wherry_table){ .buf = payload(out), .cap = 8192 };
}

/*
 * Seal the record whose payload stands there, of which the last body bytes are the batch's; before
 * or after, some go wrong. True: the whole of it came, as it was meant.
 */
static bool
put(struct source *s, struct out *out, enum wherry_record_type type, size_t len, size_t body)
{
	uint64_t how = goes_wrong(s, 24) ? 1 + fuzz_below(s->in, 3) : 0;
	uint8_t *at = out->bytes + out->len;
	uint8_t flip = (uint8_t)(how == 1 || how == 2 ? 1u << fuzz_below(s->in, 8) : 0);
	bool seals = how == 1 && len > body && s->channels == 1 && s->greeted;
	size_t whole;

	if (out->closed)
		return false;
	if (seals)
		at[WHERRY_STREAM_HEADER + fuzz_below(s->in, len - body)] ^= flip;
	if (seals && s->verdict == RIGHT && s->phase != THROUGH)
		s->verdict = EITHER;
	whole = wherry_record_seal(at, type, out->n++, len);
	if (how == 2) {
		at[fuzz_below(s->in, whole - body)] ^= flip;
		is_broken(s);
	}
	if (how == 3) {
		whole -= 1 + fuzz_below(s->in, whole - 1);
		out->closed = true;
	}
	out->len += whole;
	return !seals && how != 2 && how != 3;
}

/* ---- pages, and what the destination's memory is then ---- */

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
	if (goes_wrong(s, 64))
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
	wherry_runs_put(payload(out), region, n);
	for (uint32_t i = 0; i < n; i++)
		wherry_runs_put_run(payload(out), i, runs[i]);
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
	bool lies = goes_wrong(s, 24);

	sum.low = sum.high = 0;
	for (uint32_t i = 0; i < n; i++)
		for (uint64_t k = 0; k < runs[i].count; k++, bytes += DEST_PAGE)
			mig_digest_add(&sum, region, runs[i].first + k, bytes);
	batch->low = sum.low + lies;
	batch->high = sum.high;
	wherry_batch_put(payload(out), n, batch);
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

/* Into the digest of this connection. */
static void
put_pages(struct source *s, struct out *out, struct mig_digest *d, uint32_t region,
	const struct wherry_run *runs, uint32_t n)
{
	static uint8_t bytes[6 * DEST_PAGE];
	struct wherry_batch batch;
	uint64_t pages = count(runs, n);
	bool inside = are_inside(runs, n) && region < DEST_REGIONS, lies;
	size_t head = wherry_batch_size(n), body;

	put_runs(out, region, runs, n);
	make_bytes(s, bytes, pages);
	body = put_body(s, payload(out) + head, &batch, bytes, pages * DEST_PAGE);
	lies = put_tail(s, out, region, runs, n, &batch, bytes);
	if (!inside || (lies && batch.encoding != WHERRY_ENCODING_LIVE))
		is_broken(s);
	if (!put(s, out, WHERRY_REC_PAGES, head + body, body)) {
		if (inside)
			doubt_pages(s, region, runs, n);
	} else if (inside) {
		apply_pages(s, d, region, runs, n, bytes);
		s->torn = s->torn || lies;
	}
}

static void
put_zeros(struct source *s, struct out *out, struct mig_digest *d, uint32_t region,
	const struct wherry_run *runs, uint32_t n)
{
	static const uint8_t zeroes[6 * DEST_PAGE];

	bool inside = are_inside(runs, n) && region < DEST_REGIONS;

	put_runs(out, region, runs, n);
	if (!inside)
		is_broken(s);
	if (put(s, out, WHERRY_REC_ZEROS, wherry_runs_size(n), 0) && inside)
		apply_pages(s, d, region, runs, n, zeroes);
}

/* Pages that are not verified, or asked about. */
static void
put_named(struct source *s, struct out *out, enum wherry_record_type type, uint32_t region,
	const struct wherry_run *runs, uint32_t n)
{
	bool inside = are_inside(runs, n) && region < DEST_REGIONS;

	put_runs(out, region, runs, n);
	if (!inside)
		is_broken(s);
	if (put(s, out, type, wherry_runs_size(n), 0) && inside && type == WHERRY_REC_SKIP)
		for (uint32_t i = 0; i < n; i++)
			memset(&s->skip[region][runs[i].first], true, runs[i].count);
}

static void
put_some_pages(struct source *s, struct out *out)
{
	struct wherry_run runs[3] = { { .count = 0 } };
	uint32_t n = make_runs(s, runs), region = (uint32_t)fuzz_below(s->in, DEST_REGIONS);

	if (s->channels > 1)
		region = 0; /* the other is theirs */
	if (goes_wrong(s, 64))
		region = (uint32_t)fuzz_take(s->in, 4) | DEST_REGIONS;
	switch (fuzz_below(s->in, 8)) {
	case 0:
	case 1:
		put_zeros(s, out, &s->digest, region, runs, n);
		break;
	case 2:
		put_named(s, out, WHERRY_REC_SKIP, region, runs, n);
		break;
	case 3:
		put_named(s, out, WHERRY_REC_WANT, region, runs, n);
		break;
	default:
		put_pages(s, out, &s->digest, region, runs, n);
		break;
	}
}

/* ---- the other records ---- */

static void
put_hello(struct source *s, struct out *out, const uint8_t *const *mem)
{
	struct mig_region list[DEST_REGIONS];
	struct mig_regions regions = { .list = list, .n = DEST_REGIONS };
	struct mig_hello hello = { .name = "peer",
		.version = "0",
		.has_key = true,
		.verify = s->verify,
		.timeout_ms = 20000,
		.channels = s->channels,
		.has_session = true,
		.pause_ms = s->pause_ms };
	struct wherry_table t = table(out);
	size_t mark;

	for (unsigned int i = 0; i < DEST_REGIONS; i++) {
		unsigned int k = s->swapped ? DEST_REGIONS - 1 - i : i;

		list[i] = (struct mig_region){ .name = dest_region_names[k],
			.span = { .iova = (uint64_t)(uintptr_t)mem[k], .len = DEST_BYTES },
			.page = DEST_PAGE };
	}
	memcpy(hello.session, id, sizeof(hello.session));
	mig_hello_put(&t, &hello, &regions);
	mark = wherry_table_open(&t, WHERRY_HELLO_SECTION);
	wherry_table_put_text(&t, WHERRY_SECTION_NAME, "port0");
	wherry_table_put_u64(&t, WHERRY_SECTION_VERSION, 1);
	wherry_table_put_bytes(&t, WHERRY_SECTION_DATA, "", 0);
	wherry_table_close(&t, mark);
	s->greeted = put(s, out, WHERRY_REC_HELLO, t.len, 0);
	mig_digest_init(&s->digest, hello.key);
	s->lanes = s->digest;
}

static void
put_round(struct source *s, struct out *out, bool final)
{
	struct wherry_table t = table(out);
	uint64_t used = goes_wrong(s, 32) ? s->channels + 1 : s->channels;

	wherry_table_put_u64(&t, WHERRY_ROUND_N, 1 + fuzz_below(s->in, FLUSHED));
	wherry_table_put_u64(&t, WHERRY_ROUND_FINAL, final);
	wherry_table_put_u64(&t, WHERRY_ROUND_CHANNELS, used);
	if (!put(s, out, WHERRY_REC_ROUND, t.len, 0))
		return;
	if (used > s->channels || (final && s->torn) || s->lane_is_lost)
		is_broken(s);
	s->lanes_done = true;
	s->final = final;
	s->torn = false;
}

/* Before that has come, a connection lost is none that could be recovered. */
static void
put_first_round(struct out *out)
{
	struct wherry_table t = table(out);

	wherry_table_put_u64(&t, WHERRY_ROUND_N, 1);
	out->len += wherry_record_seal(out->bytes + out->len, WHERRY_REC_ROUND, out->n++, t.len);
}

static void
put_section(struct source *s, struct out *out)
{
	struct wherry_table t = table(out);
	bool ours = !goes_wrong(s, 16), sound = !goes_wrong(s, 16);

	wherry_table_put_text(&t, WHERRY_SECTION_NAME, ours ? "port0" : "port1");
	wherry_table_put_u64(&t, WHERRY_SECTION_VERSION, sound ? 1 : fuzz_take(s->in, 8) | 2);
	wherry_table_put_bytes(&t, WHERRY_SECTION_DATA, "abcdefgh", fuzz_below(s->in, 8));
	if (!put(s, out, WHERRY_REC_SECTION, t.len, 0))
		return;
	s->section = true;
	if (!ours || !sound)
		is_broken(s);
}

/* No round has waited for them: they may not have come yet. */
static void
doubt_lanes(struct source *s)
{
	if (s->channels > 1 && !s->lanes_done && s->verdict == RIGHT)
		s->verdict = EITHER;
}

static void
put_verify(struct source *s, struct out *out)
{
	if (!put(s, out, WHERRY_REC_VERIFY, 0, 0))
		return;
	if (!s->verify || s->verified)
		is_broken(s);
	doubt_lanes(s);
	s->verified = true;
	s->memory = s->digest;
	s->memory.low = s->memory.high = 0;
	for (uint32_t i = 0; i < DEST_REGIONS; i++)
		for (uint64_t page = 0; page < DEST_PAGES; page++) {
			if (s->skip[i][page])
				continue;
			if (s->unsure[i][page] && s->verdict == RIGHT)
				s->verdict = EITHER;
			mig_digest_add(&s->memory, i, page, s->mem[i] + page * DEST_PAGE);
		}
}

static void
put_digest(struct source *s, struct out *out)
{
	struct wherry_table t = table(out);
	uint64_t lie = goes_wrong(s, 8) ? 1 + fuzz_below(s->in, 5) : 0;
	struct mig_digest all = s->digest;

	if (s->channels > 1)
		mig_digest_merge(&all, &s->lanes);
	wherry_table_put_u64(&t, WHERRY_DIGEST_LOW, all.low + (lie == 1));
	wherry_table_put_u64(&t, WHERRY_DIGEST_HIGH, all.high + (lie == 2));
	wherry_table_put_u64(&t, WHERRY_DIGEST_PAGES, all.pages + (lie == 3));
	wherry_table_put_u64(&t, WHERRY_DIGEST_LAST_BURST, fuzz_take(s->in, 8));
	if (s->verified) {
		wherry_table_put_u64(&t, WHERRY_DIGEST_VERIFY_LOW, s->memory.low + (lie == 4));
		wherry_table_put_u64(&t, WHERRY_DIGEST_VERIFY_HIGH, s->memory.high + (lie == 5));
	}
	if (!put(s, out, WHERRY_REC_DIGEST, t.len, 0))
		return;
	if ((lie >= 1 && lie <= (s->verified ? 5u : 3u)) || s->verify != s->verified || !s->section)
		is_broken(s);
	doubt_lanes(s);
	s->phase = READY;
}

static void
put_commit(struct source *s, struct out *out)
{
	s->commit_sent = true;
	if (!put(s, out, WHERRY_REC_COMMIT, 0, 0))
		return;
	if (s->phase == PAGES)
		is_broken(s);
	else
		s->phase = THROUGH;
}

/* Of a form that is sound; it has a place in this phase, or none. */
static void
put_other(struct source *s, struct out *out)
{
	static const enum wherry_record_type types[] = { WHERRY_REC_FRAME, WHERRY_REC_PULSE,
		WHERRY_REC_READY, WHERRY_REC_JOIN, WHERRY_REC_FLUSH, WHERRY_REC_RECOVER,
		WHERRY_REC_HAVE, WHERRY_REC_RUNNING, WHERRY_REC_GOT, WHERRY_REC_ABORT };
	enum wherry_record_type type = types[fuzz_below(s->in, sizeof(types) / sizeof(types[0]))];
	struct wherry_table t = table(out);

	if (type == WHERRY_REC_JOIN || type == WHERRY_REC_RECOVER || type == WHERRY_REC_HAVE)
		wherry_table_put_bytes(&t, 1, id, MIG_SESSION_LEN);
	else if (type != WHERRY_REC_PULSE && type != WHERRY_REC_READY)
		wherry_table_put_u64(&t, 1, fuzz_take(s->in, 2));
	if (type == WHERRY_REC_ABORT)
		wherry_table_put_text(&t, WHERRY_ABORT_REASON, "enough");
	if (type == WHERRY_REC_JOIN || type == WHERRY_REC_FRAME)
		wherry_table_put_u64(&t, 2, fuzz_take(s->in, 2));
	if (type == WHERRY_REC_FRAME)
		wherry_table_put_bytes(&t, WHERRY_FRAME_BYTES, id, fuzz_below(s->in, 17));
	if (put(s, out, type, t.len, 0) && type != WHERRY_REC_PULSE && s->phase != THROUGH)
		is_broken(s);
}

static void
put_record(struct source *s, struct out *out)
{
	if (s->phase != PAGES) {
		if (goes_wrong(s, 4))
			put_other(s, out);
		else
			put_commit(s, out);
		return;
	}
	switch (fuzz_below(s->in, 16)) {
	case 0:
		put_round(s, out, goes_wrong(s, 8));
		break;
	case 1:
		put_section(s, out);
		break;
	case 2:
		if (goes_wrong(s, 4) || (s->verify && !s->verified && fuzz_below(s->in, 4) == 0))
			put_verify(s, out);
		break;
	case 3:
		if (goes_wrong(s, 4))
			put_other(s, out);
		break;
	default:
		put_some_pages(s, out);
		break;
	}
}

/* What a source says at the end, if the input lets it. */
static void
put_end(struct source *s, struct out *out)
{
	if (goes_wrong(s, 8))
		return;
	if (s->phase == PAGES) {
		put_round(s, out, true);
		if (goes_wrong(s, 8))
			return;
		if (s->verify && !s->verified && !goes_wrong(s, 8))
			put_verify(s, out);
		put_section(s, out);
		put_digest(s, out);
	}
	if (s->phase == READY)
		put_commit(s, out);
}

static void
put_rest(struct source *s, struct out *out)
{
	for (unsigned int i = 0; i < RECORDS && fuzz_more(s->in) && !out->closed; i++) {
		if (s->phase == THROUGH || out->len > OUT_FULL || fuzz_below(s->in, 32) == 1)
			break;
		put_record(s, out);
	}
	put_end(s, out);
	for (uint64_t n = fuzz_below(s->in, 4); s->phase == THROUGH && n > 0; n--)
		put_other(s, out);
}

static void
begin(struct out *out)
{
	out->len = 0;
	out->n = 0;
	out->closed = false;
}

/* A further connection: its pages are in the second region, a part for each, and it ends if it fails. */
static void
put_lane(struct source *s, unsigned int i, struct out *out)
{
	struct wherry_run run = { .first = (i - 1) * DEST_PAGES / DEST_LANES };
	enum verdict before = s->verdict;
	struct wherry_table t;

	begin(out);
	t = table(out);
	wherry_table_put_bytes(&t, WHERRY_JOIN_SESSION, id, MIG_SESSION_LEN);
	wherry_table_put_u64(&t, WHERRY_JOIN_CHANNEL, i);
	out->len += wherry_record_seal(out->bytes, WHERRY_REC_JOIN, out->n++, t.len);
	for (uint64_t n = fuzz_below(s->in, 4); n > 0; n--) {
		run.count = 1 + fuzz_below(s->in, DEST_PAGES / DEST_LANES);
		if (fuzz_below(s->in, 4) == 0)
			put_zeros(s, out, &s->lanes, 1, &run, 1);
		else
			put_pages(s, out, &s->lanes, 1, &run, 1);
	}
	t = table(out);
	wherry_table_put_u64(&t, WHERRY_FLUSH_N, FLUSHED);
	if (!put(s, out, WHERRY_REC_FLUSH, t.len, 0) || s->verdict != before)
		s->lane_is_lost = out->closed = true;
	s->verdict = s->lane_is_lost && before == RIGHT ? EITHER : before;
}

void
source_put_all(struct source *s, struct fuzz_input *in, const uint8_t *const *mem, struct out *out)
{
	uint64_t how = fuzz_below(in, 8);

	*s = (struct source){ .in = in, .channels = 1 };
	memset(s->mem, DEST_FILL, sizeof(s->mem));
	s->verify = fuzz_below(in, 2) == 0;
	s->swapped = fuzz_below(in, 2) == 0;
	s->harm = (unsigned int)fuzz_below(in, 4);
	if (how == 0)
		s->channels = 2 + (unsigned int)fuzz_below(in, DEST_LANES);
	else if (how < 4)
		s->pause_ms = 30000; /* they cannot both be had: nobody could connect then */
	begin(out);
	put_hello(s, out, mem);
	if (s->greeted && s->pause_ms != 0)
		put_first_round(out);
	for (unsigned int i = 1; i < s->channels; i++)
		put_lane(s, i, &s->lane[i - 1]);
	put_rest(s, out);
}

void
source_put_again(struct source *s, struct out *out)
{
	struct wherry_table t;

	s->torn = false;
	s->digest.low = s->digest.high = s->digest.pages = 0;
	begin(out);
	t = table(out);
	wherry_table_put_bytes(&t, WHERRY_RECOVER_ID, id, MIG_SESSION_LEN);
	wherry_table_put_bytes(&t, WHERRY_RECOVER_SESSION, id_again, MIG_SESSION_LEN);
	if (!put(s, out, WHERRY_REC_RECOVER, t.len, 0))
		is_broken(s); /* one try is all there is */
	put_rest(s, out);
}

bool
source_may_recover(const struct source *s)
{
	return s->greeted && s->pause_ms != 0 && !s->final && s->phase == PAGES;
}

bool
source_is_through(const struct source *s)
{
	return s->phase == THROUGH;
}

bool
source_has(const struct source *s, unsigned int i, const uint8_t *mem)
{
	uint32_t number = s->swapped ? DEST_REGIONS - 1 - i : i;

	if (s->verdict == EITHER)
		return true;
	for (uint64_t page = 0; page < DEST_PAGES; page++)
		if (!s->unsure[number][page] &&
			memcmp(mem + page * DEST_PAGE, s->mem[number] + page * DEST_PAGE,
				DEST_PAGE) != 0)
			return false;
	return true;
}
