/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>
#include <string.h>
#include <xxhash.h>

#ifdef HAVE_XXH_DISPATCH /* the widest vectors this CPU has, at least twice as fast */
#include <xxh_x86dispatch.h>
#endif

#include "digest_priv.h"
#include "wherry_stream.h"

void
mig_digest_hash(const struct mig_digest *d, const void *bytes, uint64_t hash[2])
{
	XXH128_hash_t h =
		XXH3_128bits_withSecret(bytes, WHERRY_STREAM_PAGE, d->key, sizeof(d->key));

	hash[0] = h.low64;
	hash[1] = h.high64;
}

static void
add(struct mig_digest *d, uint64_t low, uint64_t high)
{
	d->low += low;
	d->high += high + (d->low < low);
}

void
mig_digest_count(struct mig_digest *d, uint32_t region, uint64_t page, const uint64_t hash[2])
{
	uint64_t placed[4] = { htole64(hash[0]), htole64(hash[1]), htole64(region), htole64(page) };
	XXH128_hash_t h = XXH3_128bits_withSecret(placed, sizeof(placed), d->key, sizeof(d->key));

	add(d, h.low64, h.high64);
	d->pages++;
}

void
mig_digest_init(struct mig_digest *d, const uint8_t *key)
{
	static const uint8_t zeroes[WHERRY_STREAM_PAGE];

	memset(d, 0, sizeof(*d));
	memcpy(d->key, key, sizeof(d->key));
	mig_digest_hash(d, zeroes, d->zero);
}

void
mig_digest_add(struct mig_digest *d, uint32_t region, uint64_t page, const void *bytes)
{
	uint64_t hash[2];

	mig_digest_hash(d, bytes, hash);
	mig_digest_count(d, region, page, hash);
}

void
mig_digest_add_zero(struct mig_digest *d, uint32_t region, uint64_t page)
{
	mig_digest_count(d, region, page, d->zero);
}

void
mig_digest_exchange(struct mig_digest *d, uint32_t region, uint64_t page, const uint64_t from[2],
	const uint64_t to[2])
{
	struct mig_digest gone = { .low = 0 };

	memcpy(gone.key, d->key, sizeof(gone.key));
	mig_digest_count(&gone, region, page, from);
	d->high -= gone.high + (d->low < gone.low);
	d->low -= gone.low;
	d->pages--;
	mig_digest_count(d, region, page, to);
}

void
mig_digest_merge(struct mig_digest *d, const struct mig_digest *other)
{
	add(d, other->low, other->high);
	d->pages += other->pages;
}
