/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What moves and how: memory at its addresses, the library's variables, the port,
 * and the two moments of a destination, when it looks at what came (verify) and when
 * it owns it (rebind).
 */

#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <lwip/init.h>

#include "cache.h"
#include "conn.h"
#include "netif.h"
#include "port.h"
#include "state.h"

#define MIB ((size_t)1 << 20)
/* For connections, uploads' lists and what lwIP sends: beside the state that --arena asks for. */
#define WORKING_ROOM (48 * MIB)
#define LIB_DATA_BELOW (4 * MIB) /* the library's variables lie so far below the arena */
#define RX_BUFFER 2048u
#define ARENA "state"
#define LIB_DATA "liblwip"

/* What has to be equal at both ends besides the library. */
struct identity {
	uint32_t state_version;
	uint32_t state_size;
	uint64_t max_kept;
};

static unsigned int
max_kept(const struct server *s)
{
	return (unsigned int)(s->opts.uploads_len / RX_BUFFER);
}

static struct identity
identity_of(const struct server *s)
{
	return (struct identity){
		.state_version = STATE_VERSION,
		.state_size = sizeof(struct state),
		.max_kept = max_kept(s),
	};
}

static int
save_identity(void *ctx, void *buf, size_t cap)
{
	const struct identity id = identity_of(ctx);

	if (cap < sizeof(id))
		return -ENOSPC;
	memcpy(buf, &id, sizeof(id));
	return (int)sizeof(id);
}

static int
check_identity(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	const struct identity ours = identity_of(ctx);
	struct identity theirs = { 0 };

	if (len == sizeof(theirs))
		memcpy(&theirs, buf, sizeof(theirs));
	if (theirs.state_version != ours.state_version || theirs.state_size != ours.state_size)
		snprintf(ret_why->text, sizeof(ret_why->text),
			"state of version %u and %u bytes at the source, %u and %u at the destination: start the same version of tcp-server",
			theirs.state_version, theirs.state_size, ours.state_version,
			ours.state_size);
	else if (theirs.max_kept != ours.max_kept)
		snprintf(ret_why->text, sizeof(ret_why->text),
			"--uploads %" PRIu64 " at the source, %" PRIu64
			" at the destination: start both with the same",
			theirs.max_kept * RX_BUFFER / MIB, ours.max_kept * RX_BUFFER / MIB);
	else
		return 0;
	return -EPROTO;
}

static int
verify(void *ctx)
{
	struct server *s = ctx;

	s->arena = wherry_app_arena(s->app, ARENA);
	if (s->arena == NULL)
		return -EPROTO;
	s->state = state_find(s);
	if (s->state == NULL) {
		complain("what came is not the state of a tcp-server of this version");
		return -EPROTO;
	}
	return port_adopt(s->port, s->arena, s->state->buffers);
}

/* After a handover the variables are another file's. */
static int
map_lib_data(struct server *s, bool fill)
{
	struct wherry_region_info info;

	wherry_region_get_info(s->lib_data, &info);
	return lwip_lib_map_data(&s->lib, info.fd, info.vaddr, fill);
}

static int
rebind(void *ctx)
{
	struct server *s = ctx;

	int rc = map_lib_data(s, false);

	if (rc != 0)
		return rc;
	lwip_lib_set_heap(s->arena);
	lwip_lib_relocate(&s->lib);
	s->state->server = s;
	s->state->churn.at_ns = 0;
	s->state->epoch++;
	netif_rebind(s->state);
	conn_rebind(s->state);
	return 0;
}

static void
parked(void *ctx)
{
	struct server *s = ctx;

	s->was_parked = true;
}

static int
create_app(struct server *s)
{
	const struct options *o = &s->opts;
	const struct wherry_app_opts opts = {
		.name = o->name,
		.control = o->control,
		.incoming = o->incoming,
		.arbiter = o->arbiter,
		.tls = o->tls,
		.insecure = o->insecure,
		.iommu = o->iommu,
		.pollers = 1,
		.late_frames = true,
		.ops = { .verify = verify, .rebind = rebind, .parked = parked, .ctx = s },
	};
	const struct wherry_section identity = {
		.name = "tcp-server",
		.version = STATE_VERSION,
		.save = save_identity,
		.check = check_identity,
		.ctx = s,
	};
	int rc = wherry_app_create(&opts, &s->app);

	if (rc == 0)
		rc = wherry_agent_add_section(wherry_app_agent(s->app), &identity);
	if (rc == 0)
		rc = wherry_agent_add_library(wherry_app_agent(s->app), s->lib.dynamic);
	if (rc == -EBUSY)
		complain("the port has an I/O address space other than --iommu %s", o->iommu);
	else if (rc != 0)
		complain("cannot be made ready to move: %s", strerror(-rc));
	return rc;
}

