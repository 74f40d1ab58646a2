/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A soft domain against an array with one entry per page of I/O address space:
 * what is mapped there, how, and whether a device wrote it since the last harvest.
 * Every result code, every byte that lands and every dirty bit must be the same.
 *
 * Memory is addressed by vaddr and by file in turn; by vaddr only where there are
 * leaves larger than a page, since a file comes to lie anywhere. A write makes all pages
 * of its leaf dirty. Two devices, on units of their own where the spec says so.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "models.h"
#include "wherry_bitmap.h"
#include "wherry_iommu.h"
#include "wherry_soft.h"

#define PAGE UINT64_C(4096)
#define PAGES 48u         /* of I/O address space the model looks at */
#define MEM_PAGES 24u     /* mapped there again and again, also twice */
#define ALIGN (16 * PAGE) /* of the memory: so that there are large leaves */
#define ROOM (ALIGN + MEM_PAGES * PAGE)
#define BASE (UINT64_C(0xfee00000) - 40 * PAGE) /* the last 8 pages are not usable */
#define USABLE 40u

struct page {
	unsigned int mapping; /* 0: free; else the number of a mapping */
	unsigned int memory;  /* which page of memory */
	unsigned int prot;
	unsigned int leaf; /* its first page; its leaf has the same in all */
	bool dirty;
};

struct model {
	struct wherry_domain *dom;
	struct wherry_domain_caps caps;
	struct wherry_device *dev[2];
	int fd;
	uint8_t *room, *mem, shadow[MEM_PAGES * 4096];
	struct page pages[PAGES];
	unsigned int next_mapping;
	bool tracking;
};

/* Pages, end exclusive. */
struct range {
	unsigned int first, end;
};

static struct wherry_span
span_of(struct range r)
{
	return (struct wherry_span){ BASE + r.first * PAGE, (r.end - r.first) * PAGE };
}

static struct range
take_range(struct fuzz_input *in)
{
	unsigned int first = (unsigned int)fuzz_below(in, PAGES - 1);
	unsigned int len = 1 + (unsigned int)fuzz_below(in, 20);

	return (struct range){ first, first + len < PAGES ? first + len : PAGES };
}

/* The mapping that page i belongs to, whole. */
static struct range
mapping_at(const struct model *m, unsigned int i)
{
	struct range r = { i, i + 1 };

	while (r.first > 0 && m->pages[r.first - 1].mapping == m->pages[i].mapping)
		r.first--;
	while (r.end < PAGES && m->pages[r.end].mapping == m->pages[i].mapping)
		r.end++;
	return r;
}

/* A range to take away or read: often one whole mapping, sometimes anything. */
static struct range
take_mapped(struct fuzz_input *in, const struct model *m)
{
	struct range r = take_range(in);

	if (m->pages[r.first].mapping != 0 && fuzz_below(in, 4) != 0)
		r = mapping_at(m, r.first);
	return r;
}

static unsigned int
n_mapped(const struct model *m, struct range r)
{
	unsigned int n = 0;

	for (unsigned int i = r.first; i < r.end; i++)
		n += m->pages[i].mapping != 0;
	return n;
}

static bool
cuts(const struct model *m, struct range r)
{
	return (m->pages[r.first].mapping != 0 && mapping_at(m, r.first).first < r.first) ||
		(m->pages[r.end - 1].mapping != 0 && mapping_at(m, r.end - 1).end > r.end);
}

/* Of what is mapped from page first on: the largest that both addresses and the rest allow, one by one. */
static void
find_leaves(struct model *m, struct range r)
{
	for (unsigned int i = r.first, n; i < r.end; i += n) {
		uint64_t both = (BASE + i * PAGE) | (uintptr_t)(m->mem + m->pages[i].memory * PAGE);

		for (n = 64; n > 1; n /= 2)
			if (n <= r.end - i && both % (n * PAGE) == 0 &&
				(m->caps.page_sizes & (n * PAGE)) != 0)
				break;
		for (unsigned int page = i; page < i + n; page++)
			m->pages[page].leaf = i;
	}
}

/* A device wrote to page i. */
static void
mark_leaf(struct model *m, unsigned int i)
{
	const struct page *p = &m->pages[i];

	for (unsigned int k = p->leaf;
		k < PAGES && m->pages[k].mapping == p->mapping && m->pages[k].leaf == p->leaf; k++)
		m->pages[k].dirty |= m->tracking;
}

/* Anywhere; where there are leaves of up to 16 pages often at a place for one of them. */
static struct range
take_place(struct fuzz_input *in, const struct model *m, unsigned int *ret_memory)
{
	struct range r = take_range(in);

	*ret_memory = (unsigned int)fuzz_below(in, MEM_PAGES);
	if (m->caps.page_sizes == PAGE || fuzz_below(in, 3) != 0)
		return r;
	r.first = r.first % 2 == 0 ? 8 : 24; /* BASE has the first such place 8 pages on */
	r.end = r.first + 16;
	*ret_memory = 0;
	return r;
}

