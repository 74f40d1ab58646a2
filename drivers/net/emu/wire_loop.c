/* SPDX-License-Identifier: BSD-3-Clause */
/* A wire plugged into its own port: what is sent is received at once. */
#include <errno.h>
#include <stdlib.h>

#include "emu_wire.h"

static int
loop_open(const char *arg, struct wire **ret_wire)
{
	struct wire *wire = calloc(1, sizeof(*wire));

	(void)arg;
	if (wire == NULL)
		return -ENOMEM;
	wire->ops = &wire_loop_ops;
	wire->fd = -1;
	*ret_wire = wire;
	return 0;
}

static void
loop_close(struct wire *wire)
{
	free(wire);
}

static int
loop_send(struct wire *wire, const void *frame, size_t len)
{
	wire->input(wire->ctx, frame, len);
	return 0;
}

static unsigned int
loop_receive(struct wire *wire, unsigned int budget)
{
	(void)wire;
	(void)budget;
	return 0;
}

static bool
loop_link_up(struct wire *wire)
{
	(void)wire;
	return true;
}

const struct wire_ops wire_loop_ops = {
	.name = "loop",
	.open = loop_open,
	.close = loop_close,
	.send = loop_send,
	.receive = loop_receive,
	.link_up = loop_link_up,
};
