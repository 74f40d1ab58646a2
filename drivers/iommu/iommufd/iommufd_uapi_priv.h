/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef IOMMUFD_UAPI_PRIV_H
#define IOMMUFD_UAPI_PRIV_H

/*
 * Kernel interfaces that are newer than the headers this may be built with. Whether
 * the running kernel has them is asked when they are used. Numbers and layouts are
 * the kernel's stable ABI.
 */

#include <linux/iommufd.h>
#include <linux/vfio.h>

/* Linux 6.13: a mapping that comes from a file, so that no process owns it. */
struct iommufd_ioas_map_file {
	uint32_t size;
	uint32_t flags; /* as of IOMMU_IOAS_MAP */
	uint32_t ioas_id;
	int32_t fd;      /* memfd or hugetlbfs */
	uint64_t start;  /* in the file */
	uint64_t length; /* bytes */
	uint64_t iova;
};
#define IOMMUFD_IOAS_MAP_FILE _IO(IOMMUFD_TYPE, 0x8f)

/* Linux 6.13: all mappings are of files, and become the calling process's. */
struct iommufd_ioas_change_process {
	uint32_t size;
	uint32_t reserved; /* 0 */
};
#define IOMMUFD_IOAS_CHANGE_PROCESS _IO(IOMMUFD_TYPE, 0x92)

/* Of iommu_hw_info_vtd: VT-d specification 4.1, 11.4.2 and 11.4.3. */
#define VTD_CAP_LEAF_2M (UINT64_C(1) << 34)
#define VTD_CAP_LEAF_1G (UINT64_C(1) << 35)
#define VTD_CAP_DRAINS_WRITES (UINT64_C(1) << 54)

#endif /* IOMMUFD_UAPI_PRIV_H */
