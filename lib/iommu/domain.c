/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Domains come and go: a spec, "backend:options", becomes a backend's domain
 * with the core's half around it. What a domain holds is in mapping.c, what
 * devices wrote to it in dirty.c.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommu_priv.h"

#define LOG_PREFIX "iommu"

const struct wherry_iommu_driver *
domain_driver(const char *name, size_t len)
{
	for (size_t i = 0; wherry_iommu_drivers[i] != NULL; i++) {
		const struct wherry_iommu_driver *drv = wherry_iommu_drivers[i];

		if (strlen(drv->name) == len && strncmp(drv->name, name, len) == 0)
			return drv;
	}
	return NULL;
}

/* The backend's half, from the first of the hardware backends that is there. */
static int
create_auto(const struct wherry_iommu_driver **ret_drv, void **ret_be)
{
	static const char *const names[] = { "iommufd", "type1" };
	int rc;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct wherry_iommu_driver *drv = domain_driver(names[i], strlen(names[i]));

		if (drv == NULL) {
			LOG_INFO("auto: backend %s is not part of this build", names[i]);
			continue;
		}
		rc = drv->create("", ret_be);
		if (rc == 0) {
			*ret_drv = drv;
			return 0;
		}
		if (rc != -ENODEV)
			return rc;
		LOG_INFO("auto: %s is not on this machine", names[i]);
	}
	LOG_ERR("auto: no hardware backend is usable; \"soft\" needs no hardware");
	return -ENODEV;
}

static int
create_backend(const char *spec, const struct wherry_iommu_driver **ret_drv, void **ret_be)
{
	size_t len = strcspn(spec, ":");
	const struct wherry_iommu_driver *drv;
	int rc;

	if (strcmp(spec, "auto") == 0)
		return create_auto(ret_drv, ret_be);
	drv = domain_driver(spec, len);
	if (drv == NULL) {
		LOG_ERR("no backend is called \"%.*s\"", (int)len, spec);
		return -ENODEV;
	}
	rc = drv->create(spec[len] == ':' ? spec + len + 1 : "", ret_be);
	if (rc == 0)
		*ret_drv = drv;
	return rc;
}

/* -ENOMEM, or room for n spans in each of the two lists. */
static int
alloc_usable(size_t n, struct wherry_span **ret_usable, struct wherry_span **ret_search)
{
	struct wherry_span *usable, *search;

	usable = wherry_fault("domain.usable") ? NULL : calloc(n + 1, sizeof(*usable));
	if (usable == NULL)
		return -ENOMEM;
	search = wherry_fault("domain.search") ? NULL : calloc(n + 1, sizeof(*search));
	if (search == NULL)
		goto free_usable;
	*ret_usable = usable;
	*ret_search = search;
	return 0;
free_usable:
	free(usable);
	return -ENOMEM;
}

static bool
mappings_fit_locked(struct wherry_domain *dom, const struct wherry_domain_caps *caps)
	WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_span everywhere = { 0, UINT64_MAX };
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(dom, everywhere, &e))
		if (!wherry_iova_usable(caps->usable, caps->n_usable, e.span))
			return false;
	return true;
}

/* What the backend says, and what a self-test has found out. */
static void
ask_caps_locked(struct wherry_domain *dom, struct wherry_domain_caps *ret_caps)
	WHERRY_REQUIRES(&dom->lock)
{
	dom->drv->get_caps(dom->be, ret_caps);
	if (dom->unsound == NULL)
		return;
	ret_caps->dirty = WHERRY_DIRTY_NONE;
	ret_caps->exact_by = WHERRY_UNMAP_BY_NOTHING;
	ret_caps->reason = dom->unsound;
}

