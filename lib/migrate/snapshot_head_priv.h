/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SNAPSHOT_HEAD_PRIV_H
#define SNAPSHOT_HEAD_PRIV_H

/*
 * How a snapshot file is laid out (doc/snapshot.rst says it byte by byte), and its head:
 *
 *	0           head: one page
 *	2 MiB       pages of the first region, each at its place; holes are zeroes
 *	...         each further region begins at the next multiple of 2 MiB
 *	record_at   a HELLO record as on the wire: regions, key, sections with their bytes
 *
 * The head is written last. It has the sum of head and record, and the digest of all
 * pages as they stand in the file. Pure: every byte is taken for hostile.
 */

#include <stddef.h>
#include <stdint.h>

#include "reason_priv.h"

#define SNAP_FORMAT 1u
#define SNAP_HEAD 4096u
#define SNAP_ALIGN (UINT64_C(2) << 20)
#define SNAP_RECORD_MAX (UINT64_C(2) << 20) /* bytes; more than any record has */

struct mig_snap_head {
	uint64_t record_at, record_len; /* bytes */
	uint64_t pages_low, pages_high; /* digest of all pages */
	uint64_t sum[2];                /* of head and record */
};

/* The sum of a head, whose own is not counted, and of its record's bytes. */
void mig_snap_sum(const struct mig_snap_head *head, const void *record, uint64_t ret_sum[2]);

/* Write the page. */
void mig_snap_head_put(uint8_t page[SNAP_HEAD], const struct mig_snap_head *head);
/*
 * Read it, of a file of file_len bytes, at least SNAP_HEAD. -EPROTO: no snapshot, one of
 * another version, cut short, or damaged; with the reason.
 */
int mig_snap_head_get(const uint8_t page[SNAP_HEAD], uint64_t file_len,
	struct mig_snap_head *ret_head, struct mig_reason *reason);
/* Where the region behind one of len bytes at at begins, or the record; 0: beyond all files. */
uint64_t mig_snap_behind(uint64_t at, uint64_t len);

#endif /* SNAPSHOT_HEAD_PRIV_H */
