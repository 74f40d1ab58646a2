/* SPDX-License-Identifier: BSD-3-Clause */
#include "side.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "eal.h"
#include "test.h"

#define CONTROL "/tmp/wherry-test-dpdk-%s.%d.sock"

unsigned int
side_get(const unsigned int *n)
{
	return __atomic_load_n(n, __ATOMIC_SEQ_CST);
}

bool
side_is(const bool *b)
{
	return __atomic_load_n(b, __ATOMIC_SEQ_CST);
}

bool
side_until(const bool *b)
{
	for (unsigned int i = 0; i < 10000 && !side_is(b); i++)
		usleep(1000);
	return side_is(b);
}

bool
side_on_core_0(pid_t thread)
{
	cpu_set_t set;

	CHECK_EQ(sched_getaffinity(thread, sizeof(set), &set), 0);
	return CPU_ISSET(0, &set);
}

static void
note_agent(struct side *s)
{
	s->agent = gettid();
	s->agent_on_core_0 = side_on_core_0(0);
}

static int
on_verify(void *ctx)
{
	struct side *s = ctx;

	note_agent(s);
	s->verified++;
	return s->verify_rc;
}

static int
on_rebind(void *ctx)
{
	struct side *s = ctx;

	s->rebound++;
	s->bursts_at_rebind = side_get(&s->bursts);
	return 0;
}

static void
on_parked(void *ctx)
{
	struct side *s = ctx;

	note_agent(s);
	s->parked++;
}

struct wherry_app_opts
side_opts(struct side *s, const char *name, const char *incoming)
{
	snprintf(s->control, sizeof(s->control), CONTROL, name, (int)getpid());
	return (struct wherry_app_opts){
		.name = name,
		.control = s->control,
		.incoming = incoming,
		.pollers = 1,
		.ops = { .verify = on_verify, .rebind = on_rebind, .parked = on_parked, .ctx = s },
	};
}

void
side_make(struct side *s, const char *name, const char *incoming)
{
	struct wherry_app_opts opts = side_opts(s, name, incoming);

	eal_need();
	CHECK_EQ(wherry_app_create(&opts, &s->app), 0);
}

void *
side_poll(void *arg)
{
	struct side *s = arg;

	while (wherry_app_poll(s->app)) {
		struct rte_mbuf *m[8];

		rte_pktmbuf_free_bulk(m, rte_eth_rx_burst(s->port, 0, m, 8));
		__atomic_fetch_add(&s->bursts, 1, __ATOMIC_SEQ_CST);
		usleep(100);
	}
	__atomic_store_n(&s->ended, true, __ATOMIC_SEQ_CST);
	return NULL;
}

void *
side_start(void *arg)
{
	struct side *s = arg;

	s->start_rc = wherry_app_start(s->app);
	__atomic_store_n(&s->started, true, __ATOMIC_SEQ_CST);
	return NULL;
}

void
side_launch(struct side *s, const char *name, uint16_t queues)
{
	char port[32];

	snprintf(port, sizeof(port), "net_null_%s", name);
	s->port = eal_port(port, "", queues, eal_mempool());
	CHECK_EQ(wherry_app_add_port(s->app, s->port), 0);
	CHECK_EQ(pthread_create(&s->core, NULL, side_poll, s), 0);
	CHECK_EQ(pthread_create(&s->starter, NULL, side_start, s), 0);
}

void
side_run(struct side *s, const char *name, const char *incoming, uint16_t queues)
{
	side_make(s, name, incoming);
	side_launch(s, name, queues);
	if (incoming == NULL)
		CHECK(side_until(&s->started));
}

void
side_drop(struct side *s, const char *name)
{
	char port[32];

	wherry_app_quit(s->app);
	CHECK_EQ(pthread_join(s->starter, NULL), 0);
	CHECK_EQ(pthread_join(s->core, NULL), 0);
	wherry_app_destroy(s->app);
	CHECK_EQ(access(s->control, F_OK), -1);
	snprintf(port, sizeof(port), "net_null_%s", name);
	eal_port_close(port);
}

void
side_wait_for_bursts(struct side *s)
{
	unsigned int before = side_get(&s->bursts);

	for (unsigned int i = 0; i < 5000 && side_get(&s->bursts) < before + 20; i++)
		usleep(1000);
	CHECK(side_get(&s->bursts) >= before + 20);
}

void
side_listen_uri(char *uri, size_t cap)
{
	static unsigned int n;

	snprintf(uri, cap, "unix:/tmp/wherry-test-dpdk-%d.%u", (int)getpid(), n++);
}
