/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk: the facade: made, given memory and ports, started, ended, looked at. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>

#include "app_priv.h"
#include "eal.h"
#include "fault_priv.h"
#include "side.h"
#include "test.h"

#define ARENA_AT ((void *)UINT64_C(0x7e9000000000))
#define ARENA_LEN (UINT64_C(1) << 20)
#define TIDS 65536u /* threads told apart by their number modulo this */

TEST(app_create_refuses_no_name_and_too_many_pollers)
{
	struct side s = { 0 };
	struct wherry_app_opts opts = side_opts(&s, "refused", NULL);

	eal_need();
	opts.name = NULL;
	CHECK_EQ(wherry_app_create(&opts, &s.app), -EINVAL);
	opts = side_opts(&s, "many", NULL);
	opts.pollers = 4096;
	CHECK_EQ(wherry_app_create(&opts, &s.app), -EINVAL);
	opts = side_opts(&s, "uri", "nonsense");
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
		struct wherry_app_opts opts = side_opts(&s, "sweep", NULL);
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

	side_make(&s, "arena", NULL);
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
	side_make(&s, "arena", NULL);
	check_free(s.app);
	wherry_app_destroy(s.app);
}

TEST(app_add_arena_needs_an_address)
{
	struct wherry_region_opts opts = arena_opts;
	struct wherry_arena *arena;
	struct side s = { 0 };

	side_make(&s, "arena", NULL);
	opts.vaddr = NULL;
	CHECK_EQ(wherry_app_add_arena(s.app, &opts, &arena), -EINVAL);
	wherry_app_destroy(s.app);
}

TEST(app_add_arena_failure_leaves_nothing)
{
	struct side s = { 0 };

	side_make(&s, "arena", NULL);
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

	side_make(&s, "region", NULL);
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

	side_listen_uri(uri, sizeof(uri));
	side_make(&s, "incoming", uri);
	CHECK_EQ(wherry_app_add_arena(s.app, &arena_opts, &arena), 0);
	CHECK(arena == NULL);
	CHECK(wherry_app_arena(s.app, "state") == NULL);
	CHECK(wherry_app_watch(s.app, "state") != NULL);
	wherry_app_destroy(s.app);
}

TEST(app_add_port_refuses_what_is_no_port_or_there_already)
{
	struct side s = { 0 };

	side_make(&s, "ports", NULL);
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

	side_make(&s, "cores", NULL);
	s.port = eal_port("net_null_cores", "", 1, eal_mempool());
	CHECK_EQ(wherry_app_add_port(s.app, s.port), 0);
	CHECK_EQ(pthread_create(&s.core, NULL, side_poll, &s), 0);
	usleep(20000);
	CHECK_EQ(side_get(&s.bursts), 0);
	CHECK_EQ(pthread_create(&s.starter, NULL, side_start, &s), 0);
	CHECK(side_until(&s.started));
	CHECK_EQ(s.start_rc, 0);
	side_wait_for_bursts(&s);
	CHECK(!side_is(&s.ended));
	wherry_app_quit(s.app);
	CHECK(side_until(&s.ended));
	side_drop(&s, "cores");
}

TEST(app_start_failure_leaves_ports_stopped)
{
	eal_need();
	for (unsigned int nth = 1, failed = 1; failed; nth++) {
		struct side s = { 0 };
		struct rte_eth_link link;

		side_make(&s, "start", NULL);
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

	side_listen_uri(uri, sizeof(uri));
	side_run(&s, "waiting", uri, 1);
	usleep(20000);
	CHECK(!side_is(&s.started));
	wherry_app_quit(s.app);
	CHECK(side_until(&s.started));
	CHECK_EQ(s.start_rc, -ECANCELED);
	CHECK_EQ(side_get(&s.bursts), 0);
	side_drop(&s, "waiting");
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
		if (sched_getaffinity(tid, sizeof(set), &set) != 0) {
			CHECK_EQ(errno, ESRCH); /* it has ended meanwhile */
			continue;
		}
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
	side_make(&s, "threads", NULL);
	CHECK_EQ(wherry_app_start(s.app), 0);
	CHECK(!others_on_core(0, before, after));
	CHECK(memcmp(before, after, sizeof(before)) != 0); /* there are some */
	wherry_app_destroy(s.app);
}

TEST(app_wake_fd_wakes_a_core_that_sleeps)
{
	struct side s = { 0 };
	struct pollfd pfd;

	side_make(&s, "wake", NULL);
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

	side_make(&s, "telemetry", NULL);
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

TEST(app_telemetry_tells_what_throttling_drops)
{
	struct side s = { 0 };
	char answer[16384];
	uint16_t id;

	eal_need();
	id = eal_port("net_null_tel", "", 1, eal_mempool());
	side_make(&s, "throttled", NULL);
	CHECK_EQ(wherry_app_add_port(s.app, id), 0);
	CHECK_EQ(wherry_app_start(s.app), 0);
	ask_telemetry("/wherry/status", answer, sizeof(answer));
	CHECK(strstr(answer, "\"throttle_dropped\":0") != NULL);
	CHECK(strstr(answer, "\"throttle_percent\":0") != NULL);
	CHECK(strstr(answer, "\"forecast_us\":0") != NULL);
	throttle_set(s.app->throttle, 50);
	for (unsigned int i = 0; i < 10; i++) {
		struct rte_mbuf *m[20];

		rte_pktmbuf_free_bulk(m, rte_eth_rx_burst(id, 0, m, 20));
	}
	throttle_set(s.app->throttle, 0);
	ask_telemetry("/wherry/status", answer, sizeof(answer));
	if (strstr(answer, "\"throttle_dropped\":100") == NULL)
		FAIL("%s", answer);
	wherry_app_destroy(s.app);
	eal_port_close("net_null_tel");
}
