/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO DMA logging: the device keeps a log of what it writes. Its rules:
 *
 *  - one START per device, with all ranges; so they are given when the log is made
 *  - the device chooses its page; reading half of one clears all of it: what is read is widened to
 *    whole ones, and bits beyond the span asked for wait in pending
 *  - REPORT clears; bits are OR-ed, so that one bitmap serves all devices
 *  - any error means that the log is corrupt: all is dirty, and it starts anew
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_priv.h"
#include "wherry_bitmap.h"
#include "wherry_iova.h"

#define LOG_PREFIX "iommu/vfio"

#define PAGE UINT64_C(4096)
#define WINDOW \
	(UINT64_C(1) << 30) /* reported at once, or one page of the device if that is larger */
#define WORD_BITS 64u

/* A span that somebody wants to know of. */
struct noted {
	SLIST_ENTRY(noted) link;
	struct wherry_span span;
	struct wherry_bitmap *pending;
	bool outside; /* of the ranges: nothing is known */
};

struct wherry_vfio_log {
	struct vfio_device **devs;
	unsigned int n_devs;
	struct vfio_device_feature_dma_logging_range *ranges;
	uint32_t n_ranges;
	bool on;       /* all devices log */
	uint64_t page; /* the largest of theirs */
	uint64_t *words;
	SLIST_HEAD(, noted) noted;
};

/* One feature call; its argument, size bytes, is read and written. */
static int
feature(const struct vfio_device *dev, uint32_t flags, void *arg, size_t size)
{
	union { /* a feature ends with its data */
		struct vfio_device_feature head;
		char room[sizeof(struct vfio_device_feature) + 64];
	} call = { .head = { .argsz = (uint32_t)(sizeof(call.head) + size), .flags = flags } };
	int rc;

	if (size > 0)
		memcpy(call.head.data, arg, size);
	rc = wherry_sys->ioctl(dev->fd, VFIO_DEVICE_FEATURE, &call);
	if (rc == 0 && size > 0)
		memcpy(arg, call.head.data, size);
	return rc;
}

bool
vfio_device_can_log(const struct vfio_device *dev)
{
	return feature(dev,
		       VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
			       VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
		       NULL, 0) == 0 &&
		feature(dev,
			VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET |
				VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
			NULL, 0) == 0;
}

static void
device_stop(const struct vfio_device *dev)
{
	(void)feature(dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0);
}

static int
device_start(const struct wherry_vfio_log *log, const struct vfio_device *dev, uint64_t *ret_page)
{
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = PAGE,
		.num_ranges = log->n_ranges,
		.ranges = (uint64_t)(uintptr_t)log->ranges,
	};
	int rc = feature(dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
		&control, sizeof(control));

	if (rc != 0)
		return rc;
	if (!is_pow2(control.page_size) || control.page_size > WINDOW) {
		device_stop(dev);
		return -EINVAL;
	}
	*ret_page = control.page_size;
	return 0;
}

static int
device_report(const struct vfio_device *dev, struct wherry_span span, uint64_t *words)
{
	struct vfio_device_feature_dma_logging_report report = {
		.iova = span.iova,
		.length = span.len,
		.page_size = PAGE,
		.bitmap = (uint64_t)(uintptr_t)words,
	};

	return feature(dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
		&report, sizeof(report));
}

static void
stop_all(struct wherry_vfio_log *log)
{
	for (unsigned int i = 0; i < log->n_devs; i++)
		device_stop(log->devs[i]);
	log->on = false;
}

/* All devices, or none. */
static int
start_all(struct wherry_vfio_log *log)
{
	uint64_t page = PAGE, most = PAGE;
	unsigned int i;
	int rc = 0;

	for (i = 0; rc == 0 && i < log->n_devs; i++) {
		rc = device_start(log, log->devs[i], &page);
		most = rc == 0 && page > most ? page : most;
	}
	log->on = rc == 0;
	log->page = most;
	if (rc == 0)
		return 0;
	LOG_ERR("%s does not log: %s", log->devs[i - 1]->place.address, strerror(-rc));
	while (--i > 0)
		device_stop(log->devs[i - 1]);
	return rc == -ENOMEM ? rc : -EOVERFLOW;
}

