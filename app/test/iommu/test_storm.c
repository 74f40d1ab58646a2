/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several devices and several unmapping threads at full speed (app/storm): ten million
 * writes against EXACT, none lost; and losses where the table of doc/unmap_dirty says so.
 */
#include "storm.h"
#include "test.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 50u /* what a sanitizer costs */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SLOWER 50u
#endif
#endif
#ifndef SLOWER
#define SLOWER 1u
#endif

#define MILLION UINT64_C(1000000)

static struct storm_result
storm(const char *spec, enum wherry_unmap_mode mode, uint64_t writes, uint64_t until_lost)
{
	struct storm_plan plan = { .spec = spec, .mode = mode, .writes = writes / SLOWER };
	struct storm_result result;

	plan.until_lost = until_lost;
	plan.burst = 1024;
	plan.per_unmap = 5000;
	plan.devices = 3;
	plan.writers_each = 2;
	plan.unmappers = 3;
	CHECK_EQ(storm_run(&plan, &result), 0);
	printf("# %s mode %d: %llu writes, %llu refused, %llu unmaps, %llu lost\n", spec, (int)mode,
		(unsigned long long)result.landed, (unsigned long long)result.refused,
		(unsigned long long)result.unmaps, (unsigned long long)result.lost);
	CHECK(result.unmaps > 0 && result.landed >= plan.writes);
	CHECK_EQ(result.late, 0);
	return result;
}

/* One for each format, with and without several tables, replicas, a late D: 10^7 in all. */
static const char *const exact[] = { "soft:iotlb=16", "soft:units=2,width=57",
	"soft:dbit=late,units=3", "soft:format=amdv1,leaf=64k,width=39",
	"soft:format=amdv1,dbit=late", "soft:format=arm64s1,iotlb=1",
	"soft:format=arm64s1,leaf=64k,units=2", NULL };

TEST_EACH(storm_exact_loses_nothing, exact, spec)
{
	CHECK_EQ(storm(spec, WHERRY_UNMAP_EXACT, 3 * MILLION / 2, 0).lost, 0);
}

static const char *const checked[] = { "soft", "soft:format=amdv1,leaf=64k", "soft:format=arm64s1",
	NULL };

TEST_EACH(storm_seed_loses_nothing_where_dirty_is_checked, checked, spec)
{
	CHECK_EQ(storm(spec, WHERRY_UNMAP_SEED, MILLION / 2, 0).lost, 0);
}

static const char *const anyhow[] = { "soft", "soft:dbit=late", "soft:dbit=stale",
	"soft:format=amdv1,leaf=64k", "soft:format=arm64s1", NULL };

/* Goes on until it does, for as long as no machine should need. */
TEST_EACH(storm_snapshot_loses, anyhow, spec)
{
	CHECK(storm(spec, WHERRY_UNMAP_SNAPSHOT, MILLION / 5, 400 * MILLION).lost > 0);
}

static const char *const unchecked[] = { "soft:dbit=late", "soft:dbit=stale",
	"soft:format=amdv1,dbit=late", "soft:format=arm64s1,dbit=stale", NULL };

TEST_EACH(storm_seed_loses_where_dirty_is_not_checked, unchecked, spec)
{
	CHECK(storm(spec, WHERRY_UNMAP_SEED, MILLION / 5, 400 * MILLION).lost > 0);
}
