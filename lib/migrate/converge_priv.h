/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONVERGE_PRIV_H
#define CONVERGE_PRIV_H

/*
 * When to stop the application. Predicted blackout = (pending + what gets dirty until
 * it stands still) / bandwidth + fixed cost. Pure.
 */

#include <stdint.h>

/* What a blackout costs that cannot be measured before: quiesce and takeover. */
#define MIG_UNMEASURED_MS 5.0

/* What is known after a round. */
struct mig_measure {
	double pending_bytes; /* known dirty, and expected until the application stands */
	double bandwidth;     /* bytes per second; 0: not known, nothing was sent */
	double fixed_ms;      /* what a blackout costs with nothing to send */
};

enum mig_verdict { MIG_GO_ON, MIG_STOP_NOW, MIG_GIVE_UP };

/* Predicted blackout in milliseconds. */
double mig_forecast_ms(const struct mig_measure *m);

/* After round n of at most max_rounds. */
enum mig_verdict mig_converge(
	double forecast_ms, double limit_ms, unsigned int n, unsigned int max_rounds);

/*
 * Bandwidth to reckon with after a round that sent bytes in ns: small rounds say
 * little, so what was known before counts for as much as they lack.
 */
double mig_bandwidth(double before, uint64_t bytes, uint64_t ns);
/* Likewise: the share of same among pages, which were dirty. */
double mig_same_share(double before, uint64_t same, uint64_t pages);

/*
 * How much of the intake, in percent, is not to be taken in during the next round, after one with
 * now percent whose forecast was before and is forecast_ms: less than half is fast enough.
 */
unsigned int mig_throttle(unsigned int now, double before_ms, double forecast_ms);

#endif /* CONVERGE_PRIV_H */
