/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The borrower's half: the description is read once and checked, for it comes from another
 * process; mappings are kept by asking for what was there; and then the domain is ours.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lend_priv.h"

#define LOG_PREFIX "iommu/borrow"

static const struct wherry_span everywhere = { 0, UINT64_MAX };

static int
refuse(const char *why)
{
	LOG_ERR("a domain handed over is refused: %s", why);
	return -EPROTO;
}

/* How long it is, if it is a file that cannot change any more. */
static int
description_len(int fd, size_t *ret_len)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & LENT_SEALS) != LENT_SEALS || fstat(fd, &st) != 0)
		return refuse("its description is no sealed memory");
	if (st.st_size < (off_t)sizeof(struct lent_head) ||
		st.st_size > (off_t)(sizeof(struct lent_head) +
				     LENT_MAPPINGS * sizeof(struct lent_mapping)))
		return refuse("its description has no possible length");
	*ret_len = (size_t)st.st_size;
	return 0;
}

static int
check_half(const struct wherry_lent_half *half)
{
	if (half->n_tables > WHERRY_LENT_TABLES || half->n_devices > WHERRY_LENT_DEVICES ||
		half->small > 1)
		return refuse("it has too many tables or devices");
	for (uint32_t i = 0; i < half->n_tables; i++)
		if (half->tables[i].tracks > 1)
			return refuse("a table makes no sense");
	for (uint32_t i = 0; i < half->n_devices; i++) {
		const struct wherry_lent_device *dev = &half->devices[i];

		if (dev->table >= half->n_tables ||
			memchr(dev->address, '\0', sizeof(dev->address)) == NULL)
			return refuse("a device makes no sense");
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(half->devices[j].address, dev->address) == 0)
				return refuse("a device is there twice");
	}
	return 0;
}

static int
check_mappings(const struct lent_mapping *m, size_t n)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	for (size_t i = 0; i < n; i++) {
		if (m[i].span.len == 0 || ((m[i].span.iova | m[i].span.len) & (page - 1)) != 0 ||
			wherry_span_last(m[i].span) < m[i].span.iova ||
			m[i].prot > (WHERRY_DMA_READ | WHERRY_DMA_WRITE) || m[i].prot == 0)
			return refuse("a mapping makes no sense");
		if (i > 0 && m[i].span.iova <= wherry_span_last(m[i - 1].span))
			return refuse("mappings overlap");
	}
	return 0;
}

static int
check_description(const struct lent_head *head, size_t len, unsigned int n_files)
{
	int rc;

	if (memcmp(head->magic, LENT_MAGIC, sizeof(head->magic)) != 0 ||
		head->version != LENT_VERSION)
		return refuse("its description is of another kind");
	if (head->n_mappings > LENT_MAPPINGS ||
		len != sizeof(*head) + head->n_mappings * sizeof(struct lent_mapping) ||
		memchr(head->backend, '\0', sizeof(head->backend)) == NULL)
		return refuse("its description has another length than it says");
	rc = check_half(&head->half);
	if (rc != 0)
		return rc;
	if (n_files != head->half.n_devices + 2)
		return refuse("files are missing, or there are too many");
	return check_mappings((const struct lent_mapping *)(head + 1), head->n_mappings);
}

/* The caller frees it. */
static int
read_description(const struct wherry_domain_files *files, struct lent_head **ret_head)
{
	struct lent_head *head;
	size_t len;
	int rc = files->n < 2 || files->n > WHERRY_DOMAIN_FILES
		? refuse("it takes at least two files, and no more than there can be devices")
		: description_len(files->fd[0], &len);

	if (rc != 0)
		return rc;
	head = wherry_fault("borrow.read") ? NULL : malloc(len);
	if (head == NULL)
		return -ENOMEM;
	rc = wherry_sys->pread(files->fd[0], head, len, 0) == (ssize_t)len
		? check_description(head, len, files->n)
		: refuse("its description cannot be read");
	if (rc != 0)
		free(head);
	else
		*ret_head = head;
	return rc;
}

static struct heritage *
heritage_of(const struct lent_head *head)
{
	size_t bytes = head->n_mappings * sizeof(struct lent_mapping);
	struct heritage *heritage =
		wherry_fault("borrow.heritage") ? NULL : malloc(sizeof(*heritage) + bytes);

	if (heritage == NULL)
		return NULL;
	heritage->n = head->n_mappings;
	memcpy(heritage->mappings, head + 1, bytes);
	return heritage;
}

/* The backend has descriptors of its own, so that on failure the caller has all of his. */
static int
borrow(const struct wherry_domain_files *files, const struct lent_head *head,
	struct wherry_domain **ret_dom)
{
	const struct wherry_iommu_driver *drv = domain_driver(head->backend, strlen(head->backend));
	struct heritage *heritage;
	void *be;
	int rc;

