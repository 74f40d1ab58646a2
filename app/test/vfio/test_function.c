/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding PCI functions, and what is said of those that cannot be had. */
#include <errno.h>
#include <string.h>

#include "machine.h"

#define ADDRESS "0000:01:00.0"
#define BOTH (WHERRY_VFIO_BY_CDEV | WHERRY_VFIO_BY_GROUP)

/* A NIC that lacks nothing. */
static const struct machine_function ready = {
	.address = ADDRESS,
	.driver = "vfio-pci",
	.iommu = "dmar0",
	.group = 8,
	.cdev = 0,
	.node = "1",
};

/* What is found on a machine with an IOMMU and this one function. */
static struct wherry_vfio_function
find_alone(const struct machine_function *fn)
{
	struct wherry_vfio_function found;
	struct machine m;
	int rc;

	machine_open(&m);
	machine_with_iommu(&m);
	machine_add(&m, fn);
	rc = wherry_vfio_find(fn->address, &found);
	machine_close(&m);
	CHECK_EQ(rc, 0);
	return found;
}

static void
expect_gap(const struct wherry_vfio_function *fn, unsigned int blocks, int error, const char *why,
	const char *remedy)
{
	for (unsigned int i = 0; i < fn->n_gaps; i++) {
		if (strstr(fn->gaps[i].why, why) == NULL)
			continue;
		CHECK_EQ(fn->gaps[i].blocks, blocks);
		CHECK_EQ(fn->gaps[i].error, error);
		if (strstr(fn->gaps[i].remedy, remedy) == NULL)
			FAIL("\"%s\" does not say \"%s\"", fn->gaps[i].remedy, remedy);
		return;
	}
	FAIL("no gap says \"%s\"", why);
}

TEST(vfio_find_describes_a_function)
{
	struct wherry_vfio_function fn = find_alone(&ready);

	CHECK(strcmp(fn.address, ADDRESS) == 0 && strcmp(fn.driver, "vfio-pci") == 0);
	CHECK(strcmp(fn.cdev, "/dev/vfio/devices/vfio0") == 0);
	CHECK(strcmp(fn.group, "/dev/vfio/8") == 0 && strcmp(fn.iommu, "dmar0") == 0);
	CHECK_EQ(fn.node, 1);
	CHECK_EQ(fn.vendor, 0x8086);
	CHECK_EQ(fn.device, 0x10d3);
	CHECK_EQ(fn.pciclass, 0x020000);
	CHECK_EQ(fn.ways, BOTH);
	CHECK_EQ(fn.n_gaps, 0);
}

TEST(vfio_find_refuses_what_is_no_address)
{
	static const char *const bad[] = { "", "01:00.0", "0000:01:00", "0000:01:00.8",
		"0000:01:0.0", "../../../etc", "0000:01:00.0/..", "0000:1:00.0", "g000:01:00.0",
		"1234567:01:00.0", "soft:a" };
	struct wherry_vfio_function fn;
	struct machine m;

	machine_open(&m);
	machine_with_iommu(&m);
	machine_add(&m, &ready);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(wherry_vfio_find(bad[i], &fn), -EINVAL);
	CHECK_EQ(wherry_vfio_find("0000:01:00.1", &fn), -ENODEV);
	CHECK_EQ(wherry_vfio_find("10000:e1:00.0", &fn), -ENODEV); /* behind a VMD */
	machine_close(&m);
}

TEST(vfio_function_held_by_the_kernel_is_busy_and_says_how_to_bind_it)
{
	struct machine_function held = ready;
	struct wherry_vfio_function fn;

	held.driver = "igb";
	held.cdev = -1;
	held.no_group_node = true;
	fn = find_alone(&held);
	CHECK_EQ(fn.ways, 0);
	CHECK_EQ(fn.n_gaps, 1);
	expect_gap(&fn, BOTH, -EBUSY, "the kernel's driver igb",
		"echo 0000:01:00.0 > /sys/bus/pci/devices/0000:01:00.0/driver/unbind");
	held.driver = NULL;
	fn = find_alone(&held);
	expect_gap(&fn, BOTH, -ENODEV, "bound to no driver",
		"echo vfio-pci > /sys/bus/pci/devices/0000:01:00.0/driver_override");
}

TEST(vfio_kernel_without_the_driver_names_the_module)
{
	struct machine_function bare = ready;
	struct wherry_vfio_function fn;
	struct machine m;
	int rc;

	bare.driver = NULL;
	bare.cdev = -1;
	machine_open(&m);
	machine_folder(&m, "/sys/class/iommu/dmar0");
	machine_add(&m, &bare);
	rc = wherry_vfio_find(ADDRESS, &fn);
	machine_close(&m);
	CHECK_EQ(rc, 0);
	expect_gap(&fn, BOTH, -ENODEV, "no driver vfio-pci", "modprobe vfio-pci");
	expect_gap(&fn, BOTH, -ENODEV, "bound to no driver", "driver_override");
}

