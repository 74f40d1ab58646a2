/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LINE_PRIV_H
#define LINE_PRIV_H

/* Which ports have lines, for the application that hands them over; a port without one has none to hold. */

#include "ports_priv.h"
#include "wherry_line.h"

/* All lines of these ports are held, or not. */
void lines_hold(const struct ports *ports, bool held);
/*
 * Of port i: its fd, as wherry_line_ops.lend; -EOPNOTSUPP: it has no line. To borrow: 0, fd is
 * the line's, or was not wanted and is closed; -errno: it stays the caller's.
 */
int line_lend(const struct ports *ports, unsigned int i);
int line_borrow(const struct ports *ports, unsigned int i, int fd);
/* Nothing is borrowed any more. */
void lines_give_back(const struct ports *ports);
/* Every line that waited for a file has one, or -ENODEV, logged. */
int lines_check(const struct ports *ports);

#endif /* LINE_PRIV_H */
