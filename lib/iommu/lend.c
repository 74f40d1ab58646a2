/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lender's half of a domain that changes hands: what there is, as files and a description of
 * them; and at the end nothing of it is in reach any more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lend_priv.h"

#define LOG_PREFIX "iommu/lend"

static const struct wherry_span everywhere = { 0, UINT64_MAX };

void
wherry_domain_files_close(struct wherry_domain_files *files)
{
	while (files->n > 0)
		wherry_sys->close(files->fd[--files->n]);
}

static uint32_t
count_files_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };
	uint32_t n = 0;

	while (domain_next_locked(dom, everywhere, &e))
		n += ((const struct mapping *)e.value)->view.p != NULL;
	return n;
}

static void
describe_files_locked(struct wherry_domain *dom, struct lent_mapping *to)
	WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };

	while (domain_next_locked(dom, everywhere, &e)) {
		const struct mapping *m = e.value;

		if (m->view.p == NULL)
			continue;
		*to++ = (struct lent_mapping){ .span = e.span,
			.dev = m->view.dev,
			.ino = m->view.ino,
			.offset = m->view.offset,
			.prot = m->prot };
	}
}

/* A sealed file of these bytes, or -errno. */
static int
write_description(const void *bytes, size_t len)
{
	int fd = wherry_fault("lend.file")
		? -ENOMEM
		: wherry_sys->memfd_create("wherry-domain", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -ENOMEM;
	if (wherry_sys->pwrite(fd, bytes, len, 0) == (ssize_t)len &&
		fcntl(fd, F_ADD_SEALS, LENT_SEALS) == 0)
		return fd;
	wherry_sys->close(fd);
	return -ENOMEM;
}

static int
describe_locked(struct wherry_domain *dom, const struct wherry_lent_half *half)
	WHERRY_REQUIRES(&dom->lock)
{
	uint32_t n = count_files_locked(dom);
	size_t len = sizeof(struct lent_head) + n * sizeof(struct lent_mapping);
	struct lent_head *head;
	int fd;

	if (n > LENT_MAPPINGS)
		return -ENOSPC;
	head = wherry_fault("lend.alloc") ? NULL : calloc(1, len);
	if (head == NULL)
		return -ENOMEM;
	memcpy(head->magic, LENT_MAGIC, sizeof(head->magic));
	head->version = LENT_VERSION;
	head->n_mappings = n;
	memcpy(head->backend, dom->drv->name, strlen(dom->drv->name));
	head->half = *half;
	describe_files_locked(dom, (struct lent_mapping *)(head + 1));
	fd = write_description(head, len);
	free(head);
	return fd;
}

/* Copies, so that whoever has them does not depend on what becomes of ours. */
static int
add_copies(struct wherry_domain_files *files, const int *fds, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		int fd = wherry_fault("lend.dup") ? -ENOMEM : wherry_sys->dup(fds[i]);

		if (fd < 0)
			return -ENOMEM;
		files->fd[files->n++] = fd;
	}
	return 0;
}

static int
lend_locked(struct wherry_domain *dom, struct wherry_domain_files *files)
	WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_lent_half half = { .n_devices = 0 };
	int fds[WHERRY_DOMAIN_FILES], rc;

	if (dom->foreign)
		return -EPERM;
	if (dom->drv->lend == NULL)
		return -EOPNOTSUPP;
	if (dom->twin != TWIN_NONE)
		return -EBUSY;
	rc = dom->drv->lend(dom->be, &half, fds);
	if (rc != 0)
		return rc;
	rc = describe_locked(dom, &half);
	if (rc < 0)
		return rc;
	files->fd[files->n++] = rc;
	return add_copies(files, fds, 1 + half.n_devices);
}

int
wherry_domain_lend(struct wherry_domain *dom, struct wherry_domain_files *ret_files)
{
	struct wherry_domain_files files = { .n = 0 };
	int rc;

	wherry_quick_lock(&dom->lock);
	rc = lend_locked(dom, &files);
	dom->lent |= rc == 0;
	wherry_quick_unlock(&dom->lock);
	if (rc != 0)
		wherry_domain_files_close(&files);
	else
		*ret_files = files;
	return rc;
}

void
wherry_domain_keep(struct wherry_domain *dom)
{
	wherry_quick_lock(&dom->lock);
	dom->lent = false;
	wherry_quick_unlock(&dom->lock);
}

/* What was tracked is another's affair. */
static void
forget_tracking_locked(struct wherry_domain *dom) WHERRY_REQUIRES(&dom->lock)
{
	struct wherry_iova_entry e = { .value = NULL };

	dom->tracking = false;
	while (domain_next_locked(dom, everywhere, &e)) {
		struct mapping *m = e.value;

		wherry_bitmap_destroy(m->pending);
		m->pending = NULL;
		m->marked = false;
	}
}

int
wherry_domain_let_go(struct wherry_domain *dom)
{
	int rc = 0;

	wherry_quick_lock(&dom->lock);
	if (dom->drv->let_go == NULL)
		rc = -EOPNOTSUPP;
	else if (!dom->foreign)
		rc = dom->drv->let_go(dom->be);
	if (rc != -EOPNOTSUPP) { /* on failure, too: it is another's */
		dom->foreign = true;
		forget_tracking_locked(dom);
	}
	wherry_quick_unlock(&dom->lock);
	return rc;
}
