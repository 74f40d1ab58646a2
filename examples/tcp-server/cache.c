/* SPDX-License-Identifier: BSD-3-Clause */
/* Loading the content cache. */

#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server.h"
#include "state.h"

static struct file *
file_create(struct state *state, const char *name, size_t len)
{
	struct file *f = state_alloc(state, sizeof(*f));

	if (f == NULL)
		return NULL;
	/* an empty file has an address as well */
	f->data = wherry_arena_alloc(state->server->arena, len == 0 ? 1 : len);
	if (f->data == NULL) {
		state_free(state, f);
		return NULL;
	}
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->len = len;
	return f;
}

static void
file_destroy(struct state *state, struct file *f)
{
	state_free(state, f->data);
	state_free(state, f);
}

static void
file_add(struct state *state, struct file *f)
{
	TAILQ_INSERT_TAIL(&state->files, f, link);
	state->cache_len += f->len;
}

static int
read_all(int fd, unsigned char *to, size_t len)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = read(fd, to + have, len - have);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO; /* it shrank */
		have += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int
load_fd(struct state *state, int fd, const char *name)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	if (strlen(name) >= NAME_LEN)
		return -ENAMETOOLONG;
	struct file *f = file_create(state, name, (size_t)st.st_size);
	if (f == NULL)
		return -ENOMEM;
	int rc = read_all(fd, f->data, f->len);
	if (rc != 0) {
		file_destroy(state, f);
		return rc;
	}
	file_add(state, f);
	return 0;
}

static int
load_file(struct state *state, int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 ? -errno : load_fd(state, fd, name);

	if (fd >= 0)
		close(fd);
	if (rc == -ENOMEM)
		complain("--content: %s does not fit into the state; make --arena larger", name);
	else if (rc != 0)
		complain("--content: cannot load %s: %s", name, strerror(-rc));
	return rc;
}

int
cache_load(struct state *state, const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;
	int rc = 0;

	if (d == NULL) {
		rc = -errno;
		complain("--content %s: %s", dir, strerror(-rc));
		return rc;
	}
	while (rc == 0 && (entry = readdir(d)) != NULL)
		rc = load_file(state, dirfd(d), entry->d_name);
	closedir(d);
	return rc;
}

int
cache_fill(struct state *state, size_t len)
{
	uint64_t words[512];
	uint64_t x = 1;
	struct file *f = file_create(state, "fill", len);

	if (f == NULL)
		return -ENOMEM;
	for (size_t at = 0; at < len; at += sizeof(words)) {
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			x ^= x << 13; /* xorshift64 */
			x ^= x >> 7;
			x ^= x << 17;
			words[i] = x;
		}
		memcpy(f->data + at, words, len - at < sizeof(words) ? len - at : sizeof(words));
	}
	file_add(state, f);
	return 0;
}

struct file *
cache_find(struct state *state, const char *name)
{
	struct file *f;

	TAILQ_FOREACH(f, &state->files, link) {
		if (strcmp(f->name, name) == 0)
			return f;
	}
	return NULL;
}
