/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changing the granule: a second set of tables, the twin, is filled beside the present
 * one with traffic on, mapping by mapping; then every device is stopped for a moment
 * and moved over.
 *
 * What is mapped or unmapped meanwhile goes to both sets, so the lock is held for one
 * mapping at a time only. The bits of the old tables are read twice: before the move,
 * when that may still fail without harm, and after it, should a device have gone on
 * writing all the same.
 */
#include <errno.h>

#include "iommu_priv.h"

#define LOG_PREFIX "iommu/granule"

static const struct wherry_span everywhere = { 0, UINT64_MAX };

void
granule_drop_locked(struct wherry_domain *dom)
{
	if (dom->twin == TWIN_NONE)
		return;
	dom->drv->twin_destroy(dom->be);
	dom->twin = TWIN_NONE;
	dom->twins++;
}

static int
begin_locked(struct wherry_domain *dom, uint64_t page) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };
	int rc;

	if (dom->foreign)
		return -EPERM;
	if (dom->lent)
		return -EBUSY;
	if (dom->caps.regrain == WHERRY_REGRAIN_NEVER)
		return -EOPNOTSUPP;
	if (!is_pow2(page) || (dom->caps.page_sizes & page) == 0)
		return -EINVAL;
	if (dom->twin != TWIN_NONE || page == dom->caps.granule)
		return -EALREADY;
	rc = dom->drv->twin_create(dom->be, page);
	if (rc != 0)
		return rc;
	while (domain_next_locked(dom, everywhere, &e))
		((struct mapping *)e.value)->in_twin = false;
	dom->twin = TWIN_FILLING;
	return 0;
}

/* Fill in the next mapping behind *at. -ENOENT: that was the last. */
static int
fill_next_locked(struct wherry_domain *dom, struct wherry_iova_entry *at)
	WHERRY_REQUIRES(&dom->lock)
{
	int rc;

	while (domain_next_locked(dom, everywhere, at)) {
		struct mapping *m = at->value;

		if (m->in_twin)
			continue;
		rc = wherry_fault("granule.fill") ? -ENOMEM
						  : dom->drv->twin_fill(dom->be, at->span, m->prot);
		m->in_twin = rc == 0;
		return rc;
	}
	return -ENOENT;
}

int
wherry_domain_granule_prepare(struct wherry_domain *dom, uint64_t page)
{
	struct wherry_iova_entry at = { .value = NULL };
	uint64_t mine;
	int rc;

	wherry_quick_lock(&dom->lock);
	rc = begin_locked(dom, page);
	mine = dom->twins;
	while (rc == 0) {
		rc = fill_next_locked(dom, &at);
		wherry_quick_unlock(&dom->lock); /* let others map and harvest */
		wherry_quick_lock(&dom->lock);
		if (dom->twins != mine)
			rc = -ECANCELED;
		else if (rc == -ENOENT)
			dom->twin = TWIN_READY;
		else if (rc != 0)
			granule_drop_locked(dom);
	}
	wherry_quick_unlock(&dom->lock);
	return rc == -ENOENT ? 0 : rc;
}

void
wherry_domain_granule_cancel(struct wherry_domain *dom)
{
	wherry_quick_lock(&dom->lock);
	granule_drop_locked(dom);
	wherry_quick_unlock(&dom->lock);
}

/* The devices behind @p end in the list go on; NULL: all. */
static void
resume_locked(struct wherry_domain *dom, const struct wherry_device *end)
	WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_device *dev;

	LIST_FOREACH(dev, &dom->devices, link) {
		if (dev == end)
			break;
		if (dev->ops.resume != NULL)
			dev->ops.resume(dev->ops.ctx);
	}
}

static int
stop_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_device *dev;

	LIST_FOREACH(dev, &dom->devices, link) {
		if (dev->ops.stop != NULL && dev->ops.stop(dev->ops.ctx) == 0)
			continue;
		LOG_ERR("%s: %s", dev->name,
			dev->ops.stop != NULL ? "it does not stop"
					      : "how it is stopped is not known");
		resume_locked(dom, dev);
		return -EBUSY;
	}
	return 0;
}

static int
read_all_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };
	int rc = 0;

	while (rc == 0 && dom->tracking && domain_next_locked(dom, everywhere, &e))
		rc = domain_fetch_locked(dom, e.span, true);
	return rc;
}

/* What could not be read counts as dirty. */
static void
read_rest_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };

	if (read_all_locked(dom) == 0)
		return;
	LOG_WARN("the old tables could not be read to the end: everything counts as dirty");
	while (domain_next_locked(dom, everywhere, &e))
		mapping_mark(e.value, e.span);
}

static int
move_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	int rc = read_all_locked(dom);

	if (rc == 0)
		rc = dom->drv->twin_swap(dom->be);
	if (rc != 0)
		return rc;
	read_rest_locked(dom);
	granule_drop_locked(dom);
	domain_update_caps_locked(dom);
	return 0;
}

static int
commit_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	int rc;

	if (dom->twin == TWIN_NONE)
		return -EINVAL;
	if (dom->twin == TWIN_FILLING)
		return -EBUSY;
	rc = stop_locked(dom);
	if (rc != 0)
		return rc;
	rc = move_locked(dom);
	resume_locked(dom, NULL);
	return rc;
}

int
wherry_domain_granule_commit(struct wherry_domain *dom)
{
	int rc;

	wherry_quick_lock(&dom->lock);
	rc = commit_locked(dom);
	wherry_quick_unlock(&dom->lock);
	return rc;
}