static void
op_map(struct fuzz_input *in, struct model *m)
{
	unsigned int memory;
	struct range r = take_place(in, m, &memory);
	unsigned int prot = (unsigned int)fuzz_below(in, 4);
	struct wherry_span span;
	int rc, want = 0;

	if (memory + (r.end - r.first) > MEM_PAGES)
		r.end = r.first + (MEM_PAGES - memory);
	span = span_of(r);
	if (prot == 0)
		want = -EINVAL;
	else if (r.end > USABLE)
		want = -EOVERFLOW;
	else if (n_mapped(m, r) != 0)
		want = -EEXIST;
	if (fuzz_below(in, 2) == 0 || m->caps.page_sizes != PAGE)
		rc = wherry_domain_map(m->dom, m->mem + memory * PAGE, prot, &span);
	else
		rc = wherry_domain_map_file(m->dom, m->fd, memory * PAGE, prot, &span);
	FUZZ_EXPECT(in, rc == want);
	if (rc != 0)
		return;
	if ((prot & WHERRY_DMA_WRITE) != 0 && !m->caps.write_only)
		prot |= WHERRY_DMA_READ;
	for (unsigned int i = r.first; i < r.end; i++)
		m->pages[i] = (struct page){ m->next_mapping, memory++, prot, 0, false };
	find_leaves(m, r);
	m->next_mapping++;
}

static void
op_unmap(struct fuzz_input *in, struct model *m)
{
	struct range r = take_mapped(in, m);
	int want = 0;

	if (r.end > USABLE)
		want = -EOVERFLOW;
	else if (n_mapped(m, r) == 0 || cuts(m, r))
		want = -ENOENT;
	FUZZ_EXPECT(in, wherry_domain_unmap(m->dom, span_of(r)) == want);
	if (want == 0)
		memset(&m->pages[r.first], 0, (r.end - r.first) * sizeof(m->pages[0]));
}

/* Compare what a call marked with what the model knows about the same pages. */
static void
expect_marks(struct fuzz_input *in, const struct model *m, struct range r, bool all,
	const struct wherry_bitmap *bm)
{
	unsigned int n = 0;

	for (unsigned int i = r.first; i < r.end; i++) {
		bool want = all || m->pages[i].dirty;

		n += want;
		FUZZ_EXPECT(in, wherry_bitmap_test(bm, BASE + i * PAGE) == want);
	}
	FUZZ_EXPECT(in, wherry_bitmap_count(bm) == n); /* and nothing else */
}

static struct wherry_bitmap *
make_bitmap(struct fuzz_input *in)
{
	struct wherry_bitmap *bm = NULL;

	FUZZ_EXPECT(in, wherry_bitmap_create(span_of((struct range){ 0, PAGES }), PAGE, &bm) == 0);
	return bm;
}

static void
op_harvest(struct fuzz_input *in, struct model *m)
{
	struct range r = take_mapped(in, m);
	struct wherry_bitmap *bm = make_bitmap(in);
	bool clear = fuzz_below(in, 2) == 0;
	int rc, want = 0;

	if (r.end > USABLE)
		want = -EOVERFLOW;
	else if (n_mapped(m, r) != r.end - r.first)
		want = -ENOENT;
	else if (!m->tracking)
		want = -EINVAL;
	rc = clear ? wherry_domain_dirty_harvest(m->dom, span_of(r), bm)
		   : wherry_domain_dirty_read(m->dom, span_of(r), bm);
	FUZZ_EXPECT(in, rc == want);
	if (want == 0)
		expect_marks(in, m, r, false, bm);
	else
		FUZZ_EXPECT(in, wherry_bitmap_count(bm) == 0);
	for (unsigned int i = r.first; want == 0 && clear && i < r.end; i++)
		m->pages[i].dirty = false;
	wherry_bitmap_destroy(bm);
}

static void
op_unmap_dirty(struct fuzz_input *in, struct model *m)
{
	struct range r = take_mapped(in, m);
	struct wherry_bitmap *bm = make_bitmap(in);
	enum wherry_unmap_mode mode = (enum wherry_unmap_mode)fuzz_below(in, 4);
	int want = 0;

	if (r.end > USABLE)
		want = -EOVERFLOW;
	else if (n_mapped(m, r) != r.end - r.first || cuts(m, r))
		want = -ENOENT;
	else if (!m->tracking && mode != WHERRY_UNMAP_ASSUME)
		want = -EINVAL;
	FUZZ_EXPECT(in, wherry_domain_unmap_dirty(m->dom, span_of(r), mode, bm) == want);
	if (want == 0)
		expect_marks(in, m, r, mode == WHERRY_UNMAP_ASSUME, bm);
	else
		FUZZ_EXPECT(in, wherry_bitmap_count(bm) == 0);
	if (want == 0)
		memset(&m->pages[r.first], 0, (r.end - r.first) * sizeof(m->pages[0]));
	wherry_bitmap_destroy(bm);
}

