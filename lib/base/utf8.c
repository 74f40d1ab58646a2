/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is it UTF-8? What people read may have come from a peer, a path or a cut in the middle
 * of a character, and one byte that is none spoils a whole line of JSON.
 */
#include <string.h>

#include "base_priv.h"

/* Of a character that begins so: its bytes, and what its second one may be (RFC 3629, 4). */
struct form {
	uint8_t first, last;
	uint8_t len;
	uint8_t low, high;
};

static const struct form forms[] = {
	{ 0x01, 0x7f, 1, 0, 0 },
	{ 0xc2, 0xdf, 2, 0x80, 0xbf },
	{ 0xe0, 0xe0, 3, 0xa0, 0xbf },
	{ 0xe1, 0xec, 3, 0x80, 0xbf },
	{ 0xed, 0xed, 3, 0x80, 0x9f }, /* no surrogates */
	{ 0xee, 0xef, 3, 0x80, 0xbf },
	{ 0xf0, 0xf0, 4, 0x90, 0xbf },
	{ 0xf1, 0xf3, 4, 0x80, 0xbf },
	{ 0xf4, 0xf4, 4, 0x80, 0x8f },
};

size_t
wherry_utf8_char(const void *text, size_t len)
{
	const uint8_t *at = text;
	const struct form *f = forms, *end = forms + sizeof(forms) / sizeof(forms[0]);

	while (f < end && (len == 0 || at[0] < f->first || at[0] > f->last))
		f++;
	if (f == end || f->len > len || (f->len > 1 && (at[1] < f->low || at[1] > f->high)))
		return 0;
	for (size_t i = 2; i < f->len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return f->len;
}

void
wherry_utf8_tidy(char *text)
{
	size_t len = strlen(text);

	for (size_t at = 0, n; at < len; at += n) {
		n = wherry_utf8_char(text + at, len - at);
		if (n == 0) {
			text[at] = '?';
			n = 1;
		}
	}
}
