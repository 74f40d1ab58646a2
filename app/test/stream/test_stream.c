/* SPDX-License-Identifier: BSD-3-Clause */
/* The decoder: whole streams in any pieces, damaged streams, streams of other versions. */
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "fuzz_random.h"
#include "models.h"
#include "stream_tape.h"
#include "test.h"

/* Feed the tape in pieces of at most piece bytes, random ones if 0; how many records. */
static int
play(const struct tape *tape, size_t piece, struct wherry_decoder *dec,
	void (*fn)(const struct tape *tape, const struct wherry_record *rec))
{
	size_t at = 0;
	int n = 0;

	for (;;) {
		struct wherry_record rec;
		size_t cap, len;
		uint8_t *space;
		int rc = wherry_decoder_next(dec, &rec);

		if (rc < 0)
			return rc;
		if (rc == 1) {
			n++;
			if (fn != NULL)
				fn(tape, &rec);
			len = rec.body < tape->len - at ? rec.body : tape->len - at;
			wherry_decoder_took(dec, len);
			at += len;
			if (len < rec.body)
				return n;
			continue;
		}
		if (at == tape->len)
			return n;
		space = wherry_decoder_space(dec, &cap);
		CHECK(cap >= 1);
		len = piece != 0 ? piece : 1 + test_random() % 9000;
		len = len < cap ? len : cap;
		len = len < tape->len - at ? len : tape->len - at;
		memcpy(space, tape->bytes + at, len);
		wherry_decoder_fed(dec, len);
		at += len;
	}
}

static struct wherry_decoder *
decoder(void)
{
	struct wherry_decoder *dec = NULL;

	CHECK_EQ(wherry_decoder_create(&dec), 0);
	return dec;
}

/* The record is the one that was put on the tape at this place. */
static void
same(const struct tape *tape, const struct wherry_record *rec)
{
	const struct tape_record *want = &tape->records[rec->number];

	CHECK(rec->number < tape->n);
	CHECK_EQ(rec->type, want->type);
	CHECK_EQ(rec->offset, want->offset);
	CHECK_EQ(rec->len, want->len);
	CHECK_EQ(rec->body, want->body);
	CHECK(memcmp(rec->payload, tape->bytes + want->offset + WHERRY_STREAM_HEADER, rec->len) ==
		0);
}

TEST(stream_comes_out_as_it_went_in_whatever_the_pieces)
{
	static const size_t pieces[] = { 1, 31, 32, 33, 4096, 1 << 22, 0, 0, 0 };

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct tape *tape = tape_create();
		struct wherry_decoder *dec = decoder();

		for (int k = 0; k < 40; k++)
			tape_put_random(tape);
		CHECK_EQ(play(tape, pieces[i], dec, same), tape->n);
		CHECK_EQ(wherry_decoder_end(dec), 0);
		wherry_decoder_destroy(dec);
		tape_destroy(tape);
	}
}

TEST(stream_decoder_wants_no_more_than_one_record_and_a_header)
{
	struct tape *tape = tape_create();
	struct wherry_decoder *dec = decoder();
	struct wherry_record rec;
	size_t cap;

	tape_put_pages(tape, 0, WHERRY_STREAM_PAGES_MAX, WHERRY_STREAM_PAGES_MAX);
	CHECK_EQ(tape->len, WHERRY_STREAM_HEADER + WHERRY_STREAM_PAYLOAD_MAX);
	CHECK_EQ(wherry_decoder_next(dec, &rec), 0);
	wherry_decoder_space(dec, &cap);
	CHECK_EQ(cap, WHERRY_STREAM_HEADER);
	CHECK_EQ(play(tape, 0, dec, same), 1);
	wherry_decoder_destroy(dec);
	tape_destroy(tape);
}

TEST(stream_body_never_enters_the_decoder)
{
	struct tape *tape = tape_create();
	struct wherry_decoder *dec = decoder();
	struct wherry_record rec;
	size_t at = 0, cap;

	tape_put_pages(tape, 0, 3, 6);
	tape_put_got(tape, 1);
	while (wherry_decoder_next(dec, &rec) == 0) {
		uint8_t *space = wherry_decoder_space(dec, &cap);

		CHECK(at + cap <= WHERRY_STREAM_HEADER + wherry_batch_size(3));
		memcpy(space, tape->bytes + at, cap);
		wherry_decoder_fed(dec, cap);
		at += cap;
	}
	CHECK_EQ(rec.body, 6 * WHERRY_STREAM_PAGE);
	wherry_decoder_took(dec, rec.body - 1);
	CHECK_EQ(wherry_decoder_next(dec, &rec), -EPROTO);
	CHECK(strstr(wherry_decoder_error(dec).why, "not taken") != NULL);
	wherry_decoder_destroy(dec);
	tape_destroy(tape);
}

static void
check_refused_at(const struct tape *tape, size_t i)
{
	struct wherry_decoder *dec = decoder();
	struct wherry_stream_error error;
	unsigned int culprit = tape_record_at(tape, i);
	int rc = play(tape, 1 << 20, dec, NULL);

	if (rc >= 0) /* too long now: the rest never comes */
		rc = wherry_decoder_end(dec);
	error = wherry_decoder_error(dec);
	CHECK_EQ(rc, -EPROTO);
	CHECK(error.why != NULL);
	CHECK_EQ(error.number, culprit);
	CHECK_EQ(error.offset, tape->records[culprit].offset);
	wherry_decoder_destroy(dec);
}

/* Is byte at in the body of a record? Its check is the digest, which is not the decoder's. */
static bool
in_body(const struct tape *tape, size_t at)
{
	const struct tape_record *rec = &tape->records[tape_record_at(tape, at)];

	return at >= rec->offset + WHERRY_STREAM_HEADER + rec->len;
}

