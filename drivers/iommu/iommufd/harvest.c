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
	uint64_t words = (len / dom->page + WORD_BITS - 1) / WORD_BITS;

	return (size_t)(words * sizeof(uint64_t));
}

int
iommufd_bits_reserve(struct iommufd_domain *dom, uint64_t len)
{
	size_t need = round_up(bitmap_len(dom, len), (uint64_t)sysconf(_SC_PAGESIZE));
	void *p;
	int rc;

	if (need <= dom->bits.len)
		return 0;
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

void
iommufd_bits_free(struct iommufd_domain *dom)
{
	if (dom->bits.words != NULL)
		wherry_sys->munmap(dom->bits.words, dom->bits.len);
	dom->bits = (struct iommufd_bits){ .words = NULL };
}

/* The first one from @p i on; end: there is none. */
static uint64_t
find_one(const uint64_t *words, uint64_t i, uint64_t end)
{
	uint64_t word;

	while (i < end && (word = words[i / WORD_BITS] >> (i % WORD_BITS)) == 0)
		i = (i / WORD_BITS + 1) * WORD_BITS;
	return i < end ? i + (unsigned int)__builtin_ctzll(word) : end;
}

/* The first zero from @p i on, or end. */
static uint64_t
find_zero(const uint64_t *words, uint64_t i, uint64_t end)
{
	uint64_t word;

	/* what is shifted in is inverted to ones, which end a count, but for a full word */
	while (i < end) {
		word = ~(words[i / WORD_BITS] >> (i % WORD_BITS));
		if (word != 0)
			i += (unsigned int)__builtin_ctzll(word);
		else
			i += WORD_BITS;
		if (i % WORD_BITS != 0 || (word & 1) != 0)
			break;
	}
	return i < end ? i : end;
}

static void
report(const struct iommufd_domain *dom, struct wherry_span span, struct wherry_dirty_sink *sink)
{
	uint64_t at = 0, end = span.len / dom->page, first;

	while ((first = find_one(dom->bits.words, at, end)) < end) {
		at = find_zero(dom->bits.words, first, end);
		wherry_dirty_sink_mark(sink,
			(struct wherry_span){ .iova = span.iova + first * dom->page,
				.len = (at - first) * dom->page });
	}
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

int
iommufd_read_dirty(void *be, struct wherry_span span, bool clear, struct wherry_dirty_sink *sink)
{
	struct iommufd_domain *dom = be;
	bool unknown = !iommufd_all_track(dom);
	int rc = unknown ? 0 : iommufd_bits_reserve(dom, span.len);

	if (rc == 0 && !unknown) {
		memset(dom->bits.words, 0, bitmap_len(dom, span.len));
		rc = read_space(dom, dom->now, span, clear, &unknown);
		if (rc == 0 && dom->swapped)
			rc = read_space(dom, dom->other, span, clear, &unknown);
		report(dom, span, sink); /* on failure too: these bits are out */
	}
	if (unknown)
		wherry_dirty_sink_mark(sink, span);
	return rc;
}

static void
make_table_clean(
	struct iommufd_domain *dom, const struct iommufd_table *table, struct wherry_span span)
{
	if (iommufd_bits_reserve(dom, span.len) != 0)
		return; /* and it is dirty, which is never wrong */
	memset(dom->bits.words, 0, bitmap_len(dom, span.len));
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
