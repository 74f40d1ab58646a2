/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another process's writes, by its own descriptors; to the watch it is one more log of writes.
 *
 * A scan says nothing of memory that is not mapped any more, and so of a process that has just been
 * killed: clean, although it may have written a moment before. Hence, after each scan, it is asked
 * whether all of the span is still watched there: if so, it was during the scan. If
 * nothing is, the process can write no more, what it wrote last is unknown, and all is dirty once. If some is,
 * part of the memory is written unseen: that is a failure.
 */
#include "wherry_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dirty_priv.h"
#include "scan_priv.h"
#include "uffd_priv.h"

#define LOG_PREFIX "dirty/writer"

struct wherry_writer {
	struct wherry_writer_fds fds;
	struct wherry_write_log log;
	bool gone; /* nothing of the span is mapped there: it writes no more */
};

int
wherry_writer_open(struct wherry_writer_fds *ret_fds)
{
	struct reason why = { "" };
	int rc = async_open_fds(&ret_fds->uffd, &ret_fds->pagemap, &why);

	if (rc == -EOPNOTSUPP)
		LOG_ERR("this process's writes cannot be shown to another one: %s", why.text);
	return rc;
}

int
wherry_writer_cover(const struct wherry_writer_fds *fds, struct wherry_span span)
{
	return uffd_register(fds->uffd, span);
}

void
wherry_writer_close(struct wherry_writer_fds *fds)
{
	wherry_sys->close(fds->uffd);
	wherry_sys->close(fds->pagemap);
	*fds = (struct wherry_writer_fds){ -1, -1 };
}

bool
wherry_writer_gone(const struct wherry_writer_fds *fds, struct wherry_span span)
{
	uint64_t watched = 0;

	return scan_watched(fds->pagemap, span, &watched) == 0 && watched == 0;
}

static bool
all_watched(const struct wherry_writer_fds *fds, struct wherry_span span)
{
	uint64_t watched = 0;

	return scan_watched(fds->pagemap, span, &watched) == 0 && watched == span.len;
}

/* The file of one process is one inode for as long as somebody has it open. */
bool
wherry_writer_covers(const struct wherry_writer_fds *fds, int pid, struct wherry_span span)
{
	struct stat its, here;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	return fstat(fds->pagemap, &its) == 0 && stat(path, &here) == 0 &&
		its.st_ino == here.st_ino && its.st_dev == here.st_dev && all_watched(fds, span);
}

/* After a failure to look: 0: it writes no more. */
static int
judge(struct wherry_writer *writer, struct wherry_span span)
{
	if (wherry_writer_gone(&writer->fds, span)) {
		LOG_INFO(
			"a process that wrote 0x%llx has ended or let go of it: all of it counts as dirty",
			(unsigned long long)span.iova);
		writer->gone = true;
		return 0;
	}
	LOG_ERR("a process that writes 0x%llx is watched no longer in part of it",
		(unsigned long long)span.iova);
	return -EFAULT;
}

static int
writer_start(void *ctx, struct wherry_span span)
{
	struct wherry_writer *writer = ctx;
	int rc;

	if (writer->gone)
		return 0;
	rc = uffd_protect(writer->fds.uffd, span, true);
	if (rc == -ENOMEM)
		return rc;
	return rc == 0 && all_watched(&writer->fds, span) ? 0 : judge(writer, span);
}

static void
writer_stop(void *ctx, struct wherry_span span)
{
	struct wherry_writer *writer = ctx;

	if (!writer->gone) /* else: faults that nobody counts */
		(void)uffd_protect(writer->fds.uffd, span, false);
}

static int
writer_harvest(void *ctx, struct wherry_span span, struct wherry_bitmap *into)
{
	struct wherry_writer *writer = ctx;
	int rc;

	if (writer->gone)
		return 0;
	rc = scan_written(writer->fds.pagemap, span, into);
	if (rc == 0 && all_watched(&writer->fds, span))
		return 0;
	wherry_bitmap_mark(into, span);
	return rc == -ENOMEM ? rc : judge(writer, span);
}

/* Copies, so that who closes the originals does no harm. */
static int
copy_fds(const struct wherry_writer_fds *fds, struct wherry_writer_fds *ret_fds)
{
	ret_fds->uffd = wherry_fault("dirty.writer_fd") ? -1 : fcntl(fds->uffd, F_DUPFD_CLOEXEC, 0);
	if (ret_fds->uffd < 0)
		return -ENOMEM;
	ret_fds->pagemap = fcntl(fds->pagemap, F_DUPFD_CLOEXEC, 0);
	if (ret_fds->pagemap < 0) {
		close(ret_fds->uffd);
		return -ENOMEM;
	}
	return 0;
}

static void
free_writer(struct wherry_writer *writer)
{
	wherry_writer_close(&writer->fds);
	free(writer);
}

int
wherry_watch_add_writer(struct wherry_watch *w, const struct wherry_writer_fds *fds,
	struct wherry_writer **ret_writer)
{
	struct wherry_writer *writer;
	int rc;

	if (!all_watched(fds, w->span) || uffd_protect(fds->uffd, w->span, false) != 0)
		return -EPROTO;
	writer = wherry_fault("dirty.writer") ? NULL : calloc(1, sizeof(*writer));
	if (writer == NULL)
		return -ENOMEM;
	rc = copy_fds(fds, &writer->fds);
	if (rc != 0) {
		free(writer);
		return rc;
	}
	writer->log = (struct wherry_write_log){ .name = "another process",
		.start = writer_start,
		.stop = writer_stop,
		.harvest = writer_harvest,
		.ctx = writer };
	rc = wherry_watch_add_log(w, &writer->log);
	if (rc != 0)
		free_writer(writer);
	else
		*ret_writer = writer;
	return rc == -EFAULT ? -EPROTO : rc;
}

void
wherry_watch_remove_writer(struct wherry_watch *w, struct wherry_writer *writer)
{
	if (writer == NULL)
		return;
	wherry_watch_remove_log(w, &writer->log);
	free_writer(writer);
}
