/* SPDX-License-Identifier: BSD-3-Clause */
/* drivers/vfio_shim: what DPDK gets when it calls rte_vfio_*. */
#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_vfio.h>

#include "fake.h"
#include "test.h"
#include "wherry_iommu.h"

#define PCI "/sys/bus/pci/devices"
#define NIC "0000:aa:00.0"
#define OTHER "0000:ab:00.0"
#define PAGE 4096u

/* Not in rte_vfio.h of every release. */
int rte_vfio_get_device_info(const char *sysfs_base, const char *dev_addr, int *vfio_dev_fd,
	struct vfio_device_info *device_info);

static char memory[4 * PAGE] __attribute__((aligned(4096)));

static int
setup(const char *address, int *ret_fd)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	return rte_vfio_setup_device(PCI, address, ret_fd, &info);
}

static int
take(const char *address)
{
	int fd = -1;

	CHECK_EQ(setup(address, &fd), 0);
	CHECK(fd >= 0);
	return fd;
}

TEST(shim_device_with_a_cdev_is_ours)
{
	int fd;

	fake_reset();
	fd = take(NIC);
	CHECK_EQ(fake.opened, 1);
	CHECK(strstr(fake.line, NIC) != NULL && strstr(fake.line, "the fake says") != NULL);
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, fd), 0);
	CHECK_EQ(fake.opened, 0);
	fd = take(NIC); /* and can be taken again */
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, fd), 0);
}

/* EAL's own function has nothing to say on a machine without the device: but it is asked. */
TEST(shim_other_devices_take_eals_path_with_a_reason)
{
	int fd = -1;

	fake_reset();
	fake.way = SHIM_THEIRS;
	CHECK(setup(NIC, &fd) != 0);
	CHECK(strstr(fake.line, "EAL's own path: the fake says") != NULL);
	CHECK(rte_vfio_release_device(PCI, NIC, -1) != 0);
	CHECK(rte_vfio_setup_device("/sys/bus/fslmc/devices", NIC, &fd, NULL) != 0);
}

TEST(shim_device_is_refused_with_physical_addresses)
{
	int fd = -1;

	fake_reset();
	fake.iova_mode = RTE_IOVA_PA;
	CHECK_EQ(setup(NIC, &fd), -1);
	CHECK_EQ(fd, -1);
	CHECK_EQ(fake.opened, 0);
	CHECK(strstr(fake.line, "--iova-mode=va") != NULL);
}

TEST(shim_failed_setup_leaves_no_device_open)
{
	int fd = -1;

	fake_reset();
	fake.info_rc = -EIO;
	CHECK_EQ(setup(NIC, &fd), -1);
	CHECK_EQ(fake.opened, 0);
	fake.info_rc = 0;
	fake.way = SHIM_REFUSED;
	CHECK_EQ(setup(NIC, &fd), -1);
	CHECK_EQ(fd, -1);
	fake.way = SHIM_OURS;
	CHECK_EQ(setup("0000:aa:00.0 and much more", &fd), -1);
	CHECK_EQ(fake.opened, 0);
}

TEST(shim_device_is_taken_once)
{
	int fd, again = -1;

	fake_reset();
	fd = take(NIC);
	CHECK_EQ(setup(NIC, &again), -1);
	CHECK_EQ(fake.opened, 1);
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, fd), 0);
}

TEST(shim_says_vfio_is_enabled_when_there_is_a_cdev)
{
	fake_reset();
	CHECK_EQ(rte_vfio_is_enabled("vfio"), 1);
	CHECK_EQ(rte_vfio_is_enabled("vfio_pci"), 1);
	CHECK_EQ(rte_vfio_is_enabled("igb_uio"), 0);
}

static bool
is_mapped(unsigned int page)
{
	struct wherry_span span = { .iova = (uintptr_t)memory + page * PAGE, .len = PAGE };
	int rc = wherry_domain_map(fake.dom, memory, WHERRY_DMA_READ, &span);

	if (rc == 0)
		CHECK_EQ(wherry_domain_unmap(fake.dom, span), 0);
	return rc == -EEXIST;
}

static int
map(unsigned int page)
{
	uint64_t vaddr = (uintptr_t)memory + page * PAGE;

	return rte_vfio_container_dma_map(RTE_VFIO_DEFAULT_CONTAINER_FD, vaddr, vaddr, PAGE);
}

static int
unmap(unsigned int page)
{
	uint64_t vaddr = (uintptr_t)memory + page * PAGE;

	return rte_vfio_container_dma_unmap(RTE_VFIO_DEFAULT_CONTAINER_FD, vaddr, vaddr, PAGE);
}

/* DPDK maps once per device, and all of ours share a domain. */
TEST(shim_user_memory_is_in_the_domain)
{
	int fd, other;

	fake_reset();
	fd = take(NIC);
	other = take(OTHER);
	CHECK_EQ(map(1), 0);
	CHECK_EQ(map(1), 0);
	CHECK(is_mapped(1) && !is_mapped(0));
	CHECK_EQ(unmap(1), 0);
	CHECK(!is_mapped(1));
	CHECK_EQ(unmap(1), 0);
	rte_errno = 0;
	CHECK_EQ(rte_vfio_container_dma_map(
			 RTE_VFIO_DEFAULT_CONTAINER_FD, 1, (uintptr_t)memory, PAGE),
		-1);
	CHECK_EQ(rte_errno, EINVAL);
	CHECK_EQ(rte_vfio_release_device(PCI, OTHER, other), 0);
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, fd), 0);
}

