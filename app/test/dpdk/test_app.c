/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lib/dpdk: the facade. Two applications of one process migrate to each other here, with
 * ports and cores but without memory, whose address only one of them could have; memory
 * moves between processes in pmd_app.sh and in the tests of tcp-server.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "eal.h"
#include "fault_priv.h"
#include "test.h"
#include "wherry_dpdk.h"

#define ARENA_AT ((void *)UINT64_C(0x7e9000000000))
#define ARENA_LEN (UINT64_C(1) << 20)
#define TIDS 65536u /* threads told apart by their number modulo this */
#define CONTROL "/tmp/wherry-test-dpdk-%s.%d.sock"

/* An application: what it was asked, and its one core. */
struct side {
	struct wherry_app *app;
	char control[108];
	uint16_t port;
	unsigned int verified, rebound, parked; /* how often the ops were called */
	unsigned int bursts_at_rebind;
	int verify_rc;
	pthread_t core, starter;
	unsigned int bursts; /* atomic */
	bool ended;          /* atomic: poll said so */
	bool started;        /* atomic: start has returned */
	int start_rc;
};

static unsigned int
get(const unsigned int *n)
{
	return __atomic_load_n(n, __ATOMIC_SEQ_CST);
}

static bool
is(const bool *b)
{
	return __atomic_load_n(b, __ATOMIC_SEQ_CST);
}

static bool
until(const bool *b)
{
	for (unsigned int i = 0; i < 10000 && !is(b); i++)
		usleep(1000);
	return is(b);
}

static int
on_verify(void *ctx)
{
	struct side *s = ctx;

	s->verified++;
	return s->verify_rc;
}

static int
on_rebind(void *ctx)
{
	struct side *s = ctx;

	s->rebound++;
	s->bursts_at_rebind = get(&s->bursts);
	return 0;
}

static void
on_parked(void *ctx)
{
	struct side *s = ctx;

	s->parked++;
}

static struct wherry_app_opts
opts_of(struct side *s, const char *name, const char *incoming)
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

static void
make(struct side *s, const char *name, const char *incoming)
{
	struct wherry_app_opts opts = opts_of(s, name, incoming);

	eal_need();
	CHECK_EQ(wherry_app_create(&opts, &s->app), 0);
}

static void *
poll_on(void *arg)
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

