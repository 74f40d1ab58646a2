/* SPDX-License-Identifier: BSD-3-Clause */
/* PAGEMAP_SCAN (Linux 6.7): what a process wrote, and whether that is watched at all. */
#include "scan_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "uffd_priv.h"

#define LOG_PREFIX "dirty/scan"

#define SCAN_REGIONS 256 /* on the stack: 6 KiB */

int
scan_open(struct reason *why)
{
	struct scan_arg nothing = { .size = sizeof(nothing) };
	int fd = wherry_sys->open("/proc/self/pagemap", O_RDONLY);
	int rc;

	if (fd < 0) {
		reason_set(why, "/proc/self/pagemap: %s", strerror(-fd));
		return -EOPNOTSUPP;
	}
	rc = wherry_sys->ioctl(fd, SCAN_IOCTL, &nothing);
	if (rc < 0) {
		close(fd);
		reason_set(why, "no PAGEMAP_SCAN (%s; Linux 6.7 or newer has it)", strerror(-rc));
		return -EOPNOTSUPP;
	}
	return fd;
}

/* What protects and reports all of the window that was written. */
static struct scan_arg
scan_of(struct wherry_span window)
{
	return (struct scan_arg){
		.size = sizeof(struct scan_arg),
		.flags = SCAN_PROTECT | SCAN_CHECK_WPASYNC,
		.start = window.iova,
		.end = window.iova + window.len,
		.category_mask = SCAN_WRITTEN,
		.return_mask = SCAN_WRITTEN,
	};
}

int
scan_protect(int pagemap, struct wherry_span span)
{
	struct wherry_span rest = span, window;

	while (next_window(&rest, &window)) {
		struct scan_arg arg = scan_of(window);
		int rc = wherry_fault("dirty.protect")
			? -ENOMEM
			: wherry_sys->ioctl(pagemap, SCAN_IOCTL, &arg);

		if (rc < 0 || arg.walk_end != arg.end)
			return rc == -ENOMEM ? rc : -EFAULT;
	}
	return 0;
}

static void
mark_range(struct wherry_bitmap *into, uint64_t start, uint64_t end)
{
	struct wherry_span span = { .iova = start, .len = end - start };

	if (start < end)
		wherry_bitmap_mark(into, span);
}

/* One call: as many regions as fit; on return arg->start is where to go on. */
static int
scan_some(int pagemap, struct scan_arg *arg, struct wherry_bitmap *into)
{
	struct scan_region vec[SCAN_REGIONS];
	int n;

	arg->vec = (uint64_t)(uintptr_t)vec;
	arg->vec_len = SCAN_REGIONS;
	arg->walk_end = 0;
	n = wherry_fault("dirty.scan") ? -EINTR : wherry_sys->ioctl(pagemap, SCAN_IOCTL, arg);
	arg->vec = 0;
	if (n >= 0 && arg->walk_end <= arg->start)
		n = -EIO;
	if (n < 0) {
		LOG_WARN("scan of 0x%llx failed, so all of it counts as dirty: %s",
			(unsigned long long)arg->start, strerror(-n));
		mark_range(into, arg->start, arg->end);
		return n == -ENOMEM ? n : -EFAULT;
	}
	for (int i = 0; i < n; i++)
		mark_range(into, vec[i].start, vec[i].end);
	arg->start = arg->walk_end;
	return 0;
}

static int
scan_window(int pagemap, struct wherry_span window, struct wherry_bitmap *into)
{
	struct scan_arg arg = scan_of(window);

	while (arg.start < arg.end) {
		int rc = scan_some(pagemap, &arg, into);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int
scan_written(int pagemap, struct wherry_span span, struct wherry_bitmap *into)
{
	struct wherry_span rest = span, window;
	int rc, first = 0;

	while (next_window(&rest, &window)) {
		rc = scan_window(pagemap, window, into);
		if (rc != 0 && first == 0)
			first = rc;
	}
	return first;
}

/* Bytes of a window that are in watched mappings; -errno. */
static int64_t
watched_in(int pagemap, struct wherry_span window)
{
	struct scan_region vec[SCAN_REGIONS];
	struct scan_arg arg = {
		.size = sizeof(arg),
		.start = window.iova,
		.end = window.iova + window.len,
		.vec = (uint64_t)(uintptr_t)vec,
		.vec_len = SCAN_REGIONS,
		.category_mask = SCAN_WATCHED,
		.return_mask = SCAN_WATCHED,
	};
	int64_t bytes = 0;

	while (arg.start < arg.end) {
		int n = wherry_sys->ioctl(pagemap, SCAN_IOCTL, &arg);

		if (n == -ESRCH) /* the process has ended; older kernels find nothing then */
			return 0;
		if (n < 0 || arg.walk_end <= arg.start)
			return n < 0 ? n : -EIO;
		for (int i = 0; i < n; i++)
			bytes += (int64_t)(vec[i].end - vec[i].start);
		arg.start = arg.walk_end;
	}
	return bytes;
}

int
scan_watched(int pagemap, struct wherry_span span, uint64_t *ret_bytes)
{
	struct wherry_span rest = span, window;
	uint64_t all = 0;

	while (next_window(&rest, &window)) {
		int64_t bytes = watched_in(pagemap, window);

		if (bytes < 0)
			return (int)bytes;
		all += (uint64_t)bytes;
	}
	*ret_bytes = all;
	return 0;
}