/* A container of the application's own is EAL's matter, and so is memory without our devices. */
TEST(shim_leaves_other_containers_alone)
{
	uint64_t vaddr = (uintptr_t)memory;
	int fd;

	fake_reset();
	CHECK_EQ(map(0), -1);
	fd = take(NIC);
	CHECK_EQ(rte_vfio_container_dma_map(77, vaddr, vaddr, PAGE), -1);
	CHECK(!is_mapped(0));
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, fd), 0);
}

/* A device of EAL's own beside ours: its container has to take the memory, too, or none. */
TEST(shim_memory_of_mixed_devices_is_in_both_or_none)
{
	int fd;

	fake_reset();
	fd = take(NIC);
	shim_count_theirs(1);
	CHECK_EQ(map(2), -1); /* EAL has no container here */
	CHECK(!is_mapped(2));
	shim_count_theirs(-1);
	CHECK_EQ(map(2), 0);
	shim_count_theirs(1);
	CHECK_EQ(unmap(2), -1); /* and is told when it goes */
	CHECK(!is_mapped(2));
	shim_count_theirs(-1);
	CHECK_EQ(map(2), 0);
	CHECK_EQ(unmap(2), 0);
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, fd), 0);
}

/* The primary is this process as well, so it is asked without the lock that a take holds. */
TEST(shim_secondary_gets_the_primarys_descriptor)
{
	char why[SHIM_WHY] = "";
	int fd = -1, primary;

	fake_reset();
	primary = take(NIC);
	fake.process = RTE_PROC_SECONDARY;
	CHECK_EQ(shim_ask_primary(NIC, &fd, why), SHIM_OURS);
	CHECK(fd >= 0 && fd != primary);
	CHECK_EQ(fake.opened, 1); /* nothing is bound a second time */
	close(fd);
	fake.process = RTE_PROC_PRIMARY;
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, primary), 0);
}

TEST(shim_secondary_goes_the_way_of_its_primary)
{
	char why[SHIM_WHY] = "";
	int fd = -1, primary;

	fake_reset();
	primary = take(NIC);
	fake.process = RTE_PROC_SECONDARY;
	CHECK_EQ(shim_ask_primary(OTHER, &fd, why), SHIM_THEIRS);
	CHECK(strstr(why, "the primary process drives it so") != NULL);
	fake.answer_len = 1;
	CHECK_EQ(shim_ask_primary(NIC, &fd, why), SHIM_REFUSED);
	CHECK_EQ(fd, -1);
	fake.primary_is_deaf = true;
	CHECK(setup(OTHER, &fd) != 0);
	CHECK(strstr(fake.line, "the primary process has no shim") != NULL);
	fake.process = RTE_PROC_PRIMARY;
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, primary), 0);
}

/* Only the primary's memory is in the domain. Taking holds the lock that answering needs. */
TEST(shim_secondary_maps_no_memory)
{
	char why[SHIM_WHY] = "";
	int fd = -1, primary;

	fake_reset();
	primary = take(NIC);
	fake.process = RTE_PROC_SECONDARY;
	CHECK_EQ(shim_ask_primary(NIC, &fd, why), SHIM_OURS);
	fake.answer_fd = fd;
	fake.process = RTE_PROC_PRIMARY;
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, primary), 0);
	fake.process = RTE_PROC_SECONDARY;
	primary = take(NIC);
	CHECK_EQ(map(1), -1);
	CHECK_EQ(rte_errno, ENOTSUP);
	CHECK(strstr(fake.line, "for the primary to do") != NULL);
	rte_errno = 0;
	CHECK_EQ(unmap(1), -1);
	CHECK_EQ(rte_errno, ENOTSUP);
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, primary), 0);
	close(fd);
}

TEST(shim_knows_the_releases_it_was_written_for)
{
	CHECK(shim_unknown_release("DPDK 22.11.11") == NULL);
	CHECK(shim_unknown_release("DPDK 24.11.3") == NULL);
	CHECK(shim_unknown_release("DPDK 25.11.2") == NULL);
	CHECK(shim_unknown_release("DPDK 26.07.0") == NULL);
	CHECK(shim_unknown_release("DPDK 26.11.0-rc1") != NULL);
	CHECK(shim_unknown_release("DPDK 22.07.0") != NULL);
	CHECK(shim_unknown_release("DPDK 99.99.0") != NULL);
	CHECK(shim_unknown_release("VPP") != NULL);
}

TEST(shim_device_info_sets_a_device_up_that_has_no_descriptor)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int fd = -1;

	fake_reset();
	CHECK_EQ(rte_vfio_get_device_info(PCI, NIC, &fd, &info), 0);
	CHECK(fd >= 0);
	CHECK_EQ(rte_vfio_get_device_info(PCI, NIC, &fd, &info), 0);
	CHECK_EQ(fake.opened, 1);
	CHECK_EQ(rte_vfio_release_device(PCI, NIC, fd), 0);
}
