/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SNAP_H
#define SNAP_H

/* A pair whose two sides meet in a file: first the snapshot, then restores of it. */

#include "pair.h"

struct snap {
	struct pair *pair;
	char path[128], partial[160];
};

/* Without a destination; opts->no_dest is set. Nothing is written yet. */
void snap_create(struct snap *snap, struct pair_opts *opts);
/* Write the file, until the source is at rest. */
void snap_write(struct snap *snap, const struct wherry_migrate_params *params,
	struct wherry_status *ret_status);
/* The source serves, and there is a snapshot. */
void snap_check_written(const struct snap *snap, const struct wherry_status *status);
/* The source serves and says why, and of what was begun nothing is left. */
void snap_check_failed(const struct snap *snap, const struct wherry_status *status);
/* A destination reads the file and is gone; pair->shared tells. */
void snap_restore(struct snap *snap);
/* It took over, with this memory. */
void snap_check_restored(const struct snap *snap, uint64_t hash);
/* It said why it did not, and was never owner. */
void snap_check_refused(const struct snap *snap, int rc, const char *why);
/* Of the file's bytes; 0: there is none. */
uint64_t snap_hash(const struct snap *snap);
void snap_destroy(struct snap *snap);

#endif /* SNAP_H */
