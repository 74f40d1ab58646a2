/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A domain changes hands between two processes, by hand and by the migration agent, with a real NIC on a real kernel: one opens
 * everything, starts the NIC and sends all of it as files over a socket; it lets go and ends; the
 * other goes on with the NIC as it is, which nobody has closed, opened or reset.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "base_priv.h"
#include "bay.h"
#include "iommufd_uapi_priv.h"
#include "wherry_lend.h"
#include "wherry_migrate.h"

#define RW (WHERRY_DMA_READ | WHERRY_DMA_WRITE)
#define BYTES (SMALL_PAGES * NIC_PAGE)

struct party {
	struct wherry_domain *dom;
	struct wherry_device *dev;
	struct nic *nic;
	uint8_t *mem;
	int file;   /* what mem is of */
	int socket; /* to the other */
	int report; /* where to complain */
	/* with agents */
	char uri[64], control[64];
	struct wherry_tracker *tracker;
	struct wherry_watch *watch;
	struct wherry_agent *agent;
	struct wherry_domain_files files;
	enum wherry_mappings mappings;
	int refuse; /* what verify says */
	bool let_go;
};

/* In these processes CHECK would go on with another's tests: they say why, and end. */
#define STEP(p, cond)                         \
	do {                                  \
		if (!(cond))                  \
			complain((p), #cond); \
	} while (0)

static void
complain(const struct party *p, const char *what)
{
	ssize_t n = write(p->report, what, strlen(what));

	_exit(n > 0 ? 1 : 2);
}

/* ---- what is asked of the kernel is counted ------------------------------------ */

static struct {
	unsigned int maps, others, opens;
} asked;
static struct wherry_sys_calls counting;

static int
count_ioctl(int fd, unsigned long request, void *arg)
{
	if (request == IOMMU_IOAS_MAP || request == IOMMUFD_IOAS_MAP_FILE)
		asked.maps++;
	if (request == VFIO_DEVICE_BIND_IOMMUFD || request == VFIO_DEVICE_ATTACH_IOMMUFD_PT ||
		request == VFIO_DEVICE_RESET)
		asked.others++;
	return wherry_sys_kernel.ioctl(fd, request, arg);
}

static int
count_open(const char *path, int flags)
{
	asked.opens += strncmp(path, "/dev/vfio", 9) == 0 || strcmp(path, "/dev/iommu") == 0;
	return wherry_sys_kernel.open(path, flags);
}

static void
count_calls(void)
{
	counting = wherry_sys_kernel;
	counting.ioctl = count_ioctl;
	counting.open = count_open;
	wherry_sys = &counting;
}

/* ---- files over a socket --------------------------------------------------------- */

union room {
	char bytes[CMSG_SPACE((WHERRY_DOMAIN_FILES + 1) * sizeof(int))];
	struct cmsghdr aligned;
};

static void
send_files(const struct party *p, const int *fds, unsigned int n)
{
	union room room = { .bytes = { 0 } };
	char byte = 'f';
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room.bytes,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };

	room.aligned.cmsg_level = SOL_SOCKET;
	room.aligned.cmsg_type = SCM_RIGHTS;
	room.aligned.cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(&room.aligned), fds, n * sizeof(int));
	STEP(p, sendmsg(p->socket, &msg, 0) == 1);
}

static unsigned int
receive_files(const struct party *p, int *fds)
{
	union room room;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room.bytes,
		.msg_controllen = sizeof(room.bytes) };
	size_t len;

	STEP(p, recvmsg(p->socket, &msg, MSG_CMSG_CLOEXEC) == 1);
	STEP(p, CMSG_FIRSTHDR(&msg) != NULL);
	len = CMSG_FIRSTHDR(&msg)->cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), len);
	return (unsigned int)(len / sizeof(int));
}

static void
say(const struct party *p)
{
	STEP(p, write(p->socket, "y", 1) == 1);
}

static void
hear(const struct party *p)
{
	char byte;

	STEP(p, read(p->socket, &byte, 1) == 1);
}

/* ---- the two ----------------------------------------------------------------------- */

static uint8_t *
rx_at(const struct party *p, unsigned int n)
{
	return p->mem + (NIC_PAGES + n) * NIC_PAGE;
}

static bool
frame_arrives(struct party *p, unsigned int n, uint32_t seed)
{
	struct nic_frame frame = { .rx = rx_iova(n), .len = 1000 };

	return nic_send(p->nic, &frame, 1, 0, seed) == 0 &&
		memcmp(rx_at(p, n), nic_sent(p->nic, 0), 1000) == 0;
}

