/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FREE_PORT_H
#define FREE_PORT_H

/*
 * A port of the loopback address that was free a moment ago. It is below those that the kernel
 * hands out by itself, and each process looks in another place, so that nobody takes it
 * before its server is up.
 */
unsigned int free_port(void);

#endif /* FREE_PORT_H */
