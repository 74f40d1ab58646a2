/* SPDX-License-Identifier: BSD-3-Clause */
/* The model behind rate and forecast, against simulated writers. */
#include "rate_priv.h"
#include "test.h"

#define N 10000u

static uint8_t dirty[N];

/* Write @p writes random pages of N; how many were clean before. */
static uint64_t
simulate(uint64_t writes)
{
	uint64_t fresh = 0;

	for (uint64_t i = 0; i < writes; i++) {
		uint8_t *page = &dirty[test_random() % N];

		fresh += *page == 0;
		*page = 1;
	}
	return fresh;
}

static void
clean(void)
{
	for (unsigned int i = 0; i < N; i++)
		dirty[i] = 0;
}

static bool
near(double got, double want, double tolerance)
{
	return got > want * (1 - tolerance) && got < want * (1 + tolerance);
}

TEST(dirty_forecast_does_not_depend_on_the_time_between_harvests)
{
	static const double intervals[] = { 0.01, 0.1, 0.5, 2 };
	const double writes_per_s = N;

	for (unsigned int i = 0; i < 4; i++) {
		struct rate r = { 0 };
		uint64_t want;

		for (unsigned int n = 0; n < 50; n++) {
			clean();
			rate_add(&r, simulate((uint64_t)(writes_per_s * intervals[i])), N,
				intervals[i]);
		}
		clean();
		want = simulate(N / 2); /* half a second of it */
		if (!near(rate_forecast(r.hazard, N, 0.5), (double)want, 0.1))
			FAIL("harvests every %g s foretell %g, not %llu", intervals[i],
				rate_forecast(r.hazard, N, 0.5), (unsigned long long)want);
	}
}

TEST(dirty_rate_is_a_recent_mean)
{
	struct rate r = { 0 };

	rate_add(&r, 100, N, 0.1);
	CHECK(near(r.per_second, 1000, 0.001)); /* the first sample counts in full */
	for (unsigned int i = 0; i < 100; i++)
		rate_add(&r, 0, N, 0.1);
	CHECK(r.per_second < 10); /* ten seconds later it is forgotten */
	for (unsigned int i = 0; i < 100; i++)
		rate_add(&r, 500, N, 0.1);
	CHECK(near(r.per_second, 5000, 0.02));
	rate_add(&r, 7000, N, 10); /* longer than the memory: nothing else counts */
	CHECK(near(r.per_second, 700, 0.001));
}

TEST(dirty_rate_of_all_pages_is_finite)
{
	struct rate r = { 0 };

	rate_add(&r, N, N, 0.1);
	CHECK(near(rate_forecast(r.hazard, N, 0.1), N, 0.01));
	CHECK(rate_forecast(r.hazard, N, 1e12) <= N);
	CHECK(rate_forecast(r.hazard, 0, 1) == 0);
	CHECK(rate_forecast(r.hazard, N, 0) == 0);
	CHECK(rate_forecast(r.hazard, N, -1) == 0);
}

TEST(dirty_rate_ignores_samples_without_time_or_pages)
{
	struct rate r = { 0 };

	rate_add(&r, 5, N, 0);
	rate_add(&r, 5, N, -1);
	rate_add(&r, 0, 0, 1);
	CHECK(r.per_second == 0 && r.hazard == 0 && r.seconds == 0);
}
