/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CPU writes by content: a 128-bit hash per page, for kernels that offer nothing. It
 * sees whatever changes the bytes, by whom and through whichever mapping.
 *
 * The hash kept is of the bytes the receiver was given, not of the bytes seen at the
 * last harvest. Otherwise a lock word that reads 0 at one harvest, 1 when the page is
 * copied and 0 again at the next harvest would stay 1 at the receiver. A page is
 *
 *	known    sent() told its bytes: a harvest compares memory with them
 *	unsure   taken, and nobody told what was copied: dirty at the next harvest
 *	neither  reported; it stays pending at the watch until it is taken
 *
 * So a sender that never calls wherry_watch_sent() loses nothing but sends every page
 * again. Hashes are keyed afresh per source: packets are chosen by strangers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#ifdef HAVE_XXH_DISPATCH /* the widest vectors this CPU has, at least twice as fast */
#include <xxh_x86dispatch.h>
#endif

#include "cpu_priv.h"

#define KEY_LEN 192 /* what XXH3 uses of a secret at most */
#define BATCH 64    /* pages hashed before the lock is taken */

struct hash_source {
	struct cpu_source base;
	unsigned char key[KEY_LEN];
};

/* lock is a leaf; it nests in the watch's lock (taken) */
struct hash_area {
	struct cpu_area base;
	struct wherry_mutex lock;
	XXH128_hash_t *hashes;        /* under lock; by page */
	struct wherry_bitmap *known;  /* under lock */
	struct wherry_bitmap *unsure; /* under lock; never known, too */
};

static uint64_t
n_pages(const struct hash_area *area)
{
	return area->base.span.len / PAGE_SIZE_4K;
}

static uint64_t
page_index(const struct hash_area *area, uint64_t vaddr)
{
	return (vaddr - area->base.span.iova) / PAGE_SIZE_4K;
}

static XXH128_hash_t
hash_page(const struct hash_area *area, const void *page)
{
	const struct hash_source *src = (const struct hash_source *)area->base.src;

	return XXH3_128bits_withSecret(page, PAGE_SIZE_4K, src->key, sizeof(src->key));
}

static int
hash_open(struct cpu_source **ret_src, struct reason *why)
{
	struct hash_source *src = wherry_fault("dirty.source") ? NULL : calloc(1, sizeof(*src));

	if (src == NULL)
		return -ENOMEM;
	if (getrandom(src->key, sizeof(src->key), 0) != (ssize_t)sizeof(src->key)) {
		reason_set(why, "no random numbers to key the hashes with");
		free(src);
		return -EOPNOTSUPP;
	}
	*ret_src = &src->base;
	return 0;
}

static void
hash_close(struct cpu_source *src)
{
	free(src);
}

static int
alloc_state(struct hash_area *area)
{
	int rc;

	area->hashes =
		wherry_fault("dirty.hashes") ? NULL : calloc(n_pages(area), sizeof(*area->hashes));
	if (area->hashes == NULL)
		return -ENOMEM;
	rc = wherry_bitmap_create(area->base.span, PAGE_SIZE_4K, &area->known);
	if (rc != 0)
		goto free_hashes;
	rc = wherry_bitmap_create(area->base.span, PAGE_SIZE_4K, &area->unsure);
	if (rc != 0)
		goto destroy_known;
	return 0;
destroy_known:
	wherry_bitmap_destroy(area->known);
free_hashes:
	free(area->hashes);
	return rc;
}

static int
hash_attach(struct cpu_source *src, struct wherry_span span, uint64_t mem_page,
	struct cpu_area **ret_area)
{
	struct hash_area *area = wherry_fault("dirty.area") ? NULL : calloc(1, sizeof(*area));
	int rc;

	if (area == NULL)
		return -ENOMEM;
	area->base = (struct cpu_area){ .src = src, .span = span, .mem_page = mem_page };
	rc = alloc_state(area);
	if (rc != 0) {
		free(area);
		return rc;
	}
	wherry_mutex_init(&area->lock);
	*ret_area = &area->base;
	return 0;
}

static void
hash_detach(struct cpu_area *base)
{
	struct hash_area *area = (struct hash_area *)base;

	wherry_mutex_fini(&area->lock);
	wherry_bitmap_destroy(area->unsure);
	wherry_bitmap_destroy(area->known);
	free(area->hashes);
	free(area);
}