static void
see_memory(struct party *p)
{
	void *mem = mmap(p->mem, BYTES, PROT_READ | PROT_WRITE,
		MAP_SHARED | (p->mem != NULL ? MAP_FIXED : 0), p->file, 0);

	STEP(p, mem != MAP_FAILED);
	p->mem = mem;
}

static void
open_all(struct party *p)
{
	struct wherry_span span = { SMALL_IOVA, BYTES };

	p->file = memfd_create("handed", MFD_CLOEXEC);
	STEP(p, ftruncate(p->file, BYTES) == 0);
	see_memory(p);
	STEP(p, wherry_domain_create("iommufd", &p->dom) == 0);
	STEP(p, wherry_device_open(bay_device(0), &p->dev) == 0);
	STEP(p, wherry_device_attach(p->dev, p->dom, NULL) == 0);
	STEP(p, wherry_domain_map_file(p->dom, p->file, 0, RW, &span) == 0);
	STEP(p, nic_open(p->dev, (struct nic_memory){ p->mem, SMALL_IOVA }, &p->nic) == 0);
	STEP(p, frame_arrives(p, 1, 1));
}

static void
lend_all(struct party *p)
{
	struct wherry_domain_files files;
	int fds[WHERRY_DOMAIN_FILES + 1];

	STEP(p, wherry_domain_lend(p->dom, &files) == 0);
	fds[0] = p->file;
	memcpy(fds + 1, files.fd, files.n * sizeof(int));
	send_files(p, fds, files.n + 1);
	wherry_domain_files_close(&files);
}

/* Without and with success. */
static void
give_away(struct party *p)
{
	open_all(p);
	lend_all(p);
	hear(p); /* it gave up */
	STEP(p, frame_arrives(p, 2, 2));
	lend_all(p);
	hear(p); /* it has looked at everything */
	STEP(p, frame_arrives(p, 3, 3));
	say(p);  /* yours */
	hear(p); /* it owns, and does DMA already: nothing of ours may disturb it */
}

static void
end(struct party *p)
{
	wherry_device_close(p->dev);
	wherry_domain_destroy(p->dom);
	say(p);
	_exit(0);
}

/* Closes everything the way a program does that is not killed. */
static void
be_first(struct party *p)
{
	give_away(p);
	STEP(p, wherry_domain_let_go(p->dom) == 0);
	nic_close(p->nic);
	end(p);
}

/* So does this one, who has not heard whose it is. It leaves the NIC's registers alone. */
static void
be_ignorant(struct party *p)
{
	give_away(p);
	end(p);
}

static void
borrow_all(struct party *p)
{
	struct wherry_span span = { SMALL_IOVA, BYTES };
	struct wherry_domain_files files;
	int fds[WHERRY_DOMAIN_FILES + 1];

	files.n = receive_files(p, fds) - 1;
	p->file = fds[0];
	memcpy(files.fd, fds + 1, files.n * sizeof(int));
	STEP(p, wherry_domain_borrow(&files, &p->dom) == 0);
	STEP(p, wherry_domain_map_file(p->dom, p->file, 0, RW, &span) == 0);
}

static void
take_over(struct party *p)
{
	STEP(p, wherry_domain_own(p->dom, &p->mappings) == 0);
	STEP(p, p->mappings != WHERRY_MAPPINGS_NONE);
	STEP(p, asked.maps == (p->mappings == WHERRY_MAPPINGS_KEPT ? 0u : 1u));
	STEP(p, wherry_device_open(bay_device(0), &p->dev) == 0);
	STEP(p, wherry_device_attach(p->dev, p->dom, NULL) == 0);
	STEP(p, asked.others == 0 && asked.opens == 0);
	see_memory(p);
	STEP(p, nic_take_over(p->dev, (struct nic_memory){ p->mem, SMALL_IOVA }, &p->nic) == 0);
	STEP(p, frame_arrives(p, 4, 4));
}

/* The other has closed everything; say what became of mappings, and end. */
static void
end_alone(struct party *p)
{
	struct wherry_span all = { SMALL_IOVA, BYTES };
	const char *said = wherry_mappings_name(p->mappings);

	for (unsigned int i = 0; i < RX_PAGES; i++)
		STEP(p, frame_arrives(p, i, 5 + i));
	STEP(p, write(p->report, said, strlen(said)) > 0);
	nic_close(p->nic);
	wherry_device_close(p->dev);
	STEP(p, wherry_domain_unmap(p->dom, all) == 0);
	wherry_domain_destroy(p->dom);
	_exit(0);
}