TEST(stream_any_byte_flipped_is_refused_with_the_record_named)
{
	struct tape *tape = tape_create();

	tape_put_each_type(tape);
	for (size_t i = 0; i < tape->len; i++) {
		uint8_t bits = (uint8_t)(1u << test_random() % 8);

		if (in_body(tape, i))
			continue;
		tape->bytes[i] ^= bits;
		check_refused_at(tape, i);
		tape->bytes[i] ^= bits;
	}
	tape_destroy(tape);
}

TEST(stream_cut_short_is_noticed_but_between_records)
{
	struct tape *tape = tape_create();
	size_t len;

	tape_put_each_type(tape);
	len = tape->len;
	for (size_t cut = 1; cut <= len; cut += 1 + test_random() % 7) {
		struct wherry_decoder *dec = decoder();
		bool between = cut == len || tape->records[tape_record_at(tape, cut)].offset == cut;

		tape->len = cut;
		CHECK(play(tape, 0, dec, same) >= 0);
		CHECK_EQ(wherry_decoder_end(dec), between ? 0 : -EPROTO);
		wherry_decoder_destroy(dec);
	}
	tape_destroy(tape);
}

/* What the decoder says about a tape: NULL if it takes it all. */
static struct wherry_stream_error
verdict(const struct tape *tape)
{
	struct wherry_decoder *dec = decoder();
	int rc = play(tape, 0, dec, NULL);
	struct wherry_stream_error error = wherry_decoder_error(dec);
	struct wherry_record rec;

	CHECK_EQ(rc < 0, error.why != NULL);
	if (rc < 0) /* at each later call */
		CHECK_EQ(wherry_decoder_next(dec, &rec), -EPROTO);
	wherry_decoder_destroy(dec);
	return error;
}

/* The header of the last record with some bytes changed, and checksums that agree. */
static void
forge(struct tape *tape, size_t at, uint64_t value, size_t bytes)
{
	uint8_t *h = tape->bytes + tape->records[tape->n - 1].offset;
	uint32_t check;
	uint64_t sum;

	for (size_t i = 0; i < bytes; i++)
		h[at + i] = (uint8_t)(value >> 8 * i);
	check = (uint32_t)XXH3_64bits(h, 20);
	memcpy(h + 20, &check, 4); /* tests run on little-endian machines */
	sum = XXH3_64bits_withSeed(h + 32, tape->records[tape->n - 1].len, XXH3_64bits(h, 24));
	memcpy(h + 24, &sum, 8);
}

TEST(stream_unknown_type_is_skipped_only_if_it_may_be)
{
	struct tape *tape = tape_create();
	struct wherry_decoder *dec = decoder();

	tape_put_got(tape, 1);
	tape_put_got(tape, 2);
	forge(tape, 4, 999 | 1 << 16, 4);
	tape_put_got(tape, 3);
	CHECK_EQ(play(tape, 0, dec, NULL), 2);
	CHECK_EQ(wherry_decoder_end(dec), 0);
	wherry_decoder_destroy(dec);

	tape_put_got(tape, 4);
	forge(tape, 4, 999, 4);
	CHECK_EQ(verdict(tape).number, 3);
	CHECK_EQ(verdict(tape).type, 999);
	tape_destroy(tape);
}

TEST(stream_unknown_flags_and_wrong_numbers_and_lengths_are_refused)
{
	static const struct {
		size_t at, bytes;
		uint64_t value;
	} lies[] = {
		{ 0, 4, 0x59524856 },     /* magic */
		{ 4, 2, 0 },              /* no type has number 0 */
		{ 4, 2, WHERRY_REC_END }, /* the first that is none */
		{ 6, 2, 2 },              /* a flag of the future */
		{ 8, 8, 0 },              /* the number of the record before */
		{ 8, 8, 2 },              /* a record was lost */
		{ 16, 4, WHERRY_STREAM_PAYLOAD_MAX + 1 },
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct tape *tape = tape_create();

		tape_put_got(tape, 1);
		tape_put_got(tape, 2);
		forge(tape, lies[i].at, lies[i].value, lies[i].bytes);
		if (verdict(tape).why == NULL || verdict(tape).number != 1)
			FAIL("lie %zu was believed", i);
		tape_destroy(tape);
	}
}

TEST(stream_names_of_records_are_those_of_the_table)
{
	CHECK(strcmp(wherry_record_name(WHERRY_REC_HELLO), "hello") == 0);
	CHECK(strcmp(wherry_record_name(WHERRY_REC_PULSE), "pulse") == 0);
	CHECK(strcmp(wherry_record_name(0), "unknown") == 0);
	CHECK(strcmp(wherry_record_name(WHERRY_REC_JOIN), "join") == 0);
	CHECK(strcmp(wherry_record_name(WHERRY_REC_END), "unknown") == 0);
}

TEST(stream_of_any_bytes_keeps_the_promises_in_whatever_pieces)
{
	fuzz_random(stream_model_run, 10000, 300);
}

/* Nobody waits for the bytes that a damaged length promises. */
TEST(stream_damaged_header_is_refused_before_its_payload_comes)
{
	for (size_t i = 0; i < WHERRY_STREAM_HEADER - 8; i++) {
		struct tape *tape = tape_create();
		struct wherry_decoder *dec = decoder();

		tape_put_pages(tape, 0, 1, 1);
		tape->bytes[i] ^= 1;
		tape->len = WHERRY_STREAM_HEADER;
		CHECK_EQ(play(tape, 0, dec, NULL), -EPROTO);
		wherry_decoder_destroy(dec);
		tape_destroy(tape);
	}
}
