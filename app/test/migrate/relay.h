/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef RELAY_H
#define RELAY_H

/*
 * Stands between source and destination on TCP and knows nothing of what passes: one
 * connection, of which it spoils one byte, in one direction.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum relay_kind { RELAY_CUT, RELAY_FLIP };

struct relay_plan {
	enum relay_kind kind;
	bool back;   /* from destination to source */
	uint64_t at; /* which byte */
};

struct relay;

/* To dest, "tcp:127.0.0.1:PORT"; uri, of that form too, is what to connect to. */
struct relay *relay_create(
	const char *dest, const struct relay_plan *plan, char *ret_uri, size_t cap);
/* Ends it; has the byte come by? */
bool relay_destroy(struct relay *relay);

#endif /* RELAY_H */
