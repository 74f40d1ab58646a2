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
/* One part in so many of the fixed cost is not worth a round. */
#define NEXT_TO_NOTHING 4

static double
known_ms(uint64_t ns)
{
	return ns != 0 ? (double)ns / 1e6 : MIG_UNKNOWN_MS;
}

double
mig_lead_ms(const struct mig_costs *c)
{
	return (double)c->harvest / 1e6 + known_ms(c->quiesce);
}

double
mig_fixed_ms(const struct mig_costs *c)
{
	return mig_lead_ms(c) + known_ms(c->takeover) +
		((double)c->rtt * 2 + (double)c->arbiter) / 1e6;
}

double
mig_send_ms(const struct mig_measure *m)
{
	if (m->bandwidth <= 0)
		return m->pending_bytes <= 0 ? 0 : 1e9;
	return m->pending_bytes / m->bandwidth * 1e3;
}

double
mig_forecast_ms(const struct mig_measure *m)
{
	return mig_send_ms(m) + m->fixed_ms;
}

/* Would another round make a blackout that is short enough much shorter? */
static bool
is_worth_it(const struct mig_measure *m, double before_ms)
{
	double send_ms = mig_send_ms(m);

	if (send_ms <= m->fixed_ms / NEXT_TO_NOTHING)
		return false;
	return before_ms <= 0 || send_ms <= before_ms / 2;
}

enum mig_verdict
mig_converge(
	const struct mig_measure *m, double before_ms, unsigned int n, const struct mig_goal *goal)
{
	if (mig_forecast_ms(m) > goal->limit_ms)
		return n < goal->max_rounds ? MIG_GO_ON : MIG_GIVE_UP;
	return n < goal->max_rounds / 2 && is_worth_it(m, before_ms) ? MIG_GO_ON : MIG_STOP_NOW;
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