static void *
start_on(void *arg)
{
	struct side *s = arg;

	s->start_rc = wherry_app_start(s->app);
	__atomic_store_n(&s->started, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* With a port and a core, started; a destination goes on waiting. */
static void
run(struct side *s, const char *name, const char *incoming, uint16_t queues)
{
	char port[32];

	make(s, name, incoming);
	snprintf(port, sizeof(port), "net_null_%s", name);
	s->port = eal_port(port, "", queues, eal_mempool());
	CHECK_EQ(wherry_app_add_port(s->app, s->port), 0);
	CHECK_EQ(pthread_create(&s->core, NULL, poll_on, s), 0);
	CHECK_EQ(pthread_create(&s->starter, NULL, start_on, s), 0);
	if (incoming == NULL)
		CHECK(until(&s->started));
}

static void
drop(struct side *s, const char *name)
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

static void
wait_for_bursts(struct side *s)
{
	unsigned int before = get(&s->bursts);

	for (unsigned int i = 0; i < 5000 && get(&s->bursts) < before + 20; i++)
		usleep(1000);
	CHECK(get(&s->bursts) >= before + 20);
}

static void
listen_uri(char *uri, size_t cap)
{
	static unsigned int n;

	snprintf(uri, cap, "unix:/tmp/wherry-test-dpdk-%d.%u", (int)getpid(), n++);
}

/* Until it is over; how it ended. */
static struct wherry_status
migrate(struct side *from, const char *uri)
{
	struct wherry_agent *agent = wherry_app_agent(from->app);
	struct wherry_status status;

	CHECK_EQ(wherry_agent_migrate(agent, uri, NULL), 0);
	for (unsigned int i = 0; i < 10000; i++) {
		wherry_agent_get_status(agent, &status);
		if (status.state == WHERRY_STATE_RELEASED || status.state == WHERRY_STATE_SERVING)
			break;
		usleep(1000);
	}
	return status;
}

TEST(app_create_refuses_no_name_and_too_many_pollers)
{
	struct side s = { 0 };
	struct wherry_app_opts opts = opts_of(&s, "refused", NULL);

	eal_need();
	opts.name = NULL;
	CHECK_EQ(wherry_app_create(&opts, &s.app), -EINVAL);
	opts = opts_of(&s, "many", NULL);
	opts.pollers = 4096;
	CHECK_EQ(wherry_app_create(&opts, &s.app), -EINVAL);
	opts = opts_of(&s, "uri", "nonsense");
	CHECK_EQ(wherry_app_create(&opts, &s.app), -EINVAL);
	wherry_app_destroy(NULL);
}

TEST(app_create_failure_leaves_nothing)
{
	struct wherry_domain *dom;

	eal_need();
	CHECK_EQ(wherry_dpdk_domain_get(NULL, &dom), 0); /* made once, not in each round */
	FOR_EACH_FAULT(nth) {
		struct side s = { 0 };
		struct wherry_app_opts opts = opts_of(&s, "sweep", NULL);
		int rc = wherry_app_create(&opts, &s.app);

		wherry_fault_disarm();
		CHECK(rc <= 0); /* 0 with a fault: the tracker has another CPU source */
		wherry_app_destroy(s.app);
		CHECK_EQ(access(s.control, F_OK), -1);
	}
	wherry_dpdk_domain_put(dom);
}

static const struct wherry_region_opts arena_opts = {
	.name = "state",
	.vaddr = ARENA_AT,
	.len = ARENA_LEN,
	.node = WHERRY_NODE_ANY,
};
static const struct wherry_span arena_span = { .iova = UINT64_C(0x7e9000000000), .len = ARENA_LEN };

/* Neither in the process nor in the domain is anything at the address. */
static void
check_free(struct wherry_app *app)
{
	struct wherry_region *region;

	CHECK_EQ(wherry_domain_unmap(wherry_app_domain(app), arena_span), -ENOENT);
	CHECK_EQ(wherry_region_create(&arena_opts, &region), 0);
	wherry_region_destroy(region);
}

TEST(app_add_arena_maps_at_its_address_and_watches)
{
	struct wherry_arena *arena, *again;
	struct wherry_span span = arena_span;
	struct side s = { 0 };

	make(&s, "arena", NULL);
	CHECK_EQ(wherry_app_add_arena(s.app, &arena_opts, &arena), 0);
	CHECK(wherry_arena_contains(arena, ARENA_AT));
	CHECK(wherry_app_arena(s.app, "state") == arena);
	CHECK(wherry_app_arena(s.app, "other") == NULL);
	CHECK(wherry_app_watch(s.app, "other") == NULL);
	CHECK(wherry_watch_span(wherry_app_watch(s.app, "state")).iova == arena_span.iova);
	CHECK(wherry_watch_span(wherry_app_watch(s.app, "state")).len == ARENA_LEN);
	CHECK_EQ(wherry_domain_map(wherry_app_domain(s.app), ARENA_AT, WHERRY_DMA_READ, &span),
		-EEXIST);
	CHECK_EQ(wherry_app_add_arena(s.app, &arena_opts, &again), -EEXIST);
	wherry_app_destroy(s.app);
	make(&s, "arena", NULL);
	check_free(s.app);
	wherry_app_destroy(s.app);
}

TEST(app_add_arena_needs_an_address)
{
	struct wherry_region_opts opts = arena_opts;
	struct wherry_arena *arena;
	struct side s = { 0 };

	make(&s, "arena", NULL);
	opts.vaddr = NULL;
	CHECK_EQ(wherry_app_add_arena(s.app, &opts, &arena), -EINVAL);
	wherry_app_destroy(s.app);
}

TEST(app_add_arena_failure_leaves_nothing)
{
	struct side s = { 0 };

	make(&s, "arena", NULL);
	FOR_EACH_FAULT(nth) {
		struct wherry_arena *arena;
		int rc = wherry_app_add_arena(s.app, &arena_opts, &arena);

		wherry_fault_disarm();
		if (rc == 0)
			break;
		CHECK(wherry_app_watch(s.app, "state") == NULL);
		check_free(s.app);
	}
	CHECK(wherry_app_arena(s.app, "state") != NULL);
	wherry_app_destroy(s.app);
}

TEST(app_add_region_leaves_the_region_to_the_caller)
{
	struct wherry_region *region;
	struct side s = { 0 };

	make(&s, "region", NULL);
	CHECK_EQ(wherry_region_create(&arena_opts, &region), 0);
	CHECK_EQ(wherry_app_add_region(s.app, region), 0);
	CHECK_EQ(wherry_app_add_region(s.app, region), -EEXIST);
	CHECK(wherry_app_watch(s.app, "state") != NULL);
	CHECK(wherry_app_arena(s.app, "state") == NULL);
	wherry_app_destroy(s.app);
	memset(ARENA_AT, 1, ARENA_LEN);
	wherry_region_destroy(region);
}

TEST(app_incoming_has_no_arena_yet)
{
	struct wherry_arena *arena = (void *)&arena;
	struct side s = { 0 };
	char uri[64];

	listen_uri(uri, sizeof(uri));
	make(&s, "incoming", uri);
	CHECK_EQ(wherry_app_add_arena(s.app, &arena_opts, &arena), 0);
	CHECK(arena == NULL);
	CHECK(wherry_app_arena(s.app, "state") == NULL);
	CHECK(wherry_app_watch(s.app, "state") != NULL);
	wherry_app_destroy(s.app);
}

TEST(app_add_port_refuses_what_is_no_port_or_there_already)
{
	struct side s = { 0 };

	make(&s, "ports", NULL);
	CHECK_EQ(wherry_app_add_port(s.app, 31), -ENODEV);
	s.port = eal_port("net_null_ports", "", 1, eal_mempool());
	CHECK_EQ(wherry_app_add_port(s.app, s.port), 0);
	CHECK_EQ(wherry_app_add_port(s.app, s.port), -EEXIST);
	wherry_app_destroy(s.app);
	eal_port_close("net_null_ports");
}

TEST(app_cores_wait_until_start_and_leave_at_quit)
{
	struct side s = { 0 };

	make(&s, "cores", NULL);
	s.port = eal_port("net_null_cores", "", 1, eal_mempool());
	CHECK_EQ(wherry_app_add_port(s.app, s.port), 0);
	CHECK_EQ(pthread_create(&s.core, NULL, poll_on, &s), 0);
	usleep(20000);
	CHECK_EQ(get(&s.bursts), 0);
	CHECK_EQ(pthread_create(&s.starter, NULL, start_on, &s), 0);
	CHECK(until(&s.started));
	CHECK_EQ(s.start_rc, 0);
	wait_for_bursts(&s);
	CHECK(!is(&s.ended));
	wherry_app_quit(s.app);
	CHECK(until(&s.ended));
	drop(&s, "cores");
}

TEST(app_start_failure_leaves_ports_stopped)
{
	eal_need();
	for (unsigned int nth = 1, failed = 1; failed; nth++) {
		struct side s = { 0 };
		struct rte_eth_link link;

		make(&s, "start", NULL);
		s.port = eal_port("net_null_start", "", 1, eal_mempool());
		CHECK_EQ(wherry_app_add_port(s.app, s.port), 0);
		wherry_fault_arm(nth);
		failed = wherry_app_start(s.app) != 0;
		CHECK_EQ(failed, wherry_fault_fired() != NULL);
		wherry_fault_disarm();
		CHECK_EQ(rte_eth_link_get_nowait(s.port, &link), 0);
		CHECK_EQ(link.link_status, failed ? 0 : 1);
		wherry_app_destroy(s.app);
		CHECK_EQ(rte_eth_link_get_nowait(s.port, &link), 0);
		CHECK_EQ(link.link_status, 0); /* destroy stops ports, too */
		eal_port_close("net_null_start");
	}
}

TEST(app_start_of_a_destination_ends_at_quit)
{
	struct side s = { 0 };
	char uri[64];

	listen_uri(uri, sizeof(uri));
	run(&s, "waiting", uri, 1);
	usleep(20000);
	CHECK(!is(&s.started));
	wherry_app_quit(s.app);
	CHECK(until(&s.started));
	CHECK_EQ(s.start_rc, -ECANCELED);
	CHECK_EQ(get(&s.bursts), 0);
	drop(&s, "waiting");
}

TEST(app_moves_its_ports_and_only_one_side_polls)
{
	struct rte_ether_addr mac = { { 0x02, 0x11, 0x22, 0x33, 0x44, 0x55 } }, got;
	struct side a = { 0 }, b = { 0 };
	struct wherry_status status;
	char uri[64];

	listen_uri(uri, sizeof(uri));
	run(&a, "a", NULL, 1);
	run(&b, "b", uri, 1);
	CHECK_EQ(rte_eth_dev_default_mac_addr_set(a.port, &mac), 0);
	wait_for_bursts(&a);
	CHECK_EQ(get(&b.bursts), 0);
	status = migrate(&a, uri);
	CHECK_EQ(status.state, WHERRY_STATE_RELEASED);
	CHECK(until(&a.ended));
	CHECK(until(&b.started));
	CHECK_EQ(b.start_rc, 0);
	wait_for_bursts(&b);
	CHECK_EQ(a.parked, 1);
	CHECK(b.verified == 1 && b.rebound == 1 && b.bursts_at_rebind == 0);
	CHECK_EQ(rte_eth_macaddr_get(b.port, &got), 0);
	CHECK(rte_is_same_ether_addr(&got, &mac));
	CHECK(status.blackout_ns > 0 && status.blackout_ns < UINT64_C(2000000000));
	drop(&a, "a");
	drop(&b, "b");
}

/* Whatever goes wrong before COMMIT: the source polls on, the destination gives up. */
static void
check_failed(struct side *a, struct side *b, const char *uri)
{
	struct wherry_status status = migrate(a, uri);

	CHECK_EQ(status.state, WHERRY_STATE_SERVING);
	CHECK(status.reason[0] != '\0');
	CHECK(!is(&a->ended));
	wait_for_bursts(a);
	CHECK(until(&b->started));
	CHECK(b->start_rc != 0 && b->start_rc != -ECANCELED);
	CHECK_EQ(get(&b->bursts), 0);
}

TEST(app_verify_refuses_and_the_source_goes_on)
{
	struct side a = { 0 }, b = { .verify_rc = -EPROTO };
	char uri[64];

	listen_uri(uri, sizeof(uri));
	run(&a, "a", NULL, 1);
	run(&b, "b", uri, 1);
	check_failed(&a, &b, uri);
	CHECK_EQ(a.parked, 1);
	CHECK_EQ(b.rebound, 0);
	drop(&b, "b");
	b = (struct side){ 0 };
	run(&b, "b", uri, 1);
	CHECK_EQ(migrate(&a, uri).state, WHERRY_STATE_RELEASED); /* the next try goes well */
	drop(&a, "a");
	drop(&b, "b");
}

TEST(app_with_a_core_that_does_not_poll_does_not_move)
{
	struct side a = { 0 }, b = { 0 };
	struct wherry_app_opts opts = opts_of(&a, "a", NULL);
	char uri[64];

	eal_need();
	listen_uri(uri, sizeof(uri));
	opts.pollers = 2; /* and one comes */
	CHECK_EQ(wherry_app_create(&opts, &a.app), 0);
	a.port = eal_port("net_null_a", "", 1, eal_mempool());
	CHECK_EQ(wherry_app_add_port(a.app, a.port), 0);
	CHECK_EQ(pthread_create(&a.core, NULL, poll_on, &a), 0);
	CHECK_EQ(pthread_create(&a.starter, NULL, start_on, &a), 0);
	run(&b, "b", uri, 1);
	CHECK(until(&a.started));
	check_failed(&a, &b, uri);
	CHECK_EQ(a.parked, 0);
	drop(&a, "a");
	drop(&b, "b");
}

TEST(app_with_other_ports_is_refused_before_the_first_page)
{
	struct side a = { 0 }, b = { 0 };
	char uri[64];

	listen_uri(uri, sizeof(uri));
	run(&a, "a", NULL, 1);
	run(&b, "b", uri, 2);
	check_failed(&a, &b, uri);
	CHECK_EQ(a.parked, 0);
	CHECK_EQ(b.verified, 0);
	drop(&a, "a");
	drop(&b, "b");
}

/* Is any thread, but this one and those that were there, allowed on the polling core? */
static bool
others_on_core(unsigned int core, const bool *before, bool *ret_seen)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	bool any = false;

	CHECK(dir != NULL);
	while ((e = readdir(dir)) != NULL) {
		int tid = (int)strtol(e->d_name, NULL, 10);
		unsigned int slot = (unsigned int)tid % TIDS;
		cpu_set_t set;

		ret_seen[slot] = true;
		if (tid == 0 || (before != NULL && before[slot]))
			continue;
		CHECK_EQ(sched_getaffinity(tid, sizeof(set), &set), 0);
		any |= CPU_ISSET(core, &set);
	}
	closedir(dir);
	return any;
}

TEST(app_threads_stay_off_the_polling_core)
{
	bool before[TIDS] = { false }, after[TIDS] = { false };
	struct side s = { 0 };

	eal_need();
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP("there is one CPU only, which all share");
	others_on_core(0, NULL, before);
	make(&s, "threads", NULL);
	CHECK_EQ(wherry_app_start(s.app), 0);
	CHECK(!others_on_core(0, before, after));
	CHECK(memcmp(before, after, sizeof(before)) != 0); /* there are some */
	wherry_app_destroy(s.app);
}

TEST(app_wake_fd_wakes_a_core_that_sleeps)
{
	struct side s = { 0 };
	struct pollfd pfd;

	make(&s, "wake", NULL);
	CHECK_EQ(wherry_app_start(s.app), 0);
	pfd = (struct pollfd){ .fd = wherry_app_wake_fd(s.app), .events = POLLIN };
	CHECK_EQ(poll(&pfd, 1, 0), 0);
	wherry_app_quit(s.app);
	CHECK_EQ(poll(&pfd, 1, 0), 1);
	wherry_app_destroy(s.app);
}

/* The command's answer from EAL's telemetry socket. */
static void
ask_telemetry(const char *command, char *answer, size_t cap)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	ssize_t n;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/dpdk_telemetry.v2",
		rte_eal_get_runtime_dir());
	CHECK(fd >= 0);
	CHECK_EQ(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	CHECK(recv(fd, answer, cap, 0) > 0); /* a greeting */
	CHECK_EQ(send(fd, command, strlen(command), 0), (ssize_t)strlen(command));
	n = recv(fd, answer, cap - 1, 0);
	CHECK(n > 0);
	answer[n] = '\0';
	close(fd);
}

