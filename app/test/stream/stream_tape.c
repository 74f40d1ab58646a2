/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "stream_tape.h"
#include "test.h"

struct tape *
tape_create(void)
{
	struct tape *tape = calloc(1, sizeof(*tape));

	CHECK(tape != NULL);
	return tape;
}

void
tape_destroy(struct tape *tape)
{
	free(tape->bytes);
	free(tape);
}

uint8_t *
tape_payload(struct tape *tape)
{
	size_t need = tape->len + WHERRY_STREAM_HEADER + WHERRY_STREAM_PAYLOAD_MAX;

	if (tape->cap < need) {
		tape->bytes = realloc(tape->bytes, need * 2);
		CHECK(tape->bytes != NULL);
		tape->cap = need * 2;
	}
	return tape->bytes + tape->len + WHERRY_STREAM_HEADER;
}

void
tape_seal_body(struct tape *tape, enum wherry_record_type type, size_t len, size_t body)
{
	CHECK(tape->n < sizeof(tape->records) / sizeof(tape->records[0]));
	tape->records[tape->n] = (struct tape_record){
		.type = type, .offset = tape->len, .len = len - body, .body = body
	};
	tape->len += wherry_record_seal(tape->bytes + tape->len, type, tape->n, len);
	tape->n++;
}

void
tape_seal(struct tape *tape, enum wherry_record_type type, size_t len)
{
	tape_seal_body(tape, type, len, 0);
}

static struct wherry_table
table(struct tape *tape)
{
	return (struct wherry_table){ .buf = tape_payload(tape), .cap = WHERRY_STREAM_PAYLOAD_MAX };
}

static void
seal_table(struct tape *tape, enum wherry_record_type type, const struct wherry_table *t)
{
	CHECK(!t->overflow);
	tape_seal(tape, type, t->len);
}

void
tape_put_got(struct tape *tape, uint64_t n)
{
	struct wherry_table t = table(tape);

	wherry_table_put_u64(&t, WHERRY_GOT_N, n);
	seal_table(tape, WHERRY_REC_GOT, &t);
}

static void
put_section(struct wherry_table *t)
{
	wherry_table_put_text(t, WHERRY_SECTION_NAME, "port0");
	wherry_table_put_u64(t, WHERRY_SECTION_VERSION, 3);
	wherry_table_put_bytes(t, WHERRY_SECTION_DATA, "\0\1\2", test_random() % 4);
}

void
tape_put_hello(struct tape *tape, uint64_t format)
{
	struct wherry_table t = table(tape);
	size_t mark;

	wherry_table_put_u64(&t, WHERRY_HELLO_FORMAT, format);
	wherry_table_put_text(&t, WHERRY_HELLO_VERSION, "0.1.0");
	wherry_table_put_text(&t, WHERRY_HELLO_NAME, "tape");
	wherry_table_put_u64(&t, WHERRY_HELLO_FEATURES, 0);
	for (unsigned int i = 0; i < 3; i++) {
		mark = wherry_table_open(&t, WHERRY_HELLO_REGION);
		wherry_table_put_text(&t, WHERRY_REGION_NAME, "arena");
		wherry_table_put_u64(&t, WHERRY_REGION_BASE, UINT64_C(0x600000000000));
		wherry_table_put_u64(&t, WHERRY_REGION_LEN, 1 << 20);
		wherry_table_put_u64(&t, WHERRY_REGION_PAGE, 4096);
		wherry_table_close(&t, mark);
	}
	mark = wherry_table_open(&t, WHERRY_HELLO_SECTION);
	put_section(&t);
	wherry_table_close(&t, mark);
	seal_table(tape, WHERRY_REC_HELLO, &t);
}

/* Ascending runs of count pages each, with gaps. */
static void
put_heads(uint8_t *payload, uint32_t region, uint32_t runs, uint64_t count)
{
	uint64_t at = test_random() % 1000;

	wherry_runs_put(payload, region, runs);
	for (uint32_t i = 0; i < runs; i++) {
		wherry_runs_put_run(payload, i, (struct wherry_run){ .first = at, .count = count });
		at += count + test_random() % 5;
	}
}

/* pages is a multiple of runs */
void
tape_put_pages(struct tape *tape, uint32_t region, uint32_t runs, uint64_t pages)
{
	const struct wherry_batch batch = { .low = test_random(), .high = test_random() };
	uint8_t *payload = tape_payload(tape), *p = payload + wherry_batch_size(runs);
	size_t bytes = pages * WHERRY_STREAM_PAGE;

	put_heads(payload, region, runs, pages / runs);
	wherry_batch_put(payload, runs, &batch);
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t r = test_random();

		memcpy(p + i, &r, 8);
	}
	tape_seal_body(tape, WHERRY_REC_PAGES, wherry_batch_size(runs) + bytes, bytes);
}

