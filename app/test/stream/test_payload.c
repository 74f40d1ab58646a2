/* SPDX-License-Identifier: BSD-3-Clause */
/* Payloads: tables written and read, and every way in which one can be unsound. */
#include <errno.h>
#include <string.h>

#include "stream_tape.h"
#include "test.h"

/* Decode the tape at one go; the error, or why NULL. */
static struct wherry_stream_error
verdict(const struct tape *tape, struct wherry_record *ret_rec)
{
	static struct wherry_decoder *dec; /* the record outlives the call */
	struct wherry_stream_error error;
	size_t at = 0, cap;
	int rc;

	wherry_decoder_destroy(dec);
	CHECK_EQ(wherry_decoder_create(&dec), 0);
	while ((rc = wherry_decoder_next(dec, ret_rec)) == 0 && at < tape->len) {
		uint8_t *space = wherry_decoder_space(dec, &cap);

		cap = cap < tape->len - at ? cap : tape->len - at;
		memcpy(space, tape->bytes + at, cap);
		wherry_decoder_fed(dec, cap);
		at += cap;
	}
	error = wherry_decoder_error(dec);
	CHECK_EQ(rc < 0, error.why != NULL);
	if (rc < 0) {
		wherry_decoder_destroy(dec);
		dec = NULL;
	}
	return error;
}

static void
check_body_verdict(enum wherry_record_type type, const void *payload, size_t len, size_t body,
	const char *want, unsigned int field)
{
	struct tape *tape = tape_create();
	struct wherry_stream_error error;
	struct wherry_record rec;

	memset(tape_payload(tape), 0, len + body);
	if (len != 0)
		memcpy(tape_payload(tape), payload, len);
	tape_seal_body(tape, type, len + body, body);
	error = verdict(tape, &rec);
	if ((error.why == NULL) != (want == NULL) ||
		(want != NULL && strstr(error.why, want) == NULL))
		FAIL("it says \"%s\", not \"%s\"", error.why != NULL ? error.why : "(nothing)",
			want != NULL ? want : "(nothing)");
	CHECK_EQ(error.field, field);
	tape_destroy(tape);
}

static void
check_verdict(enum wherry_record_type type, const void *payload, size_t len, const char *want,
	unsigned int field)
{
	check_body_verdict(type, payload, len, 0, want, field);
}

static uint8_t buf[8192];

static struct wherry_table
table(void)
{
	return (struct wherry_table){ .buf = buf, .cap = sizeof(buf) };
}

TEST(stream_table_is_read_as_it_was_written)
{
	struct wherry_table t = table();
	struct wherry_field f;
	char text[8];
	size_t mark;

	wherry_table_put_u64(&t, 1, UINT64_C(0x0123456789abcdef));
	wherry_table_put_text(&t, 2, "a\nb\x7f");
	wherry_table_put_text(&t, 3, "");
	mark = wherry_table_open(&t, 4);
	wherry_table_put_bytes(&t, 5, "xyz", 3);
	wherry_table_close(&t, mark);
	CHECK(!t.overflow);
	CHECK(wherry_field_u64(buf, t.len, 1, 0) == UINT64_C(0x0123456789abcdef));
	CHECK_EQ(wherry_field_u64(buf, t.len, 9, 7), 7);
	CHECK_EQ(wherry_field_u64(buf, t.len, 2, 7), 7);
	wherry_field_text(buf, t.len, 2, text, sizeof(text));
	CHECK(strcmp(text, "a?b?") == 0);
	wherry_field_text(buf, t.len, 2, text, 3);
	CHECK(strcmp(text, "a?") == 0);
	CHECK(!wherry_field_find(buf, t.len, 3, &f));
	CHECK(wherry_field_find(buf, t.len, 4, &f));
	CHECK_EQ(f.type, WHERRY_FIELD_TABLE);
	CHECK(wherry_field_find(f.bytes, f.len, 5, &f));
	CHECK(f.len == 3 && memcmp(f.bytes, "xyz", 3) == 0);
}

TEST(stream_table_that_does_not_fit_says_so)
{
	uint8_t small[31];
	struct wherry_table t = { .buf = small, .cap = sizeof(small) };

	wherry_table_put_u64(&t, 1, 1);
	CHECK(!t.overflow);
	wherry_table_put_u64(&t, 2, 2);
	CHECK(t.overflow);
	wherry_table_put_u64(&t, 3, 3);
	wherry_table_close(&t, wherry_table_open(&t, 4));
	CHECK_EQ(t.len, 16);
}

