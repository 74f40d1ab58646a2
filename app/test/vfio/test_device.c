/* SPDX-License-Identifier: BSD-3-Clause */
/* What a userspace driver does with a device that is attached, against a played kernel. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "fake_vfio.h"
#include "wherry_vfio.h"

#define ADDRESS "0000:01:00.0"
#define GROUP (&fake_vfio.groups[1])

static struct wherry_domain *dom;
static struct wherry_device *dev;

static void
open_attached(void)
{
	fake_vfio_open();
	CHECK_EQ(wherry_domain_create("type1", &dom), 0);
	CHECK_EQ(wherry_device_open(ADDRESS, &dev), 0);
	CHECK_EQ(wherry_device_attach(dev, dom, NULL), 0);
}

static void
close_attached(void)
{
	wherry_device_close(dev);
	wherry_domain_destroy(dom);
	fake_vfio_close();
}

TEST(vfio_calls_work_from_attach_to_detach)
{
	struct wherry_vfio_region region;
	struct wherry_vfio_info info;
	struct wherry_vfio_irq irq;
	uint32_t value;
	void *p;

	open_attached();
	CHECK(wherry_vfio_fd(dev) >= 0);
	CHECK_EQ(wherry_vfio_get_info(dev, &info), 0);
	CHECK(info.n_regions == 9 && info.n_irqs == 5 && info.can_reset);
	CHECK(strcmp(wherry_vfio_function_of(dev)->group, "/dev/vfio/1") == 0);
	wherry_device_detach(dev);
	CHECK_EQ(wherry_vfio_fd(dev), -EINVAL);
	CHECK_EQ(wherry_vfio_get_info(dev, &info), -EINVAL);
	CHECK_EQ(wherry_vfio_get_region(dev, 0, &region), -EINVAL);
	CHECK_EQ(wherry_vfio_region_map(dev, 0, &p), -EINVAL);
	CHECK_EQ(wherry_vfio_config_read(dev, 0, 4, &value), -EINVAL);
	CHECK_EQ(wherry_vfio_get_irq(dev, 0, &irq), -EINVAL);
	CHECK_EQ(wherry_vfio_irq_set(dev, 0, 0, NULL), -EINVAL);
	CHECK_EQ(wherry_vfio_irq_unmask(dev, 0), -EINVAL);
	CHECK_EQ(wherry_vfio_reset(dev), -EINVAL);
	CHECK_EQ(wherry_vfio_bus_master(dev, true), -EINVAL);
	CHECK(wherry_vfio_function_of(dev) != NULL);
	close_attached();
}

TEST(vfio_calls_refuse_devices_of_other_kinds)
{
	struct wherry_device *soft;
	struct wherry_vfio_info info;

	CHECK_EQ(wherry_device_open("soft:a", &soft), 0);
	CHECK_EQ(wherry_vfio_fd(soft), -EINVAL);
	CHECK_EQ(wherry_vfio_get_info(soft, &info), -EINVAL);
	CHECK(wherry_vfio_function_of(soft) == NULL);
	wherry_device_close(soft);
}

TEST(vfio_region_is_mapped_whole_and_once)
{
	struct wherry_vfio_region region;
	void *p, *again;

	open_attached();
	CHECK_EQ(wherry_vfio_get_region(dev, VFIO_PCI_BAR0_REGION_INDEX, &region), 0);
	CHECK_EQ(region.len, 0x4000);
	CHECK_EQ(region.flags,
		WHERRY_VFIO_REGION_READ | WHERRY_VFIO_REGION_WRITE | WHERRY_VFIO_REGION_MAP);
	CHECK_EQ(wherry_vfio_region_map(dev, VFIO_PCI_BAR0_REGION_INDEX, &p), 0);
	memset(p, 1, region.len);
	CHECK_EQ(wherry_vfio_region_map(dev, VFIO_PCI_BAR0_REGION_INDEX, &again), 0);
	CHECK(p == again);
	CHECK_EQ(wherry_vfio_region_map(dev, VFIO_PCI_BAR1_REGION_INDEX, &p), -EOPNOTSUPP);
	CHECK_EQ(wherry_vfio_region_map(dev, VFIO_PCI_BAR2_REGION_INDEX, &p), -ENOENT);
	CHECK_EQ(wherry_vfio_get_region(dev, 77, &region), -ENOENT);
	CHECK_EQ(wherry_vfio_get_region(dev, VFIO_PCI_VGA_REGION_INDEX, &region), -ENOENT);
	close_attached(); /* the leak checker is the judge */
}

TEST(vfio_region_mapped_in_parts_keeps_its_layout)
{
	char *p;
	void *raw;

	open_attached();
	fake_vfio.sparse = true;
	CHECK_EQ(wherry_vfio_region_map(dev, VFIO_PCI_BAR0_REGION_INDEX, &raw), 0);
	p = raw;
	memset(p + 0x1000, 1, 0x1000);
	memset(p + 0x3000, 1, 0x1000);
	close_attached();
}

