/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/mem: regions and nodes. */
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault_priv.h"
#include "sys_priv.h"
#include "test.h"
#include "wherry_mem.h"

#define MIB ((size_t)1 << 20)
/* below all programs; ThreadSanitizer allows few other ranges */
#define AT ((void *)(uintptr_t)0x552000000000)

static struct wherry_region_info
make(const struct wherry_region_opts *opts, struct wherry_region **ret_region)
{
	struct wherry_region_info info;

	CHECK_EQ(wherry_region_create(opts, ret_region), 0);
	wherry_region_get_info(*ret_region, &info);
	return info;
}

TEST(mem_region_is_zeroed_and_where_it_was_wanted)
{
	struct wherry_region_opts opts = {
		.name = "state", .vaddr = AT, .len = MIB + 1, .node = 0
	};
	struct wherry_region *region = NULL;
	struct wherry_region_info info = make(&opts, &region);
	const char *bytes = info.vaddr;

	CHECK(info.vaddr == AT);
	CHECK_EQ(info.len, MIB + 4096);
	CHECK_EQ(info.page, 4096);
	CHECK_EQ(info.node, 0);
	CHECK(info.reason == NULL);
	CHECK(strcmp(info.name, "state") == 0);
	for (size_t i = 0; i < info.len; i++)
		CHECK_EQ(bytes[i], 0);
	wherry_region_destroy(region);
	wherry_region_destroy(NULL);
}

static void
check_pages_are_on(const struct wherry_region_info *info, int node)
{
	for (size_t at = 0; at < info->len; at += info->page) {
		void *page = (char *)info->vaddr + at;
		int where = -1;

		CHECK_EQ(move_pages(0, 1, &page, NULL, &where, 0), 0); /* asks, moves nothing */
		CHECK_EQ(where, node);
	}
}

/* Page by page, on each node, of both sizes. */
TEST(mem_region_is_on_the_node_asked_for)
{
	const size_t pages[] = { 4096, 2 * MIB };
	struct wherry_node nodes[8];
	size_t n = wherry_nodes(nodes, 8);

	if (n < 2)
		SKIP("needs two NUMA nodes: devtools/vm/run vtd --numa -- ...");
	for (size_t i = 0; i < 2 * (n < 8 ? n : 8); i++) {
		struct wherry_region_opts opts = { .len = 8 * MIB, .page = pages[i % 2] };
		struct wherry_region *region = NULL;
		struct wherry_region_info info;

		opts.node = nodes[i / 2].id;
		info = make(&opts, &region);
		CHECK_EQ(info.node, opts.node);
		check_pages_are_on(&info, opts.node);
		wherry_region_destroy(region);
	}
}

TEST(mem_region_is_populated)
{
	struct wherry_region_opts opts = WHERRY_REGION_OPTS_INIT;
	struct wherry_region *region = NULL;
	unsigned char here[16];
	struct wherry_region_info info;

	opts.len = sizeof(here) * 4096;
	info = make(&opts, &region);
	CHECK(strcmp(info.name, "wherry") == 0);
	CHECK_EQ(info.node, WHERRY_NODE_ANY);
	CHECK_EQ(mincore(info.vaddr, info.len, here), 0);
	for (size_t i = 0; i < sizeof(here); i++)
		CHECK((here[i] & 1) != 0);
	wherry_region_destroy(region);
}

/* A second mapping of the fd sees the same bytes: devices write through one. */
TEST(mem_region_fd_is_the_same_memory)
{
	struct wherry_region_opts opts = { .len = 8192, .node = WHERRY_NODE_ANY };
	struct wherry_region *region = NULL;
	struct wherry_region_info info = make(&opts, &region);
	char *other = mmap(NULL, info.len, PROT_READ | PROT_WRITE, MAP_SHARED, info.fd, 0);

	CHECK(other != MAP_FAILED);
	other[5000] = 'x';
	CHECK_EQ(((char *)info.vaddr)[5000], 'x');
	munmap(other, info.len);
	wherry_region_destroy(region);
}

