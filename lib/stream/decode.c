/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The decoder. Its buffer holds one record of the greatest length and one header: it
 * asks for the rest of the record under way and the header after it, so that in steady
 * state a record costs one read and only a header is ever moved to the front.
 *
 * Order of belief: magic, then the header's own check, and only then number, type and
 * length; the payload is looked into when its checksum is right.
 */
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "stream_priv.h"

#define BUF_SIZE (WHERRY_STREAM_HEADER + WHERRY_STREAM_PAYLOAD_MAX + WHERRY_STREAM_HEADER)

struct wherry_decoder {
	size_t len;      /* bytes in buf */
	size_t used;     /* of which the record handed out last; they go at the next call */
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

uint8_t *
wherry_decoder_space(struct wherry_decoder *dec, size_t *ret_cap)
{
	size_t want = WHERRY_STREAM_HEADER;

	if (dec->len >= WHERRY_STREAM_HEADER) /* its length was checked by next */
		want += record_len(dec);
	*ret_cap = want - dec->len;
	return dec->buf + dec->len;
}

void
wherry_decoder_fed(struct wherry_decoder *dec, size_t n)
{
	dec->len += n;
}

static void
drop_used(struct wherry_decoder *dec)
{
	if (dec->used == 0)
		return;
	memmove(dec->buf, dec->buf + dec->used, dec->len - dec->used);
	dec->len -= dec->used;
	dec->offset += dec->used;
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
	return 0;
}

/* The record is whole. */
static int
check_payload(struct wherry_decoder *dec)
{
	const uint8_t *payload = dec->buf + WHERRY_STREAM_HEADER;
	size_t len = record_len(dec) - WHERRY_STREAM_HEADER;
	unsigned int type = get_u16(dec->buf + 4);
	struct payload_error bad;

	if (get_u64(dec->buf + 24) !=
		XXH3_64bits_withSeed(payload, len, XXH3_64bits(dec->buf, REC_SEEDING)))
		return refuse(dec, "its checksum is wrong", type, 0);
	if (record_def(type) == NULL)
		return 0;
	bad = payload_check(type, payload, len);
	return bad.why != NULL ? refuse(dec, bad.why, type, bad.field) : 0;
}

/* As next, but skips nothing. */
static int
next_any(struct wherry_decoder *dec, struct wherry_record *ret_rec)
{
	int rc;

	drop_used(dec);
	if (dec->error.why != NULL)
		return -EPROTO;
	if (dec->len < WHERRY_STREAM_HEADER)
		return 0;
	rc = check_header(dec);
	if (rc != 0 || dec->len < record_len(dec))
		return rc;
	rc = check_payload(dec);
	if (rc != 0)
		return rc;
	dec->used = record_len(dec);
	*ret_rec = (struct wherry_record){
		.type = get_u16(dec->buf + 4),
		.number = dec->number,
		.offset = dec->offset,
		.payload = dec->buf + WHERRY_STREAM_HEADER,
		.len = dec->used - WHERRY_STREAM_HEADER,
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
