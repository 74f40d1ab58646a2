/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ROUTES_H
#define ROUTES_H

/* What the server answers: one function per resource. Each leaves the connection in a new phase. */

struct conn;
struct http_head;

/* Serve a request whose head has come. */
void routes_serve(struct conn *conn, const struct http_head *head);
/* Answer what could not be understood or taken, and end the connection after it. */
void routes_refuse(struct conn *conn, int status);
/* The upload of the connection is complete. */
void routes_uploaded(struct conn *conn);
/* The verification of the churn table is complete. */
void routes_churned(struct conn *conn);

#endif /* ROUTES_H */
