/* SPDX-License-Identifier: BSD-3-Clause */
/* Recent rate and forecast; the model is explained in rate_priv.h. */
#include "rate_priv.h"

#include <math.h>

/* All pages dirty says only that the hazard is high: count half a page as clean. */
static double
hazard_of(double dirty, double pages, double seconds)
{
	double clean = pages - dirty;

	if (clean < 0.5)
		clean = 0.5;
	return -log(clean / pages) / seconds;
}

void
rate_add(struct rate *r, uint64_t dirty, uint64_t pages, double seconds)
{
	double weight;

	if (pages == 0 || !(seconds > 0))
		return;
	r->seconds += seconds;
	if (r->seconds > RATE_MEMORY_S)
		r->seconds = seconds < RATE_MEMORY_S ? RATE_MEMORY_S : seconds;
	weight = seconds / r->seconds;
	r->per_second += weight * ((double)dirty / seconds - r->per_second);
	r->hazard += weight * (hazard_of((double)dirty, (double)pages, seconds) - r->hazard);
}

double
rate_forecast(double hazard, double clean, double seconds)
{
	if (!(seconds > 0))
		return 0;
	return clean * -expm1(-hazard * seconds);
}
