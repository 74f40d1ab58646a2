/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk: ports of an application that does not know Wherry, adopted while they run. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "eal.h"
#include "side.h"
#include "test.h"

/* An application with one core and one net_null, from which frames always come. */
struct guest {
	struct wherry_app *app;
	char control[108];
	const char *port_name;
	uint16_t port;
	pthread_t core, starter;
	bool stop, has_lcore;        /* stop: atomic */
	unsigned int bursts, frames; /* atomic */
	bool started;                /* atomic: wherry_app_start() has returned */
	int start_rc;
};

static void *
poll_port(void *arg)
{
	struct guest *g = arg;
	bool registered = g->has_lcore && rte_thread_register() == 0;

	while (!__atomic_load_n(&g->stop, __ATOMIC_SEQ_CST)) {
		struct rte_mbuf *m[8];
		uint16_t n = rte_eth_rx_burst(g->port, 0, m, 8);

		rte_pktmbuf_free_bulk(m, n);
		__atomic_fetch_add(&g->frames, n, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&g->bursts, 1, __ATOMIC_SEQ_CST);
		usleep(100);
	}
	if (registered)
		rte_thread_unregister();
	return NULL;
}

static void *
start_app(void *arg)
{
	struct guest *g = arg;

	g->start_rc = wherry_app_start(g->app);
	__atomic_store_n(&g->started, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void
wait_more(const unsigned int *counter)
{
	unsigned int before = side_get(counter);

	for (unsigned int i = 0; i < 10000 && side_get(counter) < before + 20; i++)
		usleep(1000);
	CHECK(side_get(counter) >= before + 20);
}

/* The port runs and is polled before Wherry comes. */
static void
run(struct guest *g, const char *name, const char *port_name, const char *incoming, bool has_lcore)
{
	struct wherry_app_opts opts = { .name = name, .control = g->control, .incoming = incoming };

	eal_need();
	snprintf(g->control, sizeof(g->control), "/tmp/wherry-test-adopt-%s.%d", name,
		(int)getpid());
	g->port_name = port_name;
	g->has_lcore = has_lcore;
	g->port = eal_port(port_name, "", 1, eal_mempool());
	CHECK_EQ(rte_eth_dev_start(g->port), 0);
	CHECK_EQ(pthread_create(&g->core, NULL, poll_port, g), 0);
	wait_more(&g->frames);
	CHECK_EQ(wherry_app_create(&opts, &g->app), 0);
	CHECK_EQ(wherry_app_adopt_port(g->app, g->port), 0);
	CHECK_EQ(wherry_app_adopt_port(g->app, g->port), -EEXIST);
	CHECK_EQ(pthread_create(&g->starter, NULL, start_app, g), 0);
}

static void
drop(struct guest *g)
{
	__atomic_store_n(&g->stop, true, __ATOMIC_SEQ_CST);
	wherry_app_quit(g->app);
	CHECK_EQ(pthread_join(g->starter, NULL), 0);
	CHECK_EQ(pthread_join(g->core, NULL), 0);
	wherry_app_destroy(g->app);
	eal_port_close(g->port_name);
}

static enum wherry_state
wait_for_end(struct guest *g)
{
	struct wherry_status s = { .state = WHERRY_STATE_SETUP };

	for (unsigned int i = 0; i < 20000; i++) {
		wherry_agent_get_status(wherry_app_agent(g->app), &s);
		if (s.state == WHERRY_STATE_RELEASED || s.state == WHERRY_STATE_SERVING)
			break;
		usleep(1000);
	}
	return s.state;
}

static void
migrate(struct guest *g, const char *uri)
{
	const struct wherry_migrate_params params = { .timeout_ms = 20000 };

	for (int rc = -1; rc != 0;) {
		rc = wherry_agent_migrate(wherry_app_agent(g->app), uri, &params);
		CHECK(rc == 0 || rc == -EBUSY);
	}
}

TEST(adopt_port_moves_and_its_cores_stay_parked)
{
	static struct guest a, b;
	unsigned int before;
	char uri[108];

	side_listen_uri(uri, sizeof(uri));
	run(&a, "adopt-a", "net_null_adopt_a", NULL, true);
	CHECK(side_until(&a.started));
	CHECK_EQ(a.start_rc, 0);
	wait_more(&a.frames);
	run(&b, "adopt-b", "net_null_adopt_b", uri, true);
	wait_more(&b.bursts);
	before = side_get(&b.frames);
	wait_more(&b.bursts); /* polls, and gets nothing */
	CHECK_EQ(side_get(&b.frames), before);
	migrate(&a, uri);
	CHECK_EQ(wait_for_end(&a), WHERRY_STATE_RELEASED);
	CHECK(side_until(&b.started));
	CHECK_EQ(b.start_rc, 0);
	wait_more(&b.frames);
	before = side_get(&a.bursts);
	wait_more(&b.frames);
	CHECK_EQ(side_get(&a.bursts), before);
	drop(&b);
	drop(&a);
}

/* Who cannot be counted cannot be parked: the application goes on where it is. */
TEST(adopt_port_polled_by_a_stranger_is_not_quiesced)
{
	static struct guest a, b;
	char uri[108];

	side_listen_uri(uri, sizeof(uri));
	run(&a, "adopt-c", "net_null_adopt_c", NULL, false);
	CHECK(side_until(&a.started));
	run(&b, "adopt-d", "net_null_adopt_d", uri, true);
	wait_more(&b.bursts);
	wait_more(&a.frames);
	migrate(&a, uri);
	CHECK_EQ(wait_for_end(&a), WHERRY_STATE_SERVING);
	wait_more(&a.frames);
	drop(&b);
	drop(&a);
}

/* The number of a closed port goes to the next one, with the callbacks that were left there. */
TEST(adopt_of_a_closed_port_is_no_burden_for_the_next)
{
	struct wherry_app_opts opts = { .name = "adopt-e", .control = "/tmp/wherry-test-adopt-e" };
	struct rte_mbuf *m[8];
	struct wherry_app *app;
	uint16_t id, n;

	eal_need();
	id = eal_port("net_null_adopt_e", "", 1, eal_mempool());
	CHECK_EQ(wherry_app_create(&opts, &app), 0);
	CHECK_EQ(wherry_app_adopt_port(app, id), 0);
	CHECK_EQ(rte_eth_dev_start(id), 0);
	eal_port_close("net_null_adopt_e");
	wherry_app_destroy(app);
	CHECK_EQ(eal_port("net_null_adopt_f", "", 1, eal_mempool()), id);
	CHECK_EQ(rte_eth_dev_start(id), 0);
	n = rte_eth_rx_burst(id, 0, m, 8);
	CHECK_EQ(n, 8);
	rte_pktmbuf_free_bulk(m, n);
	eal_port_close("net_null_adopt_f");
}
