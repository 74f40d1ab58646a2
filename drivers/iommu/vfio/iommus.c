/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The IOMMUs of the machine: /sys/class/iommu. VT-d and AMD-Vi show the registers that say what
 * they can do; SMMUv3 shows nothing, and only attaching a device tells.
 *
 * Source: VT-d specification 4.1, 11.4.2 (CAP) and 11.4.3 (ECAP); AMD 48882, 3.4.9 (EFR).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_priv.h"

#define VTD_CAP_DWD (UINT64_C(1) << 54)    /* write draining */
#define VTD_ECAP_SMTS (UINT64_C(1) << 43)  /* scalable mode */
#define VTD_ECAP_SLADS (UINT64_C(1) << 45) /* accessed and dirty bits in the second stage */
#define VTD_ECAP_SMPWC (UINT64_C(1) << 48) /* coherent page walks in scalable mode */
#define AMD_EFR_HDSUP (UINT64_C(1) << 52)  /* host dirty bits */

static uint64_t
read_register(const struct wherry_vfio_iommu *iommu, const char *name)
{
	char path[VFIO_PATH_MAX], text[32] = "";

	if (vfio_path(path, sizeof(path), "/sys/class/iommu/%s/%s", iommu->name, name))
		vfio_sysfs_line(path, text, sizeof(text));
	return strtoull(text, NULL, 16);
}

static void
describe_vtd(struct wherry_vfio_iommu *iommu)
{
	uint64_t ecap = read_register(iommu, "intel-iommu/ecap");
	const char *why = "";

	iommu->kind = "Intel VT-d";
	iommu->drains = (read_register(iommu, "intel-iommu/cap") & VTD_CAP_DWD) != 0;
	if ((ecap & VTD_ECAP_SMTS) == 0)
		why = "it has no scalable mode, which dirty bits are part of: it takes a newer processor, or the firmware hides it";
	else if ((ecap & VTD_ECAP_SLADS) == 0)
		why = "it has no accessed and dirty bits in the second stage (ECAP.SLADS)";
	else if ((ecap & VTD_ECAP_SMPWC) == 0)
		why = "its page walks are not coherent (ECAP.SMPWC), so the kernel does not use its dirty bits";
	iommu->dirty = *why == '\0';
	snprintf(iommu->why, sizeof(iommu->why), "%s", why);
}

static void
describe_amd(struct wherry_vfio_iommu *iommu)
{
	iommu->kind = "AMD-Vi";
	iommu->dirty = (read_register(iommu, "amd-iommu/features") & AMD_EFR_HDSUP) != 0;
	if (!iommu->dirty)
		snprintf(iommu->why, sizeof(iommu->why),
			"it has no host dirty bits (EFR.HDSup): it takes a newer processor");
}

static int
count_one(void *ctx, const char *name)
{
	(void)name;
	++*(unsigned int *)ctx;
	return 0;
}

static void
describe(struct wherry_vfio_iommu *iommu)
{
	char path[VFIO_PATH_MAX];

	if (vfio_path(path, sizeof(path), "/sys/class/iommu/%s/devices", iommu->name))
		(void)vfio_sysfs_each(path, count_one, &iommu->n_devices);
	if (strncmp(iommu->name, "dmar", 4) == 0)
		describe_vtd(iommu);
	else if (strncmp(iommu->name, "ivhd", 4) == 0)
		describe_amd(iommu);
	else if (strncmp(iommu->name, "iommufd_selftest", 16) == 0) {
		iommu->kind = "the kernel's mock";
		snprintf(iommu->why, sizeof(iommu->why), "it is for tests of the kernel only");
	} else {
		iommu->kind = strncmp(iommu->name, "smmu3", 5) == 0 ? "Arm SMMUv3" : "";
		iommu->shown = false;
		snprintf(iommu->why, sizeof(iommu->why),
			"the kernel does not show its registers: a device that is attached tells");
	}
}

struct iommu_visitor {
	int (*visit)(void *ctx, const struct wherry_vfio_iommu *iommu);
	void *ctx;
};

static int
visit_one(void *ctx, const char *name)
{
	const struct iommu_visitor *visitor = ctx;
	struct wherry_vfio_iommu iommu = { .kind = "", .shown = true, .drains = true };

	if (strlen(name) >= sizeof(iommu.name))
		return 0;
	snprintf(iommu.name, sizeof(iommu.name), "%s", name);
	describe(&iommu);
	return visitor->visit(visitor->ctx, &iommu);
}

int
wherry_vfio_each_iommu(int (*visit)(void *ctx, const struct wherry_vfio_iommu *iommu), void *ctx)
{
	struct iommu_visitor visitor = { visit, ctx };
	char path[VFIO_PATH_MAX];

	if (!vfio_path(path, sizeof(path), "/sys/class/iommu") || !vfio_sysfs_exists(path))
		return 0;
	return vfio_sysfs_each(path, visit_one, &visitor);
}
