/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The decoder. Its buffer holds one payload of the greatest length and one header: it
 * asks for the rest of the record under way and the header after it, so that in steady
 * state a record costs one read and only a header is ever moved to the front. Of a
 * record with a body it asks for the payload only: the body is read elsewhere.
 *
 * Order of belief: magic, then the header's own check, and only then number, type and
 * length; the payload is looked into when its checksum is right. The number of runs,
 * which says where a body begins, is believed as far as memory goes: not beyond len.
 */
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "stream_priv.h"

#define BUF_SIZE (WHERRY_STREAM_HEADER + WHERRY_STREAM_PAYLOAD_MAX + WHERRY_STREAM_HEADER)

struct wherry_decoder {
	size_t len;      /* bytes in buf */
	size_t used;     /* of which the record handed out last; they go at the next call */
	size_t body;     /* bytes of its body that have not been taken */
	size_t whole;    /* bytes of that record in the stream */
	uint64_t number; /* of the record that begins at buf[used] */
	uint64_t offset; /* of that record in the stream */
	struct wherry_stream_error error;
	uint8_t buf[BUF_SIZE];
};

int
wherry_decoder_create(struct wherry_decoder **ret_dec)
{
	struct wherry_decoder *dec = malloc(sizeof(*dec));

	if (dec == NULL)
		return -ENOMEM;
	memset(dec, 0, offsetof(struct wherry_decoder, buf));
	*ret_dec = dec;
	return 0;
}

void
wherry_decoder_destroy(struct wherry_decoder *dec)
{
	free(dec);
}

static int
refuse(struct wherry_decoder *dec, const char *why, unsigned int type, unsigned int field)
{
	dec->error = (struct wherry_stream_error){
		.number = dec->number,
		.offset = dec->offset,
		.type = type,
		.field = field,
		.why = why,
	};
	return -EPROTO;
}

static size_t
record_len(const struct wherry_decoder *dec)
{
	return WHERRY_STREAM_HEADER + get_u32(dec->buf + 16);
}

static bool
has_body(const struct wherry_decoder *dec)
{
	const struct record_def *def = record_def(get_u16(dec->buf + 4));

	return def != NULL && def->form == FORM_PAGES;
}

/* Bytes of the record without its body, as far as they are known. The header is sound. */
static size_t
kept_len(const struct wherry_decoder *dec)
{
	const size_t known = WHERRY_STREAM_HEADER + 8;
	uint32_t n;

	if (!has_body(dec))
		return record_len(dec);
	if (dec->len < known)
		return known;
	n = get_u32(dec->buf + WHERRY_STREAM_HEADER + 4);
	if (n > WHERRY_STREAM_PAGES_MAX ||
		WHERRY_STREAM_HEADER + wherry_batch_size(n) > record_len(dec))
		return known; /* it will be refused */
	return WHERRY_STREAM_HEADER + wherry_batch_size(n);
}

uint8_t *
wherry_decoder_space(struct wherry_decoder *dec, size_t *ret_cap)
{
	size_t want = WHERRY_STREAM_HEADER;

	if (dec->len >= WHERRY_STREAM_HEADER) /* its length was checked by next */
		want = kept_len(dec) + (has_body(dec) ? 0 : WHERRY_STREAM_HEADER);
	*ret_cap = want - dec->len;
	return dec->buf + dec->len;
}

void
wherry_decoder_fed(struct wherry_decoder *dec, size_t n)
{
	dec->len += n;
}

void
wherry_decoder_took(struct wherry_decoder *dec, size_t n)
{
	dec->body -= n;
}

static void
drop_used(struct wherry_decoder *dec)
{
	if (dec->used == 0)
		return;
	memmove(dec->buf, dec->buf + dec->used, dec->len - dec->used);
	dec->len -= dec->used;
	dec->offset += dec->whole;
	dec->number++;
	dec->used = 0;
}

