/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ETCD_H
#define ETCD_H

/* An etcd of the test's own, on loopback, with its data in a folder that goes with it. */

#include <stdbool.h>

struct etcd_server;

/* NULL: it is not installed. Fails the test if it does not answer within 30 s. */
struct etcd_server *etcd_start(void);
/* "etcd:http://127.0.0.1:PORT/KEY" */
const char *etcd_spec(const struct etcd_server *server);
/* Stop it as a crash would, or let it go on with what it has written. */
void etcd_kill(struct etcd_server *server);
void etcd_revive(struct etcd_server *server);
void etcd_stop(struct etcd_server *server);

#endif /* ETCD_H */
