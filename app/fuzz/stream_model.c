/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The decoder against records that are right, almost right, or nothing at all. The
 * input is a row of records: each is written as its form wants it, then perhaps one
 * byte of the payload is changed, or its end cut off, before the header is sealed, so
 * that checksums do not stop the fuzzer at the door; or the sealed record is damaged.
 *
 * The stream is then decoded in large pieces and in small ones, with the same result,
 * and what comes out is held against the forms below, which say again what records.c
 * says. Payloads are read from a copy that is exactly as long, so that reading behind
 * it shows.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "models.h"
#include "wherry_stream.h"

#define STREAM_MAX (256u << 10)

/*
 * The fields of a control record, one letter each, the first is field 1: n number, t
 * text, b bytes, r and s tables in hello, any number of them; capitals must be there;
 * a blank is no field.
 */
static const char *const forms[] = {
	[WHERRY_REC_HELLO] = "NTTNtbnnrsttn                  nb      b       n",
	[WHERRY_REC_ROUND] = "Nnnnnnnnn",
	[WHERRY_REC_GOT] = "Nbn",
	[WHERRY_REC_SECTION] = "TNB",
	[WHERRY_REC_VERIFY] = "",
	[WHERRY_REC_DIGEST] = "NNNNnnn",
	[WHERRY_REC_READY] = "n",
	[WHERRY_REC_COMMIT] = "",
	[WHERRY_REC_RUNNING] = "Nnn",
	[WHERRY_REC_ABORT] = "NT",
	[WHERRY_REC_PULSE] = "",
	[WHERRY_REC_FRAME] = "NNB",
	[WHERRY_REC_JOIN] = "BN",
	[WHERRY_REC_FLUSH] = "N",
	[WHERRY_REC_RECOVER] = "Bb",
	[WHERRY_REC_HAVE] = "B",
};

static const char *
form_of_inner(char letter)
{
	return letter == 'r' ? "TNNN" : "TNB";
}

struct stream {
	uint8_t bytes[STREAM_MAX];
	size_t len;
	uint64_t n; /* records with a header */
};

/* What a decoder made of a stream. */
struct verdict {
	uint64_t records, sum;
	int end;
	struct wherry_stream_error error;
};

/* Seal what stands at the end of the stream; before or after, some of it goes wrong. */
static void
put(struct fuzz_input *in, struct stream *s, unsigned int type, size_t len)
{
	uint8_t *at = s->bytes + s->len;
	unsigned int how = (unsigned int)fuzz_below(in, 32);
	size_t whole;

	if (how == 1 && len > 0)
		at[WHERRY_STREAM_HEADER + fuzz_below(in, len)] ^= (uint8_t)fuzz_take(in, 1);
	if (how == 2)
		len -= fuzz_below(in, len + 1);
	if (how == 3)
		len += fuzz_below(in, 16);
	whole = wherry_record_seal(at, (enum wherry_record_type)type, s->n++, len);
	if (how == 4)
		at[fuzz_below(in, whole)] ^= (uint8_t)fuzz_take(in, 1);
	if (how == 5)
		whole -= fuzz_below(in, whole);
	s->len += whole;
}

static void
put_field(struct fuzz_input *in, struct wherry_table *t, unsigned int id, char letter)
{
	static const char text[] = "ab\xc3\xa4\xe2\x82\xac\x80";

	switch (letter | 0x20) {
	case 'n':
		/* mostly the format that is spoken */
		wherry_table_put_u64(
			t, id, fuzz_below(in, 8) == 0 ? fuzz_take(in, 8) : WHERRY_STREAM_FORMAT);
		break;
	case 't':
		wherry_table_put_text(t, id, text + fuzz_below(in, sizeof(text)));
		break;
	default:
		wherry_table_put_bytes(t, id, text, fuzz_below(in, sizeof(text)));
		break;
	}
}

