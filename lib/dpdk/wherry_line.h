/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_LINE_H
#define WHERRY_LINE_H

#include <wherry_base.h>

#include <stdbool.h>
#include <stdint.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * For drivers of ports that reach the network through a file, as a TAP interface: over unix:
 * that file goes to the process that takes over, and with it the frames that wait in it, so
 * that none is lost and no switch has to learn a new way. A driver adds a line to its port,
 * and the application that the port is added to does the rest (doc/handover.rst).
 *
 * Threads: add and remove as the port comes and goes; ops are called by the agent's thread.
 */

/** A line, as its driver knows it. */
struct wherry_line_ops {
	/**
	 * Take nothing in while @p held: frames wait in the line. On return none is under way;
	 * those taken in before are in the receive queues.
	 */
	void (*hold)(void *ctx, bool held);
	/** The fd that another could go on with; stays the line's. -EOPNOTSUPP: it is no file; -ENODEV: it waits for one. */
	int (*lend)(void *ctx);
	/** Be held, and go on with @p fd, the line's from here on. -EALREADY: it has its own; others: @p fd is none for it. On failure @p fd stays the caller's. */
	int (*borrow)(void *ctx, int fd);
	/** Close what was borrowed. Harmless otherwise. */
	void (*give_back)(void *ctx);
};

/** @p port has a line; @p ops and @p ctx live until it is removed. -EINVAL: no such number; -EEXIST: it has one. */
int wherry_line_add(uint16_t port, const struct wherry_line_ops *ops, void *ctx) WHERRY_MUST_CHECK;
/** It has none any more. Harmless otherwise. */
void wherry_line_remove(uint16_t port);

WHERRY_END_DECLS

#endif /* WHERRY_LINE_H */
