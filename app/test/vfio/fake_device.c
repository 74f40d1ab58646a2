/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of the played kernel: 9 regions and 5 interrupts as PCI devices have them, BAR 0
 * of 16 KiB that can be mapped, BAR 1 of 4 KiB that cannot, and a configuration space with
 * a PCI Express capability.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "fake_vfio_priv.h"

#define REGION_SHIFT 40
#define EXPRESS_AT 0x60u
#define BAR0 UINT64_C(0x4000)
#define BAR1 UINT64_C(0x1000)
#define VECTORS 5u

void
fake_device_init(unsigned int n)
{
	uint8_t *config = fake_vfio.groups[n].config;

	fake_vfio.groups[n].irq_index = -1;
	config[PCI_COMMAND] = PCI_COMMAND_MEMORY;
	config[PCI_CAPABILITY_LIST] = 0x40;
	config[0x40] = PCI_CAP_ID_PM;
	config[0x41] = EXPRESS_AT;
	config[EXPRESS_AT] = PCI_CAP_ID_EXP;
}

void
fake_device_close(unsigned int n)
{
	struct fake_group *group = &fake_vfio.groups[n];

	CHECK(group->device_open);
	group->device_open = false;
	group->irq_index = -1;
	CHECK(!group->log.on); /* somebody forgot to stop it */
}

static uint64_t
region_len(unsigned int index)
{
	return index == VFIO_PCI_BAR0_REGION_INDEX      ? BAR0
		: index == VFIO_PCI_BAR1_REGION_INDEX   ? BAR1
		: index == VFIO_PCI_CONFIG_REGION_INDEX ? FAKE_CONFIG
							: 0;
}

/* The second and the last quarter of BAR 0. */
static void
add_sparse(struct vfio_region_info *info, uint32_t room)
{
	struct {
		struct vfio_region_info info;
		struct { /* a vfio_region_info_cap_sparse_mmap with its array */
			struct vfio_info_cap_header header;
			uint32_t nr_areas, reserved;
			struct vfio_region_sparse_mmap_area areas[2];
		} cap;
	} all;

	info->argsz = sizeof(all);
	info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
	if (room < sizeof(all))
		return;
	memset(&all, 0, sizeof(all));
	info->cap_offset = (uint32_t)offsetof(__typeof__(all), cap);
	all.info = *info;
	all.cap.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	all.cap.header.version = 1;
	all.cap.nr_areas = 2;
	all.cap.areas[0] = (struct vfio_region_sparse_mmap_area){ BAR0 / 4, BAR0 / 4 };
	all.cap.areas[1] = (struct vfio_region_sparse_mmap_area){ BAR0 / 4 * 3, BAR0 / 4 };
	memcpy(info, &all, sizeof(all));
}

static int
region_info(struct vfio_region_info *info)
{
	uint32_t room = info->argsz;

	if (info->index >= VFIO_PCI_VGA_REGION_INDEX)
		return -EINVAL;
	info->argsz = sizeof(*info);
	info->size = region_len(info->index);
	info->offset = (uint64_t)info->index << REGION_SHIFT;
	info->flags =
		info->size == 0 ? 0 : VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (info->index != VFIO_PCI_BAR0_REGION_INDEX)
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	if (fake_vfio.sparse)
		add_sparse(info, room);
	return 0;
}

bool
fake_device_may_map(uint64_t offset, size_t len)
{
	uint64_t index = offset >> REGION_SHIFT, at = offset & ((UINT64_C(1) << REGION_SHIFT) - 1);

	if (index != VFIO_PCI_BAR0_REGION_INDEX || at + len > BAR0)
		return false;
	return !fake_vfio.sparse || ((at / (BAR0 / 4)) % 2 == 1 && len <= BAR0 / 4);
}

static int
irq_info(struct vfio_irq_info *info)
{
	static const unsigned int counts[] = { 1, 1, VECTORS, 0, 1 };

	if (info->index >= 5)
		return -EINVAL;
	info->count = counts[info->index];
	info->flags = VFIO_IRQ_INFO_EVENTFD |
		(info->index == VFIO_PCI_INTX_IRQ_INDEX
				? VFIO_IRQ_INFO_AUTOMASKED | VFIO_IRQ_INFO_MASKABLE
				: 0);
	return 0;
}

static int
set_irqs(struct fake_group *group, const struct vfio_irq_set *set)
{
	if ((set->flags & VFIO_IRQ_SET_ACTION_UNMASK) != 0)
		return set->index == VFIO_PCI_INTX_IRQ_INDEX ? 0 : -EINVAL;
	if ((set->flags & VFIO_IRQ_SET_DATA_NONE) != 0 && set->count == 0) {
		if (group->irq_index != (int)set->index)
			return -EINVAL;
		group->irq_index = -1;
		memset(group->eventfds, -1, sizeof(group->eventfds));
		return 0;
	}
	if (group->irq_index >= 0 && group->irq_index != (int)set->index)
		return -EINVAL;
	if (set->argsz != sizeof(*set) + set->count * sizeof(int32_t) || set->count > VECTORS)
		return -EINVAL;
	group->irq_index = (int)set->index;
	memcpy(group->eventfds, set->data, set->count * sizeof(int32_t));
	return 0;
}

int
fake_device_ioctl(unsigned int n, unsigned long request, void *arg)
{
	struct fake_group *group = &fake_vfio.groups[n];
	struct vfio_device_info *info = arg;

	CHECK(group->device_open);
	switch (request) {
	case VFIO_DEVICE_GET_INFO:
		info->flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
		info->num_regions = VFIO_PCI_NUM_REGIONS;
		info->num_irqs = VFIO_PCI_NUM_IRQS;
		return 0;
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return irq_info(arg);
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs(group, arg);
	case VFIO_DEVICE_FEATURE:
		return fake_log_feature(&group->log, arg);
	case VFIO_DEVICE_RESET:
		group->resets++;
		return 0;
	default:
		return -ENOTTY;
	}
}

static uint8_t *
config_at(unsigned int n, size_t len, uint64_t offset)
{
	uint64_t at = offset - ((uint64_t)VFIO_PCI_CONFIG_REGION_INDEX << REGION_SHIFT);

	return at < FAKE_CONFIG && len <= FAKE_CONFIG - at ? &fake_vfio.groups[n].config[at] : NULL;
}

/* Reads under way end after they have been asked for a few times. */
static void
play_pending_reads(struct fake_group *group)
{
	uint8_t *status = &group->config[EXPRESS_AT + PCI_EXP_DEVSTA];

	*status = group->pending_reads > 0 ? PCI_EXP_DEVSTA_TRPND : 0;
	if (group->pending_reads > 0)
		group->pending_reads--;
}

ssize_t
fake_device_read(unsigned int n, void *buf, size_t len, uint64_t offset)
{
	const uint8_t *at = config_at(n, len, offset);

	if (at == NULL)
		return -EIO;
	if (at == &fake_vfio.groups[n].config[EXPRESS_AT + PCI_EXP_DEVSTA])
		play_pending_reads(&fake_vfio.groups[n]);
	memcpy(buf, at, len);
	return (ssize_t)len;
}

ssize_t
fake_device_write(unsigned int n, const void *buf, size_t len, uint64_t offset)
{
	uint8_t *at = config_at(n, len, offset);

	if (at == NULL)
		return -EIO;
	memcpy(at, buf, len);
	if (fake_vfio.deaf_to_master)
		fake_vfio.groups[n].config[PCI_COMMAND] |= PCI_COMMAND_MASTER;
	return (ssize_t)len;
}
