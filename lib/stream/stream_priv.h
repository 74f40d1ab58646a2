/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef STREAM_PRIV_H
#define STREAM_PRIV_H

/*
 * The inside of the wire format. Header, little-endian:
 *
 *	 0 u32 magic   "WHRY"
 *	 4 u16 type
 *	 6 u16 flags   bit 0: a reader that does not know the type may skip the record
 *	 8 u64 number  0, 1, 2, ... in each direction
 *	16 u32 len     of the payload and, if it has one, the body
 *	20 u32 check   low half of XXH3-64 of bytes 0 to 19
 *	24 u64 sum     XXH3-64 of the payload, seeded with XXH3-64 of bytes 0 to 23
 *
 * Field: u16 id, u8 type, u8 flags (bit 0: may be ignored), u32 len, bytes.
 */

#include <endian.h>
#include <string.h>

#include "base_priv.h"
#include "wherry_stream.h"

#define REC_MAGIC UINT32_C(0x59524857) /* "WHRY" */
#define REC_SKIPPABLE 0x1u
#define REC_CHECKED 20u /* bytes that check covers */
#define REC_SEEDING 24u /* bytes whose hash seeds sum */

#define FIELD_HEADER 8u
#define FIELD_SKIPPABLE 0x1u

/* How often a field may stand in its table. */
enum field_how { FIELD_OPTIONAL, FIELD_REQUIRED, FIELD_REPEATED };

/* A table's fields; ends with id 0. inner: fields of a field that is a table. */
struct field_def {
	unsigned int id;
	enum wherry_field_type type;
	enum field_how how;
	const struct field_def *inner;
};

enum payload_form { FORM_TABLE, FORM_PAGES, FORM_RUNS };
#define BATCH_MIN (8u + 16u + WHERRY_STREAM_TAIL) /* a pages payload with one run */

/* What is known of a record type; the only such place. */
struct record_def {
	const char *name;
	enum payload_form form;
	bool skippable;
	const struct field_def *fields;
};

/* NULL: no such type */
const struct record_def *record_def(unsigned int type);

/* What is wrong with a payload; why is NULL if nothing is. */
struct payload_error {
	const char *why;
	unsigned int field;
};
/* len: of the payload; body: of what follows it */
struct payload_error payload_check(
	unsigned int type, const uint8_t *payload, size_t len, size_t body);

/* No text has one. */
static inline bool
is_control(uint8_t c)
{
	return c < 0x20 || c == 0x7f;
}

static inline uint32_t
get_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t
get_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline unsigned int
get_u16(const uint8_t *p)
{
	return (unsigned int)p[0] | (unsigned int)p[1] << 8;
}

static inline void
put_u16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void
put_u32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void
put_u64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

#endif /* STREAM_PRIV_H */
