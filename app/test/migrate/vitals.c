/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <stddef.h>
#include <unistd.h>

#include "vitals.h"

static unsigned int
entries_of(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int n = 0;

	while (dir != NULL && readdir(dir) != NULL)
		n++;
	if (dir != NULL)
		closedir(dir);
	return n;
}

struct vitals
vitals_now(void)
{
	return (struct vitals){ .fds = entries_of("/proc/self/fd"),
		.threads = entries_of("/proc/self/task") };
}

bool
vitals_are_no_more(struct vitals now, struct vitals before)
{
	return now.fds <= before.fds && now.threads <= before.threads;
}

struct vitals
vitals_settled(struct vitals before)
{
	struct vitals now = vitals_now();

	for (unsigned int i = 0; i < 5000 && !vitals_are_no_more(now, before); i++) {
		usleep(1000);
		now = vitals_now();
	}
	return now;
}
