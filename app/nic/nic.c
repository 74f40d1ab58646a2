/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting and stopping the NIC. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/vfio.h>

#include "nic_priv.h"
#include "wherry_vfio.h"

#define INTEL 0x8086u
#define DEVICE_82574 0x10d3u
#define DEVICE_82576 0x10c9u

uint64_t
nic_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void
pause_ms(unsigned int ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)ms * 1000000 }, NULL);
}

/* Wait until one of the bits is set. */
static int
wait_for(struct nic *nic, unsigned int reg, uint32_t bits)
{
	uint64_t limit = nic_now_ns() + NIC_TIMEOUT_NS;

	while ((reg_read(nic, reg) & bits) == 0) {
		if (nic_now_ns() > limit)
			return -ETIMEDOUT;
		pause_ms(1);
	}
	return 0;
}

static void
start_queue(struct nic *nic, unsigned int queue, uint64_t ring)
{
	reg_write(nic, queue + QUEUE_BASE_LOW, (uint32_t)ring);
	reg_write(nic, queue + QUEUE_BASE_HIGH, (uint32_t)(ring >> 32));
	reg_write(nic, queue + QUEUE_LEN, RING_LEN * 16);
	reg_write(nic, queue + QUEUE_HEAD, 0);
	reg_write(nic, queue + QUEUE_TAIL, 0);
	if (nic->igb)
		reg_write(nic, queue + QUEUE_CONTROL,
			reg_read(nic, queue + QUEUE_CONTROL) | QUEUE_ENABLE);
}

static void
reset(struct nic *nic)
{
	reg_write(nic, REG_IMC, ~0u);
	reg_write(nic, REG_CTRL, reg_read(nic, REG_CTRL) | CTRL_RESET);
	pause_ms(20); /* both datasheets: it must not be touched for some ms */
	reg_write(nic, REG_IMC, ~0u);
}

/* The link of the igb comes up only some time after its PHY was told to negotiate again. */
static int
negotiate(struct nic *nic)
{
	reg_write(nic, REG_MDIC, PHY_NEGOTIATE_AGAIN | MDIC_PHY1 | MDIC_WRITE);
	return wait_for(nic, REG_MDIC, MDIC_READY);
}

static int
start(struct nic *nic)
{
	int rc = 0;

	memset(nic->mem.vaddr, 0, NIC_PAGES * NIC_PAGE);
	reset(nic);
	reg_write(nic, REG_CTRL, reg_read(nic, REG_CTRL) | CTRL_SET_LINK_UP | CTRL_FULL_DUPLEX);
	start_queue(nic, nic->rx_queue, page_iova(nic, NIC_PAGE_RX_RING));
	start_queue(nic, nic->tx_queue, page_iova(nic, NIC_PAGE_TX_RING));
	if (nic->igb)
		reg_write(nic, nic->rx_queue + QUEUE_SRRCTL, SRRCTL_2K | SRRCTL_ADVANCED);
	reg_write(nic, REG_RCTL,
		RCTL_ENABLE | RCTL_ALL_UNICAST | RCTL_ALL_MULTICAST | RCTL_BROADCAST |
			RCTL_STRIP_CRC | RCTL_MAC_LOOPBACK);
	reg_write(nic, REG_TCTL, TCTL_ENABLE | TCTL_PAD);
	if (nic->igb)
		rc = negotiate(nic);
	return rc;
}

int
nic_wait_link(struct nic *nic)
{
	int rc = nic->link ? 0 : wait_for(nic, REG_STATUS, STATUS_LINK_UP);

	nic->link = rc == 0;
	return rc;
}

static int
identify(struct nic *nic)
{
	uint32_t id;
	int rc = wherry_vfio_config_read(nic->dev, 0, 4, &id);

	if (rc != 0)
		return rc;
	nic->igb = id >> 16 == DEVICE_82576;
	if ((id & 0xffff) != INTEL || (!nic->igb && id >> 16 != DEVICE_82574))
		return -ENODEV;
	nic->rx_queue = nic->igb ? IGB_RX_QUEUE : E1000E_RX_QUEUE;
	nic->tx_queue = nic->igb ? IGB_TX_QUEUE : E1000E_TX_QUEUE;
	return 0;
}

static int
map_registers(struct nic *nic)
{
	uint32_t command;
	void *regs;
	int rc = wherry_vfio_region_map(nic->dev, VFIO_PCI_BAR0_REGION_INDEX, &regs);

	if (rc != 0)
		return rc;
	nic->regs = regs;
	rc = wherry_vfio_config_read(nic->dev, 4, 2, &command);
	if (rc == 0) /* 2: answer to memory accesses */
		rc = wherry_vfio_config_write(nic->dev, 4, 2, command | 2);
	return rc;
}

static int
find(struct wherry_device *dev, struct nic_memory mem, struct nic **ret_nic)
{
	struct nic *nic = calloc(1, sizeof(*nic));
	int rc;

	if (nic == NULL)
		return -ENOMEM;
	nic->dev = dev;
	nic->mem = mem;
	nic->tx_ring = (volatile uint64_t *)(void *)page_vaddr(nic, NIC_PAGE_TX_RING);
	nic->rx_ring = (volatile uint64_t *)(void *)page_vaddr(nic, NIC_PAGE_RX_RING);
	rc = identify(nic);
	if (rc == 0)
		rc = map_registers(nic);
	if (rc != 0)
		free(nic);
	else
		*ret_nic = nic;
	return rc;
}

int
nic_take_over(struct wherry_device *dev, struct nic_memory mem, struct nic **ret_nic)
{
	int rc = find(dev, mem, ret_nic);

	if (rc != 0)
		return rc;
	(*ret_nic)->rx_tail = reg_read(*ret_nic, (*ret_nic)->rx_queue + QUEUE_TAIL);
	(*ret_nic)->tx_tail = reg_read(*ret_nic, (*ret_nic)->tx_queue + QUEUE_TAIL);
	return 0;
}

int
nic_open(struct wherry_device *dev, struct nic_memory mem, struct nic **ret_nic)
{
	struct nic *nic;
	int rc = find(dev, mem, &nic);

	if (rc != 0)
		return rc;
	rc = wherry_vfio_bus_master(dev, true);
	if (rc != 0)
		goto free_nic;
	rc = start(nic);
	if (rc != 0)
		goto stop_device;
	*ret_nic = nic;
	return 0;
stop_device:
	wherry_vfio_stop(dev);
free_nic:
	free(nic);
	return rc;
}

void
nic_close(struct nic *nic)
{
	if (nic == NULL)
		return;
	reset(nic);
	wherry_vfio_stop(nic->dev);
	free(nic);
}

const char *
nic_model(const struct nic *nic)
{
	return nic->igb ? "igb" : "e1000e";
}
