/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A domain that goes to another process, or has come from one. To the kernel a domain is its
 * file: the numbers of spaces, tables and devices mean the same to whoever holds it, and
 * a device stays attached for as long as anybody has its file open. So what is handed over are
 * these files and the numbers, and nothing is asked of a device on the way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommufd_priv.h"
#include "wherry_vfio_driver.h"

#define LOG_PREFIX "iommu/iommufd"

static int
lend_tables(const struct iommufd_domain *dom, struct wherry_lent_half *half)
{
	const struct iommufd_table *table;

	LIST_FOREACH(table, &dom->now->tables, link) {
		if (half->n_tables == WHERRY_LENT_TABLES)
			return -ENOSPC;
		half->tables[half->n_tables++] =
			(struct wherry_lent_table){ table->hwpt, table->tracks };
	}
	return 0;
}

static uint32_t
index_of(const struct wherry_lent_half *half, const struct iommufd_table *table)
{
	uint32_t i = 0;

	while (half->tables[i].id != table->hwpt) /* each table of the space is there */
		i++;
	return i;
}

int
iommufd_lend(void *be, struct wherry_lent_half *half, int *ret_fds)
{
	const struct iommufd_domain *dom = be;
	const struct iommufd_device *dev;
	int rc = lend_tables(dom, half);

	half->space = dom->now->ioas;
	half->small = dom->now->small;
	ret_fds[0] = dom->fd;
	LIST_FOREACH(dev, &dom->devices, link) {
		struct wherry_lent_device *to = &half->devices[half->n_devices];

		if (half->n_devices == WHERRY_LENT_DEVICES)
			rc = -ENOSPC;
		if (rc != 0)
			break;
		*to = (struct wherry_lent_device){ .id = dev->dev_id,
			.table = index_of(half, dev->table) };
		memcpy(to->address, dev->vfio->place.address, sizeof(to->address));
		ret_fds[++half->n_devices] = dev->vfio->fd;
	}
	return rc;
}

/* The last one first, so that the list is in the order of the numbers. */
static int
take_tables(struct iommufd_domain *dom, const struct wherry_lent_half *half,
	struct iommufd_table **ret_tables)
{
	for (uint32_t i = half->n_tables; i-- > 0;) {
		struct iommufd_table *table =
			wherry_fault("iommufd.table") ? NULL : calloc(1, sizeof(*table));

		if (table == NULL)
			return -ENOMEM;
		table->hwpt = half->tables[i].id;
		table->tracks = half->tables[i].tracks != 0;
		LIST_INSERT_HEAD(&dom->now->tables, table, link);
		ret_tables[i] = table;
	}
	return 0;
}

static int
take_device(struct iommufd_domain *dom, const struct wherry_lent_device *lent, int fd,
	struct iommufd_table *table)
{
	struct iommufd_heirloom *h;
	struct kernel_hw hw;
	int rc = kernel_device_hw(dom->fd, lent->id, &hw);

	if (rc != 0 || !vfio_device_is_cdev(lent->address, fd)) {
		LOG_ERR("what was handed over as %s is not that device, or of another domain",
			lent->address);
		return rc == -ENOMEM ? rc : -EPROTO;
	}
	h = wherry_fault("iommufd.heirloom") ? NULL : calloc(1, sizeof(*h));
	if (h == NULL)
		return -ENOMEM;
	h->fd = wherry_fault("iommufd.dup") ? -ENOMEM : wherry_sys->dup(fd);
	if (h->fd < 0) {
		free(h);
		return -ENOMEM;
	}
	memcpy(h->address, lent->address, sizeof(h->address));
	h->dev_id = lent->id;
	h->table = table;
	LIST_INSERT_HEAD(&dom->heirlooms, h, link);
	return 0;
}

static int
take_all(struct iommufd_domain *dom, const struct wherry_lent_half *half, const int *fds)
{
	struct iommufd_table *taken[WHERRY_LENT_TABLES];
	int rc = take_tables(dom, half, taken);

	dom->now->ioas = half->space;
	dom->now->small = half->small != 0;
	if (rc == 0)
		rc = iommufd_ask_ranges(dom);
	if (rc != 0)
		return rc == -ENOMEM ? rc : -EPROTO; /* the domain's file knows no such space */
	for (uint32_t i = 0; rc == 0 && i < half->n_devices; i++)
		rc = take_device(dom, &half->devices[i], fds[1 + i], taken[half->devices[i].table]);
	return rc;
}

static struct iommufd_domain *
alloc_borrowed(void)
{
	struct iommufd_domain *dom = iommufd_domain_alloc();

	if (dom == NULL)
		return NULL;
	dom->now = wherry_fault("iommufd.space") ? NULL : calloc(1, sizeof(*dom->now));
	if (dom->now == NULL) {
		free(dom);
		return NULL;
	}
	LIST_INIT(&dom->now->tables);
	return dom;
}

int
iommufd_borrow(const struct wherry_lent_half *half, const int *fds, void **ret_be)
{
	struct iommufd_domain *dom;
	int rc = -ENOMEM;

	if (!wherry_sys->is_node(fds[0], KERNEL_NODE)) {
		LOG_ERR("what was handed over as a domain is no iommufd");
		return -EPROTO;
	}
	dom = alloc_borrowed();
	if (dom == NULL)
		return -ENOMEM;
	dom->fd = wherry_fault("iommufd.dup") ? -ENOMEM : wherry_sys->dup(fds[0]);
	if (dom->fd >= 0)
		rc = take_all(dom, half, fds);
	if (rc != 0)
		iommufd_abandon(dom);
	else
		*ret_be = dom;
	return rc;
}

void
iommufd_clear(void *be, struct wherry_span span)
{
	const struct iommufd_domain *dom = be;

	kernel_ioas_clear(dom->fd, dom->now->ioas, span);
}

int
iommufd_let_go(void *be)
{
	struct iommufd_domain *dom = be;
	struct iommufd_device *dev;
	int rc = 0;

	LIST_FOREACH(dev, &dom->devices, link)
		if (vfio_device_let_go(dev->vfio) != 0)
			rc = -ENOMEM;
	iommufd_heirlooms_close(dom);
	if (wherry_fault("iommufd.blank") || wherry_sys->blank(dom->fd) != 0)
		rc = -ENOMEM;
	return rc;
}

void
iommufd_abandon(void *be)
{
	struct iommufd_domain *dom = be;
	struct iommufd_table *table;

	iommufd_heirlooms_close(dom);
	while ((table = LIST_FIRST(&dom->now->tables)) != NULL) {
		LIST_REMOVE(table, link);
		free(table);
	}
	free(dom->now);
	if (dom->fd >= 0)
		wherry_sys->close(dom->fd);
	iommufd_bits_free(dom);
	free(dom->usable);
	free(dom);
}

struct iommufd_heirloom *
iommufd_heirloom_of(struct iommufd_domain *dom, const char *address)
{
	struct iommufd_heirloom *h;

	LIST_FOREACH(h, &dom->heirlooms, link)
		if (strcmp(h->address, address) == 0)
			break;
	return h;
}

void
iommufd_heirloom_free(struct iommufd_heirloom *h)
{
	LIST_REMOVE(h, link);
	free(h);
}

void
iommufd_heirlooms_close(struct iommufd_domain *dom)
{
	struct iommufd_heirloom *h, *next;

	for (h = LIST_FIRST(&dom->heirlooms); h != NULL; h = next) {
		next = LIST_NEXT(h, link);
		wherry_sys->close(h->fd);
		free(h);
	}
	LIST_INIT(&dom->heirlooms);
}
