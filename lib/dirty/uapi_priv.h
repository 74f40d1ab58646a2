/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UAPI_PRIV_H
#define UAPI_PRIV_H

/*
 * The kernel interfaces newer than the oldest headers we build with (Linux 6.1):
 * declared here under our own names, so that what is compiled never depends on the
 * build machine. Whether the running kernel has them is asked at run time.
 * app/test/dirty compares every value with the system's headers where those know it.
 * Source: linux/fs.h and linux/userfaultfd.h of Linux 6.12.
 */

#include <linux/ioctl.h>
#include <linux/userfaultfd.h>

#include "base_priv.h"

/* userfaultfd features, by the kernel that brought them */
#define FEATURE_WP_SHMEM (UINT64_C(1) << 12)       /* 5.19: memfd and hugetlbfs, too */
#define FEATURE_WP_UNPOPULATED (UINT64_C(1) << 13) /* 6.4: anonymous pages not there yet */
#define FEATURE_WP_ASYNC (UINT64_C(1) << 15)       /* 6.7: the kernel resolves write faults */

#define USER_FAULTS_ONLY 1 /* userfaultfd(2): what an unprivileged process may have */

/* ioctl of /proc/PID/pagemap: find pages by category, and protect them again. 6.7 */
struct scan_region {
	uint64_t start;
	uint64_t end; /* exclusive */
	uint64_t categories;
};

struct scan_arg {
	uint64_t size; /* of this struct */
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end; /* out: where it stopped, as when vec was full */
	uint64_t vec;      /* struct scan_region[vec_len] */
	uint64_t vec_len;
	uint64_t max_pages; /* 0: no limit */
	uint64_t category_inverted;
	uint64_t category_mask; /* all of these */
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
#define SCAN_WATCHED (UINT64_C(1) << 0) /* in a mapping whose writes are noted */
#define SCAN_WRITTEN (UINT64_C(1) << 1)
#define SCAN_PROTECT (UINT64_C(1) << 0)       /* what is reported is protected in one step */
#define SCAN_CHECK_WPASYNC (UINT64_C(1) << 1) /* fail where nobody watches, not "clean" */

/* In an entry of /proc/PID/pagemap: of a file or of shared memory. 3.5 */
#define PAGEMAP_SHARED (UINT64_C(1) << 61)

#endif /* UAPI_PRIV_H */
