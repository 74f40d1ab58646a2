/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who else can write a region, or another file: every process whose mappings we may read is asked for
 * the file, as /proc shows them. (proc(5), /proc/PID/maps)
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "mem_priv.h"

struct search {
	struct stat st; /* the file */
	wherry_known_writer_fn known;
	void *ctx;
};

/* "FROM-TO rw-s OFFSET MAJOR:MINOR INODE ..." */
static bool
writes_file(const char *line, const struct stat *st, struct wherry_span *ret_at)
{
	const char *perms = strchr(line, ' ');
	unsigned long major_no, minor_no;
	char *at;

	if (perms == NULL || strlen(perms) < 6 || perms[2] != 'w' || perms[4] != 's')
		return false;
	ret_at->iova = strtoull(line, &at, 16);
	ret_at->len = strtoull(at + 1, NULL, 16) - ret_at->iova;
	(void)strtoul(perms + 5, &at, 16);
	major_no = strtoul(at, &at, 16);
	if (*at != ':')
		return false;
	minor_no = strtoul(at + 1, &at, 16);
	return strtoul(at, NULL, 10) == st->st_ino &&
		makedev((unsigned int)major_no, (unsigned int)minor_no) == st->st_dev;
}

static bool
is_known(const struct search *s, int pid, struct wherry_span at)
{
	return s->known != NULL && s->known(s->ctx, pid, at);
}

/* A process that has ended meanwhile, or that is not ours to look into, has none. */
static bool
process_writes(int pid, const struct search *s)
{
	char path[32], line[512];
	struct wherry_span at;
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), f) != NULL)
		found = writes_file(line, &s->st, &at) && !is_known(s, pid, at);
	(void)fclose(f);
	return found;
}

/* This process as /proc numbers it, whose namespace need not be the one getpid() counts in. */
static int
own_pid(void)
{
	char name[16] = "";

	if (readlink("/proc/self", name, sizeof(name) - 1) < 0)
		return -errno;
	return (int)strtol(name, NULL, 10);
}

static int
find_other_writer(const struct search *s, int self)
{
	const struct dirent *entry;
	int writer = 0;
	DIR *proc;

	proc = opendir("/proc");
	if (proc == NULL)
		return -errno;
	while (writer == 0 && (entry = readdir(proc)) != NULL) {
		int pid = isdigit((unsigned char)entry->d_name[0])
			? (int)strtol(entry->d_name, NULL, 10)
			: 0;

		if (pid != 0 && pid != self && process_writes(pid, s))
			writer = pid;
	}
	closedir(proc);
	return writer;
}

int
wherry_region_find_writer(
	const struct wherry_region *region, wherry_known_writer_fn known, void *ctx)
{
	struct search s = { .known = known, .ctx = ctx };
	struct wherry_region_info info;
	int self = own_pid();

	if (self < 0)
		return self;
	wherry_region_get_info(region, &info);
	if (fstat(info.fd, &s.st) != 0)
		return -errno;
	return find_other_writer(&s, self);
}

int
wherry_file_find_sharer(const char *path)
{
	struct search s = { .known = NULL };
	int self = own_pid();

	if (self < 0)
		return self;
	if (stat(path, &s.st) != 0)
		return errno == ENOENT ? 0 : -errno;
	return process_writes(self, &s) ? find_other_writer(&s, self) : 0;
}
