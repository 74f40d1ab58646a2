/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "snap.h"
#include "test.h"

void
snap_create(struct snap *snap, struct pair_opts *opts)
{
	opts->no_dest = true;
	snap->pair = pair_create(opts);
	snprintf(snap->path, sizeof(snap->path), "%.100s.snapshot", snap->pair->control);
	snprintf(snap->partial, sizeof(snap->partial), "%s.partial", snap->path);
	snprintf(snap->pair->uri, sizeof(snap->pair->uri), "file:%.100s", snap->path);
	snprintf(snap->pair->dest_uri, sizeof(snap->pair->dest_uri), "file:%.100s", snap->path);
}

void
snap_write(struct snap *snap, const struct wherry_migrate_params *params,
	struct wherry_status *ret_status)
{
	pair_migrate(snap->pair, params, ret_status);
}

void
snap_check_written(const struct snap *snap, const struct wherry_status *status)
{
	struct stat st;

	if (status->state != WHERRY_STATE_SERVING || status->reason[0] != '\0')
		FAIL("%s: %s", wherry_state_name(status->state), status->reason);
	CHECK_EQ(stat(snap->path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0600);
	CHECK(access(snap->partial, F_OK) != 0);
	CHECK_EQ(snap->pair->resumes, snap->pair->quiesces);
	CHECK_EQ(snap->pair->releases, 0);
}

void
snap_check_failed(const struct snap *snap, const struct wherry_status *status)
{
	CHECK_EQ(status->state, WHERRY_STATE_SERVING);
	CHECK(status->reason[0] != '\0');
	CHECK(access(snap->partial, F_OK) != 0);
	CHECK_EQ(snap->pair->resumes, snap->pair->quiesces);
	CHECK_EQ(snap->pair->releases, 0);
}

void
snap_restore(struct snap *snap)
{
	pair_start_dest(snap->pair);
	pair_reap(snap->pair);
}

void
snap_check_restored(const struct snap *snap, uint64_t hash)
{
	const struct pair_shared *shared = snap->pair->shared;

	if (shared->wait_rc != 0)
		FAIL("%d: %s", shared->wait_rc, shared->status.reason);
	CHECK_EQ(shared->status.state, WHERRY_STATE_SERVING);
	CHECK_EQ(shared->verifies, 1);
	CHECK_EQ(shared->takeovers, 1);
	CHECK_EQ(shared->discards, 0);
	CHECK_EQ(shared->loads, 1);
	CHECK(shared->hash == hash);
}

void
snap_check_refused(const struct snap *snap, int rc, const char *why)
{
	const struct pair_shared *shared = snap->pair->shared;

	if (shared->wait_rc != rc || strstr(shared->status.reason, why) == NULL)
		FAIL("%d, not %d \"%s\": %s", shared->wait_rc, rc, why, shared->status.reason);
	CHECK_EQ(shared->status.state, WHERRY_STATE_FAILED);
	CHECK_EQ(shared->takeovers, 0);
	CHECK_EQ(shared->discards, 1);
}

uint64_t
snap_hash(const struct snap *snap)
{
	static uint8_t buf[1 << 16];
	int fd = open(snap->path, O_RDONLY);
	uint64_t hash = 1;
	ssize_t n;

	if (fd < 0)
		return 0;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		hash = XXH3_64bits_withSeed(buf, (size_t)n, hash);
	close(fd);
	CHECK_EQ(n, 0);
	return hash;
}

void
snap_destroy(struct snap *snap)
{
	pair_destroy(snap->pair);
	unlink(snap->path);
}
