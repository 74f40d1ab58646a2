/* SPDX-License-Identifier: BSD-3-Clause */
/* The port's line to the network, known to the process so that another can go on with it. */
#include <wherry_line.h>

#include "emu_priv.h"

static void
line_hold(void *ctx, bool held)
{
	emu_device_hold(ctx, held);
}

static int
line_lend(void *ctx)
{
	return emu_device_lend(ctx);
}

static int
line_borrow(void *ctx, int fd)
{
	return emu_device_take(ctx, fd);
}

static void
line_give_back(void *ctx)
{
	emu_device_drop(ctx);
}

int
emu_line_create(struct rte_eth_dev *dev)
{
	static const struct wherry_line_ops ops = {
		.hold = line_hold,
		.lend = line_lend,
		.borrow = line_borrow,
		.give_back = line_give_back,
	};

	return wherry_line_add(dev->data->port_id, &ops, emu_of(dev)->device);
}

void
emu_line_destroy(struct rte_eth_dev *dev)
{
	wherry_line_remove(dev->data->port_id);
}
