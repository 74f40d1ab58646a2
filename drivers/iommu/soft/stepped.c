/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's write, one step at a time, and the moments at which an unmap lets
 * others play: together they make every schedule of the two, in one thread. The
 * steps are those of dma.c, made of the same parts.
 */
#include <errno.h>
#include <stdlib.h>

#include "soft_priv.h"

/* What comes next. */
enum stage { TRANSLATE, MARK, STORE, MARK_LATE, OVER };

struct wherry_soft_write {
	struct soft_device *dev;
	struct soft_unit *unit;      /* NULL: not attached */
	struct soft_section section; /* left when over */
	uint64_t iova, page;
	const uint8_t *buf;
	size_t len;
	struct soft_leaf leaf; /* between a walk and its mark */
	enum stage next;
};

void
wherry_soft_on_event(struct wherry_device *dev, wherry_soft_event_fn fn, void *ctx)
{
	struct soft_device *soft = wherry_device_driver_half(dev, &wherry_iommu_soft);

	if (soft == NULL)
		return;
	soft->event_ctx = ctx;
	soft->on_event = fn;
}

void
soft_event(const struct soft_device *dev, enum wherry_soft_event event)
{
	if (dev->on_event != NULL)
		dev->on_event(dev->event_ctx, event);
}

int
wherry_soft_write_begin(struct wherry_device *dev, uint64_t iova, const void *buf, size_t len,
	struct wherry_soft_write **ret_write)
{
	struct soft_device *soft = wherry_device_driver_half(dev, &wherry_iommu_soft);
	struct wherry_soft_write *w;

	if (soft == NULL)
		return -EFAULT;
	if (len == 0 || len > PT_PAGE - (iova & (PT_PAGE - 1)))
		return -EINVAL;
	w = wherry_fault("soft.write") ? NULL : calloc(1, sizeof(*w));
	if (w == NULL)
		return -ENOMEM;
	w->dev = soft;
	w->iova = iova;
	w->buf = buf;
	w->len = len;
	w->section = soft_section_enter(soft);
	w->unit = __atomic_load_n(&soft->unit, __ATOMIC_ACQUIRE); /* pairs with attach */
	*ret_write = w;
	return 0;
}

static enum wherry_soft_step
finish(struct wherry_soft_write *w, enum wherry_soft_step step)
{
	soft_section_leave(w->section);
	w->next = OVER;
	return step;
}

static enum wherry_soft_step
refuse(struct wherry_soft_write *w, const char *why)
{
	(void)soft_refuse(
		w->dev, w->section.shard, (struct wherry_soft_fault){ w->iova, true, why });
	return finish(w, WHERRY_SOFT_REFUSED);
}

static void
fill(struct wherry_soft_write *w)
{
	soft_iotlb_fill(w->dev->iotlb, w->iova, w->page, 0);
}

static enum wherry_soft_step
translate(struct wherry_soft_write *w)
{
	struct soft_unit *unit = w->unit;
	const char *why;

	if (unit == NULL)
		return refuse(w, "the device is not attached");
	w->next = STORE;
	if (soft_iotlb_find(w->dev->iotlb, w->iova, &w->page) &&
		(w->page & soft_write_needs(unit)) == soft_write_needs(unit))
		return WHERRY_SOFT_HIT;
	why = soft_walk_find(unit, w->dev, w->iova, true, &w->leaf);
	if (why != NULL)
		return refuse(w, why);
	if (unit->dbit != SOFT_LATE) {
		w->next = MARK;
		return WHERRY_SOFT_WALK;
	}
	if (soft_walk_mark(unit, w->iova, true, &w->leaf, &w->page) == SOFT_MARK_AGAIN)
		return translate(w);
	fill(w);
	return WHERRY_SOFT_WALK;
}

static enum wherry_soft_step
mark(struct wherry_soft_write *w)
{
	enum soft_mark marked = soft_walk_mark(w->unit, w->iova, true, &w->leaf, &w->page);

	if (marked == SOFT_MARK_AGAIN)
		return translate(w);
	fill(w);
	w->next = STORE;
	return marked == SOFT_MARK_DONE ? WHERRY_SOFT_DIRTIED : WHERRY_SOFT_UNNOTED;
}

static enum wherry_soft_step
store(struct wherry_soft_write *w)
{
	uint64_t memory = (w->page & IOTLB_PAGE_MASK) | (w->iova & (PT_PAGE - 1));

	soft_store((uint8_t *)(uintptr_t)memory, w->buf, w->len);
	if ((w->page & IOTLB_DIRTY) != 0)
		return finish(w, WHERRY_SOFT_LANDED);
	w->next = MARK_LATE;
	return WHERRY_SOFT_LANDED;
}

static enum wherry_soft_step
mark_late(struct wherry_soft_write *w)
{
	if (soft_walk_mark_late(w->unit, w->iova, &w->page) != SOFT_MARK_DONE)
		return finish(w, WHERRY_SOFT_UNNOTED);
	fill(w);
	return finish(w, WHERRY_SOFT_DIRTIED);
}

enum wherry_soft_step
wherry_soft_write_step(struct wherry_soft_write *w)
{
	switch (w->next) {
	case TRANSLATE:
		return translate(w);
	case MARK:
		return mark(w);
	case STORE:
		return store(w);
	case MARK_LATE:
		return mark_late(w);
	default:
		return WHERRY_SOFT_OVER;
	}
}

void
wherry_soft_write_end(struct wherry_soft_write *w)
{
	while (w != NULL && wherry_soft_write_step(w) != WHERRY_SOFT_OVER)
		;
	free(w);
}
