/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONN_H
#define CONN_H

/*
 * Connections: lwIP's callbacks on one side, requests and replies on the other.
 */

#include <stdbool.h>

struct state;

/* Listen on port 80. 0, or -ENOMEM. */
int conn_listen(struct state *state);
/* Set lwIP's pointers to code: of every connection, of the listener. After a migration. */
void conn_rebind(struct state *state);
/* Say at once on every connection where it stands, so that no client waits for a timer. */
void conn_announce(struct state *state);
/* Frames that were refused can be sent now. */
void conn_retry(void);
/* Verify some of the churn table for those who asked. True: there is more to do. */
bool conn_work(struct state *state);
/* Reset every connection: this server ends and nobody takes over. */
void conn_abort_all(struct state *state);

#endif /* CONN_H */
