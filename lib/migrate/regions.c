/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>

#include "base_priv.h"
#include "hello_priv.h"

static int
add_region(void *ctx, struct wherry_watch *w)
{
	struct mig_regions *regions = ctx;

	if (regions->n == MIG_REGIONS_MAX)
		return -E2BIG;
	regions->list[regions->n++] = (struct mig_region){
		.watch = w,
		.name = wherry_watch_name(w),
		.span = wherry_watch_span(w),
		.page = wherry_watch_page(w),
	};
	regions->bytes += wherry_watch_span(w).len;
	return 0;
}

int
mig_regions_init(struct mig_regions *regions, struct wherry_tracker *tracker)
{
	int rc;

	*regions = (struct mig_regions){ .n = 0 };
	regions->list = wherry_fault("regions.alloc")
		? NULL
		: calloc(MIG_REGIONS_MAX, sizeof(*regions->list));
	if (regions->list == NULL)
		return -ENOMEM;
	rc = wherry_tracker_each(tracker, add_region, regions);
	if (rc != 0)
		mig_regions_fini(regions);
	return rc;
}

void
mig_regions_fini(struct mig_regions *regions)
{
	free(regions->list);
	*regions = (struct mig_regions){ .n = 0 };
}
