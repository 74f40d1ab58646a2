/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bay.h"
#include "fake_kernel.h"
#include "mock_kernel.h"
#include "rig.h"
#include "wherry_soft.h"

#define ALIGN (UINT64_C(2) << 20)
#define NIC_MEM (RIG_DEVICES * NIC_PAGES * NIC_PAGE)

const char *const backends[] = {
	"soft",
	"soft:format=vtdss,width=39,iotlb=1",
	"soft:width=57,iotlb=1024,units=2",
	"soft:leaf=2m",
	"soft:leaf=1g,units=3",
	"soft:dbit=late,iotlb=1",
	"soft:format=amdv1,dbit=late",
	"soft:format=amdv1,width=39,units=2",
	"soft:format=arm64s1,iotlb=1",
	"soft:format=arm64s1,leaf=16g",
	"soft:exact=content,units=2",
	"iommufd@fake",
	"iommufd:leaf=max@fake",
	"iommufd@nic",
	"iommufd:leaf=max@nic",
	"type1@nic",
	"iommufd@mock",
	"iommufd:leaf=max@mock",
	NULL,
};

/* How devices of a place are had and made to do DMA; what stands in front of the place is a spec. */
struct place {
	const char *ends_with, *devices[RIG_DEVICES];
	void (*open)(void); /* or skip the test */
	void (*close)(void);
	void (*start)(struct rig *r, unsigned int dev, struct wherry_domain *dom); /* or NULL */
	void (*stop)(struct rig *r, unsigned int dev);
	int (*write)(struct rig *r, unsigned int dev, uint64_t iova, const void *buf, size_t len);
	int (*read)(struct rig *r, unsigned int dev, uint64_t iova, void *buf, size_t len);
};

static int
soft_write(struct rig *r, unsigned int dev, uint64_t iova, const void *buf, size_t len)
{
	return wherry_soft_dma_write(r->dev[dev], iova, buf, len);
}

static int
soft_read(struct rig *r, unsigned int dev, uint64_t iova, void *buf, size_t len)
{
	return wherry_soft_dma_read(r->dev[dev], iova, buf, len);
}

static void
fake_open(void)
{
	fake_kernel_open(&(struct fake_kernel){ .map_file = true });
}

static int
fake_write(struct rig *r, unsigned int dev, uint64_t iova, const void *buf, size_t len)
{
	(void)r;
	return fake_dma_write(dev, iova, buf, len);
}

static int
fake_read(struct rig *r, unsigned int dev, uint64_t iova, void *buf, size_t len)
{
	(void)r;
	return fake_dma_read(dev, iova, buf, len);
}

/* Real NICs: their own memory lies above what tests map at fixed addresses. */
#define NIC_IOVA UINT64_C(0x700000000)

static struct rig left; /* what a failed test has left of real devices; dom is NULL: nothing */

static void
nics_open(void)
{
	struct rig old = left;

	left.dom = NULL;
	if (old.dom != NULL)
		rig_close(&old);
	for (unsigned int i = 0; i < RIG_DEVICES; i++)
		if (bay_device(i) == NULL)
			SKIP("needs %u NICs: devtools/vm/run vtd-ad --nic e1000e-pair -- ...",
				RIG_DEVICES);
}

static void
nic_start(struct rig *r, unsigned int dev, struct wherry_domain *dom)
{
	struct wherry_span span = { NIC_IOVA + dev * (UINT64_C(1) << 24), NIC_PAGES * NIC_PAGE };
	uint8_t *mem = r->nic_mem + dev * span.len;
	int rc = wherry_domain_map(dom, mem, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span);

	CHECK(rc == 0 || rc == -EEXIST); /* from the last time it was there */
	CHECK_EQ(nic_open(r->dev[dev], (struct nic_memory){ mem, span.iova }, &r->nic[dev]), 0);
	left = *r;
}

static void
nic_stop(struct rig *r, unsigned int dev)
{
	nic_close(r->nic[dev]);
	r->nic[dev] = NULL;
	left = *r;
}