int
domain_refresh_caps_locked(struct wherry_domain *dom)
{
	struct wherry_span *usable, *search;
	struct wherry_domain_caps caps;
	uint64_t page;
	int rc;

	ask_caps_locked(dom, &caps);
	page = caps.page_sizes & -caps.page_sizes;
	if (!mappings_fit_locked(dom, &caps))
		return -EOVERFLOW;
	rc = alloc_usable(caps.n_usable, &usable, &search);
	if (rc != 0)
		return rc;
	memcpy(usable, caps.usable, caps.n_usable * sizeof(*usable));
	memcpy(search, caps.usable, caps.n_usable * sizeof(*search));
	if (caps.n_usable > 0 && search[0].iova == 0 && search[0].len > page) {
		search[0].iova += page;
		search[0].len -= page;
	}
	free(dom->usable);
	free(dom->search);
	dom->usable = usable;
	dom->search = search;
	dom->caps = caps;
	dom->caps.usable = usable;
	return 0;
}

void
domain_update_caps_locked(struct wherry_domain *dom)
{
	struct wherry_domain_caps caps;

	ask_caps_locked(dom, &caps);
	caps.usable = dom->caps.usable;
	caps.n_usable = dom->caps.n_usable;
	dom->caps = caps;
}

static int
init_domain(struct wherry_domain *dom)
{
	int rc;

	LIST_INIT(&dom->devices);
	dom->sink.dom = dom;
	rc = wherry_iova_set_create(&dom->mappings);
	if (rc != 0)
		return rc;
	wherry_quick_lock(&dom->lock);
	rc = domain_refresh_caps_locked(dom);
	wherry_quick_unlock(&dom->lock);
	if (rc != 0)
		goto destroy_set;
	return 0;
destroy_set:
	wherry_iova_set_destroy(dom->mappings);
	return rc;
}

int
domain_wrap(const struct wherry_iommu_driver *drv, void *be, struct wherry_domain **ret_dom)
{
	struct wherry_domain *dom = wherry_fault("domain.alloc") ? NULL : calloc(1, sizeof(*dom));
	int rc;

	if (dom == NULL)
		return -ENOMEM;
	dom->drv = drv;
	dom->be = be;
	if (drv->join != NULL)
		drv->join(be, dom);
	rc = init_domain(dom);
	if (rc != 0)
		free(dom);
	else
		*ret_dom = dom;
	return rc;
}

int
wherry_domain_create(const char *spec, struct wherry_domain **ret_dom)
{
	const struct wherry_iommu_driver *drv;
	void *be;
	int rc = create_backend(spec, &drv, &be);

	if (rc != 0)
		return rc;
	rc = domain_wrap(drv, be, ret_dom);
	if (rc != 0)
		drv->destroy(be);
	return rc;
}

void
wherry_domain_destroy(struct wherry_domain *dom)
{
	struct wherry_iova_entry e;
	bool hands_off;

	if (dom == NULL)
		return;
	assert(LIST_EMPTY(&dom->devices));
	wherry_quick_lock(&dom->lock);
	hands_off = domain_hands_off_locked(dom);
	granule_drop_locked(dom);
	while (wherry_iova_next(dom->mappings, 0, &e)) {
		if (!hands_off)
			dom->drv->unmap(dom->be, e.span, NULL);
		domain_forget_locked(dom, e.span);
	}
	wherry_quick_unlock(&dom->lock);
	if (hands_off)
		dom->drv->abandon(dom->be);
	else
		dom->drv->destroy(dom->be);
	free(dom->heritage);
	wherry_iova_set_destroy(dom->mappings);
	free(dom->usable);
	free(dom->search);
	free(dom);
}

void
wherry_domain_get_caps(const struct wherry_domain *dom, struct wherry_domain_caps *ret_caps)
{
	/* const is the caller's view: a lock is taken, nothing else is changed */
	struct wherry_domain *mine = (struct wherry_domain *)(uintptr_t)dom;

	wherry_quick_lock(&mine->lock);
	*ret_caps = mine->caps;
	wherry_quick_unlock(&mine->lock);
}

const char *
wherry_domain_backend(const struct wherry_domain *dom)
{
	return dom->drv->name;
}
