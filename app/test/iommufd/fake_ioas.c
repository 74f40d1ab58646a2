/* SPDX-License-Identifier: BSD-3-Clause */
/* IOASes of the scripted kernel: what is mapped at which I/O addresses. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base_priv.h"
#include "fake_kernel_priv.h"
#include "iommufd_uapi_priv.h"

static struct space spaces[MAX_SPACES];

struct space *
fake_space_of(int fd, uint32_t id)
{
	struct space *s = id >= 1 && id <= MAX_SPACES ? &spaces[id - 1] : NULL;

	return s != NULL && s->fd == fd ? s : NULL;
}

struct map *
fake_map_at(struct space *s, uint64_t iova)
{
	for (unsigned int i = 0; i < MAX_MAPS; i++)
		if (s->maps[i].flags != 0 && iova - s->maps[i].iova < s->maps[i].len)
			return &s->maps[i];
	return NULL;
}

static int
ioas_alloc(int fd, struct iommu_ioas_alloc *c)
{
	for (uint32_t i = 0; i < MAX_SPACES; i++) {
		if (spaces[i].fd != 0)
			continue;
		spaces[i] = (struct space){ .fd = fd };
		c->out_ioas_id = i + 1;
		return 0;
	}
	return -ENOMEM;
}

static int
option(int fd, const struct iommu_option *c)
{
	struct space *s = fake_space_of(fd, c->object_id);

	if (s == NULL)
		return -ENOENT;
	s->small = c->val64 == 0;
	return 0;
}

static bool
has_tables(const struct space *s)
{
	for (unsigned int i = 0; i < MAX_TABLES; i++)
		if (fake_tables[i].fd != 0 && fake_tables[i].space == s)
			return true;
	return false;
}

static int
ranges(int fd, struct iommu_ioas_iova_ranges *c)
{
	const struct iommu_iova_range attached[] = { { 0, 0xfedfffff },
		{ 0xfef00000, 0xffffffffffff } },
				      free_range = { 0, UINT64_MAX };
	struct space *s = fake_space_of(fd, c->ioas_id);
	void *to = (void *)(uintptr_t)c->allowed_iovas;

	if (s == NULL)
		return -ENOENT;
	if (c->num_iovas < 2)
		return c->num_iovas = 2, -EMSGSIZE;
	c->num_iovas = has_tables(s) ? 2 : 1;
	c->out_iova_alignment = has_tables(s) ? PAGE : 1;
	if (has_tables(s))
		memcpy(to, attached, sizeof(attached));
	else
		memcpy(to, &free_range, sizeof(free_range));
	return 0;
}

static void
be_born(const struct space *s, const struct map *map)
{
	for (unsigned int i = 0; i < MAX_TABLES && fake_kernel.born_dirty; i++)
		if (fake_tables[i].fd != 0 && fake_tables[i].space == s && fake_tables[i].on)
			fake_map_is_dirty(&fake_tables[i], map);
}

static int
add_map(struct space *s, struct map map)
{
	for (uint64_t at = 0; at < map.len; at += PAGE)
		if (fake_map_at(s, map.iova + at) != NULL)
			return -EEXIST;
	for (unsigned int i = 0; i < MAX_MAPS; i++) {
		if (s->maps[i].flags == 0) {
			s->maps[i] = map;
			be_born(s, &s->maps[i]);
			return 0;
		}
	}
	return -ENOMEM;
}

static int
ioas_map(int fd, const struct iommu_ioas_map *c)
{
	struct space *s = fake_space_of(fd, c->ioas_id);
	void *mem = (void *)(uintptr_t)c->user_va;

	if (s == NULL)
		return -ENOENT;
	if (msync(mem, c->length, MS_ASYNC) != 0)
		return -EFAULT;
	fake_kernel.maps_by_address++;
	return add_map(s, (struct map){ c->iova, c->length, mem, c->flags, false });
}

static int
ioas_map_file(int fd, const struct iommufd_ioas_map_file *c)
{
	struct space *s = fake_space_of(fd, c->ioas_id);
	void *mem;
	int rc;

	if (!fake_kernel.map_file)
		return -ENOTTY;
	if (s == NULL)
		return -ENOENT;
	mem = mmap(NULL, c->length, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, (off_t)c->start);
	if (mem == MAP_FAILED)
		return -EINVAL;
	fake_kernel.maps_by_file++;
	rc = add_map(s, (struct map){ c->iova, c->length, mem, c->flags, true });
	if (rc != 0)
		munmap(mem, c->length);
	return rc;
}

static int
change_process(int fd)
{
	if (fake_kernel.fail_claim)
		return -ENOMEM;
	if (!fake_kernel.map_file)
		return -ENOTTY;
	for (unsigned int i = 0; i < MAX_SPACES * MAX_MAPS; i++) {
		const struct space *s = &spaces[i / MAX_MAPS];

		if (s->fd == fd && s->maps[i % MAX_MAPS].flags != 0 && !s->maps[i % MAX_MAPS].file)
			return -EINVAL;
	}
	fake_kernel.claims++;
	return 0;
}

static int
ioas_copy(int fd, const struct iommu_ioas_copy *c)
{
	struct space *from = fake_space_of(fd, c->src_ioas_id),
		     *to = fake_space_of(fd, c->dst_ioas_id);
	struct map *m = from != NULL ? fake_map_at(from, c->src_iova) : NULL;

	if (to == NULL || m == NULL)
		return -ENOENT;
	if (m->iova != c->src_iova || m->len != c->length)
		return -EINVAL;
	fake_kernel.copies++;
	return add_map(to, (struct map){ c->dst_iova, c->length, m->mem, c->flags, false });
}

static void
forget_leaves(struct leaf *leaves, size_t *n, uint64_t iova, uint64_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < *n; i++)
		if (leaves[i].iova - iova >= len)
			leaves[kept++] = leaves[i];
	*n = kept;
}

static void
drop_map(struct space *s, struct map *m)
{
	for (unsigned int i = 0; i < MAX_TABLES; i++) {
		if (fake_tables[i].fd == 0 || fake_tables[i].space != s)
			continue;
		forget_leaves(fake_tables[i].is_dirty, &fake_tables[i].n_dirty, m->iova, m->len);
		forget_leaves(fake_tables[i].once, &fake_tables[i].n_once, m->iova, m->len);
	}
	if (m->file)
		munmap(m->mem, m->len);
	m->flags = 0;
}

static int
ioas_unmap(int fd, struct iommu_ioas_unmap *c)
{
	struct space *s = fake_space_of(fd, c->ioas_id);
	uint64_t n = 0;

	if (s == NULL)
		return -ENOENT;
	for (unsigned int i = 0; i < MAX_MAPS; i++) {
		struct map *m = &s->maps[i];

		if (m->flags == 0 || m->iova - c->iova >= c->length)
			continue;
		if (m->iova - c->iova + m->len > c->length)
			return -ENOENT;
		n += m->len;
		drop_map(s, m);
	}
	c->length = n;
	return n > 0 ? 0 : -ENOENT;
}

int
fake_space_destroy(struct space *s)
{
	if (has_tables(s))
		return -EBUSY;
	for (unsigned int i = 0; i < MAX_MAPS; i++)
		if (s->maps[i].flags != 0)
			drop_map(s, &s->maps[i]);
	s->fd = 0;
	return 0;
}

void
fake_spaces_forget(int fd)
{
	for (unsigned int i = 0; i < MAX_SPACES; i++)
		if (fd == 0 || spaces[i].fd == fd)
			spaces[i].fd = 0;
}

bool
fake_has_spaces(int fd)
{
	for (unsigned int i = 0; i < MAX_SPACES; i++)
		if (spaces[i].fd > 0 && (fd == 0 || spaces[i].fd == fd))
			return true;
	return false;
}

int
fake_ioas_ioctl(int fd, unsigned long request, void *arg)
{
	switch (request) {
	case IOMMU_IOAS_ALLOC:
		return ioas_alloc(fd, arg);
	case IOMMU_OPTION:
		return option(fd, arg);
	case IOMMU_IOAS_IOVA_RANGES:
		return ranges(fd, arg);
	case IOMMU_IOAS_MAP:
		return ioas_map(fd, arg);
	case IOMMUFD_IOAS_MAP_FILE:
		return ioas_map_file(fd, arg);
	case IOMMUFD_IOAS_CHANGE_PROCESS:
		return change_process(fd);
	case IOMMU_IOAS_COPY:
		return ioas_copy(fd, arg);
	case IOMMU_IOAS_UNMAP:
		return ioas_unmap(fd, arg);
	default:
		return -ENOTTY;
	}
}