/* The header is whole. */
static int
check_header(struct wherry_decoder *dec)
{
	const uint8_t *h = dec->buf;
	unsigned int type = get_u16(h + 4), flags = get_u16(h + 6);
	const struct record_def *def = record_def(type);

	if (get_u32(h) != REC_MAGIC)
		return refuse(dec, "it does not begin as a record does", 0, 0);
	if (get_u32(h + 20) != (uint32_t)XXH3_64bits(h, REC_CHECKED))
		return refuse(dec, "the checksum of its header is wrong", 0, 0);
	if (get_u64(h + 8) != dec->number)
		return refuse(dec, "it is out of sequence", type, 0);
	if ((flags & ~REC_SKIPPABLE) != 0)
		return refuse(dec, "it has flags not known here: the peer is newer", type, 0);
	if (def == NULL && (flags & REC_SKIPPABLE) == 0)
		return refuse(dec, "its type is not known here: the peer is newer", type, 0);
	if (get_u32(h + 16) > WHERRY_STREAM_PAYLOAD_MAX)
		return refuse(dec, "it is longer than a record may be", type, 0);
	if (has_body(dec) && get_u32(h + 16) < BATCH_MIN)
		return refuse(dec, "it is too short for a run", type, 0);
	return 0;
}

/* The record, but for its body, is whole. */
static int
check_payload(struct wherry_decoder *dec)
{
	const uint8_t *payload = dec->buf + WHERRY_STREAM_HEADER;
	size_t len = kept_len(dec) - WHERRY_STREAM_HEADER;
	unsigned int type = get_u16(dec->buf + 4);
	struct payload_error bad;

	if (has_body(dec) && len < BATCH_MIN)
		return refuse(dec, "the number of runs does not fit its length", type, 0);

	if (get_u64(dec->buf + 24) !=
		XXH3_64bits_withSeed(payload, len, XXH3_64bits(dec->buf, REC_SEEDING)))
		return refuse(dec, "its checksum is wrong", type, 0);
	if (record_def(type) == NULL)
		return 0;
	bad = payload_check(type, payload, len, record_len(dec) - WHERRY_STREAM_HEADER - len);
	return bad.why != NULL ? refuse(dec, bad.why, type, bad.field) : 0;
}

/* As next, but skips nothing. */
static int
next_any(struct wherry_decoder *dec, struct wherry_record *ret_rec)
{
	int rc;

	if (dec->body != 0)
		return refuse(dec, "its body was not taken", get_u16(dec->buf + 4), 0);
	drop_used(dec);
	if (dec->error.why != NULL)
		return -EPROTO;
	if (dec->len < WHERRY_STREAM_HEADER)
		return 0;
	rc = check_header(dec);
	if (rc != 0 || dec->len < kept_len(dec))
		return rc;
	rc = check_payload(dec);
	if (rc != 0)
		return rc;
	dec->used = kept_len(dec);
	dec->whole = record_len(dec);
	dec->body = dec->whole - dec->used;
	*ret_rec = (struct wherry_record){
		.type = get_u16(dec->buf + 4),
		.number = dec->number,
		.offset = dec->offset,
		.payload = dec->buf + WHERRY_STREAM_HEADER,
		.len = dec->used - WHERRY_STREAM_HEADER,
		.body = dec->body,
	};
	return 1;
}

int
wherry_decoder_next(struct wherry_decoder *dec, struct wherry_record *ret_rec)
{
	int rc;

	do
		rc = next_any(dec, ret_rec);
	while (rc == 1 && record_def(ret_rec->type) == NULL);
	return rc;
}

int
wherry_decoder_end(struct wherry_decoder *dec)
{
	if (dec->body != 0)
		return refuse(dec, "the stream ends within it", get_u16(dec->buf + 4), 0);
	drop_used(dec);
	if (dec->error.why != NULL)
		return -EPROTO;
	if (dec->len != 0)
		return refuse(dec, "the stream ends within it", 0, 0);
	return 0;
}

struct wherry_stream_error
wherry_decoder_error(const struct wherry_decoder *dec)
{
	return dec->error;
}
