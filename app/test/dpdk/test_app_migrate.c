/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lib/dpdk: two applications of one process migrate to each other, with ports and cores
 * but without memory, whose address only one of them could have; memory moves between
 * processes in pmd_app.sh and in the tests of tcp-server.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>

#include "eal.h"
#include "side.h"
#include "test.h"

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

TEST(app_moves_its_ports_and_only_one_side_polls)
{
	struct rte_ether_addr mac = { { 0x02, 0x11, 0x22, 0x33, 0x44, 0x55 } }, got;
	struct side a = { 0 }, b = { 0 };
	struct wherry_status status;
	char uri[64];

	side_listen_uri(uri, sizeof(uri));
	side_run(&a, "a", NULL, 1);
	side_run(&b, "b", uri, 1);
	CHECK_EQ(rte_eth_dev_default_mac_addr_set(a.port, &mac), 0);
	side_wait_for_bursts(&a);
	CHECK_EQ(side_get(&b.bursts), 0);
	status = migrate(&a, uri);
	CHECK_EQ(status.state, WHERRY_STATE_RELEASED);
	CHECK(side_until(&a.ended));
	CHECK(side_until(&b.started));
	CHECK_EQ(b.start_rc, 0);
	side_wait_for_bursts(&b);
	CHECK_EQ(a.parked, 1);
	CHECK(b.verified == 1 && b.rebound == 1 && b.bursts_at_rebind == 0);
	CHECK_EQ(rte_eth_macaddr_get(b.port, &got), 0);
	CHECK(rte_is_same_ether_addr(&got, &mac));
	CHECK(status.blackout_ns > 0 && status.blackout_ns < UINT64_C(2000000000));
	side_drop(&a, "a");
	side_drop(&b, "b");
}

/* Whatever goes wrong before COMMIT: the source polls on, the destination gives up. */
static void
check_failed(struct side *a, struct side *b, const char *uri)
{
	struct wherry_status status = migrate(a, uri);

	CHECK_EQ(status.state, WHERRY_STATE_SERVING);
	CHECK(status.reason[0] != '\0');
	CHECK(!side_is(&a->ended));
	side_wait_for_bursts(a);
	CHECK(side_until(&b->started));
	CHECK(b->start_rc != 0 && b->start_rc != -ECANCELED);
	CHECK_EQ(side_get(&b->bursts), 0);
}

TEST(app_verify_refuses_and_the_source_goes_on)
{
	struct side a = { 0 }, b = { .verify_rc = -EPROTO };
	char uri[64];

	side_listen_uri(uri, sizeof(uri));
	side_run(&a, "a", NULL, 1);
	side_run(&b, "b", uri, 1);
	check_failed(&a, &b, uri);
	CHECK_EQ(a.parked, 1);
	CHECK_EQ(b.rebound, 0);
	side_drop(&b, "b");
	b = (struct side){ 0 };
	side_run(&b, "b", uri, 1);
	CHECK_EQ(migrate(&a, uri).state, WHERRY_STATE_RELEASED); /* the next try goes well */
	side_drop(&a, "a");
	side_drop(&b, "b");
}

/* Cores run when the status says so; the agent leaves a moment later. */
static bool
leaves_core_0(pid_t thread)
{
	for (unsigned int i = 0; i < 10000 && side_on_core_0(thread); i++)
		usleep(1000);
	return !side_on_core_0(thread);
}

TEST(app_lends_the_cpus_of_parked_cores_to_the_agent)
{
	struct side a = { 0 }, b = { .verify_rc = -EPROTO };
	char uri[64];

	eal_need();
	if (eal_cpus() < 2)
		SKIP("there is one CPU only, which all share");
	side_listen_uri(uri, sizeof(uri));
	side_run(&a, "a", NULL, 1);
	side_run(&b, "b", uri, 1);
	check_failed(&a, &b, uri);
	CHECK(a.agent_on_core_0 && b.agent_on_core_0);
	CHECK(!side_on_core_0(a.agent)); /* its cores run again */
	side_drop(&b, "b");
	b = (struct side){ 0 };
	side_run(&b, "b", uri, 1);
	CHECK_EQ(migrate(&a, uri).state, WHERRY_STATE_RELEASED);
	CHECK(a.agent_on_core_0 && b.agent_on_core_0);
	CHECK(leaves_core_0(b.agent));
	side_drop(&a, "a");
	side_drop(&b, "b");
}

