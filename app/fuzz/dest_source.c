/* SPDX-License-Identifier: BSD-3-Clause */
/* See dest_model.c. Every record is applied to the naive destination as soon as it is written. */
#include <string.h>

#include "dest_parts.h"

#define OUT_FULL (100u << 10) /* then no further record is begun */
#define RECORDS 40u           /* on a connection */
#define FLUSHED 1000u         /* further connections are through with any round */

const char *const dest_region_names[DEST_REGIONS] = { "arena", "heap" };

static const uint8_t *const id = (const uint8_t *)"migration number";
static const uint8_t *const id_again = (const uint8_t *)"its second life.";

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
	struct wherry_table t = out_table(out);
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
	s->greeted = source_put(s, out, WHERRY_REC_HELLO, t.len, 0) == CAME;
	mig_digest_init(&s->digest, hello.key);
	s->lanes = s->digest;
}

static void
put_round(struct source *s, struct out *out, bool final)
{
	struct wherry_table t = out_table(out);
	uint64_t used = source_goes_wrong(s, 32) ? s->channels + 1 : s->channels;
	enum came came;

	wherry_table_put_u64(&t, WHERRY_ROUND_N, 1 + fuzz_below(s->in, FLUSHED));
	wherry_table_put_u64(&t, WHERRY_ROUND_FINAL, final);
	wherry_table_put_u64(&t, WHERRY_ROUND_CHANNELS, used);
	came = source_put(s, out, WHERRY_REC_ROUND, t.len, 0);
	if (came == ALTERED)
		s->torn = false; /* they may have been told */
	if (came != CAME)
		return;
	if (used > s->channels || (final && s->torn) || (s->lane_is_lost && s->pause_ms == 0))
		source_is_broken(s);
	s->lanes_done = true;
	s->final = final;
	s->torn = false;
}

/* Before that has come, a connection lost is none that could be recovered. It waits for the further ones. */
static void
put_first_round(struct source *s, struct out *out)
{
	struct wherry_table t = out_table(out);

	wherry_table_put_u64(&t, WHERRY_ROUND_N, 1);
	wherry_table_put_u64(&t, WHERRY_ROUND_CHANNELS, s->channels);
	out->len += wherry_record_seal(out->bytes + out->len, WHERRY_REC_ROUND, out->n++, t.len);
	s->lanes_done = true;
	s->torn = false;
}

static void
put_section(struct source *s, struct out *out)
{
	struct wherry_table t = out_table(out);
	bool ours = !source_goes_wrong(s, 16), sound = !source_goes_wrong(s, 16);
	enum came came;

	wherry_table_put_text(&t, WHERRY_SECTION_NAME, ours ? "port0" : "port1");
	wherry_table_put_u64(&t, WHERRY_SECTION_VERSION, sound ? 1 : fuzz_take(s->in, 8) | 2);
	wherry_table_put_bytes(&t, WHERRY_SECTION_DATA, "abcdefgh", fuzz_below(s->in, 8));
	came = source_put(s, out, WHERRY_REC_SECTION, t.len, 0);
	if (came == LOST)
		return;
	s->section = true;
	if (came == CAME && (!ours || !sound))
		source_is_broken(s);
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
	if (source_put(s, out, WHERRY_REC_VERIFY, 0, 0) != CAME)
		return;
	if (!s->verify || s->verified)
		source_is_broken(s);
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
	struct wherry_table t = out_table(out);
	uint64_t lie = source_goes_wrong(s, 8) ? 1 + fuzz_below(s->in, 5) : 0;
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
	if (source_put(s, out, WHERRY_REC_DIGEST, t.len, 0) != CAME)
		return;
	if ((lie >= 1 && lie <= (s->verified ? 5u : 3u)) || s->verify != s->verified || !s->section)
		source_is_broken(s);
	doubt_lanes(s);
	s->phase = READY;
}

static void
put_commit(struct source *s, struct out *out)
{
	s->commit_sent = s->commit_sent || !out->closed;
	if (source_put(s, out, WHERRY_REC_COMMIT, 0, 0) != CAME)
		return;
	if (s->phase == PAGES)
		source_is_broken(s);
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
	struct wherry_table t = out_table(out);

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
	if (source_put(s, out, type, t.len, 0) == CAME && type != WHERRY_REC_PULSE)
		source_is_broken(s);
}

static void
put_record(struct source *s, struct out *out)
{
	if (s->phase != PAGES) {
		if (source_goes_wrong(s, 4))
			put_other(s, out);
		else
			put_commit(s, out);
		return;
	}
	switch (fuzz_below(s->in, 16)) {
	case 0:
		put_round(s, out, source_goes_wrong(s, 8));
		break;
	case 1:
		put_section(s, out);
		break;
	case 2:
		if (source_goes_wrong(s, 4) ||
			(s->verify && !s->verified && fuzz_below(s->in, 4) == 0))
			put_verify(s, out);
		break;
	case 3:
		if (source_goes_wrong(s, 4))
			put_other(s, out);
		break;
	default:
		source_put_some_pages(s, out);
		break;
	}
}

