/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock:PATH. The record is the file's content; who reads or changes it holds flock on the
 * file, for some microseconds. The kernel lets go of the lock of a process that dies. A
 * record is written with one pwrite within a page, which a signal does not cut, and it has
 * always the same length, so that there is nothing to truncate.
 */
#define LOG_PREFIX "migrate/arbiter"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "arbiter_priv.h"
#include "base_priv.h"

#define FILE_LEN 512
#define WAIT_MS 2000 /* whoever holds it so long has been stopped */

static int
lock_open(const char *rest, void **ret_ctx, const char **ret_why)
{
	char *path;

	if (*rest != '/') {
		*ret_why = "the path is not absolute: lock:/run/wherry/NAME.owner";
		return -EINVAL;
	}
	path = strdup(rest);
	*ret_ctx = path;
	return path == NULL ? -ENOMEM : 0;
}

static const char *
lock_name(const void *ctx)
{
	return ctx;
}

static int
wait_for_lock(int fd)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	for (unsigned int i = 0; i < WAIT_MS; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		nanosleep(&ms, NULL);
	}
	return -ETIMEDOUT;
}

/* The file, locked, or -errno; close unlocks. */
static int
open_locked(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = fd < 0 ? -errno : wait_for_lock(fd);

	if (rc == 0)
		return fd;
	LOG_WARN("%s: %s", path, strerror(-rc));
	if (fd >= 0)
		close(fd);
	return rc;
}

/* An empty file is one that nobody has written yet. */
static int
read_record(int fd, struct wherry_owner *ret_now)
{
	char text[FILE_LEN];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	if (n < 0)
		return -errno;
	*ret_now = (struct wherry_owner){ .epoch = 0 };
	if (n == 0)
		return 0;
	while (n > 1 && text[n - 1] == '\n' && text[n - 2] == '\n')
		n--;
	return mig_record_get(text, (size_t)n, ret_now);
}

static int
write_record(int fd, const struct wherry_owner *next)
{
	char text[FILE_LEN];
	size_t len = mig_record_put(next, text);
	ssize_t n;

	memset(text + len, '\n', sizeof(text) - len);
	n = wherry_sys->pwrite(fd, text, sizeof(text), 0);
	if (n == (ssize_t)sizeof(text))
		return 0;
	return n < 0 ? (int)n : -ENOSPC;
}

static int
lock_read(void *ctx, struct wherry_owner *ret_now)
{
	int fd = open_locked(ctx);
	int rc;

	if (fd < 0)
		return fd;
	rc = read_record(fd, ret_now);
	close(fd);
	return rc;
}

static int
lock_swap(void *ctx, const struct wherry_owner *known, const struct wherry_owner *next,
	struct wherry_owner *ret_now)
{
	struct wherry_owner now = { .epoch = 0 };
	int fd = open_locked(ctx);
	int rc;

	if (fd < 0)
		return fd;
	rc = read_record(fd, &now);
	if (rc == 0 && now.epoch == known->epoch) {
		rc = write_record(fd, next);
		now = *next;
	}
	close(fd);
	if (rc == 0)
		*ret_now = now;
	return rc;
}

const struct mig_arbiter_kind mig_arbiter_lock = {
	.prefix = "lock:",
	.open = lock_open,
	.close = free,
	.name = lock_name,
	.read = lock_read,
	.swap = lock_swap,
};