void
tape_put_runs(struct tape *tape, enum wherry_record_type type, uint32_t runs)
{
	put_heads(tape_payload(tape), 1, runs, 1 + test_random() % 9);
	tape_seal(tape, type, wherry_runs_size(runs));
}

static void
put_numbers(struct tape *tape, enum wherry_record_type type, unsigned int n)
{
	struct wherry_table t = table(tape);

	for (unsigned int id = 1; id <= n; id++)
		wherry_table_put_u64(&t, id, test_random());
	seal_table(tape, type, &t);
}

static void
put_abort(struct tape *tape)
{
	struct wherry_table t = table(tape);

	wherry_table_put_u64(&t, WHERRY_ABORT_CODE, 32);
	wherry_table_put_text(&t, WHERRY_ABORT_REASON, "because");
	seal_table(tape, WHERRY_REC_ABORT, &t);
}

static void
put_bytes(struct tape *tape, enum wherry_record_type type, unsigned int field)
{
	struct wherry_table t = table(tape);

	wherry_table_put_bytes(&t, field, "sixteen bytes...", 16);
	seal_table(tape, type, &t);
}

static void
put_one(struct tape *tape, unsigned int type)
{
	static const unsigned int numbers[] = {
		[WHERRY_REC_ROUND] = WHERRY_ROUND_CHANNELS,
		[WHERRY_REC_GOT] = WHERRY_GOT_N,
		[WHERRY_REC_DIGEST] = WHERRY_DIGEST_VERIFY_NS,
		[WHERRY_REC_READY] = WHERRY_READY_VERIFY_NS,
		[WHERRY_REC_RUNNING] = WHERRY_RUNNING_FIRST_BURST,
		[WHERRY_REC_PULSE] = 0,
		[WHERRY_REC_FLUSH] = WHERRY_FLUSH_N,
	};
	struct wherry_table t;

	switch (type) {
	case WHERRY_REC_HELLO:
		tape_put_hello(tape, WHERRY_STREAM_FORMAT);
		break;
	case WHERRY_REC_PAGES:
		tape_put_pages(tape, 2, 1, 1);
		break;
	case WHERRY_REC_ZEROS:
	case WHERRY_REC_SKIP:
	case WHERRY_REC_WANT:
		tape_put_runs(
			tape, (enum wherry_record_type)type, 1 + (uint32_t)(test_random() % 5));
		break;
	case WHERRY_REC_SECTION:
		t = table(tape);
		put_section(&t);
		seal_table(tape, WHERRY_REC_SECTION, &t);
		break;
	case WHERRY_REC_ABORT:
		put_abort(tape);
		break;
	case WHERRY_REC_JOIN:
		t = table(tape);
		wherry_table_put_bytes(&t, WHERRY_JOIN_SESSION, "sixteen bytes...", 16);
		wherry_table_put_u64(&t, WHERRY_JOIN_CHANNEL, 1);
		seal_table(tape, WHERRY_REC_JOIN, &t);
		break;
	case WHERRY_REC_RECOVER:
		put_bytes(tape, WHERRY_REC_RECOVER, WHERRY_RECOVER_ID);
		break;
	case WHERRY_REC_HAVE:
		put_bytes(tape, WHERRY_REC_HAVE, WHERRY_HAVE_HASHES);
		break;
	case WHERRY_REC_FRAME:
		t = table(tape);
		wherry_table_put_u64(&t, WHERRY_FRAME_PORT, 1);
		wherry_table_put_u64(&t, WHERRY_FRAME_QUEUE, 2);
		wherry_table_put_bytes(&t, WHERRY_FRAME_BYTES, "a frame", 7);
		seal_table(tape, WHERRY_REC_FRAME, &t);
		break;
	default:
		put_numbers(tape, (enum wherry_record_type)type, numbers[type]);
	}
}

void
tape_put_random(struct tape *tape)
{
	unsigned int pick = (unsigned int)(test_random() % 16);
	uint32_t runs = 1 + (uint32_t)(test_random() % 40);

	if (pick == 0)
		tape_put_runs(tape, WHERRY_REC_ZEROS, WHERRY_STREAM_RUNS_MAX);
	else if (pick == 15)
		tape_put_pages(tape, 0, runs, runs * (1 + test_random() % 3));
	else
		put_one(tape, pick);
}

void
tape_put_each_type(struct tape *tape)
{
	for (unsigned int type = 1; type < WHERRY_REC_END; type++)
		if (strcmp(wherry_record_name(type), "unknown") != 0)
			put_one(tape, type);
}

unsigned int
tape_record_at(const struct tape *tape, size_t at)
{
	unsigned int i = tape->n - 1;

	while (tape->records[i].offset > at)
		i--;
	return i;
}
