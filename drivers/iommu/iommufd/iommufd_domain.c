/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's iommufd as a backend: create, map, unmap. What is mapped goes to every
 * space there is, so that a twin that is being filled misses nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "iommufd_priv.h"
#include "wherry_vfio_driver.h"

#define LOG_PREFIX "iommu/iommufd"

static int
open_kernel(struct iommufd_domain *dom, const struct iommufd_options *opts)
{
	int rc = kernel_open(&dom->fd);

	if (rc != 0)
		return rc;
	rc = iommufd_space_create(dom->fd, opts->small, &dom->now);
	if (rc != 0)
		goto close_fd;
	rc = iommufd_ask_ranges(dom);
	if (rc != 0)
		goto destroy_space;
	return 0;
destroy_space:
	iommufd_space_destroy(dom->fd, dom->now);
close_fd:
	wherry_sys->close(dom->fd);
	return rc;
}

struct iommufd_domain *
iommufd_domain_alloc(void)
{
	struct iommufd_domain *dom =
		wherry_fault("iommufd.domain") ? NULL : calloc(1, sizeof(*dom));

	if (dom == NULL)
		return NULL;
	LIST_INIT(&dom->devices);
	LIST_INIT(&dom->heirlooms);
	dom->fd = -1;
	return dom;
}

static int
create(const char *options, void **ret_be)
{
	struct iommufd_options opts;
	struct iommufd_domain *dom;
	int rc = iommufd_options_parse(options, &opts);

	if (rc != 0)
		return rc;
	dom = iommufd_domain_alloc();
	rc = dom != NULL ? open_kernel(dom, &opts) : -ENOMEM;
	if (rc != 0)
		free(dom);
	else
		*ret_be = dom;
	return rc;
}

static void
destroy(void *be)
{
	struct iommufd_domain *dom = be;

	iommufd_heirlooms_close(dom);
	iommufd_space_destroy(dom->fd, dom->now);
	wherry_sys->close(dom->fd);
	iommufd_bits_free(dom);
	free(dom->usable);
	free(dom);
}

/* As a file if the kernel can, so that the mapping belongs to no process; else its address. */
static int
map_now(struct iommufd_domain *dom, const struct wherry_place *place)
{
	int rc;

	if (place->fd >= 0) {
		rc = kernel_ioas_map_file(dom->fd, dom->now->ioas, place);
		if (rc != -EOPNOTSUPP)
			return rc;
		LOG_DEBUG("this kernel does not map this file: its address will do");
	}
	return kernel_ioas_map(dom->fd, dom->now->ioas, place);
}

static WHERRY_HOT int
map(void *be, const struct wherry_place *place)
{
	struct iommufd_domain *dom = be;
	int rc = map_now(dom, place);

	if (rc != 0 || dom->other == NULL)
		return rc;
	rc = iommufd_twin_fill(dom, place->span, place->prot);
	if (rc != 0)
		kernel_ioas_unmap(dom->fd, dom->now->ioas, place->span);
	return rc;
}

static WHERRY_HOT void
unmap(void *be, struct wherry_span span, struct wherry_dirty_sink *sink)
{
	struct iommufd_domain *dom = be;

	(void)sink; /* the kernel has nothing to say: unmap_sees_dirty is false */
	kernel_ioas_unmap(dom->fd, dom->now->ioas, span);
	if (dom->other != NULL)
		kernel_ioas_unmap(dom->fd, dom->other->ioas, span);
}

static int
claim(void *be)
{
	struct iommufd_domain *dom = be;

	return kernel_change_process(dom->fd);
}

static int
track(void *be, bool on)
{
	return iommufd_track(be, on);
}

const struct wherry_iommu_driver wherry_iommu_iommufd = {
	.name = "iommufd",
	.create = create,
	.destroy = destroy,
	.get_caps = iommufd_get_caps,
	.map = map,
	.unmap = unmap,
	.claim = claim,
	.lend = iommufd_lend,
	.borrow = iommufd_borrow,
	.clear = iommufd_clear,
	.leave = iommufd_leave,
	.let_go = iommufd_let_go,
	.abandon = iommufd_abandon,
	.track = track,
	.read_dirty = iommufd_read_dirty,
	.twin_create = iommufd_twin_create,
	.twin_fill = iommufd_twin_fill,
	.twin_swap = iommufd_twin_swap,
	.twin_destroy = iommufd_twin_destroy,
	.device_open = vfio_device_open,
	.device_close = vfio_device_close,
	.attach = iommufd_attach,
	.detach = iommufd_detach,
};
