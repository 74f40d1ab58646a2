/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A migration played through in numbers: the first round sends all pages, each other one
 * those that were dirtied while the one before was sent. A region's pages are written
 * independently of each other, so what gets dirty in t of n pages is n (1 - exp(-h t)),
 * with h such that the measured rate comes out after one second (as in lib/dirty/rate.c).
 */
#include <errno.h>
#include <math.h>

#include "converge_priv.h"
#include "wherry_migrate.h"
#include "wherry_stream.h"

#define PAGE ((double)WHERRY_STREAM_PAGE)

/* All pages dirty says only that there are many writes: count half a page as clean. */
static double
dirtied(const struct wherry_forecast_region *r, double seconds)
{
	double pages = (double)r->pages, clean = pages - r->dirty_pages_per_s;

	if (r->pages == 0 || !(r->dirty_pages_per_s > 0))
		return 0;
	if (clean < 0.5)
		clean = 0.5;
	return pages * -expm1(log(clean / pages) * seconds);
}

static double
dirtied_by_all(const struct wherry_forecast_region *regions, size_t n, double seconds)
{
	double pages = 0;

	for (size_t i = 0; i < n; i++)
		pages += dirtied(&regions[i], seconds);
	return pages;
}

static size_t
find_worst(const struct wherry_forecast_region *regions, size_t n, double seconds)
{
	size_t worst = 0;

	for (size_t i = 1; i < n; i++)
		if (dirtied(&regions[i], seconds) > dirtied(&regions[worst], seconds))
			worst = i;
	return worst;
}

int
wherry_forecast_reckon(const struct wherry_forecast_region *regions, size_t n,
	const struct wherry_forecast_terms *terms, struct wherry_forecast *ret_forecast)
{
	const struct mig_goal goal = { .limit_ms = terms->downtime_limit_ms,
		.max_rounds = terms->max_rounds };
	const struct mig_costs costs = { .quiesce = terms->quiesce_ns,
		.harvest = terms->harvest_ns };
	struct mig_measure m = { .bandwidth = terms->bandwidth, .fixed_ms = mig_fixed_ms(&costs) };
	struct wherry_forecast f = { .converges = false };
	enum mig_verdict verdict = MIG_GO_ON;
	double pages = 0, round_s = 0, before_ms;

	if (!(terms->bandwidth > 0) || terms->max_rounds == 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		pages += (double)regions[i].pages;
	while (verdict == MIG_GO_ON) {
		round_s = pages * PAGE / terms->bandwidth;
		f.seconds += round_s;
		f.rounds++;
		pages = dirtied_by_all(regions, n, round_s + mig_lead_ms(&costs) / 1e3);
		before_ms = f.rounds > 1 ? mig_send_ms(&m) : 0;
		m.pending_bytes = pages * PAGE;
		f.blackout_ms = mig_forecast_ms(&m);
		verdict = mig_converge(&m, before_ms, f.rounds, &goal);
	}
	f.converges = verdict == MIG_STOP_NOW;
	f.worst = find_worst(regions, n, round_s);
	*ret_forecast = f;
	return 0;
}
