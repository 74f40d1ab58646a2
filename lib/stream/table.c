/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables of typed fields: written into a buffer, read from one. */
#include <errno.h>

#include "stream_priv.h"

/* Where the field's bytes go, or NULL: it does not fit, and nothing more will. */
static uint8_t *
append(struct wherry_table *t, unsigned int id, enum wherry_field_type type, size_t len)
{
	uint8_t *p;

	if (t->overflow || len > WHERRY_STREAM_PAYLOAD_MAX ||
		t->cap - t->len < FIELD_HEADER + len) {
		t->overflow = true;
		return NULL;
	}
	p = t->buf + t->len;
	put_u16(p, id);
	p[2] = (uint8_t)type;
	p[3] = 0;
	put_u32(p + 4, (uint32_t)len);
	t->len += FIELD_HEADER + len;
	return p + FIELD_HEADER;
}

void
wherry_table_put_u64(struct wherry_table *t, unsigned int id, uint64_t value)
{
	uint8_t *p = append(t, id, WHERRY_FIELD_U64, sizeof(value));

	if (p != NULL)
		put_u64(p, value);
}

void
wherry_table_put_u64_skippable(struct wherry_table *t, unsigned int id, uint64_t value)
{
	uint8_t *p = append(t, id, WHERRY_FIELD_U64, sizeof(value));

	if (p == NULL)
		return;
	(p - FIELD_HEADER)[3] = FIELD_SKIPPABLE;
	put_u64(p, value);
}

void
wherry_table_put_text(struct wherry_table *t, unsigned int id, const char *text)
{
	size_t len = strnlen(text, WHERRY_STREAM_TEXT_MAX), n;
	uint8_t *p = len == 0 ? NULL : append(t, id, WHERRY_FIELD_TEXT, len);

	for (size_t at = 0; p != NULL && at < len; at += n) {
		n = wherry_utf8_char(text + at, len - at);
		if (n == 0 || is_control((uint8_t)text[at]))
			p[at] = '?';
		else
			memcpy(p + at, text + at, n);
		n = n == 0 ? 1 : n;
	}
}

void
wherry_table_put_bytes(struct wherry_table *t, unsigned int id, const void *bytes, size_t len)
{
	uint8_t *p = append(t, id, WHERRY_FIELD_BYTES, len);

	if (p != NULL && len != 0)
		memcpy(p, bytes, len);
}

size_t
wherry_table_open(struct wherry_table *t, unsigned int id)
{
	append(t, id, WHERRY_FIELD_TABLE, 0);
	return t->len;
}

void
wherry_table_close(struct wherry_table *t, size_t mark)
{
	if (!t->overflow)
		put_u32(t->buf + mark - 4, (uint32_t)(t->len - mark));
}

int
wherry_field_next(const uint8_t *bytes, size_t len, size_t *cursor, struct wherry_field *ret_field)
{
	const uint8_t *p = bytes + *cursor;
	size_t left = len - *cursor, field_len;

	if (left == 0)
		return 0;
	if (left < FIELD_HEADER)
		return -EPROTO;
	field_len = get_u32(p + 4);
	if (field_len > left - FIELD_HEADER)
		return -EPROTO;
	*ret_field = (struct wherry_field){
		.id = get_u16(p),
		.type = (enum wherry_field_type)p[2],
		.skippable = (p[3] & FIELD_SKIPPABLE) != 0,
		.bytes = p + FIELD_HEADER,
		.len = field_len,
	};
	*cursor += FIELD_HEADER + field_len;
	return 1;
}

bool
wherry_field_find(const uint8_t *bytes, size_t len, unsigned int id, struct wherry_field *ret_field)
{
	size_t cursor = 0;

	while (wherry_field_next(bytes, len, &cursor, ret_field) == 1)
		if (ret_field->id == id)
			return true;
	return false;
}

uint64_t
wherry_field_u64(const uint8_t *bytes, size_t len, unsigned int id, uint64_t otherwise)
{
	struct wherry_field f;

	if (!wherry_field_find(bytes, len, id, &f) || f.type != WHERRY_FIELD_U64 ||
		f.len != sizeof(uint64_t))
		return otherwise;
	return get_u64(f.bytes);
}

void
wherry_field_text(const uint8_t *bytes, size_t len, unsigned int id, char *ret_text, size_t cap)
{
	struct wherry_field f;
	size_t n = 0;

	if (wherry_field_find(bytes, len, id, &f)) {
		n = f.len < cap - 1 ? f.len : cap - 1;
		memcpy(ret_text, f.bytes, n);
	}
	ret_text[n] = '\0';
}
