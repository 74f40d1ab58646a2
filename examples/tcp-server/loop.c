/* SPDX-License-Identifier: BSD-3-Clause */
/* The polling core: receive, let lwIP and the application work, send, sleep. */

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conn.h"
#include "netif.h"
#include "port.h"
#include "server.h"
#include "state.h"
#include "timers.h"
#include "upgrade.h"

/* After a takeover, or after an attempt that failed: the world has to hear from us. */
static void
announce(struct server *s, struct timers *timers)
{
	uint64_t now = now_ns();

	timers_announce(timers, now);
	(void)timers_run(timers, s->state, now);
	conn_announce(s->state);
}

static void
serve(struct server *s)
{
	struct timers timers;

	timers_init(&timers, now_ns());
	if (s->opts.incoming != NULL)
		announce(s, &timers);
	while (wherry_app_poll(s->app)) {
		if (s->was_parked) {
			s->was_parked = false;
			port_restarted(s->port);
			announce(s, &timers);
		}
		unsigned int n = port_receive(s->port, netif_receive, s->state);
		uint64_t now = now_ns();
		uint64_t timer_ns = timers_run(&timers, s->state, now);
		uint64_t churn_ns = churn_step(&s->state->churn, now);
		bool more = conn_work(s->state);
		if (port_flush(s->port))
			conn_retry();
		uint64_t next = timer_ns < churn_ns ? timer_ns : churn_ns;
		if (n == 0 && !more && !s->opts.busy_poll && next > now)
			port_sleep(s->port, s->app, next - now);
	}
}

static int
end(struct server *s)
{
	struct wherry_status status;

	wherry_agent_get_status(wherry_app_agent(s->app), &status);
	if (status.state == WHERRY_STATE_RELEASED) {
		puts("released: another process serves");
		return 0;
	}
	if (status.state == WHERRY_STATE_UNKNOWN) {
		complain("the migration was committed and the peer is gone: it may serve or not; "
			 "this process does not any more (%s)",
			status.reason);
		return -ECONNRESET;
	}
	conn_abort_all(s->state);
	(void)port_flush(s->port);
	return 0;
}

static void
say_serving(const struct server *s)
{
	const struct in_addr in = { s->state->ip };
	char ip[INET_ADDRSTRLEN];

	printf("serving http://%s/ as %s\n", inet_ntop(AF_INET, &in, ip, sizeof(ip)), s->opts.name);
	fflush(stdout);
}

static int
run(struct server *s)
{
	if (s->opts.incoming != NULL) {
		printf("waiting for a migration on %s\n", s->opts.incoming);
		fflush(stdout);
	}
	int rc = wherry_app_start(s->app);
	if (rc == -ECANCELED)
		return 0; /* told to end */
	if (rc != 0) {
		struct wherry_status status;
		wherry_agent_get_status(wherry_app_agent(s->app), &status);
		complain("%s: %s",
			s->opts.incoming != NULL ? "nothing was taken over" : "cannot start",
			status.reason[0] != '\0' ? status.reason : strerror(-rc));
		return rc;
	}
	say_serving(s);
	serve(s);
	return end(s);
}

int
server_run(struct server *s)
{
	struct upgrade *upgrade;
	int rc, ended;

	if (s->opts.succeed == NULL)
		return run(s);
	upgrade = upgrade_begin(s);
	if (upgrade == NULL)
		return -ENOENT;
	rc = run(s);
	ended = upgrade_end(upgrade);
	return rc != 0 ? rc : ended;
}