TEST(app_telemetry_tells_status_domain_and_watches)
{
	struct wherry_arena *arena;
	struct side s = { 0 };
	char answer[16384];

	make(&s, "telemetry", NULL);
	CHECK_EQ(wherry_app_add_arena(s.app, &arena_opts, &arena), 0);
	CHECK_EQ(wherry_app_start(s.app), 0);
	ask_telemetry("/wherry/status", answer, sizeof(answer));
	CHECK(strstr(answer, "\"application\":\"telemetry\"") != NULL);
	CHECK(strstr(answer, "\"state\":\"serving\"") != NULL);
	ask_telemetry("/wherry/status,telemetry", answer, sizeof(answer));
	CHECK(strstr(answer, "\"state\":\"serving\"") != NULL);
	ask_telemetry("/wherry/status,stranger", answer, sizeof(answer));
	CHECK(strstr(answer, "serving") == NULL);
	ask_telemetry("/wherry/domain", answer, sizeof(answer));
	CHECK(strstr(answer, "\"backend\":\"soft\"") != NULL);
	CHECK(strstr(answer, "\"dirty\":\"tracked\"") != NULL);
	ask_telemetry("/wherry/watches", answer, sizeof(answer));
	CHECK(strstr(answer, "\"state\":{\"bytes\":1048576") != NULL);
	wherry_app_destroy(s.app);
	ask_telemetry("/wherry/status", answer, sizeof(answer));
	CHECK(strstr(answer, "serving") == NULL);
}
