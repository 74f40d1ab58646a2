/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * race: a device writes while its page is unmapped. Who loses the write?
 *
 *	$ ./build/examples/race/race
 *	snapshot checked  cache walk [read D] set D land [clear, flush]  LOST
 *	snapshot late     cache hit [read D] land set D [clear, flush]  LOST
 *	snapshot stale    cache walk [read D] set D land [clear, flush]  LOST
 *	seed     checked  cache walk [read and clear D, flush] fault  not written
 *	seed     late     cache hit [read and clear D, flush] land lose D  LOST
 *	seed     stale    cache walk [read and clear D, flush] lose D land  LOST
 *	exact    checked  cache walk [fence, flush] fault [read D] [clear, flush]  not written
 *	exact    late     cache hit [fence, flush] land set D [read D] [clear, flush]  reported
 *	exact    stale    refused: dbit=stale: a write may pass a fence it has not seen, unnoticed
 *
 * Orders of unmapping (steps in brackets) against ways in which hardware may set the dirty
 * bit D (option dbit, doc/backends_soft.rst). The device's IOTLB has the page, clean ("cache"):
 * "hit" uses that, "walk" goes to the table, "land" is the data, "lose D" finds no entry left.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <wherry_bitmap.h>
#include <wherry_iommu.h>
#include <wherry_soft.h>

#define PAGE UINT64_C(4096)

static _Alignas(4096) uint8_t memory[PAGE];

/* pause: after its first step the device goes on at this event; flushes: what each one shows. */
static const struct order {
	const char *name, *flushes[2];
	enum wherry_unmap_mode mode;
	enum wherry_soft_event pause;
} orders[] = {
	{ "snapshot", { "clear, flush" }, WHERRY_UNMAP_SNAPSHOT, WHERRY_SOFT_UNMAPPING },
	{ "seed", { "read and clear D, flush" }, WHERRY_UNMAP_SEED, WHERRY_SOFT_WAITING },
	{ "exact", { "fence, flush", "clear, flush" }, WHERRY_UNMAP_EXACT, WHERRY_SOFT_WAITING },
};
static const char *const dbits[] = { "checked", "late", "stale" };

struct race {
	const struct order *order;
	struct wherry_domain *dom;
	struct wherry_device *nic;
	struct wherry_bitmap *dirty;
	struct wherry_soft_write *write;
	struct wherry_span span;
	unsigned int flushes;
	bool waiting;
};

static bool
step(struct race *r)
{
	static const char *const names[] = { [WHERRY_SOFT_HIT] = "hit",
		[WHERRY_SOFT_WALK] = "walk",
		[WHERRY_SOFT_DIRTIED] = "set D",
		[WHERRY_SOFT_UNNOTED] = "lose D",
		[WHERRY_SOFT_LANDED] = "land",
		[WHERRY_SOFT_REFUSED] = "fault" };
	enum wherry_soft_step made = wherry_soft_write_step(r->write);

	return made != WHERRY_SOFT_OVER && printf(" %s", names[made]) > 0;
}

/* The unmap has come this far; a flush is two waits, which show as one. */
static void
on_event(void *ctx, enum wherry_soft_event event)
{
	struct race *r = ctx;

	if (event == WHERRY_SOFT_UNMAPPING && r->order->mode != WHERRY_UNMAP_SEED)
		printf(" [read D]");
	else if (event == WHERRY_SOFT_WAITING && !r->waiting)
		printf(" [%s]", r->order->flushes[r->flushes++]);
	r->waiting = event == WHERRY_SOFT_WAITING;
	while (event == r->order->pause && step(r))
		;
}

static int
set_up(struct race *r, const char *dbit)
{
	const unsigned int rw = WHERRY_DMA_READ | WHERRY_DMA_WRITE;
	char spec[32];
	uint8_t byte;
	int rc;

	snprintf(spec, sizeof(spec), "soft:dbit=%s", dbit);
	r->span = (struct wherry_span){ .iova = WHERRY_IOVA_ANY, .len = PAGE };
	memory[0] = 0;
	if ((rc = wherry_domain_create(spec, &r->dom)) != 0 ||
		(rc = wherry_device_open("soft:nic", &r->nic)) != 0 ||
		(rc = wherry_device_attach(r->nic, r->dom, NULL)) != 0 ||
		(rc = wherry_domain_map(r->dom, memory, rw, &r->span)) != 0 ||
		(rc = wherry_bitmap_create(r->span, PAGE, &r->dirty)) != 0 ||
		(rc = wherry_domain_dirty_start(r->dom)) != 0)
		return rc;
	return wherry_soft_dma_read(r->nic, r->span.iova, &byte, 1);
}

static int
run(struct race *r, const char *dbit)
{
	struct wherry_domain_caps caps;
	struct wherry_soft_stats stats;
	int rc = set_up(r, dbit);

	if (rc != 0)
		return rc;
	printf("%-8s %-7s ", r->order->name, dbit);
	wherry_domain_get_caps(r->dom, &caps);
	if (r->order->mode == WHERRY_UNMAP_EXACT && caps.exact_by == WHERRY_UNMAP_BY_NOTHING)
		return printf(" refused: %s\n", caps.reason) < 0 ? -EIO : 0;
	if ((rc = wherry_soft_write_begin(r->nic, r->span.iova, "x", 1, &r->write)) != 0)
		return rc;
	wherry_soft_get_stats(r->nic, &stats);
	printf("%s", stats.walks == 1 ? " cache" : "");
	step(r);
	wherry_soft_on_event(r->nic, on_event, r);
	rc = wherry_domain_unmap_dirty(r->dom, r->span, r->order->mode, r->dirty);
	printf("  %s\n",
		memory[0] == 0                          ? "not written"
			: wherry_bitmap_count(r->dirty) ? "reported"
							: "LOST");
	return rc;
}

int
main(void)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < 9; i++) {
		struct race r = { .order = &orders[i / 3] };

		rc = run(&r, dbits[i % 3]);
		wherry_soft_write_end(r.write);
		wherry_device_close(r.nic);
		wherry_domain_destroy(r.dom);
		wherry_bitmap_destroy(r.dirty);
	}
	if (rc != 0)
		fprintf(stderr, "race: %s\n", strerror(-rc));
	return rc != 0;
}