/* What a source says at the end, if the input lets it. */
static void
put_end(struct source *s, struct out *out)
{
	if ((s->leaves && s->phase == PAGES) || source_goes_wrong(s, 8))
		return;
	if (s->phase == PAGES) {
		put_round(s, out, true);
		if (source_goes_wrong(s, 8))
			return;
		if (s->verify && !s->verified && !source_goes_wrong(s, 8))
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

/*
 * A further connection: its pages are in the second region, a part for each, and it ends if it fails.
 * What is lost with it may be made good, or may not have been missed yet.
 */
static void
put_lane(struct source *s, unsigned int i, const uint8_t *session, struct out *out)
{
	struct wherry_run run = { .first = (i - 1) * DEST_PAGES / DEST_LANES };
	enum verdict before = s->verdict;
	struct wherry_table t;

	begin(out);
	t = out_table(out);
	wherry_table_put_bytes(&t, WHERRY_JOIN_SESSION, session, MIG_SESSION_LEN);
	wherry_table_put_u64(&t, WHERRY_JOIN_CHANNEL, i);
	out->len += wherry_record_seal(out->bytes, WHERRY_REC_JOIN, out->n++, t.len);
	for (uint64_t n = fuzz_below(s->in, 4); n > 0; n--) {
		run.count = 1 + fuzz_below(s->in, DEST_PAGES / DEST_LANES);
		if (fuzz_below(s->in, 4) == 0)
			source_put_zeros(s, out, &s->lanes, 1, &run, 1);
		else
			source_put_pages(s, out, &s->lanes, 1, &run, 1);
	}
	t = out_table(out);
	wherry_table_put_u64(&t, WHERRY_FLUSH_N, FLUSHED);
	if (source_put(s, out, WHERRY_REC_FLUSH, t.len, 0) != CAME || s->verdict != before)
		s->lane_is_lost = out->closed = true;
	s->doubtful = s->doubtful || (s->lane_is_lost && s->pause_ms != 0);
	s->verdict = s->lane_is_lost && before == RIGHT ? EITHER : before;
}

static void
put_lanes(struct source *s, const uint8_t *session)
{
	s->lane_is_lost = s->lanes_done = false;
	s->lanes.low = s->lanes.high = s->lanes.pages = 0;
	for (unsigned int i = 1; i < s->channels; i++)
		put_lane(s, i, session, &s->lane[i - 1]);
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
	if (how == 0 || how == 4)
		s->channels = 2 + (unsigned int)fuzz_below(in, DEST_LANES);
	if (how >= 1 && how <= 4)
		s->pause_ms = 30000;
	s->leaves = how == 4 && fuzz_below(in, 2) == 0;
	begin(out);
	put_hello(s, out, mem);
	put_lanes(s, id);
	if (s->greeted && s->pause_ms != 0)
		put_first_round(s, out);
	put_rest(s, out);
}

void
source_put_again(struct source *s, struct out *out)
{
	struct wherry_table t;

	if (s->channels > 1 && !s->lanes_done) /* they may not have come so far */
		memset(s->unsure[1], true, sizeof(s->unsure[1]));
	s->phase = PAGES; /* what else was said has not been read */
	s->final = s->torn = s->leaves = false;
	s->digest.low = s->digest.high = s->digest.pages = 0;
	begin(out);
	t = out_table(out);
	wherry_table_put_bytes(&t, WHERRY_RECOVER_ID, id, MIG_SESSION_LEN);
	wherry_table_put_bytes(&t, WHERRY_RECOVER_SESSION, id_again, MIG_SESSION_LEN);
	if (source_put(s, out, WHERRY_REC_RECOVER, t.len, 0) == LOST)
		source_is_broken(s); /* one try is all there is */
	put_lanes(s, id_again);
	put_rest(s, out);
}

void
source_put_late(struct source *s, unsigned int i, struct out *out)
{
	const uint64_t share = DEST_PAGES / DEST_LANES;

	begin(out);
	out->n = s->lane[i - 1].n;
	wherry_runs_put(out_payload(out), 1, 1);
	wherry_runs_put_run(out_payload(out), 0,
		(struct wherry_run){ .first = (i - 1) * share, .count = share });
	out->len = wherry_record_seal(out->bytes, WHERRY_REC_ZEROS, out->n++, wherry_runs_size(1));
}

bool
source_may_recover(const struct source *s)
{
	return s->verdict == EITHER ||
		(s->verdict == RIGHT && s->greeted && s->pause_ms != 0 && !s->final &&
			s->phase == PAGES);
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