static int
explain_memory(int rc, const void *vaddr, const char *what)
{
	if (rc == -EEXIST)
		complain("something else is mapped at %p, where the %s has to be; give both ends "
			 "another --arena-base",
			vaddr, what);
	else if (rc != 0)
		complain("cannot make memory for the %s: %s", what, strerror(-rc));
	return rc;
}

static int
add_arena(struct server *s)
{
	const struct wherry_region_opts opts = {
		.name = ARENA,
		.vaddr = (void *)s->opts.arena_vaddr,
		.len = s->opts.arena_len + WORKING_ROOM,
		.page = s->opts.hugepages ? 2 * MIB : 4096,
		.node = WHERRY_NODE_ANY,
	};

	return explain_memory(wherry_app_add_arena(s->app, &opts, &s->arena), opts.vaddr, "state");
}

/* The library's variables: pages that are written where no tracking sees it, so always sent. */
static int
add_lib_data(struct server *s)
{
	struct wherry_region_opts opts = {
		.name = LIB_DATA,
		.vaddr = (void *)(s->opts.arena_vaddr - LIB_DATA_BELOW),
		.len = s->lib.data_len,
		.node = WHERRY_NODE_ANY,
	};
	struct wherry_region_info info;
	int rc = explain_memory(
		wherry_region_create(&opts, &s->lib_data), opts.vaddr, "variables of liblwip");

	if (rc != 0)
		return rc;
	wherry_region_get_info(s->lib_data, &info);
	rc = wherry_app_add_region(s->app, s->lib_data);
	if (rc == 0)
		rc = wherry_watch_always(wherry_app_watch(s->app, LIB_DATA),
			(struct wherry_span){ (uint64_t)(uintptr_t)info.vaddr, info.len });
	if (rc == 0)
		rc = map_lib_data(s, s->opts.incoming == NULL);
	return explain_memory(rc, opts.vaddr, "variables of liblwip");
}

/* The root of what moves, and the buffers, which the queues of the port need. */
static int
create_root(struct server *s)
{
	s->state = state_create(s);
	if (s->state == NULL)
		return -ENOMEM;
	s->state->ip = s->opts.ip;
	s->state->max_kept = max_kept(s);
	s->state->buffers = port_bind(s->port, s->arena);
	return s->state->buffers == NULL ? -ENOMEM : 0;
}

static int
add_port(struct server *s)
{
	const struct port_opts opts = { .max_kept = max_kept(s), .sleeps = !s->opts.busy_poll };
	int rc = port_create(&opts, &s->port);

	if (rc != 0)
		return rc;
	port_set_filter(s->port, wherry_app_watch(s->app, ARENA));
	rc = s->opts.incoming == NULL ? create_root(s) : 0;
	if (rc == 0)
		rc = port_configure(s->port);
	return rc != 0 ? rc : wherry_app_add_port(s->app, port_id(s->port));
}

static int
fill_up(struct server *s)
{
	struct wherry_arena_stats stats;

	wherry_arena_get_stats(s->arena, &stats);
	size_t used = stats.used + stats.metadata;
	return used >= s->opts.arena_len ? 0 : cache_fill(s->state, s->opts.arena_len - used);
}

static int
create_contents(struct server *s)
{
	struct state *state = s->state;
	int rc = churn_create(state, s->opts.churn_len, s->opts.churn_rate);

	if (rc == 0 && s->opts.content != NULL)
		rc = cache_load(state, s->opts.content);
	if (rc == 0 && s->opts.fill)
		rc = fill_up(s);
	return rc;
}

static int
create_state(struct server *s)
{
	uint8_t mac[6];

	port_mac(s->port, mac);
	lwip_lib_set_heap(s->arena);
	lwip_init();
	int rc = netif_create(s->state, &s->opts, mac);
	if (rc == 0)
		rc = conn_listen(s->state);
	return rc == 0 ? create_contents(s) : rc;
}

int
server_setup(struct server *s)
{
	int rc = lwip_lib_find(&s->lib);

	if (rc == 0)
		rc = lwip_lib_redirect(&s->lib);
	if (rc == 0)
		rc = create_app(s);
	if (rc == 0)
		rc = add_arena(s);
	if (rc == 0)
		rc = add_lib_data(s);
	if (rc == 0)
		rc = add_port(s);
	if (rc == 0 && s->opts.incoming == NULL)
		rc = create_state(s);
	if (rc == -ENOMEM)
		complain("the state does not fit; make --arena larger");
	return rc;
}

void
server_teardown(struct server *s)
{
	/* the port's queues hold buffers of the arena, and lwIP's variables lie in lib_data */
	if (s->app != NULL)
		wherry_app_destroy(s->app);
	port_destroy(s->port);
	lwip_lib_set_heap(NULL);
	wherry_region_destroy(s->lib_data);
}
