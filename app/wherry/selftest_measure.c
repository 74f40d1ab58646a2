/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What it costs on this machine: map, harvest and unmap per GiB, an exact unmap, and what tracking
 * takes away from a device's throughput. Numbers are medians of a few rounds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "nic.h"
#include "selftest.h"
#include "wherry.h"
#include "wherry_bitmap.h"

#define MEMORY (UINT64_C(256) << 20)
#define GIB (UINT64_C(1) << 30)
#define IOVA (UINT64_C(1) << 32)
#define NIC_IOVA (UINT64_C(1) << 31)
#define ROUNDS 5u
#define EXACT_PAGES 64u
#define BURST 64u

struct bench {
	struct wherry_domain *dom;
	struct wherry_device *dev;
	struct wherry_domain_caps caps;
	uint8_t *mem;
	struct wherry_span span;
	json_t *report;
};

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec * 1e-6;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *values)
{
	qsort(values, ROUNDS, sizeof(*values), compare);
	return values[ROUNDS / 2];
}

static void
per_gib(const struct bench *b, const char *name, double *ms)
{
	selftest_number(b->report, name, median(ms) * (double)GIB / (double)MEMORY, "ms per GiB");
}

static int
map_again(struct bench *b)
{
	b->span = (struct wherry_span){ .iova = IOVA, .len = MEMORY };
	return wherry_domain_map(b->dom, b->mem, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &b->span);
}

/* Leaves the memory mapped. */
static int
measure_map(struct bench *b)
{
	double map[ROUNDS], unmap[ROUNDS], began;
	int rc;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		began = now_ms();
		rc = map_again(b);
		map[i] = now_ms() - began;
		if (rc != 0)
			return rc;
		began = now_ms();
		rc = wherry_domain_unmap(b->dom, b->span);
		unmap[i] = now_ms() - began;
		if (rc != 0)
			return rc;
	}
	per_gib(b, "map", map);
	per_gib(b, "unmap", unmap);
	return map_again(b);
}

static int
measure_harvest(struct bench *b, struct wherry_bitmap *bm)
{
	double ms[ROUNDS], began;
	int rc;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		began = now_ms();
		rc = wherry_domain_dirty_harvest(b->dom, b->span, bm);
		ms[i] = now_ms() - began;
		if (rc != 0)
			return rc;
	}
	per_gib(b, "harvest, nothing written", ms);
	return 0;
}

static int
measure_exact(struct bench *b, struct wherry_bitmap *bm)
{
	struct wherry_span few = { .iova = IOVA + GIB, .len = EXACT_PAGES * NIC_PAGE };
	double us[ROUNDS], began;
	int rc;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		rc = wherry_domain_map(b->dom, b->mem, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &few);
		if (rc != 0)
			return rc;
		began = now_ms();
		rc = wherry_domain_unmap_dirty(b->dom, few, WHERRY_UNMAP_EXACT, bm);
		us[i] = (now_ms() - began) * 1e3;
		if (rc != 0)
			return rc;
	}
	selftest_number(b->report, "exact unmap of 64 pages, nothing written", median(us), "us");
	return 0;
}

/* Frames per second into the memory, harvested now and then if bm is given. */
static int
measure_frames(struct bench *b, struct nic *nic, const char *name, struct wherry_bitmap *bm)
{
	struct nic_frame frames[BURST];
	double began = now_ms(), harvested = began, now = began;
	unsigned int sent = 0;
	int rc;

	while (now - began < 2000) {
		for (unsigned int i = 0; i < BURST; i++)
			frames[i] = (struct nic_frame){ .rx = IOVA +
					(sent + i) % (MEMORY / NIC_PAGE) * NIC_PAGE,
				.len = NIC_FRAME_MAX };
		rc = nic_send(nic, frames, BURST, 0, sent);
		if (rc != 0)
			return rc;
		sent += BURST;
		now = now_ms();
		if (bm != NULL && now - harvested >= 100) {
			harvested = now;
			rc = wherry_domain_dirty_harvest(b->dom, b->span, bm);
			if (rc != 0)
				return rc;
		}
	}
	selftest_number(b->report, name, sent / (now - began) * 1e3, "frames per second");
	return 0;
}

