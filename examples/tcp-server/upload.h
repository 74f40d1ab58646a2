/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UPLOAD_H
#define UPLOAD_H

/*
 * Uploads: bodies of PUT that stay in the receive buffers the NIC wrote. An upload
 * is a list of pbufs; the bytes are neither copied when they come nor moved later.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pbuf;
struct reply;
struct state;
struct upload;

/*
 * Begin one of @p len bytes; the caller is its user. NULL: no room, in receive
 * buffers or in the arena.
 */
struct upload *upload_create(struct state *state, const char *name, uint64_t len);
/* Another user. */
void upload_get(struct upload *upload);
/* One user less. */
void upload_put(struct state *state, struct upload *upload);
/*
 * Append what the upload needs of the chain @p p, which is consumed; returns what is
 * left of it, NULL if nothing. When the arena is full all of it is freed and *failed set.
 */
struct pbuf *upload_append(
	struct state *state, struct upload *upload, struct pbuf *p, bool *failed);
/* All bytes are here: list it, instead of an older one of the name. */
void upload_publish(struct state *state, struct upload *upload);
/* The one of that name, or NULL. */
struct upload *upload_find(struct state *state, const char *name);
/* Take it off the list; it goes when its last reader is done. */
void upload_unlist(struct state *state, struct upload *upload);

/* For a reply that sends an upload: from its first byte. */
void upload_rewind(struct reply *reply, struct upload *upload);
/* The bytes in one piece that come next. */
size_t upload_piece(const struct reply *reply, const void **ret_p);
/* @p n bytes of that piece are sent. */
void upload_advance(struct reply *reply, size_t n);

#endif /* UPLOAD_H */
