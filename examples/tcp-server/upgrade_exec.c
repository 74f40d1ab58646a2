/* SPDX-License-Identifier: BSD-3-Clause */
/* Becoming the new server: the old one's command line, changed. Ends with this process's end or exec. */

#include "upgrade.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server.h"
#include "succeed.h"

#define WORDS_MAX 256
#define BYTES_MAX 65536

/* A command line, as words in place. */
struct line {
	char bytes[BYTES_MAX];
	size_t len;
	char *words[WORDS_MAX];
	int n;
};

static void
add(struct line *line, char *word)
{
	if (word != NULL && line->n < WORDS_MAX - 1)
		line->words[line->n++] = word;
}

static char *
text(const char *fmt, const char *s, int n)
{
	char *made = NULL;

	return asprintf(&made, fmt, s, n) < 0 ? NULL : made;
}

static bool
begins_with(const char *word, const char *with)
{
	return strncmp(word, with, strlen(with)) == 0;
}

/* How that process was started. */
static bool
read_line(struct line *line, int pid)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	line->len = fread(line->bytes, 1, sizeof(line->bytes), f);
	fclose(f);
	if (line->len == 0 || line->len == sizeof(line->bytes))
		return false;
	for (char *w = line->bytes; w < line->bytes + line->len; w += strlen(w) + 1)
		add(line, w);
	return line->n < WORDS_MAX - 1;
}

/* A TAP interface is handed over: wire=tap=NAME waits for it. */
static char *
without_tap(char *word)
{
	char *tap = strstr(word, "wire=tap="), *rest, *made;

	if (tap == NULL)
		return word;
	tap += strlen("wire=tap=");
	rest = tap + strcspn(tap, ",");
	return asprintf(&made, "%.*s-%s", (int)(tap - word), word, rest) < 0 ? NULL : made;
}

/* EAL's options end with "--"; without one there are none. */
static int
end_of_eal(const struct line *old)
{
	for (int i = 1; i < old->n; i++)
		if (strcmp(old->words[i], "--") == 0)
			return i;
	return 0;
}

/* Two EALs of one prefix would share files. */
static void
add_eal(struct line *new, const struct line *old, const char *name)
{
	for (int i = 1; i < end_of_eal(old); i++) {
		if (strcmp(old->words[i], "--file-prefix") == 0)
			i++;
		else if (!begins_with(old->words[i], "--file-prefix="))
			add(new, without_tap(old->words[i]));
	}
	add(new, text("--file-prefix=%s.%d", name, getpid()));
}

/* What an earlier upgrade added goes; argp takes the last of each. */
static void
add_own(struct line *new, const struct line *old, const char *control)
{
	add(new, (char *)(uintptr_t) "--");
	for (int i = end_of_eal(old) + 1; i < old->n; i++)
		if (!begins_with(old->words[i], "--incoming=") &&
			!begins_with(old->words[i], "--control=") &&
			!begins_with(old->words[i], "--succeed="))
			add(new, old->words[i]);
	add(new, text("--incoming=unix:%s.%d.in", control, getpid()));
	add(new, text("--control=%s.%d", control, getpid()));
	add(new, text("--succeed=%s", control, 0));
}

/* NULL: it is not known. */
static const char *
program(const struct options *opts)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (opts->upgrade_to != NULL)
		return opts->upgrade_to;
	return n > 0 ? path : NULL;
}

void
upgrade_exec(const struct options *opts)
{
	static struct line old, new;
	char control[SUCCEED_PATH];
	int pid, fd;

	succeed_path(opts, control);
	fd = succeed_connect(control, &pid);
	if (fd < 0) {
		complain("no server answers on %s: %s", control, strerror(-fd));
		return;
	}
	add(&new, (char *)(uintptr_t)program(opts));
	if (new.n == 0 || !read_line(&old, pid)) {
		complain("the options of process %d cannot be read", pid);
		return;
	}
	add_eal(&new, &old, opts->name);
	add_own(&new, &old, control);
	fprintf(stderr, "replacing process %d by %s\n", pid, new.words[0]);
	syscall(SYS_close_range, 3u, UINT_MAX, 0u); /* nothing is inherited */
	execv(new.words[0], new.words);
	complain("cannot start %s: %s", new.words[0], strerror(errno));
}
