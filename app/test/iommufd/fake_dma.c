/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA of the scripted kernel's devices: translated by its tables, whose leaves get dirty. */
#include <errno.h>
#include <linux/iommufd.h>

#include "base_priv.h"
#include "fake_kernel_priv.h"
#include "test.h"

/* The leaf that translates iova: as large as alignment allows, unless the IOAS wants small ones. */
static struct leaf
leaf_at(const struct space *s, const struct map *m, uint64_t iova)
{
	uint64_t len = s->small ? PAGE : LEAF_MOST;

	for (; len > PAGE; len >>= 1) {
		uint64_t first = round_down(iova, len);
		uint64_t mem = (uint64_t)(uintptr_t)m->mem + (first - m->iova);

		if (len != LEAF_MOST)
			continue; /* VT-d: nothing between */
		if (first >= m->iova && first + len <= m->iova + m->len && mem % len == 0)
			break;
	}
	return (struct leaf){ round_down(iova, len), len };
}

static bool
holds(const struct leaf *leaves, size_t n, struct leaf leaf)
{
	for (size_t i = 0; i < n; i++)
		if (leaves[i].iova == leaf.iova)
			return true;
	return false;
}

static void
set_dirty(struct table *t, struct leaf leaf)
{
	if (fake_kernel.stuck || holds(t->is_dirty, t->n_dirty, leaf) ||
		(fake_kernel.no_rearm && holds(t->once, t->n_once, leaf)))
		return;
	CHECK(t->n_dirty < MAX_LEAVES && t->n_once < MAX_LEAVES);
	t->is_dirty[t->n_dirty++] = leaf;
	t->once[t->n_once++] = leaf;
}

void
fake_map_is_dirty(struct table *t, const struct map *m)
{
	for (uint64_t at = 0; at < m->len; at += PAGE)
		set_dirty(t, leaf_at(t->space, m, m->iova + at));
}

static int
dma(unsigned int dev, uint64_t iova, void *buf, const void *from, size_t len)
{
	struct table *t = fake_devices[dev].table;
	unsigned int need = from != NULL ? IOMMU_IOAS_MAP_WRITEABLE : IOMMU_IOAS_MAP_READABLE;
	struct map *m;

	for (size_t i = 0; i < len; i++) {
		m = t != NULL ? fake_map_at(t->space, iova + i) : NULL;
		if (m == NULL || (m->flags & need) == 0)
			return -EFAULT;
		if (from != NULL && t->on)
			set_dirty(t, leaf_at(t->space, m, iova + i));
		if (from != NULL)
			m->mem[iova + i - m->iova] = ((const uint8_t *)from)[i];
		else
			((uint8_t *)buf)[i] = m->mem[iova + i - m->iova];
	}
	return 0;
}

int
fake_dma_write(unsigned int dev, uint64_t iova, const void *buf, size_t len)
{
	return dma(dev, iova, NULL, buf, len);
}

int
fake_dma_read(unsigned int dev, uint64_t iova, void *buf, size_t len)
{
	return dma(dev, iova, buf, NULL, len);
}
