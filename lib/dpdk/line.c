/* SPDX-License-Identifier: BSD-3-Clause */
/* The lines of this process's ports; drivers add them, the application looks them up. */
#include <errno.h>
#include <unistd.h>

#include "base_priv.h"
#include "line_priv.h"

#define LOG_PREFIX "dpdk/line"

/* ops is published with release, after ctx: NULL is no line. */
static struct line {
	const struct wherry_line_ops *ops;
	void *ctx;
} lines[RTE_MAX_ETHPORTS];

int
wherry_line_add(uint16_t port, const struct wherry_line_ops *ops, void *ctx)
{
	if (port >= RTE_MAX_ETHPORTS)
		return -EINVAL;
	if (__atomic_load_n(&lines[port].ops, __ATOMIC_ACQUIRE) != NULL)
		return -EEXIST;
	lines[port].ctx = ctx;
	__atomic_store_n(&lines[port].ops, ops, __ATOMIC_RELEASE); /* pairs with ops_of() */
	return 0;
}

void
wherry_line_remove(uint16_t port)
{
	if (port < RTE_MAX_ETHPORTS)
		__atomic_store_n(&lines[port].ops, NULL, __ATOMIC_RELEASE);
}

/* Of the port that is the i-th of the application; NULL: it has no line. */
static const struct wherry_line_ops *
ops_of(const struct ports *ports, unsigned int i, void **ret_ctx)
{
	const struct line *l = &lines[ports->port[i].id];
	const struct wherry_line_ops *ops = __atomic_load_n(&l->ops, __ATOMIC_ACQUIRE);

	*ret_ctx = l->ctx;
	return ops;
}

void
lines_hold(const struct ports *ports, bool held)
{
	for (unsigned int i = 0; i < ports->n; i++) {
		void *ctx;
		const struct wherry_line_ops *ops = ops_of(ports, i, &ctx);

		if (ops != NULL)
			ops->hold(ctx, held);
	}
}

int
line_lend(const struct ports *ports, unsigned int i)
{
	void *ctx;
	const struct wherry_line_ops *ops = ops_of(ports, i, &ctx);

	return ops != NULL ? ops->lend(ctx) : -EOPNOTSUPP;
}

int
line_borrow(const struct ports *ports, unsigned int i, int fd)
{
	void *ctx;
	const struct wherry_line_ops *ops = ops_of(ports, i, &ctx);
	int rc = ops != NULL ? ops->borrow(ctx, fd) : -EALREADY;

	if (rc != -EALREADY)
		return rc;
	close(fd); /* the port is on a line of its own */
	return 0;
}

void
lines_give_back(const struct ports *ports)
{
	for (unsigned int i = 0; i < ports->n; i++) {
		void *ctx;
		const struct wherry_line_ops *ops = ops_of(ports, i, &ctx);

		if (ops != NULL)
			ops->give_back(ctx);
	}
}

int
lines_check(const struct ports *ports)
{
	for (unsigned int i = 0; i < ports->n; i++) {
		if (line_lend(ports, i) != -ENODEV)
			continue;
		LOG_ERR("port %u waits for the peer's line to the network, and it did not come: only unix: without --copy brings it",
			ports->port[i].id);
		return -ENODEV;
	}
	return 0;
}
