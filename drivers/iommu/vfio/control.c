/* SPDX-License-Identifier: BSD-3-Clause */
/* Reset and bus mastering. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <time.h>

#include "vfio_priv.h"

#define LOG_PREFIX "iommu/vfio"

#define PENDING_WAIT_MS 100
#define PCI_CAPS 48 /* as many as fit behind the header: no chain is longer */

int
wherry_vfio_reset(struct wherry_device *dev)
{
	const struct vfio_device *half = vfio_device_of(dev);
	int rc;

	if (!vfio_device_in_use(half))
		return -EINVAL;
	if (!half->info.can_reset)
		return -EOPNOTSUPP;
	rc = wherry_sys->ioctl(half->fd, VFIO_DEVICE_RESET, NULL);
	if (rc == 0)
		return 0;
	return rc == -ENOTTY ? -EOPNOTSUPP : -EBUSY;
}

/* Where the PCI Express capability stands in configuration space; 0: there is none. */
static unsigned int
find_express(const struct wherry_device *dev)
{
	uint32_t at = 0, id = 0;

	if (wherry_vfio_config_read(dev, PCI_CAPABILITY_LIST, 1, &at) != 0)
		return 0;
	for (unsigned int i = 0; i < PCI_CAPS && at >= PCI_STD_HEADER_SIZEOF; i++) {
		at &= ~UINT32_C(3);
		if (wherry_vfio_config_read(dev, at, 1, &id) != 0)
			return 0;
		if (id == PCI_CAP_ID_EXP)
			return at;
		if (wherry_vfio_config_read(dev, at + PCI_CAP_LIST_NEXT, 1, &at) != 0)
			return 0;
	}
	return 0;
}

/* Reads that the device has sent and that are not answered yet: Transactions Pending, 7.5.3.5. */
static int
wait_for_reads(const struct wherry_device *dev)
{
	static const struct timespec ms = { .tv_nsec = 1000000 };
	unsigned int express = find_express(dev);
	uint32_t status = 0;

	if (express == 0)
		return 0;
	for (unsigned int i = 0; i < PENDING_WAIT_MS; i++) {
		if (wherry_vfio_config_read(dev, express + PCI_EXP_DEVSTA, 2, &status) != 0)
			return -ETIMEDOUT;
		if ((status & PCI_EXP_DEVSTA_TRPND) == 0)
			return 0;
		nanosleep(&ms, NULL);
	}
	LOG_WARN("%s: its reads do not end", vfio_device_of(dev)->place.address);
	return -ETIMEDOUT;
}

int
wherry_vfio_bus_master(struct wherry_device *dev, bool on)
{
	uint32_t command, now;
	int rc = wherry_vfio_config_read(dev, PCI_COMMAND, 2, &command);

	if (rc != 0)
		return rc;
	command = on ? command | PCI_COMMAND_MASTER : command & ~(uint32_t)PCI_COMMAND_MASTER;
	rc = wherry_vfio_config_write(dev, PCI_COMMAND, 2, command);
	if (rc == 0)
		rc = wherry_vfio_config_read(dev, PCI_COMMAND, 2, &now);
	if (rc != 0)
		return rc;
	if (((now ^ command) & PCI_COMMAND_MASTER) != 0)
		return -EFAULT; /* it does not take the setting */
	return on ? 0 : wait_for_reads(dev);
}

int
wherry_vfio_stop(void *dev)
{
	return wherry_vfio_bus_master(dev, false);
}

void
wherry_vfio_resume(void *dev)
{
	if (wherry_vfio_bus_master(dev, true) != 0)
		LOG_ERR("bus mastering does not come back: the device stays still");
}