static int
nics_write(struct rig *r, unsigned int dev, uint64_t iova, const void *buf, size_t len)
{
	return r->nic[dev] != NULL ? nic_write(r->nic[dev], iova, buf, len) : -EFAULT;
}

static int
nics_read(struct rig *r, unsigned int dev, uint64_t iova, void *buf, size_t len)
{
	return r->nic[dev] != NULL ? nic_read(r->nic[dev], iova, buf, len) : -EFAULT;
}

static void
nics_close(void)
{
	left.dom = NULL;
}

static int
mock_write(struct rig *r, unsigned int dev, uint64_t iova, const void *buf, size_t len)
{
	(void)r;
	return mock_dma_write(dev, iova, buf, len);
}

static int
mock_read(struct rig *r, unsigned int dev, uint64_t iova, void *buf, size_t len)
{
	(void)r;
	return mock_dma_read(dev, iova, buf, len);
}

static const struct place places[] = {
	{ "@fake", { "0000:01:00.0", "0000:02:00.0" }, fake_open, fake_kernel_close, NULL, NULL,
		fake_write, fake_read },
	{ "@mock", { "0000:01:00.0", "0000:02:00.0" }, mock_kernel_open, mock_kernel_close, NULL,
		NULL, mock_write, mock_read },
	{ "@nic", { NULL }, nics_open, nics_close, nic_start, nic_stop, nics_write, nics_read },
	{ "", { "soft:a", "soft:b" }, NULL, NULL, NULL, NULL, soft_write, soft_read },
};

static const struct place *
place_of(const char *spec)
{
	const struct place *p = places;

	while (strlen(spec) < strlen(p->ends_with) ||
		strcmp(spec + strlen(spec) - strlen(p->ends_with), p->ends_with) != 0)
		p++;
	return p;
}

void
rig_arrive(const char *spec)
{
	wherry_sys = &wherry_sys_kernel; /* should a test have failed elsewhere */
	if (place_of(spec)->open != NULL)
		place_of(spec)->open();
}

void
rig_leave(const char *spec)
{
	if (place_of(spec)->close != NULL)
		place_of(spec)->close();
}

int
rig_domain(const char *spec, struct wherry_domain **ret_dom)
{
	char name[64];

	snprintf(name, sizeof(name), "%.*s",
		(int)(strlen(spec) - strlen(place_of(spec)->ends_with)), spec);
	return wherry_domain_create(name, ret_dom);
}

const char *
rig_device_name(const char *spec, unsigned int dev)
{
	const char *name = place_of(spec)->devices[dev];

	return name != NULL ? name : bay_device(dev);
}

/*
 * Every other page is touched before those between: no two neighbours are neighbours in physical
 * memory, where an IOMMU with leaves of all sizes would have one dirty bit for both.
 */
static void
scatter(uint8_t *mem, uint64_t page)
{
	for (uint64_t first = 0; first < 2 * page; first += page)
		for (uint64_t at = first; at < RIG_MEM; at += 2 * page)
			mem[at] = 0;
}