/* With a NIC that the driver knows; others are left out, and said so. */
static int
measure_throughput(struct bench *b, struct wherry_bitmap *bm)
{
	struct wherry_span own = { .iova = NIC_IOVA, .len = NIC_PAGES * NIC_PAGE };
	struct nic_memory mem = { .iova = NIC_IOVA };
	struct nic *nic;
	int rc;

	mem.vaddr = aligned_alloc(NIC_PAGE, own.len);
	if (mem.vaddr == NULL)
		return -ENOMEM;
	rc = wherry_domain_map(b->dom, mem.vaddr, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &own);
	if (rc != 0)
		goto free_memory;
	rc = nic_open(b->dev, mem, &nic);
	if (rc == -ENODEV) {
		puts("  throughput: left out, the driver knows 82574 (e1000e) and 82576 (igb) only");
		rc = 0;
	} else if (rc == 0) {
		rc = nic_wait_link(nic);
		if (rc == 0)
			rc = measure_frames(b, nic, "throughput, tracking off", NULL);
		if (rc == 0 && bm != NULL)
			rc = wherry_domain_dirty_start(b->dom);
		if (rc == 0 && bm != NULL)
			rc = measure_frames(
				b, nic, "throughput, tracking on, 10 harvests a second", bm);
		nic_close(nic);
	}
	(void)wherry_domain_unmap(b->dom, own);
free_memory:
	free(mem.vaddr);
	return rc;
}

static int
measure_all(struct bench *b)
{
	bool tracks = b->caps.dirty != WHERRY_DIRTY_NONE;
	struct wherry_bitmap *bm;
	int rc;

	rc = wherry_bitmap_create((struct wherry_span){ IOVA, 2 * GIB }, NIC_PAGE, &bm);
	if (rc != 0)
		return rc;
	rc = measure_map(b);
	if (rc == 0)
		rc = measure_throughput(b, tracks ? bm : NULL);
	if (rc == 0 && !tracks)
		printf("  harvest: left out, device writes are not tracked: %s\n", b->caps.reason);
	if (rc == 0 && tracks) {
		wherry_domain_dirty_stop(b->dom); /* it may be on */
		rc = wherry_domain_dirty_start(b->dom);
	}
	if (rc == 0 && tracks)
		rc = measure_harvest(b, bm);
	if (rc == 0 && tracks && b->caps.exact_by != WHERRY_UNMAP_BY_NOTHING)
		rc = measure_exact(b, bm);
	wherry_bitmap_destroy(bm);
	return rc;
}

static int
attach_and_measure(struct bench *b, const char *address, const char *backend)
{
	int rc = wherry_domain_create(backend, &b->dom);

	if (rc != 0)
		return rc;
	rc = wherry_device_open(address, &b->dev);
	if (rc != 0)
		goto destroy_domain;
	rc = wherry_device_attach(b->dev, b->dom, NULL);
	if (rc == 0) {
		wherry_domain_get_caps(b->dom, &b->caps);
		rc = measure_all(b);
	}
	wherry_device_close(b->dev);
destroy_domain:
	wherry_domain_destroy(b->dom);
	return rc;
}

int
selftest_measure(const char *address, const char *backend, json_t *report)
{
	struct bench b = { .report = json_object() };
	int rc = -ENOMEM;

	json_object_set_new(report, "measured", b.report);
	printf("measured on %s, %llu MiB of memory:\n", backend,
		(unsigned long long)(MEMORY >> 20));
	b.mem = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (b.mem != MAP_FAILED) {
		rc = attach_and_measure(&b, address, backend);
		munmap(b.mem, MEMORY);
	}
	if (rc != 0) {
		printf("  failed: %s\n", strerror(-rc));
		json_object_set_new(b.report, "failed", json_string(strerror(-rc)));
	}
	return rc;
}