/* Nothing is known of what was written so far; of what follows it is, if it starts again. */
static void
start_anew(struct wherry_vfio_log *log)
{
	struct noted *n;

	stop_all(log);
	(void)start_all(log);
	SLIST_FOREACH(n, &log->noted, link)
		wherry_bitmap_mark(n->pending, n->span);
}

/* From the devices into pending, of whoever is concerned. */
static int
report_window(struct wherry_vfio_log *log, struct wherry_span window)
{
	size_t n_words = (size_t)(window.len / PAGE + WORD_BITS - 1) / WORD_BITS;
	struct noted *n;
	int rc = 0;

	memset(log->words, 0, n_words * sizeof(*log->words));
	for (unsigned int i = 0; rc == 0 && i < log->n_devs; i++)
		rc = device_report(log->devs[i], window, log->words);
	if (rc != 0) {
		LOG_WARN("the DMA log is corrupt: %s; all counts as dirty", strerror(-rc));
		return rc;
	}
	SLIST_FOREACH(n, &log->noted, link)
		wherry_bitmap_or_words(n->pending, window, PAGE, log->words);
	return 0;
}

/* Window by window; no window cuts a page of a device. */
static void
report(struct wherry_vfio_log *log, struct wherry_span span)
{
	uint64_t at = round_down(span.iova, log->page);
	uint64_t last = wherry_span_last(span) | (log->page - 1);

	for (;;) {
		uint64_t end = at | (WINDOW - 1);
		struct wherry_span window = { at, (end < last ? end : last) - at + 1 };

		if (report_window(log, window) != 0) {
			start_anew(log);
			return;
		}
		if (end >= last)
			return;
		at = end + 1;
	}
}

static struct noted *
find(struct wherry_vfio_log *log, struct wherry_span span)
{
	struct noted *n;

	SLIST_FOREACH(n, &log->noted, link)
		if (n->span.iova == span.iova && n->span.len == span.len)
			return n;
	return NULL;
}

static bool
is_logged(const struct wherry_vfio_log *log, struct wherry_span span)
{
	for (uint32_t i = 0; i < log->n_ranges; i++) {
		struct wherry_span range = { log->ranges[i].iova, log->ranges[i].length };

		if (span.iova >= range.iova && wherry_span_last(span) <= wherry_span_last(range))
			return true;
	}
	return false;
}

static int
note(struct wherry_vfio_log *log, struct wherry_span span)
{
	struct noted *n = wherry_fault("vfio.noted") ? NULL : calloc(1, sizeof(*n));
	int rc;

	if (n == NULL)
		return -ENOMEM;
	rc = wherry_bitmap_create(span, PAGE, &n->pending);
	if (rc != 0) {
		free(n);
		return rc;
	}
	n->span = span;
	n->outside = !is_logged(log, span);
	if (n->outside)
		LOG_WARN("%#llx is not in the ranges of the log: it counts as dirty",
			(unsigned long long)span.iova);
	SLIST_INSERT_HEAD(&log->noted, n, link);
	return 0;
}

static void
free_noted(struct noted *n)
{
	wherry_bitmap_destroy(n->pending);
	free(n);
}

static void
forget(struct wherry_vfio_log *log, struct noted *n)
{
	SLIST_REMOVE(&log->noted, n, noted, link);
	free_noted(n);
}

int
wherry_vfio_log_start(void *ctx, struct wherry_span span)
{
	struct wherry_vfio_log *log = ctx;
	int rc = find(log, span) != NULL ? -EEXIST : note(log, span);

	if (rc != 0)
		return rc;
	if (log->on) {
		report(log, span); /* what was written before is forgotten */
		wherry_bitmap_clear(find(log, span)->pending);
		return 0;
	}
	rc = start_all(log);
	if (rc != 0)
		forget(log, find(log, span));
	return rc;
}

void
wherry_vfio_log_stop(void *ctx, struct wherry_span span)
{
	struct wherry_vfio_log *log = ctx;
	struct noted *n = find(log, span);

	if (n == NULL)
		return;
	forget(log, n);
	if (SLIST_EMPTY(&log->noted) && log->on)
		stop_all(log);
}