TEST(stream_required_field_must_be_there_once)
{
	struct wherry_table t = table();

	check_verdict(WHERRY_REC_GOT, buf, 0, "missing", WHERRY_GOT_N);
	wherry_table_put_u64(&t, WHERRY_GOT_N, 1);
	check_verdict(WHERRY_REC_GOT, buf, t.len, NULL, 0);
	wherry_table_put_u64(&t, WHERRY_GOT_N, 1);
	check_verdict(WHERRY_REC_GOT, buf, t.len, "twice", WHERRY_GOT_N);
}

TEST(stream_field_must_have_its_type_and_length)
{
	struct wherry_table t = table();

	wherry_table_put_text(&t, WHERRY_GOT_N, "one");
	check_verdict(WHERRY_REC_GOT, buf, t.len, "another type", WHERRY_GOT_N);
	buf[2] = WHERRY_FIELD_U64;
	check_verdict(WHERRY_REC_GOT, buf, t.len, "8 bytes", WHERRY_GOT_N);
	check_verdict(WHERRY_REC_GOT, buf, t.len - 1, "cut short", 0);
	check_verdict(WHERRY_REC_GOT, buf, 7, "cut short", 0);
}

TEST(stream_text_is_utf8_without_control_characters_and_not_empty)
{
	struct wherry_table t = table();

	wherry_table_put_u64(&t, WHERRY_ABORT_CODE, 1);
	wherry_table_put_text(&t, WHERRY_ABORT_REASON, "r");
	check_verdict(WHERRY_REC_ABORT, buf, t.len, NULL, 0);
	buf[t.len - 1] = 0x1b;
	check_verdict(WHERRY_REC_ABORT, buf, t.len, "control", WHERRY_ABORT_REASON);
	buf[t.len - 1] = 0xc3;
	check_verdict(WHERRY_REC_ABORT, buf, t.len, "UTF-8", WHERRY_ABORT_REASON);
	t.len--;
	buf[t.len - 4] = 0;
	check_verdict(WHERRY_REC_ABORT, buf, t.len, "empty", WHERRY_ABORT_REASON);
	wherry_table_put_text(&t, WHERRY_ABORT_REASON, "\xc3\xa4\xff");
	CHECK(memcmp(buf + t.len - 3, "\xc3\xa4?", 3) == 0);
}

TEST(stream_unknown_field_is_ignored_only_if_it_may_be)
{
	struct wherry_table t = table();

	wherry_table_put_u64(&t, WHERRY_GOT_N, 1);
	wherry_table_put_u64(&t, 60, 1);
	check_verdict(WHERRY_REC_GOT, buf, t.len, "not known", 60);
	t.len = 16;
	wherry_table_put_u64_skippable(&t, 60, 1);
	check_verdict(WHERRY_REC_GOT, buf, t.len, NULL, 0);
	buf[16] = 200; /* numbers of any size */
	check_verdict(WHERRY_REC_GOT, buf, t.len, NULL, 0);
}

TEST(stream_inner_table_is_checked_too)
{
	struct tape *tape = tape_create();
	struct wherry_record rec;
	struct wherry_table t = table();
	size_t mark;

	tape_put_hello(tape, WHERRY_STREAM_FORMAT);
	CHECK(verdict(tape, &rec).why == NULL);
	memcpy(buf, rec.payload, rec.len);
	t.len = rec.len;
	mark = wherry_table_open(&t, WHERRY_HELLO_REGION);
	wherry_table_put_text(&t, WHERRY_REGION_NAME, "half");
	wherry_table_close(&t, mark);
	check_verdict(WHERRY_REC_HELLO, buf, t.len, "missing", WHERRY_REGION_BASE);
	tape_destroy(tape);
}

TEST(stream_hello_of_another_format_need_only_say_which)
{
	struct wherry_table t = table();

	wherry_table_put_u64(&t, WHERRY_HELLO_FORMAT, WHERRY_STREAM_FORMAT + 1);
	wherry_table_put_u64(&t, 63, 1);
	check_verdict(WHERRY_REC_HELLO, buf, t.len, NULL, 0);
	t = table();
	wherry_table_put_u64(&t, WHERRY_HELLO_FORMAT, WHERRY_STREAM_FORMAT);
	check_verdict(WHERRY_REC_HELLO, buf, t.len, "missing", WHERRY_HELLO_VERSION);
}

/* Eight bytes that are no number say no format. */
TEST(stream_hello_says_its_format_as_a_number)
{
	struct wherry_table t = table();

	wherry_table_put_bytes(&t, WHERRY_HELLO_FORMAT, "another!", 8);
	check_verdict(WHERRY_REC_HELLO, buf, t.len, "another type", WHERRY_HELLO_FORMAT);
}

