/* SPDX-License-Identifier: BSD-3-Clause */
#define LOG_PREFIX "migrate/snapshot"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "snapshot_file_priv.h"
#include "socket_priv.h"

#define PAGE WHERRY_STREAM_PAGE
#define TRIES 16

static int
failed(const struct mig_snapfile *f, struct mig_reason *reason, const char *what, int rc)
{
	return mig_fail(reason, rc, "%s could not be %s: %s%s", f->partial, what, strerror(-rc),
		rc == -ENOSPC || rc == -EDQUOT ? ": make room, or write it elsewhere" : "");
}

/* Is the file we have locked the one that stands there? Another may have moved it just now. */
static bool
is_in_place(const struct mig_snapfile *f)
{
	struct stat ours, there;

	return fstat(f->fd, &ours) == 0 && lstat(f->partial, &there) == 0 &&
		ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

static int
open_locked(struct mig_snapfile *f)
{
	for (int i = 0; i < TRIES; i++) {
		f->fd = open(
			f->partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
		if (f->fd < 0)
			return -errno;
		if (flock(f->fd, LOCK_EX | LOCK_NB) != 0) {
			int rc = errno == EWOULDBLOCK ? -EBUSY : -errno;

			close(f->fd);
			f->fd = -1;
			return rc;
		}
		if (is_in_place(f))
			return 0;
		close(f->fd);
		f->fd = -1;
	}
	return -EBUSY;
}

/* Only now is it ours to empty. */
static int
make_empty(struct mig_snapfile *f)
{
	struct stat st;

	if (fstat(f->fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (fchmod(f->fd, 0600) != 0 || ftruncate(f->fd, 0) != 0 ||
		ftruncate(f->fd, (off_t)f->at[f->n]) != 0)
		return -errno;
	return 0;
}

static int
lay_out(struct mig_snapfile *f, const struct mig_regions *regions)
{
	uint64_t at = SNAP_ALIGN;

	f->n = regions->n;
	f->at = wherry_fault("snapshot.layout") ? NULL : calloc(f->n + 1, sizeof(*f->at));
	if (f->at == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < f->n; i++) {
		f->at[i] = at;
		at = mig_snap_behind(at, regions->list[i].span.len);
		if (at == 0)
			return -EFBIG;
	}
	f->at[f->n] = at;
	return 0;
}

/* All of it, as the limit allows. */
static int
write_all(struct mig_snapfile *f, const uint8_t *bytes, size_t len, uint64_t at)
{
	while (len > 0) {
		ssize_t n;
		int rc = mig_wait(-1, 0, f->cancel_fd, mig_pace_wait_ms(&f->pace));

		if (rc < 0)
			return rc;
		n = wherry_fault("snapshot.write")
			? -ENOSPC
			: wherry_sys->pwrite(
				  f->fd, bytes, mig_pace_piece(&f->pace, len), (off_t)at);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? -EIO : (int)n;
		mig_pace_sent(&f->pace, (size_t)n, mig_now());
		bytes += n;
		at += (uint64_t)n;
		len -= (size_t)n;
		__atomic_fetch_add(&f->out.bytes, (uint64_t)n, __ATOMIC_RELAXED);
	}
	return 0;
}

static int
put_pages(
	void *ctx, uint32_t region, const struct wherry_run *runs, uint32_t n, const uint8_t *bytes)
{
	struct mig_snapfile *f = ctx;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < n; i++) {
		rc = write_all(
			f, bytes, runs[i].count * PAGE, f->at[region] + runs[i].first * PAGE);
		bytes += runs[i].count * PAGE;
	}
	if (rc == -ECANCELED)
		return mig_fail(&f->out.reason, rc, "cancelled");
	return rc == 0 ? 0 : failed(f, &f->out.reason, "written", rc);
}

/* A file system that cannot make holes gets zeroes. */
static int
fill_with_zeros(struct mig_snapfile *f, uint64_t at, uint64_t len)
{
	static const uint8_t zeros[16 * PAGE];
	int rc = 0;

	for (uint64_t done = 0; rc == 0 && done < len; done += sizeof(zeros))
		rc = write_all(f, zeros, len - done < sizeof(zeros) ? len - done : sizeof(zeros),
			at + done);
	return rc;
}

static int
punch(struct mig_snapfile *f, uint64_t at, uint64_t len)
{
	if (!wherry_fault("snapshot.punch") &&
		fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
			(off_t)len) == 0)
		return 0;
	return fill_with_zeros(f, at, len);
}

static int
put_zeros(void *ctx, uint32_t region, const struct wherry_run *runs, uint32_t n)
{
	struct mig_snapfile *f = ctx;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < n; i++)
		rc = punch(f, f->at[region] + runs[i].first * PAGE, runs[i].count * PAGE);
	return rc == 0 ? 0 : failed(f, &f->out.reason, "written", rc);
}

int
mig_snapfile_create(struct mig_snapfile *f, const char *path, const struct mig_regions *regions,
	struct mig_reason *reason)
{
	int rc;

	f->fd = -1;
	snprintf(f->path, sizeof(f->path), "%s", path);
	snprintf(f->partial, sizeof(f->partial), "%s.partial", path);
	f->out = (struct mig_lane_out){ .pages = put_pages, .zeros = put_zeros, .ctx = f };
	rc = lay_out(f, regions);
	if (rc == 0)
		rc = open_locked(f);
	if (rc == -EBUSY)
		return mig_fail(reason, rc, "another snapshot is being written to %s", f->path);
	if (rc != 0)
		return failed(f, reason, "made", rc);
	rc = make_empty(f);
	return rc == 0 ? 0 : failed(f, reason, "made", rc);
}

uint64_t
mig_snapfile_record_at(const struct mig_snapfile *f)
{
	return f->at[f->n];
}

int
mig_snapfile_put(struct mig_snapfile *f, const void *record, size_t len, struct mig_reason *reason)
{
	int rc = write_all(f, record, len, mig_snapfile_record_at(f));

	return rc == 0 ? 0 : failed(f, reason, "written", rc);
}

static int
sync_fd(int fd, const char *point)
{
	if (wherry_fault(point))
		return -EIO;
	return fsync(fd) == 0 ? 0 : -errno;
}

static int
put_in_place(const struct mig_snapfile *f)
{
	if (wherry_fault("snapshot.rename"))
		return -EIO;
	return rename(f->partial, f->path) == 0 ? 0 : -errno;
}

/* The name is on the disk when its folder is. */
static int
sync_folder(const struct mig_snapfile *f)
{
	char copy[MIG_FILE_MAX];
	int fd, rc;

	snprintf(copy, sizeof(copy), "%s", f->path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = sync_fd(fd, "snapshot.folder");
	close(fd);
	return rc;
}

int
mig_snapfile_commit(
	struct mig_snapfile *f, const struct mig_snap_head *head, struct mig_reason *reason)
{
	uint8_t page[SNAP_HEAD];
	int rc;

	mig_snap_head_put(page, head);
	rc = write_all(f, page, sizeof(page), 0);
	if (rc != 0)
		return failed(f, reason, "written", rc);
	rc = sync_fd(f->fd, "snapshot.sync");
	if (rc != 0)
		return failed(f, reason, "brought to the disk", rc);
	rc = put_in_place(f);
	if (rc != 0)
		return failed(f, reason, "renamed", rc);
	rc = sync_folder(f);
	close(f->fd);
	f->fd = -1;
	if (rc != 0) /* it is there, complete; only a power failure could bring the old one back */
		LOG_WARN("%s: its folder could not be brought to the disk: %s", f->path,
			strerror(-rc));
	return 0;
}

void
mig_snapfile_close(struct mig_snapfile *f)
{
	if (f->fd >= 0) {
		unlink(f->partial);
		close(f->fd);
	}
	f->fd = -1;
	free(f->at);
	f->at = NULL;
}
