/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit side of the device half: descriptors are read in batches, segments gathered
 * into a frame, the frame put on the wire, the batch reported as done. A segment that
 * cannot be read spoils its frame and nothing else.
 */
#include <wherry_soft.h>

#include "device_priv.h"

static void
gather(struct emu_device *device, struct device_txq *q, const struct emu_desc *desc)
{
	const uint32_t len = (uint32_t)(desc->word & EMU_DESC_LEN);

	if (q->broken)
		return;
	if (len > EMU_MAX_FRAME - q->len) {
		q->broken = true;
		return;
	}
	if (len != 0 &&
		wherry_soft_dma_read(device->iommu, desc->iova, q->frame + q->len, len) != 0)
		q->broken = q->fault = true;
	q->len += len;
}

/* What is wrong with the frame: the counter to count it in, or NULL. */
static uint64_t *
send_frame(struct emu_device *device, const struct device_txq *q)
{
	struct emu_counters *c = &device->counters;

	if (q->fault)
		return &c->tx_faults;
	if (q->broken || q->len < RTE_ETHER_HDR_LEN || q->len > device->config.max_frame)
		return &c->tx_bad_length;
	if (device->wire->ops->send(device->wire, q->frame, q->len) != 0)
		return &c->tx_wire_lost;
	return NULL;
}

static void
finish_frame(struct emu_device *device, unsigned int id)
{
	struct device_txq *q = &device->tx[id];
	struct emu_queue_counters *c = &device->counters.tx[id];
	uint64_t *lost = send_frame(device, q);

	if (lost != NULL) {
		device_count(lost, 1);
		device_count(&c->errors, 1);
	} else {
		device_count(&c->packets, 1);
		device_count(&c->bytes, q->len);
	}
	q->len = 0;
	q->broken = q->fault = false;
}

/* Descriptors to be had in one read: posted, up to the end of the ring, a batch. */
static uint32_t
batch(struct emu_device *device, unsigned int id)
{
	const struct device_txq *q = &device->tx[id];
	const uint32_t tail = __atomic_load_n(&device->regs.tx[id].tail, __ATOMIC_ACQUIRE);
	const uint32_t to_end = q->ring.size - (q->head & (q->ring.size - 1));
	uint32_t n = tail - q->head;

	if (n > q->ring.size) /* no driver of ours does that */
		n = q->ring.size;
	if (n > to_end)
		n = to_end;
	return n > DEVICE_BATCH ? DEVICE_BATCH : n;
}

static uint64_t
desc_iova(const struct emu_ring *ring, uint32_t index)
{
	return ring->iova + (uint64_t)(index & (ring->size - 1)) * sizeof(struct emu_desc);
}

static void
report_done(struct emu_device *device, struct device_txq *q)
{
	const struct emu_tx_done done = { .head = q->head };
	const uint64_t iova = q->ring.iova + (uint64_t)q->ring.size * sizeof(struct emu_desc);

	if (wherry_soft_dma_write(device->iommu, iova, &done, sizeof(done)) != 0)
		device_count(&device->counters.tx_faults, 1);
}

bool
device_transmit(struct emu_device *device, unsigned int id)
{
	struct device_txq *q = &device->tx[id];
	struct emu_desc desc[DEVICE_BATCH];
	const uint32_t n = batch(device, id);

	if (n == 0)
		return false;
	if (wherry_soft_dma_read(
		    device->iommu, desc_iova(&q->ring, q->head), desc, n * sizeof(desc[0])) != 0) {
		/* the ring itself is out of reach: what was posted is lost */
		device_count(&device->counters.tx_faults, n);
		device_count(&device->counters.tx[id].errors, n);
	} else {
		for (uint32_t i = 0; i < n; i++) {
			gather(device, q, &desc[i]);
			if ((desc[i].word & EMU_DESC_LAST) != 0)
				finish_frame(device, id);
		}
	}
	q->head += n;
	report_done(device, q);
	return true;
}
