/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SNAPSHOT_FILE_PRIV_H
#define SNAPSHOT_FILE_PRIV_H

/*
 * A snapshot being written: PATH.partial, which takes PATH's place when all of it is on
 * the disk. Whatever happens before, PATH holds what it held. One writes at a time, who
 * holds the lock on the file; what a crash has left is begun anew.
 *
 * Pages come from a lane (lane_priv.h) and each goes to its place, perhaps more than once;
 * a page that has become zeroes becomes a hole.
 */

#include "lane_priv.h"
#include "pace_priv.h"
#include "snapshot_head_priv.h"
#include "uri_priv.h"

struct mig_snapfile {
	int fd; /* -1: not open */
	char path[MIG_FILE_MAX];
	char partial[MIG_FILE_MAX + 16];
	uint64_t *at; /* of each region, and of the record behind them */
	uint32_t n;   /* regions */
	int cancel_fd;
	struct mig_pace pace;
	struct mig_lane_out out; /* for the sender */
};

/* Open the partial file. -EBUSY: another writes it; -ENOMEM, -errno; with the reason. */
int mig_snapfile_create(struct mig_snapfile *f, const char *path, const struct mig_regions *regions,
	struct mig_reason *reason);
/* Where it will stand. */
uint64_t mig_snapfile_record_at(const struct mig_snapfile *f);
/* The record, which stands behind the pages. */
int mig_snapfile_put(
	struct mig_snapfile *f, const void *record, size_t len, struct mig_reason *reason);
/* Head, all of it to the disk, and into its place. */
int mig_snapfile_commit(
	struct mig_snapfile *f, const struct mig_snap_head *head, struct mig_reason *reason);
/* Not committed: nothing is left of it. Harmless otherwise. */
void mig_snapfile_close(struct mig_snapfile *f);

#endif /* SNAPSHOT_FILE_PRIV_H */
