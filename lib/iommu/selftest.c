/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Are dirty bits to be believed? A device that can be told to write does so when
 * tracking is first used: it writes, the bits are read and cleared, it writes again, and
 * both writes must have been seen. If cleaning an entry is not followed by an
 * invalidation, the second goes through the cached translation, unseen: Linux 6.12
 * to 7.2 on SMMUv3 does that. Such a domain has no dirty bits, and says why.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommu_priv.h"

#define LOG_PREFIX "iommu/selftest"

static const char *const never_seen = "self-test: a device wrote, and no dirty bit was set";
static const char *const not_again =
	"self-test: a device wrote the same page twice, and the second write left no dirty bit: "
	"cleaned entries are not invalidated";

/* Was the page written since it was last asked for? */
static int
ask_locked(struct wherry_domain *dom, struct wherry_span page, bool *ret_dirty)
	WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e;
	struct mapping *m;
	int rc = domain_fetch_locked(dom, page, true);

	if (rc != 0 || !wherry_iova_find(dom->mappings, page.iova, &e))
		return rc;
	m = e.value;
	*ret_dirty = wherry_bitmap_test(m->pending, page.iova);
	wherry_bitmap_clear(m->pending);
	return 0;
}

/* The reason not to believe, or NULL. */
static int
try_locked(struct wherry_domain *dom, struct wherry_device *dev, struct wherry_span page,
	const char **ret_unsound) WHERRY_REQUIRES(&dom->lock)
{
	for (int i = 0; i < 2; i++) {
		bool dirty = false;
		int rc = dev->ops.poke(dev->ops.ctx, page.iova);

		if (rc == 0)
			rc = ask_locked(dom, page, &dirty);
		if (rc != 0)
			return rc;
		if (!dirty) {
			*ret_unsound = i == 0 ? never_seen : not_again;
			return 0;
		}
	}
	return 0;
}

/* On a page of its own, so that nobody else's bits are taken. */
static int
test_locked(struct wherry_domain *dom, struct wherry_device *dev, const char **ret_unsound)
	WHERRY_REQUIRES(&dom->lock)
{
	uint64_t len = domain_smallest_page(dom);
	struct wherry_place place = { .span = { WHERRY_IOVA_ANY, len },
		.prot = WHERRY_DMA_READ | WHERRY_DMA_WRITE,
		.vaddr = wherry_fault("selftest.page") ? NULL : aligned_alloc(len, len),
		.fd = -1 };
	int rc;

	if (place.vaddr == NULL)
		return -ENOMEM;
	memset(place.vaddr, 0, len);
	rc = domain_map_locked(dom, &place);
	if (rc != 0)
		goto free_page;
	rc = try_locked(dom, dev, place.span, ret_unsound);
	dom->drv->unmap(dom->be, place.span, NULL);
	domain_forget_locked(dom, place.span);
free_page:
	free(place.vaddr);
	return rc;
}

void
selftest_locked(struct wherry_domain *dom)
{
	struct wherry_device *dev;

	LIST_FOREACH(dev, &dom->devices, link) {
		int rc;

		if (dom->unsound != NULL || dev->tested || dev->ops.poke == NULL)
			continue;
		rc = test_locked(dom, dev, &dom->unsound);
		dev->tested = rc == 0;
		if (rc != 0)
			LOG_WARN("%s: dirty bits were not tested: %s", dev->name, strerror(-rc));
		else if (dom->unsound != NULL)
			LOG_ERR("%s: %s", dev->name, dom->unsound);
		else
			LOG_INFO("%s: dirty bits are sound", dev->name);
	}
	if (dom->unsound != NULL)
		domain_update_caps_locked(dom);
}
