/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty bits, out of the kernel. GET_DIRTY_BITMAP returns 0 also when it has failed, and
 * "no bits" then looks like "clean". What it needs in order not to fail is seen to here
 * and in the core (lib/iommu/dirty.c):
 *
 *  - the walk ends at the first hole: no span has one; the core knows what is mapped;
 *  - a large leaf that is dirty is reported as far as the span goes and cleaned as a
 *    whole: spans are made of whole granules or end where a mapping ends;
 *  - bits for a page of the bitmap that is absent or read-only are dropped: the bitmap
 *    is locked memory, and it is written before each call;
 *  - bits are OR-ed into what is there: it is zeroed first, and then shared by all tables;
 *  - off and never switched on read as clean: the core reads only while tracking is on;
 *  - a table whose IOMMU has no dirty bits makes everything dirty;
 *  - a call that does report an error may have cleared bits before: all is dirty;
 *  - SMMUv3's new entries are writable and dirty, for its format has no other way to make
 *    them writable. A device may have written through them before we could clean them, so
 *    they are reported once (caps: born_dirty); only a twin, which has no devices, is cleaned.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd_priv.h"

#define LOG_PREFIX "iommu/iommufd"

#define WORD_BITS 64u
#define WINDOW (UINT64_C(1) << 30)

/* Bytes of bitmap for that many bytes of memory. */
static size_t
bitmap_len(const struct iommufd_domain *dom, uint64_t len)
{
	uint64_t pages = len >> __builtin_ctzll(dom->page);
	uint64_t words = (pages + WORD_BITS - 1) / WORD_BITS;

	return (size_t)(words * sizeof(uint64_t));
}

static int
bits_grow(struct iommufd_domain *dom, size_t need)
{
	void *p;
	int rc;

	need = round_up(need, (uint64_t)sysconf(_SC_PAGESIZE));
	rc = wherry_fault("iommufd.bits")
		? -ENOMEM
		: wherry_sys->mmap(NULL, need, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0, &p);
	if (rc != 0) {
		LOG_ERR("no %zu bytes of locked memory for dirty bits: raise RLIMIT_MEMLOCK", need);
		return -ENOMEM;
	}
	iommufd_bits_free(dom);
	dom->bits = (struct iommufd_bits){ .words = p, .len = need };
	return 0;
}

static int
bits_reserve(struct iommufd_domain *dom, size_t len)
{
	return len <= dom->bits.len ? 0 : bits_grow(dom, len);
}

int
iommufd_bits_reserve(struct iommufd_domain *dom, uint64_t len)
{
	return bits_reserve(dom, bitmap_len(dom, len));
}

void
iommufd_bits_free(struct iommufd_domain *dom)
{
	if (dom->bits.words != NULL)
		wherry_sys->munmap(dom->bits.words, dom->bits.len);
	dom->bits = (struct iommufd_bits){ .words = NULL };
}

/* Zeroed, which also makes the kernel's pages ours to write. One word is most often all there is. */
static void
clear_words(uint64_t *words, size_t len)
{
	if (len == sizeof(*words))
		*words = 0;
	else
		memset(words, 0, len);
}

static bool
any(const uint64_t *words, size_t len)
{
	for (size_t i = 0; i < len / sizeof(*words); i++)
		if (words[i] != 0)
			return true;
	return false;
}

/* All tables of a space into the one bitmap. */
static int
read_space(struct iommufd_domain *dom, const struct iommufd_space *space, struct wherry_span span,
	bool clear, bool *ret_unknown)
{
	struct iommufd_table *table;
	int rc = 0;

	LIST_FOREACH(table, &space->tables, link) {
		if (rc != 0 || !table->tracks)
			continue;
		if (wherry_fault("iommufd.get"))
			return -ENOMEM; /* not even asked */
		rc = kernel_hwpt_get_dirty(
			dom->fd, table->hwpt, span, dom->page, clear, dom->bits.words);
		*ret_unknown |= rc != 0 && clear;
	}
	return rc;
}

WHERRY_HOT int
iommufd_read_dirty(void *be, struct wherry_span span, bool clear, struct wherry_dirty_sink *sink)
{
	struct iommufd_domain *dom = be;
	size_t len = bitmap_len(dom, span.len);
	bool unknown = !iommufd_all_track(dom);
	int rc = unknown ? 0 : bits_reserve(dom, len);

	if (rc == 0 && !unknown) {
		clear_words(dom->bits.words, len);
		rc = read_space(dom, dom->now, span, clear, &unknown);
		if (rc == 0 && dom->swapped)
			rc = read_space(dom, dom->other, span, clear, &unknown);
		if (any(dom->bits.words, len)) /* on failure too: they are out */
			wherry_dirty_sink_words(sink, span, dom->page, dom->bits.words);
	}
	if (unknown)
		wherry_dirty_sink_mark(sink, span);
	return rc;
}

static void
make_table_clean(
	struct iommufd_domain *dom, const struct iommufd_table *table, struct wherry_span span)
{
	size_t len = bitmap_len(dom, span.len);

	if (bits_reserve(dom, len) != 0)
		return; /* and it is dirty, which is never wrong */
	clear_words(dom->bits.words, len);
	(void)kernel_hwpt_get_dirty(dom->fd, table->hwpt, span, dom->page, true, dom->bits.words);
}

void
iommufd_make_clean(
	struct iommufd_domain *dom, const struct iommufd_space *space, struct wherry_span span)
{
	const struct iommufd_table *table;

	LIST_FOREACH(table, &space->tables, link)
		for (uint64_t at = 0; at < span.len && table->tracks; at += WINDOW)
			make_table_clean(dom, table,
				(struct wherry_span){ span.iova + at,
					span.len - at < WINDOW ? span.len - at : WINDOW });
}
