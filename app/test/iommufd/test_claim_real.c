/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of files outlives the process that mapped it, on a real kernel (6.13 or newer) with
 * a real NIC. An owner opens everything and is gone; its child goes on. To the kernel that is
 * the same as descriptors that were handed over: another address space, the same files.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/capability.h>

#include "bay.h"

#define MORE_IOVA UINT64_C(0x180000000)
#define RW (WHERRY_DMA_READ | WHERRY_DMA_WRITE)
#define FILE_PAGES (SMALL_PAGES + 1u) /* and one that is mapped by the heir */

/* What each process needs: the bay whose small memory is a file, and where to complain. */
struct estate {
	struct bay g;
	int file;
	int report;
};

/* In the processes of the test CHECK would go on with another's tests: they say why, and end. */
#define STEP(e, cond)                         \
	do {                                  \
		if (!(cond))                  \
			complain((e), #cond); \
	} while (0)

static void
complain(const struct estate *e, const char *what)
{
	ssize_t n = write(e->report, what, strlen(what));

	_exit(n > 0 ? 1 : 2);
}

static void
need_claim(void)
{
	struct wherry_domain *dom;
	int rc = bay_device(0) == NULL ? -ENODEV : wherry_domain_create("iommufd", &dom);

	if (rc == 0) {
		rc = wherry_domain_claim(dom);
		wherry_domain_destroy(dom);
	}
	if (rc == -ENODEV || rc == -EOPNOTSUPP)
		SKIP("a NIC and Linux 6.13 are needed: devtools/vm/run vtd-new --nic e1000e -- ...");
	CHECK_EQ(rc, 0);
}

/* Kilobytes that are pinned and counted as this process's. */
static long
pinned_kb(void)
{
	char line[128];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (f != NULL && kb < 0 && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "VmPin:", 6) == 0)
			kb = strtol(line + 6, NULL, 10);
	if (f != NULL)
		fclose(f);
	return kb;
}

/* Who may lock as much as he likes is counted nothing, and so nothing changes hands. */
static bool
be_counted(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, caps) != 0)
		return false;
	caps[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	return syscall(SYS_capset, &head, caps) == 0;
}

static bool
frame_arrives(struct estate *e, uint64_t iova, const uint8_t *at, uint32_t seed)
{
	struct nic_frame frame = { .rx = iova, .len = 1000 };

	return nic_send(e->g.nic, &frame, 1, 0, seed) == 0 &&
		memcmp(at, nic_sent(e->g.nic, 0), 1000) == 0;
}

static void
acquire(struct estate *e)
{
	struct wherry_span span = { SMALL_IOVA, SMALL_PAGES * NIC_PAGE };
	struct nic_memory mem = { .iova = SMALL_IOVA };

	STEP(e, be_counted());
	e->file = memfd_create("claim", MFD_CLOEXEC);
	STEP(e, ftruncate(e->file, FILE_PAGES * NIC_PAGE) == 0);
	mem.vaddr = e->g.small =
		mmap(NULL, FILE_PAGES * NIC_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, e->file, 0);
	STEP(e, mem.vaddr != MAP_FAILED);
	STEP(e, wherry_domain_create("iommufd", &e->g.dom) == 0);
	STEP(e, wherry_device_open(bay_device(0), &e->g.dev) == 0);
	STEP(e, wherry_device_attach(e->g.dev, e->g.dom, NULL) == 0);
	STEP(e, wherry_domain_map_file(e->g.dom, e->file, 0, RW, &span) == 0);
	STEP(e, nic_open(e->g.dev, mem, &e->g.nic) == 0);
	STEP(e, frame_arrives(e, rx_iova(1), rx_vaddr(&e->g, 1), 1));
	STEP(e, pinned_kb() >= (long)(SMALL_PAGES * NIC_PAGE / 1024));
}

static void
wait_until_gone(const struct estate *e, pid_t owner)
{
	for (unsigned int i = 0; getppid() == owner; i++) {
		STEP(e, i < 1000);
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
}

/* The owner is gone: its memory is reached as before, and becomes ours; more can come, and go. */
static void
inherit(struct estate *e, pid_t owner)
{
	struct wherry_span more = { MORE_IOVA, NIC_PAGE },
			   all = { SMALL_IOVA, SMALL_PAGES * NIC_PAGE };
	const uint8_t *last = e->g.small + SMALL_PAGES * NIC_PAGE;

	wait_until_gone(e, owner);
	STEP(e, frame_arrives(e, rx_iova(2), rx_vaddr(&e->g, 2), 2));
	STEP(e, pinned_kb() == 0);
	STEP(e, wherry_domain_claim(e->g.dom) == 0);
	STEP(e, pinned_kb() >= (long)(SMALL_PAGES * NIC_PAGE / 1024));
	for (uint32_t i = 0; i < RX_PAGES; i++)
		STEP(e, frame_arrives(e, rx_iova(i), rx_vaddr(&e->g, i), 3 + i));
	STEP(e, wherry_domain_map_file(e->g.dom, e->file, SMALL_PAGES * NIC_PAGE, RW, &more) == 0);
	STEP(e, frame_arrives(e, MORE_IOVA, last, 100));
	STEP(e, wherry_domain_unmap(e->g.dom, more) == 0);
	nic_close(e->g.nic);
	STEP(e, wherry_domain_unmap(e->g.dom, all) == 0);
	STEP(e, pinned_kb() == 0);
	wherry_device_close(e->g.dev);
	wherry_domain_destroy(e->g.dom);
	_exit(0);
}

static void
be_owner(struct estate *e)
{
	pid_t me = getpid(), heir;

	acquire(e);
	heir = fork();
	STEP(e, heir >= 0);
	if (heir == 0)
		inherit(e, me);
	_exit(0);
}

TEST(iommufd_claim_lets_memory_outlive_its_owner)
{
	char why[128] = "";
	struct estate e = { .file = -1 };
	int fds[2], status, n = 0, failed = 0;
	pid_t owner;

	need_claim();
	CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	CHECK_EQ(pipe(fds), 0);
	e.report = fds[1];
	owner = fork();
	CHECK(owner >= 0);
	if (owner == 0)
		be_owner(&e);
	close(fds[1]);
	while (read(fds[0], why, sizeof(why) - 1) > 0)
		;
	close(fds[0]);
	for (; wait(&status) > 0; n++)
		failed += status != 0;
	if (why[0] != '\0')
		FAIL("%s", why);
	CHECK_EQ(failed, 0);
	CHECK_EQ(n, 2);
}

TEST(iommufd_claim_is_not_for_addresses)
{
	struct bay g;

	need_claim();
	bay_open(&g, "iommufd");
	CHECK_EQ(wherry_domain_claim(g.dom), -EBUSY);
	bay_receive(&g, (const uint64_t[]){ rx_iova(3) }, 1, 1000, 0, 1);
	CHECK_EQ(memcmp(rx_vaddr(&g, 3), nic_sent(g.nic, 0), 1000), 0);
	bay_close(&g);
}
