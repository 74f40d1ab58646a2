/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UPGRADE_H
#define UPGRADE_H

/*
 * A server replaced by another process, of this program or a newer one, while clients go on:
 *
 *	tcp-server --upgrade [--name NAME | --control PATH]
 *
 * finds the running server by its control socket, and becomes a server with that one's options,
 * changed where two processes cannot have the same: it waits for a handover (--incoming), and
 * for the TAP interface (wire=tap=-). That new server asks the old one to hand over to it
 * (--succeed), and has its control socket when it has ended. Until COMMIT whatever goes wrong
 * ends the new process only.
 */

struct options;
struct server;
struct upgrade;

/* Become the new server; returns only if that fails, with the reason printed. */
void upgrade_exec(const struct options *opts);

/* Ask who answers at --succeed to hand over to us: a thread, until upgrade_end(). NULL: no memory. */
struct upgrade *upgrade_begin(struct server *server);
/* 0: its place is ours; -ECANCELED: it is not. */
int upgrade_end(struct upgrade *upgrade);

#endif /* UPGRADE_H */
