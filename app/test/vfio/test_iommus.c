/* SPDX-License-Identifier: BSD-3-Clause */
/* What the registers of an IOMMU say of its dirty bits; values are those of machines. */
#include <string.h>

#include "machine.h"

static struct wherry_vfio_iommu seen[4];
static unsigned int n_seen;

static int
keep(void *ctx, const struct wherry_vfio_iommu *iommu)
{
	(void)ctx;
	CHECK(n_seen < 4);
	seen[n_seen++] = *iommu;
	return 0;
}

/* A machine with this one IOMMU; two devices behind it. */
static const struct wherry_vfio_iommu *
look(const char *name, const char *file, const char *value)
{
	struct machine m;
	char path[128];
	int rc;

	n_seen = 0;
	machine_open(&m);
	snprintf(path, sizeof(path), "/sys/class/iommu/%s/devices/0000:01:00.0", name);
	machine_file(&m, path, "");
	snprintf(path, sizeof(path), "/sys/class/iommu/%s/devices/0000:02:00.0", name);
	machine_file(&m, path, "");
	snprintf(path, sizeof(path), "/sys/class/iommu/%s/%s", name, file);
	machine_file(&m, path, value);
	rc = wherry_vfio_each_iommu(keep, NULL);
	machine_close(&m);
	CHECK_EQ(rc, 0);
	CHECK_EQ(n_seen, 1);
	CHECK_EQ(seen[0].n_devices, 2);
	CHECK(strcmp(seen[0].name, name) == 0);
	return &seen[0];
}

TEST(vfio_iommu_of_intel_has_dirty_bits_with_three_capabilities)
{
	const struct wherry_vfio_iommu *iommu = look("dmar0", "intel-iommu/ecap", "f00f4e\n");

	CHECK(strcmp(iommu->kind, "Intel VT-d") == 0);
	CHECK(!iommu->dirty && strstr(iommu->why, "scalable mode") != NULL);
	iommu = look("dmar0", "intel-iommu/ecap", "480080f00f4e\n");
	CHECK(!iommu->dirty && strstr(iommu->why, "SLADS") != NULL);
	iommu = look("dmar0", "intel-iommu/ecap", "280000f00f4e\n");
	CHECK(!iommu->dirty && strstr(iommu->why, "SMPWC") != NULL);
	iommu = look("dmar0", "intel-iommu/ecap", "1280000f00f4e\n");
	CHECK(iommu->shown && iommu->dirty && iommu->why[0] == '\0');
}

TEST(vfio_iommu_of_intel_says_whether_it_drains_writes)
{
	CHECK(!look("dmar0", "intel-iommu/cap", "d2008c22260286\n")->drains ==
		((UINT64_C(0xd2008c22260286) >> 54 & 1) == 0));
	CHECK(look("dmar0", "intel-iommu/cap", "40000000000000\n")->drains);
	CHECK(!look("dmar0", "intel-iommu/cap", "0\n")->drains);
}

TEST(vfio_iommu_of_amd_has_dirty_bits_with_one)
{
	CHECK(look("ivhd0", "amd-iommu/features", "10000000000000\n")->dirty);
	CHECK(!look("ivhd0", "amd-iommu/features", "2000000000000\n")->dirty);
	CHECK(strcmp(seen[0].kind, "AMD-Vi") == 0 && strstr(seen[0].why, "HDSup") != NULL);
}

TEST(vfio_iommu_that_shows_nothing_is_not_guessed)
{
	CHECK(!look("smmu3.0x0000000009050000", "uevent", "")->shown);
	CHECK(!seen[0].dirty);
	CHECK(strcmp(seen[0].kind, "Arm SMMUv3") == 0 && strstr(seen[0].why, "attached") != NULL);
}

TEST(vfio_iommu_none_is_no_error)
{
	struct machine m;
	int rc;

	n_seen = 0;
	machine_open(&m);
	rc = wherry_vfio_each_iommu(keep, NULL);
	machine_close(&m);
	CHECK_EQ(rc, 0);
	CHECK_EQ(n_seen, 0);
}
