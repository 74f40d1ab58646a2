/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BYTES_PRIV_H
#define BYTES_PRIV_H

/*
 * Sections written and read piece by piece, little-endian. Once it is bad, for there is no
 * room or not enough there, nothing more is written and only zeroes are read: who is done
 * looks at that once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	uint8_t *at;
	size_t left;
	bool bad;
};

/* The next len bytes; NULL: bad. */
static inline uint8_t *
bytes_step(struct bytes *b, size_t len)
{
	uint8_t *at = b->at;

	if (b->bad || len > b->left) {
		b->bad = true;
		return NULL;
	}
	b->at += len;
	b->left -= len;
	return at;
}

static inline void
bytes_put16(struct bytes *b, uint16_t n)
{
	uint8_t *at = bytes_step(b, 2);

	if (at != NULL) {
		at[0] = (uint8_t)(n & 0xff);
		at[1] = (uint8_t)(n >> 8);
	}
}

static inline uint16_t
bytes_get16(struct bytes *b)
{
	const uint8_t *at = bytes_step(b, 2);

	return at != NULL ? (uint16_t)((at[0] | (uint32_t)at[1] << 8) & 0xffff) : 0;
}

static inline void
bytes_put32(struct bytes *b, uint32_t n)
{
	bytes_put16(b, (uint16_t)(n & 0xffff));
	bytes_put16(b, (uint16_t)(n >> 16));
}

static inline uint32_t
bytes_get32(struct bytes *b)
{
	uint32_t low = bytes_get16(b);

	return low | (uint32_t)bytes_get16(b) << 16;
}

static inline void
bytes_put64(struct bytes *b, uint64_t n)
{
	bytes_put32(b, (uint32_t)(n & 0xffffffff));
	bytes_put32(b, (uint32_t)(n >> 32));
}

static inline uint64_t
bytes_get64(struct bytes *b)
{
	uint64_t low = bytes_get32(b);

	return low | (uint64_t)bytes_get32(b) << 32;
}

static inline void
bytes_put(struct bytes *b, const void *from, size_t len)
{
	uint8_t *at = bytes_step(b, len);

	if (at != NULL && len != 0)
		memcpy(at, from, len);
}

static inline void
bytes_get(struct bytes *b, void *to, size_t len)
{
	const uint8_t *at = bytes_step(b, len);

	if (at != NULL && len != 0)
		memcpy(to, at, len);
}

#endif /* BYTES_PRIV_H */