TEST(mem_region_create_rejects_bad_options)
{
	struct wherry_region *region = NULL;
	struct wherry_region_opts no_len = { .node = 0 };
	struct wherry_region_opts huge = { .len = SIZE_MAX - 4095, .node = 0 };
	struct wherry_region_opts page = { .len = MIB, .page = 8192, .node = 0 };
	struct wherry_region_opts off = { .len = MIB, .vaddr = (char *)AT + 16, .node = 0 };
	struct wherry_region_opts off2m = { .len = MIB, .vaddr = (char *)AT + MIB, .node = 0 };
	struct wherry_region_opts node = { .len = MIB, .node = 1000 };

	off2m.page = 2 * MIB;
	CHECK_EQ(wherry_region_create(&no_len, &region), -EINVAL);
	CHECK_EQ(wherry_region_create(&huge, &region), -EINVAL);
	CHECK_EQ(wherry_region_create(&page, &region), -EINVAL);
	CHECK_EQ(wherry_region_create(&off, &region), -EINVAL);
	CHECK_EQ(wherry_region_create(&off2m, &region), -EINVAL);
	CHECK_EQ(wherry_region_create(&node, &region), -EINVAL);
	node.node = -2;
	CHECK_EQ(wherry_region_create(&node, &region), -EINVAL);
	CHECK(region == NULL);
}

TEST(mem_region_address_taken_is_refused_and_spared)
{
	struct wherry_region_opts opts = { .vaddr = AT, .len = MIB, .node = WHERRY_NODE_ANY };
	struct wherry_region *region = NULL, *second = NULL;
	struct wherry_region_info info = make(&opts, &region);

	memset(info.vaddr, 7, 4096);
	opts.vaddr = (char *)AT + MIB - 4096;
	CHECK_EQ(wherry_region_create(&opts, &second), -EEXIST);
	CHECK(second == NULL);
	CHECK_EQ(((char *)info.vaddr)[4095], 7);
	wherry_region_destroy(region);
	CHECK_EQ(wherry_region_create(&opts, &second), 0);
	wherry_region_destroy(second);
}