static void
open_memory(struct rig *r)
{
	uint8_t *p;

	r->fd = memfd_create("rig", MFD_CLOEXEC);
	CHECK(r->fd >= 0);
	CHECK_EQ(ftruncate(r->fd, (off_t)RIG_MEM), 0);
	p = mmap(NULL, RIG_MEM + ALIGN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	r->mem = (uint8_t *)(uintptr_t)round_up((uint64_t)(uintptr_t)p, ALIGN);
	if (r->mem > p)
		munmap(p, (size_t)(r->mem - p));
	munmap(r->mem + RIG_MEM, (size_t)(ALIGN - (uint64_t)(r->mem - p)));
	CHECK(mmap(r->mem, RIG_MEM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->fd, 0) ==
		r->mem);
	scatter(r->mem, (uint64_t)sysconf(_SC_PAGESIZE));
	p = mmap(NULL, NIC_MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	r->nic_mem = p;
}

void
rig_need_tracking(struct rig *r)
{
	char reason[256];

	if (r->caps.dirty == WHERRY_DIRTY_TRACKED)
		return;
	snprintf(reason, sizeof(reason), "%s", r->caps.reason);
	rig_close(r);
	SKIP("no page is told from another here: %s", reason);
}

void
rig_attach(struct rig *r, unsigned int dev, struct wherry_domain *dom)
{
	CHECK_EQ(wherry_device_attach(r->dev[dev], dom, &r->ops), 0);
	if (place_of(r->spec)->start != NULL)
		place_of(r->spec)->start(r, dev, dom);
}

void
rig_detach(struct rig *r, unsigned int dev)
{
	if (place_of(r->spec)->stop != NULL)
		place_of(r->spec)->stop(r, dev);
	if (r->dev[dev] != NULL)
		wherry_device_detach(r->dev[dev]);
}

void
rig_open(struct rig *r, const char *spec)
{
	int rc;

	memset(r, 0, sizeof(*r));
	r->spec = spec;
	rig_arrive(spec);
	rc = rig_domain(spec, &r->dom);
	if (rc == -ENODEV)
		SKIP("%s is not on this machine: see doc/backends_soft.rst", spec);
	CHECK_EQ(rc, 0);
	open_memory(r);
	for (unsigned int i = 0; i < RIG_DEVICES; i++) {
		CHECK_EQ(wherry_device_open(rig_device_name(spec, i), &r->dev[i]), 0);
		rig_attach(r, i, r->dom);
	}
	wherry_domain_get_caps(r->dom, &r->caps);
	r->page = r->caps.page_sizes & -r->caps.page_sizes;
}

void
rig_close(struct rig *r)
{
	for (unsigned int i = 0; i < RIG_DEVICES; i++) {
		rig_detach(r, i);
		wherry_device_close(r->dev[i]);
	}
	wherry_domain_destroy(r->dom);
	munmap(r->mem, RIG_MEM);
	munmap(r->nic_mem, NIC_MEM);
	close(r->fd);
	rig_leave(r->spec);
}

int
rig_write(struct rig *r, unsigned int dev, uint64_t iova, const void *buf, size_t len)
{
	return place_of(r->spec)->write(r, dev, iova, buf, len);
}

int
rig_read(struct rig *r, unsigned int dev, uint64_t iova, void *buf, size_t len)
{
	return place_of(r->spec)->read(r, dev, iova, buf, len);
}

int
rig_poke(struct rig *r, unsigned int dev, uint64_t iova, uint8_t byte)
{
	return rig_write(r, dev, iova, &byte, 1);
}

struct wherry_span
rig_map(struct rig *r, uint64_t iova, uint64_t first_page, uint64_t n_pages)
{
	struct wherry_span span = { .iova = iova, .len = n_pages * r->page };

	CHECK_EQ(wherry_domain_map(r->dom, r->mem + first_page * r->page,
			 WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
		0);
	return span;
}

struct wherry_span
rig_map_tracked(struct rig *r, uint64_t iova, uint64_t first_page, uint64_t n_pages)
{
	struct wherry_span span = rig_map(r, iova, first_page, n_pages);

	if (r->caps.born_dirty)
		CHECK_EQ(rig_harvest_count(r, span), n_pages);
	return span;
}

struct wherry_bitmap *
rig_bitmap(const struct rig *r, struct wherry_span span)
{
	struct wherry_bitmap *bm = NULL;

	CHECK_EQ(wherry_bitmap_create(span, r->page, &bm), 0);
	return bm;
}

uint64_t
rig_harvest_count(struct rig *r, struct wherry_span span)
{
	struct wherry_bitmap *bm = rig_bitmap(r, span);
	uint64_t n;

	CHECK_EQ(wherry_domain_dirty_harvest(r->dom, span, bm), 0);
	n = wherry_bitmap_count(bm);
	wherry_bitmap_destroy(bm);
	return n;
}