static void
be_second(struct party *p)
{
	count_calls();
	borrow_all(p);
	wherry_domain_destroy(p->dom);
	close(p->file);
	say(p);
	borrow_all(p);
	say(p);
	hear(p);
	STEP(p, asked.maps == 0 && asked.others == 0);
	take_over(p);
	say(p);
	hear(p);
	end_alone(p);
}

/* ---- the same by agents: COMMIT says whose it is ------------------------------------ */

static uint64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Between two nic_send() it sends nothing, and what it receives is what it sends. */
static int
on_quiesce(void *ctx, uint64_t *ret_last_burst_ns)
{
	(void)ctx;
	*ret_last_burst_ns = now();
	return 0;
}

static void
on_resume(void *ctx)
{
	(void)ctx;
}

static void
on_released(void *ctx)
{
	struct party *p = ctx;

	STEP(p, wherry_domain_let_go(p->dom) == 0);
	__atomic_store_n(&p->let_go, true, __ATOMIC_RELEASE); /* pairs with migrate() */
}

static int
on_lend(void *ctx, unsigned int i, struct wherry_lent *ret_lent)
{
	struct party *p = ctx;

	if (p->files.n == 0 && wherry_domain_lend(p->dom, &p->files) != 0)
		return -EOPNOTSUPP;
	if (i > p->files.n)
		return 0;
	snprintf(ret_lent->name, sizeof(ret_lent->name), i == 0 ? "mem" : "@dma.%u", i - 1);
	ret_lent->fd = i == 0 ? p->file : p->files.fd[i - 1];
	return 1;
}

static int
on_borrow(void *ctx, const struct wherry_lent *lent)
{
	struct party *p = ctx;

	if (strcmp(lent->name, "mem") == 0) {
		p->file = lent->fd;
		return 0;
	}
	if (strncmp(lent->name, "@dma.", 5) != 0 || p->files.n == WHERRY_DOMAIN_FILES)
		return -EPROTO;
	p->files.fd[p->files.n++] = lent->fd;
	return 0;
}

static int
on_verify(void *ctx)
{
	struct wherry_span span = { SMALL_IOVA, BYTES };
	struct party *p = ctx;
	int rc = wherry_domain_borrow(&p->files, &p->dom);

	if (rc != 0)
		return rc;
	p->files.n = 0;
	rc = wherry_domain_map_file(p->dom, p->file, 0, RW, &span);
	return rc != 0 ? rc : p->refuse;
}

static int
on_takeover(void *ctx, uint64_t *ret_first_burst_ns)
{
	take_over(ctx);
	*ret_first_burst_ns = now();
	return 0;
}

static enum wherry_mappings
on_mappings(void *ctx)
{
	return ((const struct party *)ctx)->mappings;
}

static void
start_agent(struct party *p, const char *incoming)
{
	const struct wherry_tracker_opts tracking_opts = { .cpu = WHERRY_CPU_NONE };
	const struct wherry_agent_ops ops = { .quiesce = on_quiesce,
		.resume = on_resume,
		.released = on_released,
		.lend = on_lend,
		.borrow = on_borrow,
		.verify = on_verify,
		.takeover = on_takeover,
		.mappings = on_mappings,
		.ctx = p };
	struct wherry_agent_opts opts = {
		.name = "handed", .control = p->control, .incoming = incoming, .ops = &ops
	};
	struct wherry_span span = { (uintptr_t)p->mem, BYTES };

	snprintf(p->control, sizeof(p->control), "/tmp/wherry-handed-%d.control", (int)getpid());
	STEP(p, wherry_tracker_create(&tracking_opts, &p->tracker) == 0);
	STEP(p, wherry_watch_create(p->tracker, "mem", span, NIC_PAGE, &p->watch) == 0);
	opts.tracker = p->tracker;
	STEP(p, wherry_agent_create(&opts, &p->agent) == 0);
	STEP(p, wherry_agent_start(p->agent) == 0);
}

static void
stop_agent(struct party *p)
{
	wherry_agent_destroy(p->agent);
	wherry_watch_destroy(p->watch);
	wherry_tracker_destroy(p->tracker);
}

