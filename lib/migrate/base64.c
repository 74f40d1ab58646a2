/* SPDX-License-Identifier: BSD-3-Clause */
/* RFC 4648 section 4, as etcd's gateway wants keys and values. */
#include <errno.h>
#include <string.h>

#include "base64_priv.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
mig_base64_put(const void *bytes, size_t len, char *ret_text)
{
	const uint8_t *in = bytes;

	for (size_t i = 0; i < len; i += 3) {
		uint32_t three = (uint32_t)in[i] << 16;

		if (i + 1 < len)
			three |= (uint32_t)in[i + 1] << 8;
		if (i + 2 < len)
			three |= in[i + 2];
		*ret_text++ = digits[three >> 18];
		*ret_text++ = digits[three >> 12 & 63];
		*ret_text++ = '=';
		*ret_text++ = '=';
		if (i + 1 < len)
			ret_text[-2] = digits[three >> 6 & 63];
		if (i + 2 < len)
			ret_text[-1] = digits[three & 63];
	}
	*ret_text = '\0';
}

ssize_t
mig_base64_get(const char *text, void *buf, size_t cap)
{
	size_t len = strcspn(text, "="), n = 0;
	uint32_t bits = 0;
	uint8_t *out = buf;

	if (strlen(text) % 4 != 0 || strlen(text) - len > 2 ||
		strspn(text + len, "=") != strlen(text) - len)
		return -EPROTO;
	for (size_t i = 0; i < len; i++) {
		const char *digit = memchr(digits, text[i], sizeof(digits) - 1);

		if (digit == NULL)
			return -EPROTO;
		bits = bits << 6 | (uint32_t)(digit - digits);
		if (i % 4 == 0)
			continue;
		if (n == cap)
			return -EPROTO;
		out[n++] = (uint8_t)(bits >> (6 - i % 4 * 2));
	}
	return (ssize_t)n;
}
