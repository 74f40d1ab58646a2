/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "bay.h"

const char *const tracking[] = { "iommufd", "iommufd:leaf=max", NULL };

/* What a failed test has left. */
static struct bay *left;
static struct bay copy_of_left;

const char *
bay_device(unsigned int n)
{
	static char names[8][32];
	const char *at = getenv("WHERRY_TEST_DEVICES");

	for (unsigned int i = 0; at != NULL && i < 8; i++) {
		int len = 0;

		if (sscanf(at, " %31s%n", names[i], &len) != 1)
			return NULL;
		if (i == n)
			return names[i];
		at += len;
	}
	return NULL;
}

/* NULL: not to be had. */
static uint8_t *
get_memory(size_t len, int flags)
{
	void *p =
		mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, len, MADV_NOHUGEPAGE);
	memset(p, 0, len);
	return p;
}

static void
map_pages(struct bay *g, uint8_t *vaddr, uint64_t iova, unsigned int n, uint64_t page)
{
	for (unsigned int i = 0; i < n; i++) {
		struct wherry_span span = { .iova = iova + i * page, .len = page };

		CHECK_EQ(wherry_domain_map(g->dom, vaddr + i * page,
				 WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
			0);
	}
}

static void
take_down(struct bay *g)
{
	nic_close(g->nic);
	wherry_device_close(g->dev);
	wherry_domain_destroy(g->dom);
	if (g->small != NULL)
		munmap(g->small, SMALL_PAGES * NIC_PAGE);
	if (g->large != NULL)
		munmap(g->large, LARGE_PAGES * LARGE_PAGE);
	memset(g, 0, sizeof(*g));
}

/* What is known to be there by now, should the test fail. */
static void
remember(const struct bay *g)
{
	copy_of_left = *g;
	left = &copy_of_left;
}

static void
open_device(struct bay *g, const char *spec, const char *name)
{
	int rc = wherry_domain_create(spec, &g->dom);

	if (rc == -ENODEV)
		SKIP("%s is not on this machine: devtools/vm/run has machines with it", spec);
	CHECK_EQ(rc, 0);
	remember(g);
	CHECK_EQ(wherry_device_open(name, &g->dev), 0);
	remember(g);
	CHECK_EQ(wherry_device_attach(g->dev, g->dom, NULL), 0);
	wherry_domain_get_caps(g->dom, &g->caps);
}

void
bay_open(struct bay *g, const char *spec)
{
	struct nic_memory mem = { .iova = SMALL_IOVA };
	const char *name = bay_device(0);
	int rc;

	if (left != NULL)
		take_down(left);
	left = NULL;
	memset(g, 0, sizeof(*g));
	if (name == NULL)
		SKIP("no NIC: devtools/vm/run vtd-ad --nic e1000e -- ...");
	open_device(g, spec, name);
	g->small = mem.vaddr = get_memory(SMALL_PAGES * NIC_PAGE, 0);
	CHECK(g->small != NULL);
	g->large = get_memory(LARGE_PAGES * LARGE_PAGE, MAP_HUGETLB);
	remember(g);
	map_pages(g, g->small, SMALL_IOVA, SMALL_PAGES, NIC_PAGE);
	if (g->large != NULL)
		map_pages(g, g->large, LARGE_IOVA, LARGE_PAGES, LARGE_PAGE);
	rc = nic_open(g->dev, mem, &g->nic);
	if (rc == -ENODEV)
		SKIP("%s is neither an e1000e nor an igb", name);
	CHECK_EQ(rc, 0);
	remember(g);
}

void
bay_close(struct bay *g)
{
	left = NULL;
	take_down(g);
}

void
bay_start(struct bay *g)
{
	if (g->caps.dirty != WHERRY_DIRTY_TRACKED)
		SKIP("device writes are not tracked here: %s", g->caps.reason);
	CHECK_EQ(wherry_domain_dirty_start(g->dom), 0);
}

void
bay_need_large(const struct bay *g)
{
	if (g->large == NULL)
		SKIP("needs four hugepages of 2 MiB: devtools/with-hugepages");
}

static struct wherry_bitmap *
dirty_of(struct bay *g, struct wherry_span span, bool clear)
{
	struct wherry_bitmap *bm = NULL;
	int rc;

	CHECK_EQ(wherry_bitmap_create(span, NIC_PAGE, &bm), 0);
	rc = clear ? wherry_domain_dirty_harvest(g->dom, span, bm)
		   : wherry_domain_dirty_read(g->dom, span, bm);
	CHECK_EQ(rc, 0);
	return bm;
}

uint64_t
bay_dirty(struct bay *g, bool clear)
{
	struct wherry_span span = { .iova = SMALL_IOVA, .len = SMALL_PAGES * NIC_PAGE };
	struct wherry_bitmap *bm = dirty_of(g, span, clear);
	uint64_t word = 0;

	for (unsigned int i = 0; i < SMALL_PAGES; i++)
		if (wherry_bitmap_test(bm, SMALL_IOVA + i * NIC_PAGE))
			word |= BIT64(i);
	wherry_bitmap_destroy(bm);
	return word;
}

struct wherry_bitmap *
bay_dirty_large(struct bay *g, bool clear)
{
	struct wherry_span span = { .iova = LARGE_IOVA, .len = LARGE_PAGES * LARGE_PAGE };

	return dirty_of(g, span, clear);
}

void
bay_receive(struct bay *g, const uint64_t *rx, unsigned int n, unsigned int len, unsigned int flags,
	uint32_t seed)
{
	struct nic_frame frames[SMALL_PAGES];

	CHECK(n <= SMALL_PAGES);
	for (unsigned int i = 0; i < n; i++)
		frames[i] = (struct nic_frame){ .rx = rx[i], .len = len };
	CHECK_EQ(nic_send(g->nic, frames, n, flags, seed), 0);
}
