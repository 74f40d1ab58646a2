/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is a payload of sound form? Asked once, when its record has come whole and with the
 * right checksum; readers of the payload then need not ask again.
 */
#include <stdlib.h>

#include "stream_priv.h"

#define SOUND ((struct payload_error){ NULL, 0 })
#define BAD(why, field) ((struct payload_error){ (why), (field) })
#define DEPTH_MAX 2 /* a table in a table, as in hello */

static const struct field_def *
find_def(const struct field_def *defs, unsigned int id)
{
	for (; defs->id != 0; defs++)
		if (defs->id == id)
			return defs;
	return NULL;
}

static bool
is_text(const struct wherry_field *f)
{
	if (f->len == 0 || f->len > WHERRY_STREAM_TEXT_MAX)
		return false;
	for (size_t at = 0, n; at < f->len; at += n) {
		n = wherry_utf8_char(f->bytes + at, f->len - at);
		if (n == 0 || is_control(f->bytes[at]))
			return false;
	}
	return true;
}

static const char *
check_value(const struct field_def *def, const struct wherry_field *f)
{
	if (f->type != def->type)
		return "a field has another type than it has here";
	if (f->type == WHERRY_FIELD_U64 && f->len != sizeof(uint64_t))
		return "a number is not 8 bytes long";
	if (f->type == WHERRY_FIELD_TEXT && !is_text(f))
		return "a text is empty, too long, no UTF-8, or has control characters";
	return NULL;
}

static struct payload_error
check_required(const struct field_def *defs, uint64_t seen)
{
	for (; defs->id != 0; defs++)
		if (defs->how == FIELD_REQUIRED && (seen >> defs->id & 1) == 0)
			return BAD("a required field is missing", defs->id);
	return SOUND;
}

static struct payload_error
check_table(const struct field_def *defs, const uint8_t *bytes, size_t len, unsigned int depth)
{
	uint64_t seen = 0; /* ids of known fields are below 64 */
	size_t cursor = 0;
	struct wherry_field f = { .id = 0 };
	int more;

	while ((more = wherry_field_next(bytes, len, &cursor, &f)) == 1) {
		const struct field_def *def = find_def(defs, f.id);
		struct payload_error inner = SOUND;
		const char *why;

		if (def == NULL && f.skippable)
			continue;
		if (def == NULL)
			return BAD("a field is not known here: the peer is newer", f.id);
		why = check_value(def, &f);
		if (why == NULL && (seen >> f.id & 1) != 0 && def->how != FIELD_REPEATED)
			why = "a field stands there twice";
		if (why == NULL && def->inner != NULL && depth < DEPTH_MAX)
			inner = check_table(def->inner, f.bytes, f.len, depth + 1);
		if (why != NULL || inner.why != NULL)
			return why != NULL ? BAD(why, f.id) : inner;
		seen |= UINT64_C(1) << f.id;
	}
	return more < 0 ? BAD("a table is cut short", f.id) : check_required(defs, seen);
}

/* The runs ascend and their sum is *ret_pages. */
static const char *
check_runs(const uint8_t *payload, uint32_t n, uint64_t *ret_pages)
{
	uint64_t pages = 0, next = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t first = get_u64(payload + 8 + (size_t)i * 16);
		uint64_t count = get_u64(payload + 16 + (size_t)i * 16);

		if (first < next || count == 0)
			return "runs overlap, do not ascend, or are empty";
		if (first > UINT64_MAX / WHERRY_STREAM_PAGE ||
			count > UINT64_MAX / WHERRY_STREAM_PAGE - first)
			return "a run leaves the 64-bit space";
		next = first + count;
		pages += count;
	}
	*ret_pages = pages;
	return NULL;
}

/* Bytes of what stands behind the head: the tail of a batch, or nothing. */
static const char *
check_run_record(const uint8_t *payload, size_t len, size_t tail, uint64_t *ret_pages)
{
	const char *why;
	uint32_t n;

	if (len < wherry_runs_size(1) + tail)
		return "it is too short for a run";
	n = get_u32(payload + 4);
	if (n == 0 || n > WHERRY_STREAM_RUNS_MAX || wherry_runs_size(n) + tail > len)
		return "the number of runs does not fit its length";
	why = check_runs(payload, n, ret_pages);
	if (why != NULL)
		return why;
	return len != wherry_runs_size(n) + tail ? "its length is not that of its runs" : NULL;
}

static const char *
check_batch(const uint8_t *payload, size_t len, size_t body)
{
	uint64_t pages = 0;
	const char *why = check_run_record(payload, len, WHERRY_STREAM_TAIL, &pages);

	if (why != NULL)
		return why;
	if (pages > WHERRY_STREAM_PAGES_MAX)
		return "it has more pages than a record may have";
	switch (get_u64(payload + len - WHERRY_STREAM_TAIL)) {
	case WHERRY_ENCODING_RAW:
	case WHERRY_ENCODING_LIVE:
		return body != pages * WHERRY_STREAM_PAGE ? "its length is not that of its runs"
							  : NULL;
	case WHERRY_ENCODING_ZSTD:
		return body == 0 || body >= pages * WHERRY_STREAM_PAGE
			? "compressed, it is empty or no shorter"
			: NULL;
	default:
		return "its encoding is not known here: the peer is newer";
	}
}

struct payload_error
payload_check(unsigned int type, const uint8_t *payload, size_t len, size_t body)
{
	const struct record_def *def = record_def(type);
	struct payload_error form;
	uint64_t pages;

	if (def->form == FORM_PAGES)
		return BAD(check_batch(payload, len, body), 0);
	if (def->form == FORM_RUNS)
		return BAD(check_run_record(payload, len, 0, &pages), 0);
	form = check_table(def->fields, payload, len, 1);
	/* a hello of another format need only be sound enough to say which */
	if (form.why != NULL && type == WHERRY_REC_HELLO &&
		wherry_field_u64(payload, len, WHERRY_HELLO_FORMAT, WHERRY_STREAM_FORMAT) !=
			WHERRY_STREAM_FORMAT)
		return SOUND;
	return form;
}
