/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA logging of a played device: no device that has it can be emulated. */
#include <errno.h>
#include <string.h>

#include "fake_vfio_priv.h"

#define PAGE UINT64_C(4096)

static uint64_t
page_of(const struct fake_log *log)
{
	return log->page != 0 ? log->page : PAGE;
}

static bool
in_ranges(const struct fake_log *log, uint64_t iova)
{
	for (uint32_t i = 0; i < log->n_ranges; i++)
		if (iova >= log->ranges[i].iova &&
			iova - log->ranges[i].iova < log->ranges[i].length)
			return true;
	return false;
}

void
fake_log_write(struct fake_log *log, uint64_t iova)
{
	uint64_t at = iova & ~(page_of(log) - 1);

	if (!log->on || !in_ranges(log, iova))
		return;
	for (unsigned int i = 0; i < log->n_dirty; i++)
		if (log->dirty[i] == at)
			return;
	CHECK(log->n_dirty < 64);
	log->dirty[log->n_dirty++] = at;
}

static int
start(struct fake_log *log, void *data)
{
	struct vfio_device_feature_dma_logging_control control;

	memcpy(&control, data, sizeof(control));
	if (log->on || control.num_ranges == 0 || control.num_ranges > 256)
		return -EINVAL;
	memcpy(log->ranges, (void *)(uintptr_t)control.ranges,
		control.num_ranges * sizeof(log->ranges[0]));
	log->n_ranges = control.num_ranges;
	for (uint32_t i = 1; i < log->n_ranges; i++)
		if (log->ranges[i].iova < log->ranges[i - 1].iova + log->ranges[i - 1].length)
			return -EINVAL;
	log->on = true;
	log->n_dirty = 0;
	log->starts++;
	control.page_size = page_of(log);
	memcpy(data, &control, sizeof(control));
	return 0;
}

static void
set_bits(const struct vfio_device_feature_dma_logging_report *report, uint64_t at, uint64_t len)
{
	uint64_t *words = (uint64_t *)(uintptr_t)report->bitmap;

	for (uint64_t iova = at; iova < at + len; iova += PAGE) {
		uint64_t bit = (iova - report->iova) / PAGE;

		if (iova >= report->iova && iova - report->iova < report->length)
			words[bit / 64] |= UINT64_C(1) << bit % 64;
	}
}

/* A page that is reported in part is clean as a whole: that is the trap. */
static int
report(struct fake_log *log, const void *data)
{
	struct vfio_device_feature_dma_logging_report arg;
	unsigned int kept = 0;

	memcpy(&arg, data, sizeof(arg));
	if (!log->on || arg.page_size != PAGE || arg.length == 0)
		return -EINVAL;
	for (unsigned int i = 0; i < log->n_dirty; i++) {
		uint64_t at = log->dirty[i];

		if (at < arg.iova + arg.length && arg.iova < at + page_of(log))
			set_bits(&arg, at, page_of(log));
		else
			log->dirty[kept++] = at;
	}
	log->n_dirty = kept;
	return 0;
}

int
fake_log_feature(struct fake_log *log, struct vfio_device_feature *call)
{
	if (!log->can)
		return -ENOTTY;
	switch (call->flags) {
	case VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
		VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
	case VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET |
		VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
		return 0;
	case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
		return start(log, call->data);
	case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
		log->on = false;
		return 0;
	case VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
		return report(log, call->data);
	default:
		return -ENOTTY;
	}
}
