/* SPDX-License-Identifier: BSD-3-Clause */
/* A record of the source is sealed, and now and then damaged or cut short. */
#include "dest_parts.h"

void
source_is_broken(struct source *s)
{
	if (s->phase != THROUGH)
		s->verdict = s->doubtful ? EITHER : BROKEN;
}

bool
source_goes_wrong(struct source *s, uint64_t often)
{
	bool wrong = s->harm > 0 && fuzz_below(s->in, often) == 1;

	s->harm -= wrong;
	return wrong;
}

uint8_t *
out_payload(struct out *out)
{
	return out->bytes + out->len + WHERRY_STREAM_HEADER;
}

struct wherry_table
out_table(struct out *out)
{
	return (struct wherry_table){ .buf = out_payload(out), .cap = 8192 };
}

enum came
source_put(struct source *s, struct out *out, enum wherry_record_type type, size_t len, size_t body)
{
	uint64_t how = source_goes_wrong(s, 24) ? 1 + fuzz_below(s->in, 3) : 0;
	uint8_t *at = out->bytes + out->len;
	uint8_t flip = (uint8_t)(how == 1 || how == 2 ? 1u << fuzz_below(s->in, 8) : 0);
	bool seals = how == 1 && len > body && s->channels == 1 && s->greeted;
	size_t whole;

	if (out->closed)
		return LOST;
	if (seals)
		at[WHERRY_STREAM_HEADER + fuzz_below(s->in, len - body)] ^= flip;
	if (seals && s->verdict == RIGHT && s->phase != THROUGH)
		s->verdict = EITHER;
	whole = wherry_record_seal(at, type, out->n++, len);
	if (how == 2) {
		at[fuzz_below(s->in, whole - body)] ^= flip;
		source_is_broken(s);
	}
	if (how == 3) {
		whole -= 1 + fuzz_below(s->in, whole - 1);
		out->closed = true;
	}
	out->len += whole;
	return seals ? ALTERED : how == 2 || how == 3 ? LOST : CAME;
}