static void
check_runs(struct wherry_run a, struct wherry_run b, const char *want)
{
	wherry_runs_put(buf, 0, 2);
	wherry_runs_put_run(buf, 0, a);
	wherry_runs_put_run(buf, 1, b);
	check_verdict(WHERRY_REC_ZEROS, buf, wherry_runs_size(2), want, 0);
}

#define RUN(first_, count_) ((struct wherry_run){ .first = (first_), .count = (count_) })

TEST(stream_runs_ascend_and_stay_in_the_space)
{
	uint64_t last = UINT64_MAX / WHERRY_STREAM_PAGE;

	check_runs(RUN(0, 1), RUN(1, 1), NULL);
	check_runs(RUN(0, 2), RUN(1, 1), "overlap");
	check_runs(RUN(5, 1), RUN(1, 1), "ascend");
	check_runs(RUN(0, 0), RUN(1, 1), "empty");
	check_runs(RUN(0, 1), RUN(last, 1), "space");
	check_runs(RUN(0, 1), RUN(last - 1, 1), NULL);
	check_runs(RUN(0, 1), RUN(2, UINT64_MAX - 1), "space");
	check_runs(RUN(0, 1), RUN(UINT64_MAX, 1), "space");
}

TEST(stream_runs_number_fits_the_length)
{
	wherry_runs_put(buf, 0, 1);
	wherry_runs_put_run(buf, 0, RUN(0, 1));
	check_verdict(WHERRY_REC_ZEROS, buf, 23, "too short", 0);
	check_verdict(WHERRY_REC_ZEROS, buf, 25, "length", 0);
	wherry_runs_put(buf, 0, 0);
	check_verdict(WHERRY_REC_ZEROS, buf, 24, "number of runs", 0);
	wherry_runs_put(buf, 0, UINT32_MAX);
	check_verdict(WHERRY_REC_ZEROS, buf, 24, "number of runs", 0);
}

static void
check_batch(
	uint32_t n, struct wherry_run run, struct wherry_batch batch, size_t body, const char *want)
{
	wherry_runs_put(buf, 0, n);
	wherry_runs_put_run(buf, 0, run);
	wherry_batch_put(buf, 1, &batch);
	check_body_verdict(WHERRY_REC_PAGES, buf, wherry_batch_size(1), body, want, 0);
}

TEST(stream_body_of_a_batch_is_as_long_as_its_encoding_wants)
{
	struct wherry_batch raw = { .encoding = WHERRY_ENCODING_RAW };
	struct wherry_batch zstd = { .encoding = WHERRY_ENCODING_ZSTD };
	struct wherry_batch other = { .encoding = (enum wherry_encoding)3 };
	struct wherry_batch live = { .encoding = WHERRY_ENCODING_LIVE };
	const size_t page = WHERRY_STREAM_PAGE;

	check_batch(1, RUN(0, 1), raw, 0, "length");
	check_batch(1, RUN(0, 1), raw, page - 1, "length");
	check_batch(1, RUN(0, 1), raw, page, NULL);
	check_batch(1, RUN(0, 1), live, page - 1, "length");
	check_batch(1, RUN(0, 1), live, page, NULL);
	check_batch(1, RUN(0, 2), zstd, 2 * page - 1, NULL);
	check_batch(1, RUN(0, 2), zstd, 2 * page, "no shorter");
	check_batch(1, RUN(0, 2), zstd, 0, "no shorter");
	check_batch(1, RUN(0, 1), other, page, "encoding");
	check_batch(1, RUN(0, WHERRY_STREAM_PAGES_MAX + 1), raw, page, "more pages");
	check_batch(UINT32_MAX, RUN(0, 1), raw, page, "number of runs");
	check_batch(0, RUN(0, 1), raw, page, "number of runs");
	check_body_verdict(WHERRY_REC_PAGES, buf, 8 + 16 + WHERRY_STREAM_TAIL - 1, 0, "short", 0);
}

TEST(stream_runs_are_read_as_they_were_written)
{
	struct tape *tape = tape_create();
	struct wherry_record rec;
	struct wherry_runs runs;
	struct wherry_run run;

	tape_put_pages(tape, 7, 3, 6);
	CHECK(verdict(tape, &rec).why == NULL);
	wherry_runs_get(&rec, &runs);
	CHECK_EQ(runs.region, 7);
	CHECK_EQ(runs.n, 3);
	CHECK_EQ(rec.len, wherry_batch_size(3));
	CHECK_EQ(rec.body, 6 * WHERRY_STREAM_PAGE);
	run = wherry_runs_get_run(&rec, 2);
	CHECK_EQ(run.count, 2);
	CHECK(run.first > wherry_runs_get_run(&rec, 1).first);
	tape_destroy(tape);
}