int
wherry_vfio_log_harvest(void *ctx, struct wherry_span span, struct wherry_bitmap *into)
{
	struct wherry_vfio_log *log = ctx;
	struct noted *n = find(log, span);

	if (n == NULL)
		return -ENOENT;
	if (log->on)
		report(log, span);
	else
		start_anew(log);
	if (n->outside || !log->on)
		wherry_bitmap_mark(n->pending, span);
	wherry_bitmap_take(into, n->pending);
	return 0;
}

/* Neighbours share a range until there are few enough: the device logs what lies between as well. */
static void
fill_ranges(struct wherry_vfio_log *log, const struct wherry_span *spans, size_t n_spans)
{
	size_t per_range = (n_spans + WHERRY_VFIO_LOG_RANGES - 1) / WHERRY_VFIO_LOG_RANGES;

	for (size_t i = 0; i < n_spans; i += per_range) {
		size_t end = i + per_range < n_spans ? i + per_range : n_spans;
		uint64_t last = wherry_span_last(spans[end - 1]);

		log->ranges[log->n_ranges++] =
			(struct vfio_device_feature_dma_logging_range){ .iova = spans[i].iova,
				.length = last - spans[i].iova + 1 };
	}
}

static bool
are_ascending(const struct wherry_span *spans, size_t n_spans)
{
	for (size_t i = 0; i < n_spans; i++) {
		if (spans[i].len == 0 || wherry_span_last(spans[i]) < spans[i].iova)
			return false;
		if (i > 0 && spans[i].iova <= wherry_span_last(spans[i - 1]))
			return false;
	}
	return n_spans > 0;
}

static int
fill_devices(struct wherry_vfio_log *log, struct wherry_device *const *devs, unsigned int n_devs)
{
	for (unsigned int i = 0; i < n_devs; i++) {
		struct vfio_device *dev = vfio_device_of(devs[i]);

		if (!vfio_device_in_use(dev))
			return -EINVAL;
		if (!vfio_device_can_log(dev)) {
			LOG_INFO("%s has no DMA logging", dev->place.address);
			return -EOPNOTSUPP;
		}
		log->devs[log->n_devs++] = dev;
	}
	return n_devs > 0 ? 0 : -EINVAL;
}

static struct wherry_vfio_log *
alloc_log(unsigned int n_devs)
{
	struct wherry_vfio_log *log = wherry_fault("vfio.log") ? NULL : calloc(1, sizeof(*log));

	if (log == NULL)
		return NULL;
	SLIST_INIT(&log->noted);
	log->devs = wherry_fault("vfio.log_devs") ? NULL : calloc(n_devs + 1, sizeof(*log->devs));
	log->ranges = calloc(WHERRY_VFIO_LOG_RANGES, sizeof(*log->ranges));
	log->words = calloc(WINDOW / PAGE / WORD_BITS, sizeof(*log->words));
	if (log->devs != NULL && log->ranges != NULL && log->words != NULL)
		return log;
	wherry_vfio_log_destroy(log);
	return NULL;
}

int
wherry_vfio_log_create(struct wherry_device *const *devs, unsigned int n_devs,
	const struct wherry_span *spans, size_t n_spans, struct wherry_vfio_log **ret_log)
{
	struct wherry_vfio_log *log;
	int rc;

	if (!are_ascending(spans, n_spans))
		return -EINVAL;
	log = alloc_log(n_devs);
	if (log == NULL)
		return -ENOMEM;
	rc = fill_devices(log, devs, n_devs);
	if (rc != 0) {
		wherry_vfio_log_destroy(log);
		return rc;
	}
	fill_ranges(log, spans, n_spans);
	*ret_log = log;
	return 0;
}

void
wherry_vfio_log_destroy(struct wherry_vfio_log *log)
{
	struct noted *n;

	if (log == NULL)
		return;
	if (log->on)
		stop_all(log);
	while ((n = SLIST_FIRST(&log->noted)) != NULL) {
		SLIST_REMOVE_HEAD(&log->noted, link);
		free_noted(n);
	}
	free(log->words);
	free(log->ranges);
	free(log->devs);
	free(log);
}
