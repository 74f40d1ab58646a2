/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PORT_H
#define PORT_H

/*
 * The DPDK side: one port, one queue each way. Received data lies in the arena, in
 * buffers of a wherry_pktpool; what is sent lies in EAL memory and does not move.
 * No lwIP type is known here, because the headers of lwIP and DPDK clash.
 *
 * Threads: the polling core only; adopt, while there is none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct port;
struct wherry_app;
struct wherry_arena;
struct wherry_watch;

struct port_opts {
	unsigned int max_kept; /* receive buffers that can be kept */
	bool sleeps;           /* receive interrupts, if the PMD has them */
};

/* The first port EAL knows, with its pools. Reasons are printed. */
int port_create(const struct port_opts *opts, struct port **ret_port);
/* Its queues; not started. After bind, if this process is the first owner. */
int port_configure(struct port *port);
/* Stop it and free all it has. NULL is fine. */
void port_destroy(struct port *port);
uint16_t port_id(const struct port *port);
void port_mac(const struct port *port, uint8_t ret_mac[6]);

/* Receive buffers: wherry_pktpool_bind() and wherry_pktpool_adopt(). */
void *port_bind(struct port *port, struct wherry_arena *arena);
int port_adopt(struct port *port, struct wherry_arena *arena, void *buffers);
/* Buffers nobody keeps need not be sent. */
void port_set_filter(struct port *port, struct wherry_watch *watch);

/* Given each frame; true: the buffer it lies in stays as it is until port_release(). */
typedef bool (*port_frame_fn)(void *ctx, const void *data, size_t len);
/* Receive a burst; how many frames it was. */
unsigned int port_receive(struct port *port, port_frame_fn fn, void *ctx);
/* The data of a frame that fn kept may be overwritten again. */
void port_release(struct port *port, const void *data);

/* Room for a frame that is sent at the next flush; NULL: too many wait, or too long. */
void *port_send(struct port *port, size_t len);
/* Send what waits; true if frames were refused since the last flush that left none. */
bool port_flush(struct port *port);

/* The port was stopped and started again: interrupts have to be set up anew. */
void port_restarted(struct port *port);
/* Wait for a frame, for the app to want something, or for @p timeout_ns. */
void port_sleep(struct port *port, struct wherry_app *app, uint64_t timeout_ns);

#endif /* PORT_H */
