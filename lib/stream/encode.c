/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers of records and heads of run payloads, onto the wire and back. */
#include <assert.h>
#include <xxhash.h>

#include "stream_priv.h"

size_t
wherry_record_seal(uint8_t *buf, enum wherry_record_type type, uint64_t number, size_t len)
{
	const struct record_def *def = record_def(type);
	size_t summed = len;

	assert(def != NULL && len <= WHERRY_STREAM_PAYLOAD_MAX);
	if (def->form == FORM_PAGES && len >= BATCH_MIN) {
		size_t head = wherry_batch_size(get_u32(buf + WHERRY_STREAM_HEADER + 4));

		summed = head < len ? head : len;
	}
	put_u32(buf, REC_MAGIC);
	put_u16(buf + 4, (unsigned int)type);
	put_u16(buf + 6, def->skippable ? REC_SKIPPABLE : 0);
	put_u64(buf + 8, number);
	put_u32(buf + 16, (uint32_t)len);
	put_u32(buf + 20, (uint32_t)XXH3_64bits(buf, REC_CHECKED));
	put_u64(buf + 24,
		XXH3_64bits_withSeed(
			buf + WHERRY_STREAM_HEADER, summed, XXH3_64bits(buf, REC_SEEDING)));
	return WHERRY_STREAM_HEADER + len;
}

void
wherry_runs_put(uint8_t *payload, uint32_t region, uint32_t n)
{
	put_u32(payload, region);
	put_u32(payload + 4, n);
}

void
wherry_runs_put_run(uint8_t *payload, uint32_t i, struct wherry_run run)
{
	put_u64(payload + wherry_runs_size(i), run.first);
	put_u64(payload + wherry_runs_size(i) + 8, run.count);
}

void
wherry_runs_get(const struct wherry_record *rec, struct wherry_runs *ret_runs)
{
	ret_runs->region = get_u32(rec->payload);
	ret_runs->n = get_u32(rec->payload + 4);
}

struct wherry_run
wherry_runs_get_run(const struct wherry_record *rec, uint32_t i)
{
	const uint8_t *p = rec->payload + wherry_runs_size(i);

	return (struct wherry_run){ .first = get_u64(p), .count = get_u64(p + 8) };
}

void
wherry_batch_put(uint8_t *payload, uint32_t n, const struct wherry_batch *batch)
{
	uint8_t *tail = payload + wherry_runs_size(n);

	put_u64(tail, (uint64_t)batch->encoding);
	put_u64(tail + 8, batch->low);
	put_u64(tail + 16, batch->high);
}

void
wherry_batch_get(const struct wherry_record *rec, struct wherry_batch *ret_batch)
{
	const uint8_t *tail = rec->payload + rec->len - WHERRY_STREAM_TAIL;

	ret_batch->encoding = (enum wherry_encoding)get_u64(tail);
	ret_batch->low = get_u64(tail + 8);
	ret_batch->high = get_u64(tail + 16);
}
