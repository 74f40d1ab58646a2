/* SPDX-License-Identifier: BSD-3-Clause */
/* A migration needs each of the tracker's ways to know the CPU's writes. */
#include <errno.h>
#include <string.h>

#include "pair.h"
#include "test.h"

static const char *const sources[] = { "wp-async", "wp-sync", "hash", NULL };

static enum wherry_cpu_source
source_named(const char *name)
{
	enum wherry_cpu_source source = WHERRY_CPU_AUTO;

	while (strcmp(wherry_cpu_source_name(source), name) != 0)
		source++;
	return source;
}

/* The last round sends what was written last, not everything that was ever sent. */
TEST_EACH(migrate_sends_pages_again_only_if_written, sources, source)
{
	struct pair_opts opts = { .writer = true, .writer_us = 1000, .cpu = source_named(source) };
	struct wherry_tracker_opts tracker_opts = { .cpu = opts.cpu };
	struct wherry_migrate_params params = { .verify = true };
	struct wherry_tracker *tracker;
	struct wherry_status st;
	struct pair *pair;

	if (wherry_tracker_create(&tracker_opts, &tracker) == -EOPNOTSUPP)
		SKIP("this kernel has no %s: see doc/dirty_tracking.rst", source);
	wherry_tracker_destroy(tracker);
	pair = pair_create(&opts);
	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK(st.round.pages < (pair->len[0] + pair->len[1]) / PAIR_PAGE / 4);
	pair_destroy(pair);
}
