/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROXY_H
#define PROXY_H

/*
 * Stands between source and destination and does one bad thing: to the nth record of a type that comes by in one direction, or of any type.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum proxy_kind {
	PROXY_NONE,
	PROXY_CORRUPT, /* flip a bit of it */
	PROXY_CLOSE,   /* close both connections instead of passing it on */
	PROXY_SILENT,  /* from now on nothing passes */
	PROXY_CUT,     /* pass half of it on, then close */
	PROXY_SWALLOW, /* leave it out */
	PROXY_FORMAT,  /* hello: make it one of the next format */
	PROXY_CALL,    /* call the test, then pass it on */
	PROXY_RESET,   /* close both connections hard: TCP's RST */
	PROXY_SLOW,    /* from now on, what comes that way is read a little at a time */
};

struct proxy_plan {
	enum proxy_kind kind;
	bool back;         /* from destination to source */
	unsigned int type; /* enum wherry_record_type; 0: any */
	unsigned int nth;  /* from 0 */
	bool last;         /* of call: both connections are closed when it has been passed on */
	void (*call)(void *ctx); /* on the proxy's thread */
	void *ctx;
};

struct proxy;

/* Listens on uri, connects to the destination's when somebody comes: unix:PATH or tcp:127.0.0.1:PORT. */
struct proxy *proxy_create(const char *uri, const char *dest_uri, const struct proxy_plan *plan);
/* Has it done it? */
bool proxy_struck(const struct proxy *proxy);
/* Are both connections closed? */
bool proxy_is_over(const struct proxy *proxy);
/* In pre-copy a page is sent live, and what came otherwise is sent again: lib/migrate/torn_priv.h. */
bool proxy_is_healed(enum proxy_kind kind, unsigned int type);
void proxy_destroy(struct proxy *proxy);
/* All of it, or as much as that side takes. */
void proxy_write_all(int fd, const uint8_t *bytes, size_t len);

#endif /* PROXY_H */