static void
put_fields(struct fuzz_input *in, struct wherry_table *t, const char *form)
{
	for (unsigned int id = 1; form[id - 1] != '\0'; id++) {
		char letter = form[id - 1];

		if (letter == ' ' || (letter > 'Z' && fuzz_below(in, 2) == 0))
			continue;
		if (letter == 'r' || letter == 's') {
			size_t mark = wherry_table_open(t, id);

			put_fields(in, t, form_of_inner(letter));
			wherry_table_close(t, mark);
		} else {
			put_field(in, t, id, letter);
		}
	}
	if (fuzz_below(in, 16) == 0) /* twice, or unknown */
		put_field(in, t, 1 + (unsigned int)fuzz_below(in, 50), 'n');
}

static void
put_table(struct fuzz_input *in, struct stream *s, unsigned int type)
{
	struct wherry_table t = { .buf = s->bytes + s->len + WHERRY_STREAM_HEADER, .cap = 4096 };

	put_fields(in, &t, forms[type]);
	put(in, s, type, t.len);
}

/* Runs that ascend but now and then; the bytes of pages are whatever was there. */
static void
put_runs(struct fuzz_input *in, struct stream *s, unsigned int type)
{
	uint8_t *payload = s->bytes + s->len + WHERRY_STREAM_HEADER;
	uint32_t n = 1 + (uint32_t)fuzz_below(in, 4);
	struct wherry_run run = { .first = fuzz_below(in, 8) == 0 ? fuzz_take(in, 7) : 0 };
	struct wherry_batch batch = { .low = 1, .high = 2 };
	uint64_t pages = 0;

	wherry_runs_put(payload, (uint32_t)fuzz_take(in, 1), n);
	for (uint32_t i = 0; i < n; i++) {
		run.first += fuzz_below(in, 16) == 0 ? UINT64_MAX : fuzz_below(in, 5);
		run.count = fuzz_below(in, 32) == 0 ? fuzz_take(in, 8) : 1 + fuzz_below(in, 2);
		wherry_runs_put_run(payload, i, run);
		run.first += run.count;
		pages += run.count;
	}
	if (type != WHERRY_REC_PAGES) {
		put(in, s, type, wherry_runs_size(n));
		return;
	}
	batch.encoding = (enum wherry_encoding)fuzz_below(in, 4);
	wherry_batch_put(payload, n, &batch);
	pages = pages > 8 ? 0 : pages * WHERRY_STREAM_PAGE;
	if (batch.encoding == WHERRY_ENCODING_ZSTD)
		pages = fuzz_below(in, pages + 1);
	put(in, s, type, wherry_batch_size(n) + pages);
}

static void
put_record(struct fuzz_input *in, struct stream *s)
{
	static const unsigned int after[] = { WHERRY_REC_JOIN, WHERRY_REC_FLUSH, WHERRY_REC_RECOVER,
		WHERRY_REC_WANT, WHERRY_REC_HAVE };
	unsigned int type = 1 + (unsigned int)fuzz_below(in, WHERRY_REC_PULSE + 5);

	if (type > WHERRY_REC_PULSE)
		type = after[type - WHERRY_REC_PULSE - 1];
	if (forms[type] != NULL)
		put_table(in, s, type);
	else
		put_runs(in, s, type);
}

static void
check_runs(struct fuzz_input *in, const struct wherry_record *rec)
{
	unsigned __int128 behind = 0;
	struct wherry_runs runs;

	wherry_runs_get(rec, &runs);
	FUZZ_EXPECT(in, runs.n >= 1 && runs.n <= WHERRY_STREAM_RUNS_MAX);
	FUZZ_EXPECT(in, wherry_runs_size(runs.n) <= rec->len);
	for (uint32_t i = 0; i < runs.n && in->failed == NULL; i++) {
		struct wherry_run run = wherry_runs_get_run(rec, i);

		FUZZ_EXPECT(in, run.count >= 1 && run.first >= behind);
		behind = (unsigned __int128)run.first + run.count;
		/* in bytes, too, it stays in the space */
		FUZZ_EXPECT(in, behind <= UINT64_MAX / WHERRY_STREAM_PAGE + 1);
	}
}

