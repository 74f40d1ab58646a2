/* SPDX-License-Identifier: BSD-3-Clause */
/* Small files of sysfs. What cannot be read is empty: nothing here is worth an error. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vfio_priv.h"

const char *vfio_root = "";

bool
vfio_path(char *path, size_t cap, const char *fmt, ...)
{
	size_t len = strlen(vfio_root);
	va_list args;
	int n;

	if (len >= cap)
		return false;
	memcpy(path, vfio_root, len + 1);
	va_start(args, fmt);
	n = vsnprintf(path + len, cap - len, fmt, args);
	va_end(args);
	return n >= 0 && (size_t)n < cap - len;
}

void
vfio_sysfs_line(const char *path, char *text, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0) {
		n = read(fd, text, cap - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
}

static void
copy_text(char *text, size_t cap, const char *from)
{
	size_t len = strlen(from);

	if (len >= cap)
		len = 0; /* half a name is no name */
	memcpy(text, from, len);
	text[len] = '\0';
}

void
vfio_sysfs_link(const char *path, char *text, size_t cap)
{
	char target[VFIO_PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *slash;

	target[n > 0 ? n : 0] = '\0';
	slash = strrchr(target, '/');
	copy_text(text, cap, slash != NULL ? slash + 1 : target);
}

bool
vfio_sysfs_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static int
is_entry(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int
vfio_sysfs_each(const char *path, int (*fn)(void *ctx, const char *name), void *ctx)
{
	struct dirent **entries;
	int n = scandir(path, &entries, is_entry, alphasort), rc = 0;

	if (n < 0)
		return errno == ENOMEM ? -ENOMEM : -ENOENT;
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = fn(ctx, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return rc;
}

struct first {
	char *text;
	size_t cap;
};

static int
take_first(void *ctx, const char *name)
{
	struct first *first = ctx;

	copy_text(first->text, first->cap, name);
	return 1;
}

void
vfio_sysfs_first(const char *path, char *text, size_t cap)
{
	struct first first = { text, cap };

	text[0] = '\0';
	(void)vfio_sysfs_each(path, take_first, &first);
}
