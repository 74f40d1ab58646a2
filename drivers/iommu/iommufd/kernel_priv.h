/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef KERNEL_PRIV_H
#define KERNEL_PRIV_H

/*
 * iommufd's ioctls, one function each, through the syscall seam. Kernel's words:
 *
 *  IOAS  I/O address space: what is mapped where; memory is pinned once
 *  HWPT  a page table of an IOAS as one kind of IOMMU wants it; devices attach to it
 *
 * A result that is not 0 has the meaning of doc/errors.rst, whatever the kernel said;
 * what the kernel said is in the log.
 */

#include "base_priv.h"
#include "iommufd_uapi_priv.h"
#include "wherry_iommu_driver.h"

/* What the IOMMU of a device can do. */
struct kernel_hw {
	bool tracks; /* dirty bits */
	bool vtd;    /* and cap is its capability register */
	uint64_t cap;
};

#define KERNEL_NODE "/dev/iommu"
/* -ENODEV: no /dev/iommu. -EACCES: not ours to open. */
int kernel_open(int *ret_fd);

int kernel_ioas_alloc(int fd, uint32_t *ret_ioas);
/* Of an empty IOAS without page tables: every entry is for one page of the CPU. */
int kernel_ioas_small_pages(int fd, uint32_t ioas);
/*
 * @p n is how many @p ranges has room for, and on return how many there are: more
 * than there was room for means that nothing was written.
 */
int kernel_ioas_ranges(
	int fd, uint32_t ioas, struct iommu_iova_range *ranges, uint32_t *n, uint64_t *ret_align);
int kernel_ioas_map(int fd, uint32_t ioas, const struct wherry_place *place);
/* -EOPNOTSUPP: this kernel cannot, or not with this file. */
int kernel_ioas_map_file(int fd, uint32_t ioas, const struct wherry_place *place);
/*
 * Mappings of files, in all IOAS of this iommufd, become the calling process's. -EBUSY: one is
 * that of an address. -EOPNOTSUPP: this kernel cannot.
 */
int kernel_change_process(int fd);
/* Share a whole mapping, and its pinned memory, with another IOAS. */
int kernel_ioas_copy(
	int fd, uint32_t from, uint32_t to, struct wherry_span span, unsigned int prot);
/* Say so: devices reach the span still. */
void kernel_unmap_failed(struct wherry_span span, int rc);
/* Unmap all mappings that lie within; there may be none. */
void kernel_ioas_clear(int fd, uint32_t ioas, struct wherry_span span);

/* -EOPNOTSUPP: dirty bits were asked for and this IOMMU has none. */
int kernel_hwpt_alloc(int fd, uint32_t dev_id, uint32_t ioas, bool dirty, uint32_t *ret_hwpt);
int kernel_hwpt_track(int fd, uint32_t hwpt, bool on);
/* Bits are OR-ed into bits; bit 0 is the page of span.iova. */
int kernel_hwpt_get_dirty(
	int fd, uint32_t hwpt, struct wherry_span span, uint64_t page, bool clear, uint64_t *bits);
/* An IOAS or HWPT that nothing uses any more. */
void kernel_destroy(int fd, uint32_t id);

int kernel_device_bind(int device_fd, int fd, uint32_t *ret_dev_id);
/* To a HWPT; from another one, if it was attached. -EOPNOTSUPP: this HWPT does not fit. */
int kernel_device_attach(int device_fd, uint32_t hwpt);
void kernel_device_detach(int device_fd);
int kernel_device_hw(int fd, uint32_t dev_id, struct kernel_hw *ret_hw);

static inline void
kernel_ioas_unmap(int fd, uint32_t ioas, struct wherry_span span)
{
	struct iommu_ioas_unmap c = {
		.size = sizeof(c),
		.ioas_id = ioas,
		.iova = span.iova,
		.length = span.len,
	};
	int rc = wherry_sys_ioctl(fd, IOMMU_IOAS_UNMAP, &c);

	if (rc < 0)
		kernel_unmap_failed(span, rc);
}

#endif /* KERNEL_PRIV_H */
