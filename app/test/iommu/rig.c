/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_kernel.h"
#include "rig.h"
#include "wherry_soft.h"

#define ALIGN (UINT64_C(2) << 20)

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
	NULL,
};

/* How devices of a place are had and made to do DMA; what stands in front of the place is a spec. */
struct place {
	const char *ends_with, *devices[RIG_DEVICES];
	void (*open)(void);
	void (*close)(void);
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

static const struct place places[] = {
	{ "@fake", { "0000:01:00.0", "0000:02:00.0" }, fake_open, fake_kernel_close, fake_write,
		fake_read },
	{ "", { "soft:a", "soft:b" }, NULL, NULL, soft_write, soft_read },
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
	return place_of(spec)->devices[dev];
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
	for (unsigned int i = 0; i < RIG_DEVICES; i++) {
		CHECK_EQ(wherry_device_open(rig_device_name(spec, i), &r->dev[i]), 0);
		CHECK_EQ(wherry_device_attach(r->dev[i], r->dom, NULL), 0);
	}
	wherry_domain_get_caps(r->dom, &r->caps);
	r->page = r->caps.page_sizes & -r->caps.page_sizes;
	open_memory(r);
}

void
rig_close(struct rig *r)
{
	for (unsigned int i = 0; i < RIG_DEVICES; i++)
		wherry_device_close(r->dev[i]);
	wherry_domain_destroy(r->dom);
	munmap(r->mem, RIG_MEM);
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
