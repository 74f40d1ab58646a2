/* SPDX-License-Identifier: BSD-3-Clause */
/* What lwIP has to be told as time goes by. */

#include "timers.h"

#include <lwip/etharp.h>
#include <lwip/ip4_frag.h>
#include <lwip/priv/tcp_priv.h>

#include "netif.h"
#include "server.h"
#include "state.h"

#define MS UINT64_C(1000000)

void
timers_init(struct timers *t, uint64_t now_ns)
{
	*t = (struct timers){
		.tcp_ns = now_ns + TCP_TMR_INTERVAL * MS,
		.second_ns = now_ns + ARP_TMR_INTERVAL * MS,
		.announce_ns = UINT64_MAX,
	};
}

void
timers_announce(struct timers *t, uint64_t now_ns)
{
	t->announce_ns = now_ns;
	t->said = 0;
}

/* Ticks that a long pause swallowed are not made up for: everybody stood still. */
static bool
is_due(uint64_t *at_ns, uint64_t now_ns, uint64_t period_ns)
{
	if (now_ns < *at_ns)
		return false;
	*at_ns += period_ns;
	if (*at_ns <= now_ns)
		*at_ns = now_ns + period_ns;
	return true;
}

static uint64_t
announce_due(struct timers *t, struct state *state, uint64_t now_ns)
{
	int ms;

	if (now_ns < t->announce_ns)
		return t->announce_ns;
	netif_announce(state);
	ms = wherry_announce_delay(&state->server->opts.announce, ++t->said);
	t->announce_ns = ms < 0 ? UINT64_MAX : now_ns + (uint64_t)ms * MS;
	return t->announce_ns;
}

uint64_t
timers_run(struct timers *t, struct state *state, uint64_t now_ns)
{
	if (is_due(&t->tcp_ns, now_ns, TCP_TMR_INTERVAL * MS)) {
		state->ticks++;
		tcp_tmr();
	}
	if (is_due(&t->second_ns, now_ns, ARP_TMR_INTERVAL * MS)) {
		etharp_tmr();
		ip_reass_tmr();
	}
	uint64_t next = announce_due(t, state, now_ns);
	next = t->tcp_ns < next ? t->tcp_ns : next;
	return t->second_ns < next ? t->second_ns : next;
}
