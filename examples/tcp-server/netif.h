/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef NETIF_H
#define NETIF_H

/*
 * lwIP's network interface on a port. A received frame is cut in two: the protocol
 * headers, which lwIP rewrites in place, are copied into the arena; the payload of a
 * TCP segment stays where the NIC wrote it. If lwIP still holds the payload when it
 * returns, the buffer leaves the pool for as long as that lasts. No CPU ever writes
 * to it, so what changed there is known from the IOMMU alone.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options;
struct state;

/* Make the interface, up and with its address. -ENOMEM: the arena is full. */
int netif_create(struct state *state, const struct options *opts, const uint8_t mac[6]);
/* Set its pointers to code, and those of every pbuf of ours lwIP holds. */
void netif_rebind(struct state *state);
/* Tell the link who has the address. */
void netif_announce(struct state *state);
/* Take one received frame in; true if its buffer must be kept until port_release(). */
bool netif_receive(void *state, const void *data, size_t len);

#endif /* NETIF_H */
