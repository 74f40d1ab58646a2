/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>
#include <string.h>
#include <xxhash.h>

#include "digest_priv.h"
#include "wherry_stream.h"

static void
hash_page(const struct mig_digest *d, const void *bytes, uint64_t hash[2])
{
	XXH128_hash_t h =
		XXH3_128bits_withSecret(bytes, WHERRY_STREAM_PAGE, d->key, sizeof(d->key));

	hash[0] = h.low64;
	hash[1] = h.high64;
}

/* Bind the hash of the bytes to their place, and count it in. */
static void
add_hash(struct mig_digest *d, uint32_t region, uint64_t page, const uint64_t hash[2])
{
	uint64_t placed[4] = { htole64(hash[0]), htole64(hash[1]), htole64(region), htole64(page) };
	XXH128_hash_t h = XXH3_128bits_withSecret(placed, sizeof(placed), d->key, sizeof(d->key));

	d->low += h.low64;
	d->high += h.high64 + (d->low < h.low64);
	d->pages++;
}

void
mig_digest_init(struct mig_digest *d, const uint8_t *key)
{
	static const uint8_t zeroes[WHERRY_STREAM_PAGE];

	memset(d, 0, sizeof(*d));
	memcpy(d->key, key, sizeof(d->key));
	hash_page(d, zeroes, d->zero);
}

void
mig_digest_add(struct mig_digest *d, uint32_t region, uint64_t page, const void *bytes)
{
	uint64_t hash[2];

	hash_page(d, bytes, hash);
	add_hash(d, region, page, hash);
}

void
mig_digest_add_zero(struct mig_digest *d, uint32_t region, uint64_t page)
{
	add_hash(d, region, page, d->zero);
}
