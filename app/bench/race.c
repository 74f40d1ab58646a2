/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who loses a write when devices write at full speed while threads unmap (app/storm): for
 * each order of unmapping and each way of setting D, pages lost per million writes. A
 * page lost with EXACT, or one written after an unmap, fails the bench: these are not
 * numbers but promises.
 */
#include <errno.h>

#include "bench.h"
#include "storm.h"

#define MILLION UINT64_C(1000000)

static const struct row {
	const char *lost, *unmaps, *spec;
	enum wherry_unmap_mode mode;
	bool promised; /* to lose nothing */
} rows[] = {
#define ROW(text, spec, mode, promised)                            \
	{                                                          \
		"lost_" text, "unmaps_" text, spec, mode, promised \
	}
	ROW("exact_vtdss", "soft:units=2", WHERRY_UNMAP_EXACT, true),
	ROW("exact_vtdss_late", "soft:dbit=late", WHERRY_UNMAP_EXACT, true),
	ROW("exact_amdv1", "soft:format=amdv1,leaf=64k", WHERRY_UNMAP_EXACT, true),
	ROW("exact_amdv1_late", "soft:format=amdv1,dbit=late", WHERRY_UNMAP_EXACT, true),
	ROW("exact_arm64s1", "soft:format=arm64s1,leaf=64k", WHERRY_UNMAP_EXACT, true),
	ROW("seed_checked", "soft", WHERRY_UNMAP_SEED, true),
	ROW("seed_late", "soft:dbit=late", WHERRY_UNMAP_SEED, false),
	ROW("seed_stale", "soft:dbit=stale", WHERRY_UNMAP_SEED, false),
	ROW("snapshot_checked", "soft", WHERRY_UNMAP_SNAPSHOT, false),
	ROW("snapshot_late", "soft:dbit=late", WHERRY_UNMAP_SNAPSHOT, false),
	ROW("snapshot_stale", "soft:dbit=stale", WHERRY_UNMAP_SNAPSHOT, false),
#undef ROW
};

static int
race_setup(void **ret_ctx)
{
	*ret_ctx = NULL;
	return 0;
}

static void
race_teardown(void *ctx)
{
	(void)ctx;
}

/* With --long a thousand million writes against EXACT, over its five rows. */
static int
race_row(const struct row *row, struct bench_result *result, uint64_t *writes)
{
	struct storm_plan plan = { .spec = row->spec, .mode = row->mode, .writes = MILLION };
	struct storm_result storm;
	int rc;

	plan.burst = 1024;
	plan.per_unmap = bench_long ? 1000 : 5000;
	if (bench_long && row->mode == WHERRY_UNMAP_EXACT)
		plan.writes = 200 * MILLION;
	plan.devices = 3;
	plan.writers_each = 2;
	plan.unmappers = 3;
	rc = storm_run(&plan, &storm);
	if (rc != 0)
		return bench_cannot(rc, "%s", row->lost);
	*writes += storm.landed;
	bench_record(result, row->lost, "pages/M",
		(double)storm.lost * (double)MILLION / (double)storm.landed);
	bench_record(result, row->unmaps, "unmaps", (double)storm.unmaps);
	if (storm.late != 0)
		return bench_cannot(-EIO, "%s: memory changed after an unmap", row->lost);
	if (row->promised && storm.lost != 0)
		return bench_cannot(
			-EIO, "%s: %llu pages", row->lost, (unsigned long long)storm.lost);
	return 0;
}

static int
race_run(void *ctx, struct bench_result *result)
{
	uint64_t writes = 0;
	int rc = 0;

	(void)ctx;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && rc == 0; i++)
		rc = race_row(&rows[i], result, &writes);
	bench_record(result, "writes", "M", (double)writes / (double)MILLION);
	return rc;
}

static struct bench race = {
	.name = "race",
	.what = "pages lost per million writes, for each order of unmapping; --long: 10^9 writes",
	.setup = race_setup,
	.run = race_run,
	.teardown = race_teardown,
	.once = true,
};
BENCH(race)
