/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA: translate page by page through the IOTLB, and move the bytes. No lock,
 * no syscall, no allocation.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "soft_hooks_priv.h"
#include "soft_priv.h"

/* One writer at a time, nearly always: a lost count now and then is announced. */
static void
count(uint64_t *counter)
{
	uint64_t n = __atomic_load_n(counter, __ATOMIC_RELAXED);

	__atomic_store_n(counter, n + 1, __ATOMIC_RELAXED);
}

int
soft_refuse(struct soft_device *dev, struct soft_shard *shard, struct wherry_soft_fault fault)
{
	count(&shard->faults);
	soft_fault_queue_put(&dev->faults, &fault);
	return -EFAULT;
}

static int
translate(struct soft_device *dev, struct soft_unit *unit, struct soft_shard *shard, uint64_t iova,
	bool write, uint64_t *ret_page)
{
	uint64_t needed;
	const char *why;

	if (unit == NULL)
		return soft_refuse(dev, shard,
			(struct wherry_soft_fault){ iova, write, "the device is not attached" });
	needed = write ? soft_write_needs(unit) : IOTLB_READ;
	if (soft_iotlb_find(dev->iotlb, iova, ret_page) && (*ret_page & needed) == needed) {
		count(&shard->hits);
		return 0;
	}
	count(&shard->walks);
	why = soft_walk(unit, dev, iova, write, ret_page);
	if (why != NULL)
		return soft_refuse(dev, shard, (struct wherry_soft_fault){ iova, write, why });
	soft_iotlb_fill(dev->iotlb, iova, *ret_page, shard->walks);
	return 0;
}

/* A write that went through a clean entry; only with dbit=late there are any. */
static void
mark_late(struct soft_device *dev, const struct soft_unit *unit, struct soft_shard *shard,
	uint64_t iova)
{
	uint64_t page;

	soft_hook(SOFT_LANDED);
	if (soft_walk_mark_late(unit, iova, &page) == SOFT_MARK_DONE)
		soft_iotlb_fill(dev->iotlb, iova, page, shard->walks);
}

/* The largest single access that is aligned at memory and not longer than len. */
static size_t
access_size(const void *memory, size_t len)
{
	uintptr_t alignment = (uintptr_t)memory | 8;
	size_t size = (size_t)(alignment & -alignment);

	while (size > len)
		size >>= 1;
	return size;
}

/*
 * Release on every access: a reader that sees one of them (a descriptor's done
 * bit) sees all before it. On x86 that is an ordinary store.
 */
static void
store(void *memory, const void *from, size_t size)
{
	uint64_t w8;
	uint32_t w4;
	uint16_t w2;

	switch (size) {
	case 8:
		memcpy(&w8, from, 8);
		__atomic_store_n((uint64_t *)memory, w8, __ATOMIC_RELEASE);
		break;
	case 4:
		memcpy(&w4, from, 4);
		__atomic_store_n((uint32_t *)memory, w4, __ATOMIC_RELEASE);
		break;
	case 2:
		memcpy(&w2, from, 2);
		__atomic_store_n((uint16_t *)memory, w2, __ATOMIC_RELEASE);
		break;
	default:
		__atomic_store_n((uint8_t *)memory, *(const uint8_t *)from, __ATOMIC_RELEASE);
	}
}

static void
load(const void *memory, void *to, size_t size)
{
	uint64_t w8;
	uint32_t w4;
	uint16_t w2;

	switch (size) {
	case 8:
		w8 = __atomic_load_n((const uint64_t *)memory, __ATOMIC_ACQUIRE);
		memcpy(to, &w8, 8);
		break;
	case 4:
		w4 = __atomic_load_n((const uint32_t *)memory, __ATOMIC_ACQUIRE);
		memcpy(to, &w4, 4);
		break;
	case 2:
		w2 = __atomic_load_n((const uint16_t *)memory, __ATOMIC_ACQUIRE);
		memcpy(to, &w2, 2);
		break;
	default:
		*(uint8_t *)to = __atomic_load_n((const uint8_t *)memory, __ATOMIC_ACQUIRE);
	}
}

/* What moves: to the device (to) or from it (from); the other is NULL. */
struct transfer {
	uint8_t *to;
	const uint8_t *from;
};

static void
move(uint8_t *memory, struct transfer *t, size_t len)
{
	while (len > 0) {
		size_t size = access_size(memory, len);

		assert((t->from == NULL) != (t->to == NULL));
		if (t->from != NULL) {
			store(memory, t->from, size);
			t->from += size;
		} else {
			load(memory, t->to, size);
			t->to += size;
		}
		memory += size;
		len -= size;
	}
}

void
soft_store(uint8_t *memory, const uint8_t *from, size_t len)
{
	move(memory, &(struct transfer){ .from = from }, len);
}

static int
transfer(struct wherry_device *handle, uint64_t iova, struct transfer t, size_t len)
{
	struct soft_device *dev = wherry_device_driver_half(handle, &wherry_iommu_soft);
	struct soft_section section;
	struct soft_unit *unit;
	uint64_t page;
	int rc = 0;

	if (dev == NULL)
		return -EFAULT;
	section = soft_section_enter(dev);
	unit = __atomic_load_n(&dev->unit, __ATOMIC_ACQUIRE); /* pairs with attach */
	while (len > 0) {
		uint64_t offset = iova & (PT_PAGE - 1);
		size_t n = len < PT_PAGE - offset ? len : (size_t)(PT_PAGE - offset);

		rc = translate(dev, unit, section.shard, iova, t.from != NULL, &page);
		if (rc != 0)
			break;
		soft_hook(SOFT_TRANSLATED);
		move((uint8_t *)(uintptr_t)((page & IOTLB_PAGE_MASK) | offset), &t, n);
		if (t.from != NULL && (page & IOTLB_DIRTY) == 0)
			mark_late(dev, unit, section.shard, iova);
		iova += n; /* cannot wrap: the top of the space is beyond every width */
		len -= n;
	}
	soft_hook(SOFT_MOVED);
	soft_section_leave(section);
	return rc;
}

int
wherry_soft_dma_read(struct wherry_device *dev, uint64_t iova, void *buf, size_t len)
{
	return transfer(dev, iova, (struct transfer){ .to = buf }, len);
}

int
wherry_soft_dma_write(struct wherry_device *dev, uint64_t iova, const void *buf, size_t len)
{
	return transfer(dev, iova, (struct transfer){ .from = buf }, len);
}
