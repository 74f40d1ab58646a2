/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SOCKET_PRIV_H
#define SOCKET_PRIV_H

/*
 * Connected and listening sockets for the two transports and for the control socket.
 * Every socket is non-blocking and close-on-exec; whoever waits also waits for cancel_fd,
 * which becomes readable when all is to end.
 */

#include "reason_priv.h"
#include "uri_priv.h"

/*
 * Wait until fd is ready for events (POLLIN, POLLOUT), at most timeout_ms. Returns what
 * is ready; 0: time is up; -ECANCELED. cancel_fd may be -1.
 */
int mig_wait(int fd, short events, int cancel_fd, unsigned int timeout_ms);

/*
 * A listening socket. -EACCES, too: the URI is for loopback only, and is not. The path of a Unix socket whose owner died is taken over; the
 * socket is for its owner alone (0600). -EADDRINUSE, -EACCES, ... with the reason.
 */
int mig_listen(const struct mig_uri *uri, struct mig_reason *reason);

/* A connection, within timeout_ms for each address of the host. -EACCES: as above. */
int mig_connect(const struct mig_uri *uri, int cancel_fd, unsigned int timeout_ms,
	struct mig_reason *reason);

/*
 * An accepted connection, of a peer on this machine's loopback device: keep no more on the way than
 * caches hold; mig_connect() does its half. Left to itself the kernel lets tens of MB wait for
 * the receiver there, which every byte then comes from memory for: a fifth of what sending and
 * receiving cost the CPUs. Nor is anything paced there, as it is where the machine's congestion control
 * is BBR, whose timers cost as much as the copies. Other connections need
 * the room for the bytes under way and the pace, and keep both.
 */
void mig_receive_near(int fd);

/* Rename a listening Unix socket; as wherry_agent_move_control(). */
int mig_move_socket(const char *from, const char *to);

#endif /* SOCKET_PRIV_H */
