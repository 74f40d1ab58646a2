/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive callbacks, added and dropped; why some stay is in rx_hook_priv.h. */
#include <stdlib.h>

#include "rx_hook_priv.h"

static struct rx_hook *left_behind; /* __atomic */

bool
rx_hook_add(struct rx_hook *h, rte_rx_callback_fn fn)
{
	h->callback = h->is_first ? rte_eth_add_first_rx_callback(h->port, h->queue, fn, h)
				  : rte_eth_add_rx_callback(h->port, h->queue, fn, h);
	return h->callback != NULL;
}

static bool
remove_callback(const struct rx_hook *h)
{
	return rte_eth_dev_is_valid_port(h->port) &&
		rte_eth_remove_rx_callback(h->port, h->queue, h->callback) == 0;
}

void
rx_hook_drop(struct rx_hook *h, bool is_polled)
{
	if (remove_callback(h) && !is_polled) {
		free(h);
		return;
	}
	h->left = __atomic_load_n(&left_behind, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(
		&left_behind, &h->left, h, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}
