/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef RX_HOOK_PRIV_H
#define RX_HOOK_PRIV_H

/*
 * A callback behind the receive bursts of one queue, which its port may not outlive.
 *
 * DPDK keeps the callbacks of a port that was closed and calls them again when the port's number
 * is given to another. So what such a callback is handed stays where it is for good, and says that
 * nobody is behind it any more.
 *
 * A hook is the first member of what the callback is handed, which comes from malloc().
 *
 * Threads: control side, one at a time per hook.
 */

#include <stdbool.h>

#include <rte_ethdev.h>

struct rx_hook {
	uint16_t port, queue;
	bool is_first; /* in front of all callbacks that are there */
	const struct rte_eth_rxtx_callback *callback;
	struct rx_hook *left; /* behind before this one */
};

/* Port, queue and is_first are set. False: no memory, or no such queue. */
bool rx_hook_add(struct rx_hook *h, rte_rx_callback_fn fn);
/*
 * Take it away and free it, or leave it behind: its owner has made it say that nobody is there.
 * is_polled: a core may be in the callback now, so it is left behind in any case.
 */
void rx_hook_drop(struct rx_hook *h, bool is_polled);

#endif /* RX_HOOK_PRIV_H */
