/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exact unmap by content, for backends that cannot take write permission away. Pages
 * not known dirty are looked at before the last reading of the dirty bits and after
 * the unmap, which waits for DMA in flight: what a device wrote in between without
 * being seen has changed the bytes.
 *
 *	read the bits      only to skip pages that are dirty anyway
 *	look               at the clean pages
 *	read the bits      a write before the look has set its bit by now: the bit is
 *	                   set before the data lands, and it was not there at the look
 *	unmap              no write lands any more
 *	look again         a write after the second reading has changed the page
 *
 * The look must come before the last reading: after it, a write in between would be in
 * both looks and in no bit. A page that a device only rewrote with the same bytes may
 * go unreported. A page that the CPU changed meanwhile is reported too.
 *
 * A look is a 128-bit hash, under a key that is new in each call, because what devices
 * write is chosen by strangers; a small span is copied and compared instead. All the
 * memory is had before anything is read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#ifdef HAVE_XXH_DISPATCH /* the widest vectors this CPU has, at least twice as fast */
#include <xxh_x86dispatch.h>
#endif

#include "iommu_priv.h"

#define LOG_PREFIX "iommu/content"

#define KEY_LEN 192                    /* what XXH3 uses of a secret at most */
#define COPY_MOST (UINT64_C(64) << 10) /* bytes of a span that are copied */

/* What the pages of a span held, by number of the page in the span. */
struct content {
	struct wherry_span span;
	uint64_t page;
	unsigned char key[KEY_LEN];
	uint8_t *copies; /* one of the two is NULL */
	XXH128_hash_t *hashes;
};

int
content_create_locked(struct wherry_domain *dom, struct wherry_span span, struct content **ret_c)
{
	struct content *c = wherry_fault("content.alloc") ? NULL : calloc(1, sizeof(*c));
	void *room = NULL;

	if (c == NULL)
		return -ENOMEM;
	c->span = span;
	c->page = domain_smallest_page(dom);
	if (!wherry_fault("content.room"))
		room = span.len <= COPY_MOST ? malloc(span.len)
					     : calloc(span.len / c->page, sizeof(*c->hashes));
	if (room == NULL)
		goto free_c;
	if (span.len <= COPY_MOST)
		c->copies = room;
	else
		c->hashes = room;
	if (getrandom(c->key, sizeof(c->key), 0) == (ssize_t)sizeof(c->key)) {
		*ret_c = c;
		return 0;
	}
	LOG_ERR("no random numbers to key the hashes with");
free_c:
	content_destroy(c);
	return room == NULL ? -ENOMEM : -EOPNOTSUPP;
}

void
content_destroy(struct content *c)
{
	if (c == NULL)
		return;
	free(c->copies);
	free(c->hashes);
	free(c);
}

/* Devices may be writing: word by word, as they do. */
static void
copy_page(uint64_t *to, const uint64_t *from, uint64_t len)
{
	for (uint64_t i = 0; i < len / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static void
look(struct content *c, uint64_t n, const uint8_t *bytes)
{
	if (c->copies != NULL)
		copy_page((uint64_t *)(void *)(c->copies + n * c->page),
			(const uint64_t *)(const void *)bytes, c->page);
	else
		c->hashes[n] = XXH3_128bits_withSecret(bytes, c->page, c->key, sizeof(c->key));
}

static bool
differs(const struct content *c, uint64_t n, const uint8_t *bytes)
{
	if (c->copies != NULL)
		return memcmp(c->copies + n * c->page, bytes, c->page) != 0;
	return !XXH128_isEqual(
		c->hashes[n], XXH3_128bits_withSecret(bytes, c->page, c->key, sizeof(c->key)));
}

/* Look at the pages of one mapping that are not known dirty, or again at them. */
static void
visit(struct content *c, struct wherry_span span, struct mapping *m, bool again)
{
	struct wherry_span page = { .iova = span.iova, .len = c->page };
	uint64_t n = (span.iova - c->span.iova) / c->page;

	for (uint64_t at = 0; at < span.len; at += c->page, page.iova += c->page, n++) {
		if (wherry_bitmap_test(m->pending, page.iova))
			continue;
		if (!again)
			look(c, n, m->bytes + at);
		else if (differs(c, n, m->bytes + at))
			mapping_mark(m, page);
	}
}

/* What no device may write cannot have changed. */
static void
visit_all_locked(struct wherry_domain *dom, struct content *c, bool again)
	WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(dom, c->span, &e)) {
		struct mapping *m = e.value;

		if ((m->prot & WHERRY_DMA_WRITE) != 0)
			visit(c, e.span, m, again);
	}
}

void
content_look_locked(struct wherry_domain *dom, struct content *c)
{
	visit_all_locked(dom, c, false);
	/* the bits are read after the bytes: pairs with the device, D before data */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

void
content_compare_locked(struct wherry_domain *dom, struct content *c)
{
	visit_all_locked(dom, c, true);
}