TEST(vfio_region_access_stays_inside_the_region)
{
	uint8_t byte = 0;
	uint32_t value = 0;

	open_attached();
	CHECK_EQ(wherry_vfio_region_read(dev, VFIO_PCI_CONFIG_REGION_INDEX, 255, &byte, 1), 0);
	CHECK_EQ(
		wherry_vfio_region_read(dev, VFIO_PCI_CONFIG_REGION_INDEX, 256, &byte, 1), -EFAULT);
	CHECK_EQ(wherry_vfio_region_read(dev, VFIO_PCI_CONFIG_REGION_INDEX, UINT64_MAX, &byte, 1),
		-EFAULT);
	CHECK_EQ(wherry_vfio_region_write(dev, VFIO_PCI_CONFIG_REGION_INDEX, 253, &value, 4),
		-EFAULT);
	CHECK_EQ(wherry_vfio_region_read(dev, VFIO_PCI_BAR2_REGION_INDEX, 0, &byte, 1), -EFAULT);
	CHECK_EQ(wherry_vfio_config_read(dev, 0, 3, &value), -EINVAL);
	CHECK_EQ(wherry_vfio_config_write(dev, 0, 8, value), -EINVAL);
	CHECK_EQ(wherry_vfio_config_write(dev, 0x80, 4, 0x11223344), 0);
	CHECK_EQ(wherry_vfio_config_read(dev, 0x80, 4, &value), 0);
	CHECK_EQ(value, 0x11223344);
	CHECK_EQ(wherry_vfio_config_read(dev, 0x81, 1, &value), 0);
	CHECK_EQ(value, 0x33);
	close_attached();
}

TEST(vfio_irq_vectors_signal_the_eventfds_given)
{
	const int fds[] = { 7, -1, 9 };
	struct wherry_vfio_irq irq;

	open_attached();
	CHECK_EQ(wherry_vfio_get_irq(dev, VFIO_PCI_MSIX_IRQ_INDEX, &irq), 0);
	CHECK(irq.count == 5 && irq.eventfd && !irq.automasked);
	CHECK_EQ(wherry_vfio_irq_set(dev, VFIO_PCI_MSIX_IRQ_INDEX, 3, fds), 0);
	CHECK(GROUP->eventfds[0] == 7 && GROUP->eventfds[1] == -1 && GROUP->eventfds[2] == 9);
	CHECK_EQ(wherry_vfio_irq_set(dev, VFIO_PCI_MSI_IRQ_INDEX, 1, fds), -EBUSY);
	CHECK_EQ(wherry_vfio_irq_set(dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, NULL), 0);
	CHECK_EQ(wherry_vfio_irq_set(dev, VFIO_PCI_MSI_IRQ_INDEX, 1, fds), 0);
	CHECK_EQ(wherry_vfio_irq_set(dev, VFIO_PCI_MSIX_IRQ_INDEX, 6, fds), -ENOENT);
	CHECK_EQ(wherry_vfio_irq_set(dev, VFIO_PCI_ERR_IRQ_INDEX, 1, fds), -ENOENT);
	CHECK_EQ(wherry_vfio_irq_set(dev, 5, 1, fds), -ENOENT);
	CHECK_EQ(wherry_vfio_irq_set(dev, 0, WHERRY_VFIO_VECTORS + 1, fds), -EINVAL);
	wherry_device_detach(dev);
	CHECK_EQ(GROUP->irq_index, -1);
	close_attached();
}

TEST(vfio_irq_shortage_is_no_room)
{
	const int fds[] = { 7, 8 };

	open_attached();
	fake_vfio_fail(VFIO_DEVICE_SET_IRQS, 1, 1); /* so many could be had */
	CHECK_EQ(wherry_vfio_irq_set(dev, VFIO_PCI_MSIX_IRQ_INDEX, 2, fds), -ENOSPC);
	close_attached();
}

TEST(vfio_irq_unmask_is_for_automasked_ones)
{
	const int fds[] = { 7 };

	open_attached();
	CHECK_EQ(wherry_vfio_irq_set(dev, VFIO_PCI_INTX_IRQ_INDEX, 1, fds), 0);
	CHECK_EQ(wherry_vfio_irq_unmask(dev, VFIO_PCI_INTX_IRQ_INDEX), 0);
	CHECK_EQ(wherry_vfio_irq_unmask(dev, VFIO_PCI_MSIX_IRQ_INDEX), -EINVAL);
	close_attached();
}

TEST(vfio_reset_says_why_not)
{
	open_attached();
	CHECK_EQ(wherry_vfio_reset(dev), 0);
	CHECK_EQ(GROUP->resets, 1);
	fake_vfio_fail(VFIO_DEVICE_RESET, 1, -ENOTTY);
	CHECK_EQ(wherry_vfio_reset(dev), -EOPNOTSUPP);
	fake_vfio_fail(VFIO_DEVICE_RESET, 1, -EAGAIN);
	CHECK_EQ(wherry_vfio_reset(dev), -EBUSY);
	close_attached();
}

TEST(vfio_bus_master_changes_one_bit_and_waits_for_reads)
{
	open_attached();
	CHECK_EQ(wherry_vfio_bus_master(dev, true), 0);
	CHECK_EQ(GROUP->config[PCI_COMMAND], PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	GROUP->pending_reads = 3;
	CHECK_EQ(wherry_vfio_stop(dev), 0);
	CHECK_EQ(GROUP->config[PCI_COMMAND], PCI_COMMAND_MEMORY);
	CHECK_EQ(GROUP->pending_reads, 0);
	wherry_vfio_resume(dev);
	CHECK_EQ(GROUP->config[PCI_COMMAND], PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	GROUP->pending_reads = UINT32_MAX;
	CHECK_EQ(wherry_vfio_bus_master(dev, false), -ETIMEDOUT);
	CHECK_EQ(GROUP->config[PCI_COMMAND], PCI_COMMAND_MEMORY);
	fake_vfio.deaf_to_master = true;
	CHECK_EQ(wherry_vfio_bus_master(dev, false), -EFAULT);
	close_attached();
}

/* A loop of capabilities is a device's mischief; so is a chain that leads into nothing. */
TEST(vfio_capability_chain_of_a_bad_device_ends)
{
	open_attached();
	GROUP->config[0x41] = 0x40;
	CHECK_EQ(wherry_vfio_bus_master(dev, false), 0);
	GROUP->config[0x41] = 0xfc;
	CHECK_EQ(wherry_vfio_bus_master(dev, false), 0);
	close_attached();
}
