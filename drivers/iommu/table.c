/* SPDX-License-Identifier: BSD-3-Clause */
/* The backends of this build. */
#include <stddef.h>

#include "wherry_iommu_driver.h"

extern const struct wherry_iommu_driver wherry_iommu_soft;
extern const struct wherry_iommu_driver wherry_iommu_iommufd;
extern const struct wherry_iommu_driver wherry_iommu_type1;

const struct wherry_iommu_driver *const wherry_iommu_drivers[] = {
	&wherry_iommu_soft,
	&wherry_iommu_iommufd,
	&wherry_iommu_type1,
	NULL,
};