static unsigned int
open_fds(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

TEST(mem_region_create_failure_leaves_nothing)
{
	unsigned int fds = open_fds();

	FOR_EACH_FAULT(nth) {
		struct wherry_region_opts opts = { .vaddr = AT, .len = MIB, .node = 0 };
		struct wherry_region *region = NULL;
		int rc = wherry_region_create(&opts, &region);
		unsigned char page;

		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		CHECK((region != NULL) == (rc == 0));
		wherry_region_destroy(region);
		CHECK_EQ(mincore(AT, 4096, &page), -1); /* nothing is mapped there */
		CHECK_EQ(open_fds(), fds);
	}
}

/* A kernel without hugetlbfs memfds, so that a machine with hugepages behaves alike. */
static int
no_huge_memfd(const char *name, unsigned int flags)
{
	if ((flags & MFD_HUGETLB) != 0)
		return -ENOENT;
	return wherry_sys_kernel.memfd_create(name, flags);
}

static char heard[512];

static void
hear(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	(void)ctx;
	(void)level;
	(void)area;
	snprintf(heard, sizeof(heard), "%s", line);
}

static int
create_without_hugepages(const struct wherry_region_opts *opts, struct wherry_region **ret_region)
{
	struct wherry_sys_calls calls = wherry_sys_kernel;
	int rc;

	calls.memfd_create = no_huge_memfd;
	wherry_sys = &calls;
	wherry_log_set(hear, NULL, WHERRY_LOG_WARN);
	heard[0] = '\0';
	rc = wherry_region_create(opts, ret_region);
	wherry_log_set(NULL, NULL, WHERRY_LOG_ERR);
	wherry_sys = &wherry_sys_kernel;
	return rc;
}

TEST(mem_region_without_hugepages_falls_back_and_says_the_remedy)
{
	struct wherry_region_opts opts = { .vaddr = AT, .len = 3 * MIB, .page = 2 * MIB };
	struct wherry_region *region = NULL;
	struct wherry_region_info info;

	opts.node = WHERRY_NODE_ANY;
	CHECK_EQ(create_without_hugepages(&opts, &region), 0);
	wherry_region_get_info(region, &info);
	CHECK_EQ(info.page, 4096);
	CHECK_EQ(info.len, 4 * MIB); /* as where there are hugepages */
	CHECK(info.vaddr == AT);
	CHECK(info.reason != NULL && strstr(info.reason, "echo ") != NULL);
	CHECK(strstr(info.reason, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"));
	CHECK(strstr(heard, info.reason) != NULL);
	wherry_region_destroy(region);
}

TEST(mem_region_strict_page_is_refused_without_hugepages)
{
	struct wherry_region_opts opts = { .len = MIB, .page = 1024 * MIB, .page_strict = true };
	struct wherry_region *region = NULL;

	opts.node = WHERRY_NODE_ANY;
	CHECK_EQ(create_without_hugepages(&opts, &region), -ENOSPC);
	CHECK(region == NULL);
	CHECK(strstr(heard, "hugepages-1048576kB/nr_hugepages") != NULL);
}

#define NR_2M "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

/* The number in NR_2M; one >= 0 is written there first. */
static int
nr_2m(int write_first)
{
	int fd = open(NR_2M, write_first < 0 ? O_RDONLY : O_RDWR), nr = -1;
	char text[16] = "";

	if (fd < 0)
		return -1;
	if (write_first >= 0 && dprintf(fd, "%d", write_first) < 0)
		goto out;
	if (pread(fd, text, sizeof(text) - 1, 0) > 0)
		nr = (int)strtol(text, NULL, 10);
out:
	close(fd);
	return nr;
}

/* Four more 2M hugepages, if the machine can give them; undone by give_back(). */
static int
reserve_four(int *ret_lock)
{
	int before,
		lock = open("/run/lock/wherry-hugepages.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) {
		close(lock);
		SKIP("something else changes the number of hugepages: try again later");
	}
	before = nr_2m(-1);
	*ret_lock = lock;
	if (before >= 0 && nr_2m(before + 4) == before + 4)
		return before;
	if (before >= 0)
		nr_2m(before);
	close(lock);
	SKIP("no four free 2M hugepages: as root, echo 4 > " NR_2M);
}

static void
give_back(int before, int lock)
{
	nr_2m(before);
	close(lock);
}

/* Of all nodes together. */
static struct wherry_node
all_nodes(void)
{
	struct wherry_node nodes[16], sum = { .id = WHERRY_NODE_ANY };
	size_t n = wherry_nodes(nodes, 16);

	for (size_t i = 0; i < n && i < 16; i++) {
		sum.free_2m += nodes[i].free_2m;
		sum.free_1g += nodes[i].free_1g;
	}
	return sum;
}

static unsigned int
free_2m(void)
{
	return all_nodes().free_2m;
}

static unsigned int
free_1g(void)
{
	return all_nodes().free_1g;
}

TEST(mem_region_lies_on_hugepages)
{
	struct wherry_region_opts opts = { .vaddr = AT, .len = 7 * MIB, .page = 2 * MIB };
	struct wherry_region *region = NULL;
	struct wherry_region_info info = { .page = 0 };
	int lock = -1, before = reserve_four(&lock), rc, too_many;
	unsigned int unused = free_2m(), taken;

	opts.node = WHERRY_NODE_ANY;
	opts.page_strict = true;
	rc = wherry_region_create(&opts, &region);
	if (rc == 0)
		wherry_region_get_info(region, &info);
	taken = unused - free_2m();
	opts.vaddr = NULL;
	opts.len = ((size_t)unused + 64) * 2 * MIB;
	too_many = wherry_region_create(&opts, &region);
	wherry_region_destroy(region);
	give_back(before, lock);
	CHECK_EQ(rc, 0);
	CHECK_EQ(too_many, -ENOSPC);
	CHECK_EQ(info.page, 2 * MIB);
	CHECK_EQ(info.len, 8 * MIB);
	CHECK(info.vaddr == AT && info.reason == NULL);
	CHECK_EQ(taken, 4);
}

/* Such a page is not to be had at run time: the kernel's command line is where they are asked for. */
TEST(mem_region_lies_on_hugepages_of_1_gib)
{
	struct wherry_region_opts opts = { .len = MIB, .page = 1024 * MIB, .page_strict = true };
	struct wherry_region *region = NULL;
	struct wherry_region_info info;
	unsigned int unused = free_1g();

	if (unused == 0)
		SKIP("no free hugepage of 1 GiB: boot with hugepagesz=1G hugepages=1");
	opts.node = WHERRY_NODE_ANY;
	info = make(&opts, &region);
	CHECK_EQ(info.page, 1024 * MIB);
	CHECK_EQ(info.len, 1024 * MIB);
	CHECK(info.reason == NULL);
	CHECK_EQ(free_1g(), unused - 1);
	memset(info.vaddr, 1, info.len);
	wherry_region_destroy(region);
	CHECK_EQ(free_1g(), unused);
}

TEST(mem_region_nodes_are_what_the_machine_has)
{
	struct wherry_node nodes[64];
	size_t n = wherry_nodes(nodes, 64);

	CHECK(n >= 1 && n <= 64);
	CHECK_EQ(wherry_nodes(NULL, 0), n);
	for (size_t i = 0; i < n; i++) {
		CHECK(nodes[i].free <= nodes[i].total);
		CHECK(i == 0 || nodes[i].id > nodes[i - 1].id);
	}
	CHECK(nodes[0].total > 0);
}

TEST(mem_region_lies_on_its_node)
{
	struct wherry_region_opts opts = { .len = MIB };
	struct wherry_region *region = NULL;
	struct wherry_region_info info;
	struct wherry_node node;
	int at = -1, policy = -1;

	wherry_nodes(&node, 1);
	opts.node = node.id;
	info = make(&opts, &region);
	if (get_mempolicy(&at, NULL, 0, info.vaddr, MPOL_F_NODE | MPOL_F_ADDR) != 0 ||
		get_mempolicy(&policy, NULL, 0, info.vaddr, MPOL_F_ADDR) != 0) {
		wherry_region_destroy(region);
		SKIP("this kernel has no NUMA policies");
	}
	CHECK_EQ(at, node.id);
	CHECK_EQ(policy, MPOL_PREFERRED);
	wherry_region_destroy(region);
}

/* A child with the region as it was inherited, without it, or with reading only. */
static pid_t
child_with(const struct wherry_region_info *info, int prot)
{
	int ready[2];
	pid_t pid;
	char byte;

	CHECK_EQ(pipe(ready), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(20); /* a test that fails leaves it behind */
		if (prot == PROT_NONE ? munmap(info->vaddr, info->len)
				      : mprotect(info->vaddr, info->len, prot))
			_exit(1);
		while (write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	CHECK_EQ(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void
end_child(pid_t pid)
{
	CHECK_EQ(kill(pid, SIGKILL), 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

TEST(mem_region_names_a_process_that_can_write_it)
{
	struct wherry_region_opts opts = { .name = "state", .len = MIB, .node = WHERRY_NODE_ANY };
	struct wherry_region *region = NULL;
	struct wherry_region_info info = make(&opts, &region);
	pid_t pid;

	CHECK_EQ(wherry_region_find_writer(region, NULL, NULL), 0);
	pid = child_with(&info, PROT_READ);
	CHECK_EQ(wherry_region_find_writer(region, NULL, NULL), 0);
	end_child(pid);
	pid = child_with(&info, PROT_NONE);
	CHECK_EQ(wherry_region_find_writer(region, NULL, NULL), 0);
	end_child(pid);
	pid = child_with(&info, PROT_READ | PROT_WRITE);
	CHECK_EQ(wherry_region_find_writer(region, NULL, NULL), pid);
	end_child(pid);
	CHECK_EQ(wherry_region_find_writer(region, NULL, NULL), 0);
	wherry_region_destroy(region);
}

struct known {
	struct wherry_span at; /* where it is mapped */
	int pid;
	unsigned int asked;
};

static bool
is_known(void *ctx, int pid, struct wherry_span at)
{
	struct known *k = ctx;

	k->asked++;
	return pid == k->pid && at.iova == k->at.iova && at.len == k->at.len;
}

TEST(mem_region_known_writer_is_none)
{
	struct wherry_region_opts opts = { .name = "state", .len = MIB, .node = WHERRY_NODE_ANY };
	struct wherry_region *region = NULL;
	struct wherry_region_info info = make(&opts, &region);
	struct known k = { .at = { (uintptr_t)info.vaddr, info.len } };
	pid_t other;

	k.pid = child_with(&info, PROT_READ | PROT_WRITE);
	CHECK_EQ(wherry_region_find_writer(region, is_known, &k), 0);
	CHECK_EQ(k.asked, 1);
	other = child_with(&info, PROT_READ | PROT_WRITE);
	CHECK_EQ(wherry_region_find_writer(region, is_known, &k), other);
	end_child(other);
	end_child(k.pid);
	wherry_region_destroy(region);
}

/* Makes a region and looks who writes it: 0 is nobody. */
static int
writer_of_a_new_region(void)
{
	struct wherry_region_opts opts = { .name = "state", .len = MIB, .node = WHERRY_NODE_ANY };
	struct wherry_region *region;
	int writer;

	if (wherry_region_create(&opts, &region) != 0)
		return -1;
	writer = wherry_region_find_writer(region, NULL, NULL);
	wherry_region_destroy(region);
	return writer;
}

static int
exit_status(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(mem_region_finds_no_writer_in_itself_where_proc_numbers_processes_otherwise)
{
	pid_t outer;

	if (geteuid() != 0)
		SKIP("a pid namespace needs root");
	outer = fork();
	CHECK(outer >= 0);
	if (outer == 0) {
		pid_t inner;

		if (unshare(CLONE_NEWPID) != 0)
			_exit(2);
		inner = fork();
		if (inner == 0)
			_exit(writer_of_a_new_region() != 0);
		_exit(inner > 0 ? exit_status(inner) : 3);
	}
	CHECK_EQ(exit_status(outer), 0);
}