static void
op_switch(struct fuzz_input *in, struct model *m)
{
	if (fuzz_below(in, 4) != 0) {
		FUZZ_EXPECT(in, wherry_domain_dirty_start(m->dom) == (m->tracking ? -EALREADY : 0));
		for (unsigned int i = 0; !m->tracking && i < PAGES; i++)
			m->pages[i].dirty = false;
		m->tracking = true;
	} else {
		wherry_domain_dirty_stop(m->dom);
		m->tracking = false;
	}
}

static void
op_write(struct fuzz_input *in, struct model *m)
{
	uint64_t at = fuzz_below(in, PAGES * PAGE - 16384), len = fuzz_below(in, 9000), done = 0;
	struct wherry_device *dev = m->dev[fuzz_below(in, 2)];
	uint8_t data[9000];
	int rc;

	memset(data, (int)fuzz_take(in, 1), sizeof(data));
	rc = wherry_soft_dma_write(dev, BASE + at, data, len);
	while (done < len) {
		struct page *p = &m->pages[(at + done) / PAGE];
		uint64_t offset = (at + done) % PAGE;
		uint64_t n = len - done < PAGE - offset ? len - done : PAGE - offset;

		if ((p->prot & WHERRY_DMA_WRITE) == 0)
			break;
		memset(m->shadow + p->memory * PAGE + offset, data[0], n);
		mark_leaf(m, (unsigned int)((at + done) / PAGE));
		done += n;
	}
	FUZZ_EXPECT(in, rc == (done < len ? -EFAULT : 0));
}

static void
op_read(struct fuzz_input *in, struct model *m)
{
	uint64_t at = fuzz_below(in, PAGES * PAGE - 16384);
	const struct page *p = &m->pages[at / PAGE];
	uint64_t len = PAGE - at % PAGE;
	uint8_t data[4096];
	int rc = wherry_soft_dma_read(m->dev[fuzz_below(in, 2)], BASE + at, data, len);

	FUZZ_EXPECT(in, rc == ((p->prot & WHERRY_DMA_READ) != 0 ? 0 : -EFAULT));
	if (rc == 0)
		FUZZ_EXPECT(in, memcmp(data, m->shadow + p->memory * PAGE + at % PAGE, len) == 0);
}

static void
model_init(struct fuzz_input *in, struct model *m)
{
	static const char *const specs[] = { "soft", "soft:iotlb=1,width=39",
		"soft:units=2,width=57,leaf=1g", "soft:format=amdv1,units=2,dbit=late",
		"soft:format=arm64s1", "soft:format=amdv1,leaf=32k",
		"soft:format=arm64s1,leaf=64k,units=2" };
	static const char *const names[] = { "soft:a", "soft:b" };

	memset(m, 0, sizeof(*m));
	m->next_mapping = 1;
	m->fd = memfd_create("model", MFD_CLOEXEC);
	FUZZ_EXPECT(in, ftruncate(m->fd, MEM_PAGES * PAGE) == 0);
	m->room = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m->mem = m->room + (ALIGN - (uintptr_t)m->room % ALIGN) % ALIGN;
	FUZZ_EXPECT(in,
		mmap(m->mem, MEM_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			m->fd, 0) == m->mem);
	FUZZ_EXPECT(in, wherry_domain_create(specs[fuzz_below(in, 7)], &m->dom) == 0);
	wherry_domain_get_caps(m->dom, &m->caps);
	for (unsigned int i = 0; i < 2; i++) {
		FUZZ_EXPECT(in, wherry_device_open(names[i], &m->dev[i]) == 0);
		FUZZ_EXPECT(in, wherry_device_attach(m->dev[i], m->dom, NULL) == 0);
	}
}

static void
model_fini(struct model *m)
{
	for (unsigned int i = 0; i < 2; i++)
		wherry_device_close(m->dev[i]);
	wherry_domain_destroy(m->dom);
	munmap(m->room, ROOM);
	close(m->fd);
}

const char *
domain_model_run(const uint8_t *data, size_t len)
{
	static void (*const ops[])(struct fuzz_input *, struct model *) = { op_map, op_map, op_map,
		op_unmap, op_harvest, op_harvest, op_unmap_dirty, op_switch, op_write, op_write,
		op_write, op_write, op_read };
	struct fuzz_input in = { .next = data, .end = data + len };
	static struct model m;

	model_init(&in, &m);
	while (fuzz_more(&in))
		ops[fuzz_below(&in, sizeof(ops) / sizeof(ops[0]))](&in, &m);
	FUZZ_EXPECT(&in, memcmp(m.mem, m.shadow, sizeof(m.shadow)) == 0);
	model_fini(&m);
	return in.failed;
}
