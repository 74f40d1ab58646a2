/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA of any length at any address, made of frames.
 *
 * A frame has at least 64 bytes, so a shorter write is made of a window of 64 bytes in the same
 * page: what is there is read by the device, changed, and written back.
 */
#include <errno.h>
#include <string.h>

#include "nic_priv.h"

#define CHUNK 1024u

/* One frame from iova to our own page. */
static int
fetch(struct nic *nic, uint64_t iova, unsigned int len)
{
	struct nic_frame frame = { .tx = iova, .rx = page_iova(nic, NIC_PAGE_RX), .len = len };

	return nic_send(nic, &frame, 1, 0, 0);
}

/* One frame from our own page to iova, then looked at through the device. */
static int
store(struct nic *nic, uint64_t iova, const uint8_t *buf, unsigned int len)
{
	struct nic_frame frame = { .tx = page_iova(nic, NIC_PAGE_TX), .rx = iova, .len = len };
	int rc;

	memcpy(page_vaddr(nic, NIC_PAGE_TX), buf, len);
	rc = nic_send(nic, &frame, 1, 0, 0);
	if (rc == 0)
		rc = fetch(nic, iova, len);
	if (rc == 0 && memcmp(page_vaddr(nic, NIC_PAGE_RX), buf, len) != 0)
		rc = -EFAULT;
	return rc;
}

/* 64 bytes around the span, all in its page; the span is shorter and in one page. */
static uint64_t
window_of(uint64_t iova)
{
	uint64_t end = (iova | (NIC_PAGE - 1)) - (NIC_FRAME_MIN - 1);

	return iova < end ? iova : end;
}

static int
store_short(struct nic *nic, uint64_t iova, const uint8_t *buf, unsigned int len)
{
	uint64_t window = window_of(iova);
	uint8_t bytes[NIC_FRAME_MIN];
	int rc = fetch(nic, window, NIC_FRAME_MIN);

	if (rc != 0)
		return rc;
	memcpy(bytes, page_vaddr(nic, NIC_PAGE_RX), NIC_FRAME_MIN);
	memcpy(bytes + (iova - window), buf, len);
	return store(nic, window, bytes, NIC_FRAME_MIN);
}

/* How much of a span one step does: no more than a chunk, and within a page. */
static unsigned int
step_len(uint64_t iova, size_t len)
{
	uint64_t left = NIC_PAGE - (iova & (NIC_PAGE - 1));
	uint64_t step = len < CHUNK ? len : CHUNK;

	return (unsigned int)(step < left ? step : left);
}

int
nic_write(struct nic *nic, uint64_t iova, const void *buf, size_t len)
{
	const uint8_t *bytes = buf;
	int rc = 0;

	while (len > 0 && rc == 0) {
		unsigned int step = step_len(iova, len);

		rc = step < NIC_FRAME_MIN ? store_short(nic, iova, bytes, step)
					  : store(nic, iova, bytes, step);
		iova += step;
		bytes += step;
		len -= step;
	}
	return rc;
}

int
nic_read(struct nic *nic, uint64_t iova, void *buf, size_t len)
{
	uint8_t *bytes = buf;
	int rc = 0;

	while (len > 0 && rc == 0) {
		unsigned int step = step_len(iova, len);
		bool is_short = step < NIC_FRAME_MIN;
		uint64_t from = is_short ? window_of(iova) : iova;

		rc = fetch(nic, from, is_short ? NIC_FRAME_MIN : step);
		if (rc == 0)
			memcpy(bytes, page_vaddr(nic, NIC_PAGE_RX) + (iova - from), step);
		iova += step;
		bytes += step;
		len -= step;
	}
	return rc;
}
