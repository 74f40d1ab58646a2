/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirtywatch: let a device write into memory, and learn which pages it wrote.
 *
 *	$ ./build/examples/dirtywatch/dirtywatch
 *	mapped 64 pages at iova 0x1000
 *	dirty: 3 pages: 0 7 63
 *	dirty: 0 pages:
 *	unmapped; dirty: 1 pages: 12
 *
 * The device is emulated and so is its IOMMU ("soft"), so this runs everywhere.
 * Read next: lib/iommu/wherry_iommu.h.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wherry_bitmap.h>
#include <wherry_iommu.h>
#include <wherry_soft.h>

#define PAGE UINT64_C(4096)
#define PAGES UINT64_C(64)

struct watch {
	struct wherry_domain *dom;
	struct wherry_device *nic;
	struct wherry_bitmap *dirty;
	struct wherry_span span;
	void *memory;
};

static int
set_up(struct watch *w)
{
	const unsigned int rw = WHERRY_DMA_READ | WHERRY_DMA_WRITE;
	int rc;

	w->span = (struct wherry_span){ .iova = WHERRY_IOVA_ANY, .len = PAGES * PAGE };
	w->memory = aligned_alloc(PAGE, PAGES * PAGE);
	if (w->memory == NULL)
		return -ENOMEM;
	if ((rc = wherry_domain_create("soft", &w->dom)) != 0 ||
		(rc = wherry_device_open("soft:nic", &w->nic)) != 0 ||
		(rc = wherry_device_attach(w->nic, w->dom, NULL)) != 0 ||
		(rc = wherry_domain_map(w->dom, w->memory, rw, &w->span)) != 0 ||
		(rc = wherry_bitmap_create(w->span, PAGE, &w->dirty)) != 0)
		return rc;
	printf("mapped %d pages at iova %#llx\n", (int)PAGES, (unsigned long long)w->span.iova);
	return wherry_domain_dirty_start(w->dom);
}

static void
tear_down(struct watch *w)
{
	wherry_device_close(w->nic); /* detaches it, too */
	wherry_domain_destroy(w->dom);
	wherry_bitmap_destroy(w->dirty);
	free(w->memory);
}

/* What a NIC does with a frame. */
static int
receive(struct watch *w, uint64_t page, const char *frame)
{
	return wherry_soft_dma_write(w->nic, w->span.iova + page * PAGE, frame, strlen(frame));
}

static void
show(struct watch *w)
{
	struct wherry_span run;
	uint64_t at = w->span.iova;

	printf("dirty: %llu pages:", (unsigned long long)wherry_bitmap_count(w->dirty));
	while (wherry_bitmap_next_run(w->dirty, &at, &run))
		for (uint64_t done = 0; done < run.len; done += PAGE)
			printf(" %llu",
				(unsigned long long)((run.iova + done - w->span.iova) / PAGE));
	printf("\n");
	wherry_bitmap_clear(w->dirty);
}

static int
harvest_and_show(struct watch *w)
{
	int rc = wherry_domain_dirty_harvest(w->dom, w->span, w->dirty);

	if (rc == 0)
		show(w);
	return rc;
}

static int
watch(struct watch *w)
{
	static const uint64_t pages[] = { 0, 7, 63, 7 };
	int rc = set_up(w);

	for (size_t i = 0; rc == 0 && i < sizeof(pages) / sizeof(pages[0]); i++)
		rc = receive(w, pages[i], "a frame");
	if (rc != 0 || (rc = harvest_and_show(w)) != 0 || (rc = harvest_and_show(w)) != 0)
		return rc;
	rc = receive(w, 12, "one more");
	if (rc != 0)
		return rc;
	/* no need to stop the device first: a write is reported, or it did not land */
	rc = wherry_domain_unmap_dirty(w->dom, w->span, WHERRY_UNMAP_EXACT, w->dirty);
	if (rc != 0)
		return rc;
	printf("unmapped; ");
	show(w);
	return 0;
}

int
main(void)
{
	struct watch w = { .dom = NULL };
	int rc = watch(&w);

	if (rc != 0)
		fprintf(stderr, "dirtywatch: %s\n", strerror(-rc));
	tear_down(&w);
	return rc != 0;
}
