/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts of a device, each vector an eventfd of the caller's. */
#include <errno.h>
#include <string.h>

#include "vfio_priv.h"

#define LOG_PREFIX "iommu/vfio"

static int
ask_irq(const struct vfio_device *dev, unsigned int index, struct vfio_irq_info *ret_info)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = index };

	if (index >= dev->info.n_irqs ||
		wherry_sys->ioctl(dev->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) != 0)
		return -ENOENT;
	*ret_info = info;
	return 0;
}

int
wherry_vfio_get_irq(
	const struct wherry_device *dev, unsigned int index, struct wherry_vfio_irq *ret_irq)
{
	const struct vfio_device *half = vfio_device_of(dev);
	struct vfio_irq_info info;
	int rc = vfio_device_in_use(half) ? ask_irq(half, index, &info) : -EINVAL;

	if (rc != 0)
		return rc;
	ret_irq->count = info.count;
	ret_irq->eventfd = (info.flags & VFIO_IRQ_INFO_EVENTFD) != 0;
	ret_irq->automasked = (info.flags & VFIO_IRQ_INFO_AUTOMASKED) != 0;
	return 0;
}

/* A vfio_irq_set ends with its data. */
union irq_set {
	struct vfio_irq_set head;
	char room[sizeof(struct vfio_irq_set) + WHERRY_VFIO_VECTORS * sizeof(int32_t)];
};

static int
set_irqs(const struct vfio_device *dev, unsigned int index, unsigned int n, const int *eventfds)
{
	union irq_set set;
	int rc;

	memset(&set.head, 0, sizeof(set.head));
	set.head.argsz = (uint32_t)(sizeof(set.head) + n * sizeof(int32_t));
	set.head.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
		(n > 0 ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	set.head.index = index;
	set.head.count = n;
	if (n > 0)
		memcpy(set.head.data, eventfds, n * sizeof(int32_t));
	rc = wherry_fault("vfio.irq") ? -ENOMEM
				      : wherry_sys->ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &set);
	if (rc > 0)
		return -ENOSPC; /* so many are left */
	/* the arguments are right: it is the state that is not */
	return rc == 0 || rc == -ENOSPC || rc == -ENOMEM ? rc : -EBUSY;
}

int
wherry_vfio_irq_set(
	struct wherry_device *dev, unsigned int index, unsigned int n, const int *eventfds)
{
	struct vfio_device *half = vfio_device_of(dev);
	struct vfio_irq_info info;
	int rc;

	if (!vfio_device_in_use(half) || n > WHERRY_VFIO_VECTORS)
		return -EINVAL;
	rc = ask_irq(half, index, &info);
	if (rc == 0 && (n > info.count || info.count == 0))
		rc = -ENOENT;
	return rc != 0 ? rc : set_irqs(half, index, n, eventfds);
}

int
wherry_vfio_irq_unmask(struct wherry_device *dev, unsigned int index)
{
	const struct vfio_device *half = vfio_device_of(dev);
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
		.index = index,
		.count = 1,
	};
	struct vfio_irq_info info;
	int rc;

	if (!vfio_device_in_use(half))
		return -EINVAL;
	rc = ask_irq(half, index, &info);
	if (rc != 0)
		return rc;
	if ((info.flags & VFIO_IRQ_INFO_AUTOMASKED) == 0)
		return -EINVAL;
	return wherry_sys->ioctl(half->fd, VFIO_DEVICE_SET_IRQS, &set) == 0 ? 0 : -EBUSY;
}

/* One index at most is on; the kernel refuses the others, which is as good. */
void
vfio_irqs_off(struct vfio_device *dev)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
	};

	for (set.index = VFIO_PCI_INTX_IRQ_INDEX; set.index <= VFIO_PCI_MSIX_IRQ_INDEX; set.index++)
		(void)wherry_sys->ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &set);
}