TEST(app_with_a_core_that_does_not_poll_does_not_move)
{
	struct side a = { 0 }, b = { 0 };
	struct wherry_app_opts opts = side_opts(&a, "a", NULL);
	char uri[64];

	eal_need();
	side_listen_uri(uri, sizeof(uri));
	opts.pollers = 2; /* and one comes */
	CHECK_EQ(wherry_app_create(&opts, &a.app), 0);
	side_launch(&a, "a", 1);
	side_run(&b, "b", uri, 1);
	CHECK(side_until(&a.started));
	check_failed(&a, &b, uri);
	CHECK_EQ(a.parked, 0);
	side_drop(&a, "a");
	side_drop(&b, "b");
}

TEST(app_with_other_ports_is_refused_before_the_first_page)
{
	struct side a = { 0 }, b = { 0 };
	char uri[64];

	side_listen_uri(uri, sizeof(uri));
	side_run(&a, "a", NULL, 1);
	side_run(&b, "b", uri, 2);
	check_failed(&a, &b, uri);
	CHECK_EQ(a.parked, 0);
	CHECK_EQ(b.verified, 0);
	side_drop(&a, "a");
	side_drop(&b, "b");
}

/* Where EAL with shared memory has its configuration: mapped, as it and its secondaries have it. */
static void *
play_config(char path[PATH_MAX])
{
	void *p;
	int fd;

	snprintf(path, PATH_MAX, "%s/config", rte_eal_get_runtime_dir());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, 4096), 0);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	close(fd);
	return p;
}

/* A child that has what we have mapped, until it is killed. */
static pid_t
fork_idle(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(20); /* a test that fails leaves it behind */
		pause();
		_exit(0);
	}
	return pid;
}

static void
end(pid_t pid)
{
	CHECK_EQ(kill(pid, SIGKILL), 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

TEST(app_that_moves_eal_s_memory_does_not_while_there_is_a_secondary)
{
	struct side a = { 0 }, b = { 0 };
	struct wherry_status status;
	char uri[64], path[PATH_MAX];
	void *config;
	pid_t other;

	side_listen_uri(uri, sizeof(uri));
	side_make(&a, "a", NULL);
	CHECK_EQ(wherry_app_add_eal(a.app), 0);
	side_launch(&a, "a", 1);
	side_run(&b, "b", uri, 1);
	CHECK(side_until(&a.started));
	config = play_config(path);
	other = fork_idle();
	status = migrate(&a, uri);
	CHECK_EQ(status.state, WHERRY_STATE_SERVING);
	CHECK(strstr(status.reason, "could not be saved: Device or resource busy") != NULL);
	munmap(config, 4096); /* not this EAL's: that of another, who has one */
	status = migrate(&a, uri);
	CHECK(strstr(status.reason, "could not be saved") == NULL);
	end(other);
	unlink(path);
	side_drop(&a, "a");
	side_drop(&b, "b");
}

/* As a secondary process, which nobody tracks. */
TEST(app_whose_memory_another_process_writes_does_not_move)
{
	const struct wherry_region_opts opts = { .name = "flows",
		.vaddr = (void *)(uintptr_t)0x552000000000,
		.len = 1 << 20,
		.node = WHERRY_NODE_ANY };
	struct side a = { 0 }, b = { 0 };
	struct wherry_arena *arena;
	struct wherry_status status;
	char uri[64];
	pid_t other;

	side_listen_uri(uri, sizeof(uri));
	side_make(&a, "a", NULL);
	CHECK_EQ(wherry_app_add_arena(a.app, &opts, &arena), 0);
	side_launch(&a, "a", 1);
	side_run(&b, "b", uri, 1);
	CHECK(side_until(&a.started));
	other = fork_idle();
	status = migrate(&a, uri);
	CHECK_EQ(status.state, WHERRY_STATE_SERVING);
	CHECK(strstr(status.reason, "could not be saved: Device or resource busy") != NULL);
	end(other);
	status = migrate(&a, uri); /* another reason: the other side has no such memory */
	CHECK_EQ(status.state, WHERRY_STATE_SERVING);
	CHECK(strstr(status.reason, "could not be saved") == NULL);
	side_drop(&a, "a");
	side_drop(&b, "b");
}