static void
check_pages(struct fuzz_input *in, const struct wherry_record *rec)
{
	struct wherry_batch batch;
	struct wherry_runs runs;
	uint64_t pages = 0;

	check_runs(in, rec);
	wherry_runs_get(rec, &runs);
	for (uint32_t i = 0; i < runs.n && in->failed == NULL; i++)
		pages += wherry_runs_get_run(rec, i).count;
	FUZZ_EXPECT(in, pages <= WHERRY_STREAM_PAGES_MAX);
	FUZZ_EXPECT(in, wherry_batch_size(runs.n) == rec->len);
	wherry_batch_get(rec, &batch);
	pages *= WHERRY_STREAM_PAGE;
	FUZZ_EXPECT(in, batch.encoding != WHERRY_ENCODING_ZSTD || rec->body < pages);
	FUZZ_EXPECT(in, batch.encoding == WHERRY_ENCODING_ZSTD || rec->body == pages);
	FUZZ_EXPECT(in, rec->body > 0 && (unsigned int)batch.encoding <= WHERRY_ENCODING_LIVE);
}

static bool
is_text(const struct wherry_field *field)
{
	char text[WHERRY_STREAM_TEXT_MAX + 1];

	memcpy(text, field->bytes, field->len);
	text[field->len] = '\0';
	return fuzz_is_utf8(text);
}

static void check_table(struct fuzz_input *in, const uint8_t *bytes, size_t len, const char *form);

static void
check_field(struct fuzz_input *in, const struct wherry_field *field, char letter)
{
	switch (letter | 0x20) {
	case 'n':
		FUZZ_EXPECT(in, field->type == WHERRY_FIELD_U64 && field->len == 8);
		break;
	case 't':
		FUZZ_EXPECT(in, field->type == WHERRY_FIELD_TEXT && field->len > 0);
		FUZZ_EXPECT(in, field->len <= WHERRY_STREAM_TEXT_MAX);
		for (size_t i = 0; i < field->len; i++)
			FUZZ_EXPECT(in, field->bytes[i] >= ' ' && field->bytes[i] != 0x7f);
		FUZZ_EXPECT(in, in->failed != NULL || is_text(field));
		break;
	case 'b':
		FUZZ_EXPECT(in, field->type == WHERRY_FIELD_BYTES);
		break;
	default:
		FUZZ_EXPECT(in, field->type == WHERRY_FIELD_TABLE);
		check_table(in, field->bytes, field->len, form_of_inner(letter));
		break;
	}
}

/* Each field as the form has it, once; what is not in the form may be ignored. */
static void
check_table(struct fuzz_input *in, const uint8_t *bytes, size_t len, const char *form)
{
	unsigned int n_known = (unsigned int)strlen(form), seen[64] = { 0 };
	struct wherry_field field;
	size_t cursor = 0;
	int rc;

	while (in->failed == NULL && (rc = wherry_field_next(bytes, len, &cursor, &field)) != 0) {
		FUZZ_EXPECT(in, rc == 1);
		if (in->failed != NULL)
			return;
		if (field.id == 0 || field.id > n_known || form[field.id - 1] == ' ') {
			FUZZ_EXPECT(in, field.skippable);
			continue;
		}
		check_field(in, &field, form[field.id - 1]);
		seen[field.id]++;
	}
	for (unsigned int id = 1; id <= n_known; id++) {
		FUZZ_EXPECT(in, seen[id] >= 1 || form[id - 1] > 'Z' || form[id - 1] == ' ');
		FUZZ_EXPECT(in, seen[id] <= 1 || form[id - 1] == 'r' || form[id - 1] == 's');
	}
}

/* A hello of another format promises that it says which, as a number, and no more. */
static bool
is_foreign_hello(struct fuzz_input *in, const struct wherry_record *rec)
{
	struct wherry_field field;

	if (rec->type != WHERRY_REC_HELLO)
		return false;
	FUZZ_EXPECT(in, wherry_field_find(rec->payload, rec->len, WHERRY_HELLO_FORMAT, &field));
	FUZZ_EXPECT(in, in->failed != NULL || field.type == WHERRY_FIELD_U64);
	return wherry_field_u64(rec->payload, rec->len, WHERRY_HELLO_FORMAT, 0) !=
		WHERRY_STREAM_FORMAT;
}

