/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef RATE_PRIV_H
#define RATE_PRIV_H

/*
 * How fast pages get dirty, from the counts that harvests report. Pure.
 *
 * A page counts once per harvest however often it was written, so counts saturate:
 * twice the time does not give twice the pages. What does not depend on the time
 * between harvests is the hazard: the chance per second that a given clean page gets
 * dirty. If writes fall anywhere alike, t seconds dirty n * (1 - exp(-hazard * t)) of
 * n clean pages. Where they keep to a few pages the forecast is too high, never too low.
 */

#include <stdint.h>

/* A running mean in which a sample weighs less the older it is. Zeroed is empty. */
struct rate {
	double per_second; /* pages reported */
	double hazard;     /* per page and second */
	double seconds;    /* behind the mean; stops growing at RATE_MEMORY_S */
};

#define RATE_MEMORY_S 2.0 /* how long a sample matters */

/* @p dirty of @p pages pages were reported, dirtied within @p seconds. */
void rate_add(struct rate *r, uint64_t dirty, uint64_t pages, double seconds);

/* How many of @p clean pages will be dirty @p seconds from now. */
double rate_forecast(double hazard, double clean, double seconds);

#endif /* RATE_PRIV_H */