	if (drv == NULL || drv->borrow == NULL)
		return -EOPNOTSUPP;
	heritage = heritage_of(head);
	if (heritage == NULL)
		return -ENOMEM;
	rc = drv->borrow(&head->half, files->fd + 1, &be);
	if (rc != 0)
		goto free_heritage;
	rc = domain_wrap(drv, be, ret_dom);
	if (rc != 0)
		goto abandon;
	(*ret_dom)->heritage = heritage; /* nobody else knows the domain yet */
	(*ret_dom)->foreign = true;
	return 0;
abandon:
	drv->abandon(be);
free_heritage:
	free(heritage);
	return rc;
}

int
wherry_domain_borrow(const struct wherry_domain_files *files, struct wherry_domain **ret_dom)
{
	struct wherry_domain_files ours = *files;
	struct lent_head *head;
	int rc = read_description(files, &head);

	if (rc != 0)
		return rc;
	rc = borrow(files, head, ret_dom);
	free(head);
	if (rc == 0)
		wherry_domain_files_close(&ours);
	return rc;
}

static int
compare(const void *key, const void *element)
{
	const struct lent_mapping *m = element;
	uint64_t iova = *(const uint64_t *)key;

	return iova < m->span.iova ? -1 : iova > m->span.iova ? 1 : 0;
}

int
heritage_find_locked(struct wherry_domain *dom, const struct mapping *m, struct wherry_span span)
{
	const struct lent_mapping *lent;

	if (dom->heritage == NULL)
		return -EPERM;
	lent = bsearch(
		&span.iova, dom->heritage->mappings, dom->heritage->n, sizeof(*lent), compare);
	if (lent == NULL || m->view.p == NULL || lent->span.len != span.len ||
		lent->prot != m->prot || lent->dev != m->view.dev || lent->ino != m->view.ino ||
		lent->offset != m->view.offset)
		return -ENOENT;
	return 0;
}

const char *
wherry_mappings_name(enum wherry_mappings mappings)
{
	static const char *const names[] = { "none", "kept", "rebuilt" };

	return names[mappings];
}

/* What the lender had mapped and nobody asked for. */
static void
clear_rest_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };
	uint64_t at = 0;

	while (domain_next_locked(dom, everywhere, &e)) {
		if (e.span.iova > at)
			dom->drv->clear(dom->be, (struct wherry_span){ at, e.span.iova - at });
		at = wherry_span_last(e.span) + 1;
		if (at == 0)
			return;
	}
	dom->drv->clear(dom->be, (struct wherry_span){ at, UINT64_MAX - at });
}

/* By the address of our own view: files by descriptor are for kernels that would have kept them. */
static int
map_anew_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };
	int failed = 0;

	while (domain_next_locked(dom, everywhere, &e)) {
		const struct mapping *m = e.value;
		const struct wherry_place place = { .span = e.span,
			.prot = m->prot,
			.vaddr = (void *)(uintptr_t)m->bytes,
			.fd = -1 };
		int rc;

		dom->drv->unmap(dom->be, e.span, NULL);
		rc = dom->drv->map(dom->be, &place);
		if (rc == 0)
			continue;
		LOG_ERR("%#llx, %#llx bytes, cannot be mapped anew: %s",
			(unsigned long long)e.span.iova, (unsigned long long)e.span.len,
			strerror(-rc));
		domain_forget_locked(dom, e.span);
		failed = rc;
	}
	return failed;
}

static int
own_locked(struct wherry_domain *dom, enum wherry_mappings *ret_mappings)
	WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };
	int rc;

	if (dom->heritage == NULL)
		return -EINVAL;
	free(dom->heritage);
	dom->heritage = NULL;
	dom->foreign = false;
	clear_rest_locked(dom);
	(void)dom->drv->track(dom->be, false);
	*ret_mappings = WHERRY_MAPPINGS_NONE;
	if (!domain_next_locked(dom, everywhere, &e))
		return 0;
	rc = dom->drv->claim != NULL ? dom->drv->claim(dom->be) : -EOPNOTSUPP;
	*ret_mappings = rc == 0 ? WHERRY_MAPPINGS_KEPT : WHERRY_MAPPINGS_REBUILT;
	if (rc == 0)
		return 0;
	LOG_INFO("mappings cannot become this process's, and are made anew: %s", strerror(-rc));
	return map_anew_locked(dom);
}

int
wherry_domain_own(struct wherry_domain *dom, enum wherry_mappings *ret_mappings)
{
	int rc;

	wherry_quick_lock(&dom->lock);
	rc = own_locked(dom, ret_mappings);
	wherry_quick_unlock(&dom->lock);
	return rc;
}
