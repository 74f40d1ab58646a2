/* SPDX-License-Identifier: BSD-3-Clause */
#include "converge_priv.h"

/* A round of this many bytes is believed as it is. */
#define TELLING_BYTES (4.0 * 1024 * 1024)
/* So is one of this many pages. */
#define TELLING_PAGES 1024.0
/* As QEMU throttles, in percent: at first, more each round, at most. */
#define THROTTLE_FIRST 20u
#define THROTTLE_MORE 10u
#define THROTTLE_MAX 99u

double
mig_forecast_ms(const struct mig_measure *m)
{
	if (m->bandwidth <= 0)
		return m->pending_bytes <= 0 ? m->fixed_ms : 1e9;
	return m->pending_bytes / m->bandwidth * 1e3 + m->fixed_ms;
}

enum mig_verdict
mig_converge(double forecast_ms, double limit_ms, unsigned int n, unsigned int max_rounds)
{
	if (forecast_ms <= limit_ms)
		return MIG_STOP_NOW;
	return n < max_rounds ? MIG_GO_ON : MIG_GIVE_UP;
}

double
mig_bandwidth(double before, uint64_t bytes, uint64_t ns)
{
	double now, weight;

	if (bytes == 0 || ns == 0)
		return before;
	now = (double)bytes / (double)ns * 1e9;
	weight = (double)bytes / TELLING_BYTES;
	if (before <= 0 || weight >= 1)
		return now;
	return now * weight + before * (1 - weight);
}

double
mig_same_share(double before, uint64_t same, uint64_t pages)
{
	double weight = (double)pages / TELLING_PAGES;

	if (pages == 0)
		return before;
	if (weight > 1)
		weight = 1;
	return (double)same / (double)pages * weight + before * (1 - weight);
}

unsigned int
mig_throttle(unsigned int now, double before_ms, double forecast_ms)
{
	unsigned int next = now == 0 ? THROTTLE_FIRST : now + THROTTLE_MORE;

	if (before_ms <= 0 || forecast_ms <= before_ms / 2)
		return now;
	return next < THROTTLE_MAX ? next : THROTTLE_MAX;
}
