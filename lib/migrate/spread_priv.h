/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SPREAD_PRIV_H
#define SPREAD_PRIV_H

/*
 * Where lanes begin to run. Woken all at once by one thread, they begin on its CPU, and it takes
 * the kernel a third of a GiB to spread them; and then as likely as not a sender and a receiver of
 * one machine do not stand where their bytes are in the cache. So lane n of either side begins
 * on the n-th CPU that it may use, over and over: on one machine the two ends of a
 * connection meet.
 */

/*
 * Go on on the n-th CPU that the calling thread may use, and be free to be moved from there: no
 * CPU is taken from anybody. What fails here is not worth knowing.
 */
void mig_spread(unsigned int n);

#endif /* SPREAD_PRIV_H */
