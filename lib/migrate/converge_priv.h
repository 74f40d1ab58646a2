/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONVERGE_PRIV_H
#define CONVERGE_PRIV_H

/*
 * When to stop the application. Predicted blackout = (pending + what gets dirty until
 * it stands still) / bandwidth + fixed cost, which is what was measured of each of its parts.
 * Pure.
 */

#include <stdbool.h>
#include <stdint.h>

/* What quiesce and takeover each are reckoned with if the application does not say. */
#define MIG_UNKNOWN_MS 2.5

/* Parts of a blackout with nothing to send, in ns, as measured while the application runs. */
struct mig_costs {
	uint64_t quiesce, takeover; /* 0: not known */
	uint64_t harvest;
	uint64_t rtt;     /* of the connection: two of it */
	uint64_t arbiter; /* its answer; 0: there is none */
};
/* How long from now until the application stands and the last harvest is done. */
double mig_lead_ms(const struct mig_costs *c);
/* All of them. */
double mig_fixed_ms(const struct mig_costs *c);

/* What is known after a round. */
struct mig_measure {
	double pending_bytes; /* known dirty, and expected until the application stands */
	double bandwidth;     /* bytes per second; 0: not known, nothing was sent */
	double fixed_ms;      /* what a blackout costs with nothing to send */
};

enum mig_verdict { MIG_GO_ON, MIG_STOP_NOW, MIG_GIVE_UP };

/* Of the predicted blackout, what sending takes. */
double mig_send_ms(const struct mig_measure *m);
/* Predicted blackout in milliseconds. */
double mig_forecast_ms(const struct mig_measure *m);

/* What was asked for. */
struct mig_goal {
	double limit_ms; /* of the blackout */
	unsigned int max_rounds;
};

/*
 * After round n, if m is known and the round before left before_ms to send (0: it was the
 * first). Below the limit rounds go on while they are worth it: each leaves at most half of
 * what there was to send, and that is not yet next to nothing beside the fixed cost. So all
 * of them take no longer than the first, and that one is within the limit. They end in the
 * middle of max_rounds: the rest is for a load that rises meanwhile.
 */
enum mig_verdict mig_converge(
	const struct mig_measure *m, double before_ms, unsigned int n, const struct mig_goal *goal);

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
