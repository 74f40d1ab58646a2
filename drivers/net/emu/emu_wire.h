/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef EMU_WIRE_H
#define EMU_WIRE_H

/*
 * A wire: what the device half of a port is plugged into. It carries whole frames,
 * may lose them, and never blocks. All calls but link_up come from the device half's
 * thread.
 */

#include <stdbool.h>
#include <stddef.h>

struct wire;

struct wire_ops {
	const char *name; /* as in the devargs: "tap", "loop", "pair" */
	bool has_arg;     /* "tap=ARG" */
	/* arg is NULL unless has_arg */
	int (*open)(const char *arg, struct wire **ret_wire);
	void (*close)(struct wire *wire);
	/* -EAGAIN: no room on the wire; other errors: nobody at the other end */
	int (*send)(struct wire *wire, const void *frame, size_t len);
	/* Hand at most budget frames to wire->input; returns how many. */
	unsigned int (*receive)(struct wire *wire, unsigned int budget);
	bool (*link_up)(struct wire *wire);
	/*
	 * All three NULL: no other process could go on with it. lend: the fd to do so with, which
	 * stays the wire's; -ENODEV: it waits for one itself. take: another's, the wire's from
	 * here on, -errno: it stays the caller's; -EALREADY: the wire has one. drop what was
	 * taken; harmless otherwise.
	 */
	int (*lend)(struct wire *wire);
	int (*take)(struct wire *wire, int fd);
	void (*drop)(struct wire *wire);
};

/* The part of every wire that its user knows. */
struct wire {
	const struct wire_ops *ops;
	int fd; /* readable when receive has work; -1: never waits */
	/* frame is aligned to 16 */
	void (*input)(void *ctx, const void *frame, size_t len);
	void *ctx;
};

extern const struct wire_ops wire_tap_ops, wire_loop_ops, wire_pair_ops;

/* "loop", "tap=NAME", "tap=-", "pair=NAME"; -EINVAL: no such wire. */
int emu_wire_open(const char *spec, struct wire **ret_wire);

#endif /* EMU_WIRE_H */