static int
hash_start(struct cpu_area *base)
{
	struct hash_area *area = (struct hash_area *)base;

	wherry_mutex_lock(&area->lock);
	wherry_bitmap_clear(area->known);
	wherry_bitmap_clear(area->unsure);
	wherry_mutex_unlock(&area->lock);
	return 0;
}

static void
hash_stop(struct cpu_area *base)
{
	(void)base;
}

/* The pages of the run whose memory is not what the receiver has are known no longer. */
static void
compare_locked(struct hash_area *area, struct wherry_span run, const XXH128_hash_t *now,
	struct wherry_bitmap *into) WHERRY_REQUIRES(&area->lock)
{
	uint64_t first = page_index(area, run.iova);
	struct wherry_span page = { .iova = run.iova, .len = PAGE_SIZE_4K };

	for (uint64_t i = 0; i < run.len / PAGE_SIZE_4K; i++, page.iova += PAGE_SIZE_4K) {
		if (!wherry_bitmap_test(area->known, page.iova) ||
			XXH128_isEqual(now[i], area->hashes[first + i]))
			continue;
		wherry_bitmap_unmark(area->known, page);
		wherry_bitmap_mark(into, page);
	}
}

/* Hash the next known pages, without the lock: they may change meanwhile anyway. */
static bool
harvest_batch(struct hash_area *area, uint64_t *cursor, struct wherry_bitmap *into)
{
	XXH128_hash_t now[BATCH];
	struct wherry_span run;
	bool more;

	wherry_mutex_lock(&area->lock);
	more = wherry_bitmap_next_run(area->known, cursor, &run);
	wherry_mutex_unlock(&area->lock);
	if (!more)
		return false;
	if (run.len > BATCH * PAGE_SIZE_4K)
		run.len = BATCH * PAGE_SIZE_4K;
	*cursor = run.iova + run.len;
	for (uint64_t i = 0; i < run.len / PAGE_SIZE_4K; i++)
		now[i] = hash_page(area, (const void *)(uintptr_t)(run.iova + i * PAGE_SIZE_4K));
	wherry_mutex_lock(&area->lock);
	compare_locked(area, run, now, into);
	wherry_mutex_unlock(&area->lock);
	return true;
}

static int
hash_harvest(struct cpu_area *base, struct wherry_bitmap *into)
{
	struct hash_area *area = (struct hash_area *)base;
	uint64_t cursor = area->base.span.iova;

	if (wherry_fault("dirty.hash"))
		return -ENOMEM;
	wherry_mutex_lock(&area->lock);
	wherry_bitmap_take(into, area->unsure);
	wherry_mutex_unlock(&area->lock);
	while (harvest_batch(area, &cursor, into))
		;
	return 0;
}

static void
hash_taken(struct cpu_area *base, const struct wherry_bitmap *pages)
{
	struct hash_area *area = (struct hash_area *)base;

	wherry_mutex_lock(&area->lock);
	wherry_bitmap_subtract(area->known, pages);
	wherry_bitmap_or(area->unsure, pages);
	wherry_mutex_unlock(&area->lock);
}

static void
hash_sent(struct cpu_area *base, struct wherry_span pages, const void *copy)
{
	struct hash_area *area = (struct hash_area *)base;
	const char *bytes = copy;

	for (uint64_t at = 0; at < pages.len; at += PAGE_SIZE_4K) {
		struct wherry_span page = { .iova = pages.iova + at, .len = PAGE_SIZE_4K };
		XXH128_hash_t hash = hash_page(area, bytes + at);

		wherry_mutex_lock(&area->lock);
		area->hashes[page_index(area, page.iova)] = hash;
		wherry_bitmap_unmark(area->unsure, page);
		wherry_bitmap_mark(area->known, page);
		wherry_mutex_unlock(&area->lock);
	}
}

static size_t
hash_footprint(const struct cpu_area *base)
{
	const struct hash_area *area = (const struct hash_area *)base;

	return sizeof(*area) + n_pages(area) * sizeof(*area->hashes) +
		wherry_bitmap_footprint(area->known) + wherry_bitmap_footprint(area->unsure);
}

const struct cpu_ops cpu_hash = {
	.kind = WHERRY_CPU_HASH,
	.open = hash_open,
	.close = hash_close,
	.attach = hash_attach,
	.detach = hash_detach,
	.start = hash_start,
	.stop = hash_stop,
	.harvest = hash_harvest,
	.taken = hash_taken,
	.sent = hash_sent,
	.footprint = hash_footprint,
};
