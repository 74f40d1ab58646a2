/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The software IOMMU as a backend: each hook does to every unit's page table
 * what the core asks for, and invalidates once for the whole batch.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "soft_hooks_priv.h"
#include "soft_priv.h"

#define LOG_PREFIX "iommu/soft"

/* x86 machines do not translate the addresses of message-signalled interrupts. */
#define MSI_FIRST UINT64_C(0xfee00000)
#define MSI_LAST UINT64_C(0xfeefffff)

static struct wherry_span
everywhere(const struct soft_domain *dom)
{
	return (struct wherry_span){ 0, UINT64_C(1) << dom->opts.width };
}

static void
fini_units(struct soft_domain *dom)
{
	while (dom->n_units > 0)
		soft_pt_fini(&dom->units[--dom->n_units].pt);
}

static int
init_units(struct soft_domain *dom)
{
	const struct soft_options *opts = &dom->opts;
	int rc;

	while (dom->n_units < opts->units) {
		struct soft_unit *unit = &dom->units[dom->n_units];

		LIST_INIT(&unit->devices);
		unit->dbit = opts->dbit;
		rc = soft_pt_init(&unit->pt, opts->format, opts->width, opts->leaves);
		if (rc != 0)
			goto fini_units;
		unit->pt.max_tables = opts->tables;
		dom->n_units++;
	}
	return 0;
fini_units:
	fini_units(dom);
	return rc;
}

static int
create(const char *options, void **ret_be)
{
	struct soft_domain *dom = wherry_fault("soft.domain") ? NULL : calloc(1, sizeof(*dom));
	int rc;

	if (dom == NULL)
		return -ENOMEM;
	rc = soft_options_parse(options, &dom->opts);
	if (rc != 0)
		goto free_domain;
	rc = init_units(dom);
	if (rc != 0)
		goto free_domain;
	*ret_be = dom;
	return 0;
free_domain:
	free(dom);
	return rc;
}

static void
destroy(void *be)
{
	struct soft_domain *dom = be;

	fini_units(dom);
	free(dom);
}

/* The fewest address bits among the page table and the attached devices. */
static unsigned int
narrowest(const struct soft_domain *dom)
{
	unsigned int width = dom->opts.width;
	const struct soft_device *dev;

	for (unsigned int i = 0; i < dom->n_units; i++)
		LIST_FOREACH(dev, &dom->units[i].devices, link)
			width = dev->width < width ? dev->width : width;
	return width;
}

/* Why an exact unmap cannot be had, or NULL. */
static const char *
no_exact(const struct soft_options *opts)
{
	if (opts->dbit == SOFT_STALE && !opts->by_content)
		return "dbit=stale: a write may pass a fence it has not seen, unnoticed";
	if (opts->dbit == SOFT_LATE && opts->by_content)
		return "dbit=late: a write may land before the look and set D after the reading";
	return NULL;
}

static void
get_caps(void *be, struct wherry_domain_caps *ret_caps)
{
	struct soft_domain *dom = be;
	uint64_t end = UINT64_C(1) << narrowest(dom);
	const char *no = no_exact(&dom->opts);

	dom->usable[0] = (struct wherry_span){ 0, end < MSI_FIRST ? end : MSI_FIRST };
	dom->usable[1] = (struct wherry_span){ MSI_LAST + 1, end - MSI_LAST - 1 };
	*ret_caps = (struct wherry_domain_caps){
		.page_sizes = dom->opts.leaves,
		.granule = UINT64_C(1) << (63 - __builtin_clzll(dom->opts.leaves)),
		.usable = dom->usable,
		.n_usable = end > MSI_LAST + 1 ? 2 : 1,
		.dirty = WHERRY_DIRTY_TRACKED,
		.exact_by = no != NULL         ? WHERRY_UNMAP_BY_NOTHING
			: dom->opts.by_content ? WHERRY_UNMAP_BY_CONTENT
					       : WHERRY_UNMAP_BY_FENCE,
		.regrain = WHERRY_REGRAIN_NEVER,
		.write_only = dom->opts.format->write_only,
		.reason = no != NULL ? no
				     : "the soft backend keeps the leaf sizes it was created with",
	};
}

/* Change a span of every unit; whatever was changed is invalidated on return. */
static void
edit_units(struct soft_domain *dom, struct wherry_span span, const struct soft_edit *edit,
	struct wherry_dirty_sink *sink)
{
	for (unsigned int i = 0; i < dom->n_units; i++) {
		struct soft_unit *unit = &dom->units[i];
		struct soft_edited edited = soft_pt_edit(&unit->pt, span, edit, sink);

		if (edited.changed || edited.garbage.first != NULL)
			soft_invalidate(unit, span);
		soft_pt_free_garbage(&unit->pt, edited.garbage);
	}
}