static void
check_record(struct fuzz_input *in, const struct wherry_record *rec)
{
	if (rec->type == WHERRY_REC_PAGES)
		check_pages(in, rec);
	else if (forms[rec->type] == NULL)
		check_runs(in, rec);
	else if (!is_foreign_hello(in, rec))
		check_table(in, rec->payload, rec->len, forms[rec->type]);
}

/* From a copy without a byte to spare. */
static void
check_copy(struct fuzz_input *in, const struct stream *s, struct wherry_record rec)
{
	uint8_t *copy = malloc(rec.len > 0 ? rec.len : 1);

	FUZZ_EXPECT(in, copy != NULL && rec.offset + WHERRY_STREAM_HEADER + rec.len <= s->len);
	FUZZ_EXPECT(in, strcmp(wherry_record_name(rec.type), "unknown") != 0);
	if (in->failed == NULL) {
		memcpy(copy, rec.payload, rec.len);
		FUZZ_EXPECT(in,
			memcmp(copy, s->bytes + rec.offset + WHERRY_STREAM_HEADER, rec.len) == 0);
		rec.payload = copy;
		check_record(in, &rec);
	}
	free(copy);
}

static size_t
feed(struct wherry_decoder *dec, const struct stream *s, size_t at, size_t piece)
{
	uint8_t *space;
	size_t cap, n = piece < s->len - at ? piece : s->len - at;

	space = wherry_decoder_space(dec, &cap);
	n = n < cap ? n : cap;
	memcpy(space, s->bytes + at, n);
	wherry_decoder_fed(dec, n);
	return n;
}

static struct verdict
decode(struct fuzz_input *in, const struct stream *s, size_t piece)
{
	struct verdict v = { .records = 0 };
	struct wherry_decoder *dec = NULL;
	struct wherry_record rec;
	size_t at = 0, body;
	int rc = 0;

	FUZZ_EXPECT(in, wherry_decoder_create(&dec) == 0);
	while (in->failed == NULL && (rc = wherry_decoder_next(dec, &rec)) >= 0) {
		if (rc == 1) {
			v.records++;
			v.sum = v.sum * 31 + rec.type + rec.number * 257 + rec.offset + rec.len;
			check_copy(in, s, rec);
			body = rec.body < s->len - at ? rec.body : s->len - at;
			wherry_decoder_took(dec, body);
			at += body;
			if (body < rec.body) {
				rc = 0;
				break;
			}
		} else if (at < s->len) {
			at += feed(dec, s, at, piece);
		} else {
			break;
		}
	}
	if (in->failed == NULL) {
		v.end = wherry_decoder_end(dec);
		v.error = wherry_decoder_error(dec);
		FUZZ_EXPECT(in, rc == 0 || (rc == -EPROTO && v.end == -EPROTO));
		FUZZ_EXPECT(in, (v.end == 0) == (v.error.why == NULL));
	}
	wherry_decoder_destroy(dec);
	return v;
}

static bool
are_equal(const struct verdict *a, const struct verdict *b)
{
	return a->records == b->records && a->sum == b->sum && a->end == b->end &&
		a->error.why == b->error.why && a->error.number == b->error.number &&
		a->error.offset == b->error.offset && a->error.type == b->error.type &&
		a->error.field == b->error.field;
}

const char *
stream_model_run(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { .next = data, .end = data + len };
	size_t piece = 1 + fuzz_below(&in, 200);
	struct verdict whole, pieces;
	static struct stream s;

	s.len = 0;
	s.n = 0;
	while (fuzz_more(&in) && s.len < STREAM_MAX / 4)
		put_record(&in, &s);
	whole = decode(&in, &s, STREAM_MAX);
	pieces = decode(&in, &s, piece);
	FUZZ_EXPECT(&in, are_equal(&whole, &pieces));
	return in.failed;
}
