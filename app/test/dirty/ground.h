/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef GROUND_H
#define GROUND_H

/*
 * A watched piece of memory with everything that can write to it: the CPU through
 * mem, the CPU through alias (a second mapping of the same file, as another process
 * has it), a device through a soft IOMMU domain that maps the file at iova == mem.
 * copy is what a receiver would have.
 */

#include <string.h>
#include <wherry_dirty.h>

#include "base_priv.h"
#include "test.h"

#define PAGE UINT64_C(4096)

struct ground {
	int fd;
	uint8_t *mem, *alias, *copy;
	uint64_t len, page; /* bytes; of the memory */
	struct wherry_span span;
	struct wherry_domain *dom;
	struct wherry_device *dev;
	struct wherry_tracker *tr;
	struct wherry_watch *w;
	struct wherry_bitmap *taken;
	bool hash;
};

/*
 * A kind is "SOURCE" or "SOURCE/MEMORY": wp-async, wp-sync, hash, none; memfd (default),
 * hugetlb, anonymous. SKIPs what is not on this machine. n_pages of 4 KiB, of hugepages as
 * many as hold them.
 */
void ground_open(struct ground *g, const char *kind, uint64_t n_pages);
void ground_close(struct ground *g);

/* Map it for the device, in a domain of that spec or "soft"; it is not added to the watch. */
void ground_map_in(struct ground *g, const char *spec);
void ground_map(struct ground *g);

/* One byte, always a new value, written to a page of 4 KiB. */
void poke(uint8_t *mem, uint64_t page);
void ground_dma(struct ground *g, uint64_t page);

void ground_start(struct ground *g);    /* and take what is pending at the start */
void ground_harvest(struct ground *g);  /* must succeed */
uint64_t ground_take(struct ground *g); /* into taken, cleared before; copied and told; count */
bool ground_taken(const struct ground *g, uint64_t page);
bool ground_same(const struct ground *g); /* copy equals memory */
struct wherry_watch_stats ground_stats(const struct ground *g);
struct wherry_span ground_pages(const struct ground *g, uint64_t first, uint64_t n);

extern const char *const every_kind[];   /* sources x memories */
extern const char *const every_source[]; /* on memfd */
extern const char *const wp_sources[];   /* those that see faults, not contents */

#endif /* GROUND_H */
