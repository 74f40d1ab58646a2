/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The extents of an upload are pbufs: payload and length of a custom pbuf name the
 * bytes in the receive buffer, and its reference keeps the buffer out of the pool.
 */

#include "upload.h"

#include <stdio.h>
#include <string.h>

#include <lwip/pbuf.h>

#include "reply.h"
#include "state.h"

/*
 * How many bytes of an upload one receive buffer is taken to hold, for the room
 * check: less than a full segment, because some are not full.
 */
#define BYTES_PER_BUFFER 1024u

struct upload *
upload_create(struct state *state, const char *name, uint64_t len)
{
	uint64_t room = (uint64_t)state->max_kept * BYTES_PER_BUFFER;

	if (strlen(name) >= NAME_LEN || len > room || state->uploads_len > room - len)
		return NULL;
	struct upload *u = state_alloc(state, sizeof(*u));
	if (u == NULL)
		return NULL;
	snprintf(u->name, sizeof(u->name), "%s", name);
	TAILQ_INIT(&u->extents);
	u->len = len;
	u->users = 1;
	state->uploads_len += len;
	return u;
}

static void
destroy(struct state *state, struct upload *u)
{
	struct extents *x;

	while ((x = TAILQ_FIRST(&u->extents)) != NULL) {
		TAILQ_REMOVE(&u->extents, x, link);
		for (size_t i = 0; i < x->n; i++)
			pbuf_free(x->pbuf[i]);
		state_free(state, x);
	}
	state->uploads_len -= u->len;
	state_free(state, u);
}

void
upload_get(struct upload *u)
{
	u->users++;
}

void
upload_put(struct state *state, struct upload *u)
{
	if (--u->users == 0 && !u->listed)
		destroy(state, u);
}

static bool
add_extent(struct state *state, struct upload *u, struct pbuf *p)
{
	struct extents *x = TAILQ_LAST(&u->extents, extents_list);

	if (x == NULL || x->n == EXTENTS_PER_CHUNK) {
		x = state_alloc(state, sizeof(*x));
		if (x == NULL)
			return false;
		TAILQ_INSERT_TAIL(&u->extents, x, link);
	}
	x->pbuf[x->n++] = p;
	u->have += p->len;
	return true;
}

/* Separate the first pbuf from its successors, which keep one reference. */
static struct pbuf *
split(struct pbuf *p)
{
	struct pbuf *rest = p->next;

	if (rest != NULL) {
		pbuf_ref(rest);
		pbuf_dechain(p);
	}
	return rest;
}

/* The last bytes share a pbuf with what follows the upload: they are copied out of it. */
static struct pbuf *
append_end(struct state *state, struct upload *u, struct pbuf *p, bool *failed)
{
	u16_t n = (u16_t)(u->len - u->have);
	struct pbuf *end = pbuf_alloc(PBUF_RAW, n, PBUF_RAM);

	if (end == NULL || !add_extent(state, u, end)) {
		if (end != NULL)
			pbuf_free(end);
		*failed = true;
		pbuf_free(p);
		return NULL;
	}
	pbuf_copy_partial(p, end->payload, n, 0);
	return pbuf_free_header(p, n);
}

struct pbuf *
upload_append(struct state *state, struct upload *u, struct pbuf *p, bool *failed)
{
	while (p != NULL && u->have < u->len) {
		if (p->len > u->len - u->have)
			return append_end(state, u, p, failed);
		struct pbuf *rest = split(p);
		bool empty = p->len == 0;
		bool kept = !empty && add_extent(state, u, p);
		if (!kept)
			pbuf_free(p);
		p = rest;
		if (empty || kept)
			continue;
		*failed = true;
		if (rest != NULL)
			pbuf_free(rest);
		return NULL;
	}
	return p;
}

void
upload_publish(struct state *state, struct upload *u)
{
	struct upload *old = upload_find(state, u->name);

	if (old != NULL)
		upload_unlist(state, old);
	TAILQ_INSERT_TAIL(&state->uploads, u, link);
	u->listed = true;
}

struct upload *
upload_find(struct state *state, const char *name)
{
	struct upload *u;

	TAILQ_FOREACH(u, &state->uploads, link) {
		if (strcmp(u->name, name) == 0)
			return u;
	}
	return NULL;
}

void
upload_unlist(struct state *state, struct upload *u)
{
	TAILQ_REMOVE(&state->uploads, u, link);
	u->listed = false;
	if (u->users == 0)
		destroy(state, u);
}

void
upload_rewind(struct reply *r, struct upload *u)
{
	r->upload = u;
	r->chunk = TAILQ_FIRST(&u->extents);
	r->extent = r->extent_sent = 0;
	upload_get(u);
}

size_t
upload_piece(const struct reply *r, const void **ret_p)
{
	const struct pbuf *p = r->chunk->pbuf[r->extent];

	*ret_p = (const char *)p->payload + r->extent_sent;
	return p->len - r->extent_sent;
}

void
upload_advance(struct reply *r, size_t n)
{
	r->extent_sent += n;
	if (r->extent_sent < r->chunk->pbuf[r->extent]->len)
		return;
	r->extent_sent = 0;
	if (++r->extent == r->chunk->n) {
		r->extent = 0;
		r->chunk = TAILQ_NEXT(r->chunk, link);
	}
}