static void
clear_span(struct soft_domain *dom, struct wherry_span span, struct wherry_dirty_sink *sink)
{
	static const struct soft_edit edit = { .change = { .clear = ~UINT64_C(0) }, .prune = true };

	edit_units(dom, span, &edit, sink);
}

static int
map_units(struct soft_domain *dom, const struct wherry_place *place)
{
	uint64_t paddr = (uint64_t)(uintptr_t)place->vaddr;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < dom->n_units; i++) {
		struct soft_unit *unit = &dom->units[i];

		rc = soft_pt_map(&unit->pt, place->span, paddr, place->prot);
		if (rc == 0 && !unit->tracking)
			(void)soft_pt_track(
				&unit->pt, place->span, false); /* nobody has it cached */
	}
	return rc;
}

static int
map(void *be, const struct wherry_place *place)
{
	struct soft_domain *dom = be;
	int rc;

	if (msync(place->vaddr, place->span.len, MS_ASYNC) != 0) /* asks if it is there */
		return -EFAULT;
	rc = map_units(dom, place);
	if (rc != 0)
		goto clear;
	return 0;
clear:
	clear_span(dom, place->span, NULL);
	return rc;
}

static void
unmap(void *be, struct wherry_span span, struct wherry_dirty_sink *sink)
{
	struct soft_domain *dom = be;
	const struct soft_device *dev;

	soft_hook(SOFT_UNMAPPING);
	for (unsigned int i = 0; i < dom->n_units; i++)
		LIST_FOREACH(dev, &dom->units[i].devices, link)
			soft_event(dev, WHERRY_SOFT_UNMAPPING);
	clear_span(dom, span, sink);
}

/*
 * Walkers set D from the moment tracking is on; what is left of an earlier time
 * is cleared after that, and translations that know nothing of D are forgotten: a
 * global invalidation, unit by unit. Off needs none: who has a clean translation goes
 * on noting, or finds that there is nothing to note.
 */
static int
track(void *be, bool on)
{
	struct soft_domain *dom = be;

	if (on && wherry_fault("soft.track"))
		return -ENOMEM;
	for (unsigned int i = 0; i < dom->n_units; i++) {
		struct soft_unit *unit = &dom->units[i];

		__atomic_store_n(&unit->tracking, on, __ATOMIC_RELAXED); /* ordered by the drain */
		(void)soft_pt_track(&unit->pt, everywhere(dom), on);
		if (on)
			soft_invalidate(unit, everywhere(dom));
	}
	return 0;
}

static int
read_dirty(void *be, struct wherry_span span, bool clear, struct wherry_dirty_sink *sink)
{
	struct soft_domain *dom = be;
	const struct soft_format *fmt = dom->opts.format;
	struct soft_edit edit = { .state = fmt->dirty };

	if (clear)
		edit.change = fmt->to_clean;
	edit_units(dom, span, &edit, sink);
	return wherry_fault("soft.read_dirty") ? -ENOMEM : 0; /* after the fact: bits are out */
}

static int
fence(void *be, struct wherry_span span, struct wherry_dirty_sink *sink)
{
	struct soft_domain *dom = be;
	const struct soft_format *fmt = dom->opts.format;
	struct soft_edit edit = { .state = fmt->writable, .change = fmt->to_fenced };

	if (wherry_fault("soft.fence"))
		return -ENOMEM;
	edit_units(dom, span, &edit, sink);
	return 0;
}

/* A refused translation is not cached, so nothing needs to be forgotten. */
static void
unfence(void *be, struct wherry_span span)
{
	struct soft_domain *dom = be;
	struct soft_edit edit = { .change = dom->opts.format->to_writable };

	for (unsigned int i = 0; i < dom->n_units; i++)
		(void)soft_pt_edit(&dom->units[i].pt, span, &edit, NULL);
}

const struct wherry_iommu_driver wherry_iommu_soft = {
	.name = "soft",
	.unmap_sees_dirty = true,
	.create = create,
	.destroy = destroy,
	.get_caps = get_caps,
	.map = map,
	.unmap = unmap,
	.track = track,
	.read_dirty = read_dirty,
	.fence = fence,
	.unfence = unfence,
	.device_open = soft_device_open,
	.device_close = soft_device_close,
	.attach = soft_device_attach,
	.detach = soft_device_detach,
};