/* The state says so before on_released() has been called, by the agent's thread. */
static struct wherry_status
migrate(struct party *p)
{
	const struct wherry_migrate_params params = { 0 };
	struct wherry_status st;

	STEP(p, wherry_agent_migrate(p->agent, p->uri, &params) == 0);
	do {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		wherry_agent_get_status(p->agent, &st);
	} while (st.state != WHERRY_STATE_SERVING && st.state != WHERRY_STATE_UNKNOWN &&
		!__atomic_load_n(&p->let_go, __ATOMIC_ACQUIRE));
	return st;
}

static void
be_source(struct party *p)
{
	struct wherry_status st;

	open_all(p);
	start_agent(p, NULL);
	hear(p); /* it listens, and will refuse */
	st = migrate(p);
	STEP(p, st.state == WHERRY_STATE_SERVING && st.mappings == WHERRY_MAPPINGS_NONE);
	STEP(p, frame_arrives(p, 2, 2));
	hear(p); /* once more */
	st = migrate(p);
	STEP(p, st.state == WHERRY_STATE_RELEASED && st.mappings != WHERRY_MAPPINGS_NONE);
	nic_close(p->nic);
	wherry_device_close(p->dev);
	stop_agent(p);
	wherry_domain_destroy(p->dom);
	wherry_domain_files_close(&p->files);
	say(p);
	_exit(0);
}

static void
be_dest(struct party *p)
{
	count_calls();
	p->file = memfd_create("before", MFD_CLOEXEC);
	STEP(p, ftruncate(p->file, BYTES) == 0);
	see_memory(p);
	p->refuse = -ECANCELED;
	start_agent(p, p->uri);
	say(p);
	STEP(p, wherry_agent_wait(p->agent) != 0);
	stop_agent(p);
	wherry_domain_destroy(p->dom);
	STEP(p, asked.maps == 0 && asked.others == 0);
	asked.opens = 0;
	p->refuse = 0;
	start_agent(p, p->uri);
	asked.opens = 0;
	say(p);
	STEP(p, wherry_agent_wait(p->agent) == 0);
	hear(p);
	stop_agent(p);
	end_alone(p);
}

static void
need_iommufd(void)
{
	struct wherry_domain *dom;

	if (bay_device(0) == NULL || wherry_domain_create("iommufd", &dom) != 0)
		SKIP("a NIC and iommufd are needed: devtools/vm/run vtd-ad --nic e1000e -- ...");
	wherry_domain_destroy(dom);
}

/* The kernel of this machine can keep mappings, if the children say so. */
static bool
kernel_keeps(void)
{
	struct wherry_domain *dom;
	bool keeps;

	CHECK_EQ(wherry_domain_create("iommufd", &dom), 0);
	keeps = wherry_domain_claim(dom) == 0;
	wherry_domain_destroy(dom);
	return keeps;
}

/* Two children, and what they have to say. */
static void
run_two(void (*first)(struct party *p), void (*second)(struct party *p))
{
	struct party p = { .file = -1 };
	int pair[2], reports[2], status, failed = 0;
	char said[128] = "";
	size_t len = 0;
	ssize_t n;

	need_iommufd();
	p.mem = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p.mem != MAP_FAILED);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	CHECK_EQ(pipe(reports), 0);
	p.report = reports[1];
	snprintf(p.uri, sizeof(p.uri), "unix:/tmp/wherry-handed-%d.migration", (int)getpid());
	for (unsigned int i = 0; i < 2; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		p.socket = pair[i];
		if (pid != 0)
			continue;
		close(pair[1 - i]);
		close(reports[0]);
		(i == 0 ? first : second)(&p);
	}
	close(pair[0]);
	close(pair[1]);
	close(reports[1]);
	while ((n = read(reports[0], said + len, sizeof(said) - 1 - len)) > 0)
		len += (size_t)n;
	close(reports[0]);
	while (wait(&status) > 0)
		failed += status != 0;
	munmap(p.mem, BYTES);
	if (failed != 0)
		FAIL("%s", said);
	CHECK_EQ(strcmp(said, kernel_keeps() ? "kept" : "rebuilt"), 0);
}

TEST(iommufd_handed_over_goes_on_with_a_device_that_never_stopped)
{
	run_two(be_first, be_second);
}

TEST(iommufd_handed_over_by_agents_follows_commit)
{
	run_two(be_source, be_dest);
}

TEST(iommufd_handed_over_and_torn_down_by_who_does_not_know_goes_on)
{
	run_two(be_ignorant, be_second);
}
