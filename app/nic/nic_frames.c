/* SPDX-License-Identifier: BSD-3-Clause */
/* The rings: frames are posted, the device is told, and what comes back is waited for. */
#include <errno.h>
#include <string.h>

#include "nic_priv.h"

static void
post_rx(struct nic *nic, uint64_t iova)
{
	nic->rx_ring[nic->rx_tail * 2] = iova;
	nic->rx_ring[nic->rx_tail * 2 + 1] = 0;
	nic->rx_tail = (nic->rx_tail + 1) % RING_LEN;
}

static void
post_tx(struct nic *nic, uint64_t iova, unsigned int len, unsigned int flags)
{
	uint64_t command = len | TX_END_OF_PACKET | TX_CRC;

	if ((flags & NIC_WRITE_BACK) != 0)
		command |= TX_REPORT;
	if (nic->igb)
		command |= TX_ADVANCED | TX_PAYLOAD(len);
	nic->tx_ring[nic->tx_tail * 2] = iova;
	nic->tx_ring[nic->tx_tail * 2 + 1] = command;
	nic->tx_tail = (nic->tx_tail + 1) % RING_LEN;
}

/* The device may look once it knows the tail: what was posted is in memory before. */
static void
tell(struct nic *nic, unsigned int queue, unsigned int tail)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	reg_write(nic, queue + QUEUE_TAIL, tail);
}

/* The first descriptor from first on that has not been received into, or the tail. */
static unsigned int
first_missing(const struct nic *nic, unsigned int first)
{
	while (first != nic->rx_tail && (nic->rx_ring[first * 2 + 1] & RX_DONE(nic->igb)) != 0)
		first = (first + 1) % RING_LEN;
	__atomic_thread_fence(__ATOMIC_ACQUIRE); /* the frame is read after its descriptor */
	return first;
}

static int
wait_sent(const struct nic *nic)
{
	uint64_t limit = nic_now_ns() + NIC_TIMEOUT_NS;

	while (reg_read(nic, nic->tx_queue + QUEUE_HEAD) != nic->tx_tail)
		if (nic_now_ns() > limit)
			return -ETIMEDOUT;
	return 0;
}

static int
wait_received(const struct nic *nic, unsigned int first)
{
	uint64_t limit = nic_now_ns() + NIC_LOST_NS;

	while ((first = first_missing(nic, first)) != nic->rx_tail)
		if (nic_now_ns() > limit)
			return -EFAULT;
	return 0;
}

/*
 * Frames that could not be read left their receive descriptors behind, and the next frame
 * would go there. So they are used up, by frames of our own that all go to our own page.
 */
static int
use_up(struct nic *nic, unsigned int first)
{
	unsigned int i, missing = first_missing(nic, first);
	int rc = 0;

	for (i = missing; i != nic->rx_tail; i = (i + 1) % RING_LEN)
		nic->rx_ring[i * 2] = page_iova(nic, NIC_PAGE_RX);
	for (i = missing; i != nic->rx_tail && rc == 0; i = (i + 1) % RING_LEN) {
		post_tx(nic, page_iova(nic, NIC_PAGE_TX), NIC_FRAME_MIN, 0);
		tell(nic, nic->tx_queue, nic->tx_tail);
		rc = wait_sent(nic);
	}
	if (rc == 0 && wait_received(nic, missing) != 0)
		rc = -ETIMEDOUT;
	return rc;
}

/* A frame to everybody, of the ethertype for local experiments, with bytes that grow from seed. */
static void
fill_frame(uint8_t *frame, unsigned int len, uint32_t seed)
{
	static const uint8_t header[14] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1,
		0x88, 0xb5 };

	memcpy(frame, header, sizeof(header));
	for (unsigned int i = sizeof(header); i < len; i++) {
		seed = seed * 1664525u + 1013904223u;
		frame[i] = (uint8_t)(seed >> 24);
	}
}

int
nic_send(struct nic *nic, const struct nic_frame *frames, unsigned int n, unsigned int flags,
	uint32_t seed)
{
	unsigned int first = nic->rx_tail;
	int rc = n > NIC_BURST ? -EINVAL : nic_wait_link(nic);

	if (rc != 0)
		return rc;
	for (unsigned int i = 0; i < n; i++)
		post_rx(nic, frames[i].rx);
	tell(nic, nic->rx_queue, nic->rx_tail);
	for (unsigned int i = 0; i < n; i++) {
		unsigned int page = NIC_PAGE_TX + i % NIC_TX_PAGES;
		uint64_t tx = frames[i].tx;

		if (tx == 0) {
			fill_frame(page_vaddr(nic, page), frames[i].len, seed + i % NIC_TX_PAGES);
			tx = page_iova(nic, page);
		}
		post_tx(nic, tx, frames[i].len, flags);
	}
	tell(nic, nic->tx_queue, nic->tx_tail);
	rc = wait_sent(nic);
	if (rc == 0)
		rc = wait_received(nic, first);
	if (rc == -EFAULT && use_up(nic, first) != 0)
		rc = -ETIMEDOUT;
	return rc;
}

const uint8_t *
nic_sent(const struct nic *nic, unsigned int n)
{
	return page_vaddr(nic, NIC_PAGE_TX + n);
}

/* The receiver is off, so what comes back is dropped. */
int
nic_read_only(struct nic *nic, unsigned int flags)
{
	uint32_t rctl = reg_read(nic, REG_RCTL);
	int rc = nic_wait_link(nic);

	if (rc != 0)
		return rc;
	reg_write(nic, REG_RCTL, rctl & ~RCTL_ENABLE);
	fill_frame(page_vaddr(nic, NIC_PAGE_TX), 1000, 1);
	post_tx(nic, page_iova(nic, NIC_PAGE_TX), 1000, flags);
	tell(nic, nic->tx_queue, nic->tx_tail);
	rc = wait_sent(nic);
	reg_write(nic, REG_RCTL, rctl);
	return rc;
}