TEST(vfio_function_without_iommu_names_the_firmware_setting_and_the_boot_option)
{
	struct machine_function bare = ready;
	struct wherry_vfio_function fn;
	struct machine m;
	int rc;

	bare.iommu = NULL;
	bare.group = bare.cdev = -1;
	fn = find_alone(&bare);
	expect_gap(&fn, BOTH, -ENODEV, "no IOMMU translates for it", "scope");
	machine_open(&m);
	machine_folder(&m, "/sys/bus/pci/drivers/vfio-pci");
	machine_folder(&m, "/sys/class/iommu/iommufd_selftest_iommu.0"); /* translates for nobody */
	machine_add(&m, &bare);
	rc = wherry_vfio_find(ADDRESS, &fn);
	machine_close(&m);
	CHECK_EQ(rc, 0);
	expect_gap(&fn, BOTH, -ENODEV, "no IOMMU translates for it", "intel_iommu=on");
}

TEST(vfio_noiommu_group_is_refused_with_the_reason)
{
	struct machine_function bare = ready;
	struct wherry_vfio_function fn;

	bare.iommu = NULL;
	bare.noiommu = true;
	fn = find_alone(&bare);
	CHECK(fn.noiommu && strcmp(fn.group, "/dev/vfio/noiommu-8") == 0);
	CHECK_EQ(fn.ways, 0);
	expect_gap(&fn, BOTH, -EOPNOTSUPP, "its DMA reaches all memory", "");
}

TEST(vfio_missing_node_blocks_only_its_way)
{
	struct machine_function old = ready;
	struct wherry_vfio_function fn;

	old.no_cdev_node = true;
	fn = find_alone(&old);
	CHECK_EQ(fn.ways, WHERRY_VFIO_BY_GROUP);
	expect_gap(&fn, WHERRY_VFIO_BY_CDEV, -ENODEV, "no /dev/vfio/devices",
		"CONFIG_VFIO_DEVICE_CDEV");
	old = ready;
	old.cdev_node_gone = true;
	fn = find_alone(&old);
	CHECK_EQ(fn.ways, WHERRY_VFIO_BY_GROUP);
	expect_gap(&fn, WHERRY_VFIO_BY_CDEV, -ENODEV, "there is no /dev/vfio/devices/vfio0",
		"container");
	old = ready;
	old.no_group_node = true;
	fn = find_alone(&old);
	CHECK_EQ(fn.ways, WHERRY_VFIO_BY_CDEV);
	expect_gap(
		&fn, WHERRY_VFIO_BY_GROUP, -ENODEV, "there is no /dev/vfio/8", "CONFIG_VFIO_GROUP");
}

/* A function and a neighbour in its group, seen from the first. */
static struct wherry_vfio_function
find_beside(const struct machine_function *neighbour)
{
	struct wherry_vfio_function fn;
	struct machine m;
	int rc;

	machine_open(&m);
	machine_with_iommu(&m);
	machine_add(&m, &ready);
	machine_add(&m, neighbour);
	rc = wherry_vfio_find(ADDRESS, &fn);
	machine_close(&m);
	CHECK_EQ(rc, 0);
	return fn;
}

TEST(vfio_neighbour_of_the_group_with_a_kernel_driver_is_in_the_way)
{
	struct machine_function other = {
		.address = "0000:01:00.1",
		.driver = "igb",
		.group = 8,
		.cdev = -1,
		.no_group_node = true,
	};
	struct wherry_vfio_function fn = find_beside(&other);

	CHECK_EQ(fn.ways, 0);
	expect_gap(&fn, BOTH, -EBUSY, "0000:01:00.1",
		"/sys/bus/pci/devices/0000:01:00.1/driver/unbind");
	other.driver = "pcieport"; /* a bridge, which is let be */
	other.pciclass = "0x060400";
	CHECK_EQ(find_beside(&other).ways, BOTH);
	other.driver = NULL;
	other.pciclass = NULL;
	CHECK_EQ(find_beside(&other).ways, BOTH);
	other.driver = "vfio-pci";
	CHECK_EQ(find_beside(&other).ways, BOTH);
	other.driver = "igb"; /* in a group of its own */
	other.group = 9;
	CHECK_EQ(find_beside(&other).ways, BOTH);
}

static int
note_address(void *ctx, const struct wherry_vfio_function *fn)
{
	char *seen = ctx;

	snprintf(seen + strlen(seen), 64 - strlen(seen), "%s ", fn->address + 5);
	return strcmp(fn->address, "0000:03:00.0") == 0 ? 7 : 0;
}

TEST(vfio_each_visits_in_order_until_told_to_end)
{
	struct machine_function fn = { .group = -1, .cdev = -1 };
	static const char *const addresses[] = { "0000:03:00.0", "0000:01:00.0", "0000:02:00.1",
		"0000:04:00.0" };
	char seen[64] = "";
	struct machine m;
	int rc, none;

	machine_open(&m);
	none = wherry_vfio_each(note_address, seen);
	for (size_t i = 0; i < 4; i++) {
		fn.address = addresses[i];
		machine_add(&m, &fn);
	}
	rc = wherry_vfio_each(note_address, seen);
	machine_close(&m);
	CHECK_EQ(none, -ENODEV);
	CHECK_EQ(rc, 7);
	CHECK(strcmp(seen, "01:00.0 02:00.1 03:00.0 ") == 0);
}
