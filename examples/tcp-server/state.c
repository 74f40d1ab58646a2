/* SPDX-License-Identifier: BSD-3-Clause */
/* The root of what moves, and allocation for those who hold only the root. */

#include "state.h"

#include <string.h>

#include "server.h"

void *
state_alloc(struct state *state, size_t len)
{
	void *p = wherry_arena_alloc(state->server->arena, len);

	return p == NULL ? NULL : memset(p, 0, len);
}

void
state_free(struct state *state, void *p)
{
	wherry_arena_free(state->server->arena, p);
}

struct state *
state_create(struct server *server)
{
	struct state *state = wherry_arena_alloc(server->arena, sizeof(*state));

	if (state == NULL)
		return NULL;
	*state = (struct state){
		.magic = STATE_MAGIC,
		.version = STATE_VERSION,
		.size = sizeof(*state),
		.server = server,
	};
	LIST_INIT(&state->kept);
	LIST_INIT(&state->idle);
	TAILQ_INIT(&state->conns);
	TAILQ_INIT(&state->files);
	TAILQ_INIT(&state->uploads);
	wherry_arena_set_root(server->arena, state);
	return state;
}

struct state *
state_find(struct server *server)
{
	struct state *state = wherry_arena_root(server->arena);

	if (state == NULL || state->magic != STATE_MAGIC || state->version != STATE_VERSION ||
		state->size != sizeof(*state))
		return NULL;
	return state;
}
