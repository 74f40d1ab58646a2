/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A domain changes hands between two processes, with a real NIC on a real kernel: one opens
 * everything, starts the NIC and sends all of it as files over a socket; it lets go and ends; the
 * other goes on with the NIC as it is, which nobody has closed, opened or reset.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "base_priv.h"
#include "bay.h"
#include "iommufd_uapi_priv.h"
#include "wherry_lend.h"

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
	asked.opens++;
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
	p->mem = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, p->file, 0);
	STEP(p, p->mem != MAP_FAILED);
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

/* Ends without and with success, and closes everything the way a program does that is not killed. */
static void
be_first(struct party *p)
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
	STEP(p, wherry_domain_let_go(p->dom) == 0);
	nic_close(p->nic);
	wherry_device_close(p->dev);
	wherry_domain_destroy(p->dom);
	say(p);
	_exit(0);
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
go_on(struct party *p)
{
	struct wherry_span all = { SMALL_IOVA, BYTES };
	enum wherry_mappings mappings;
	const char *said;

	STEP(p, wherry_domain_own(p->dom, &mappings) == 0);
	STEP(p, mappings != WHERRY_MAPPINGS_NONE);
	STEP(p, asked.maps == (mappings == WHERRY_MAPPINGS_KEPT ? 0u : 1u));
	STEP(p, wherry_device_open(bay_device(0), &p->dev) == 0);
	STEP(p, wherry_device_attach(p->dev, p->dom, NULL) == 0);
	STEP(p, asked.others == 0 && asked.opens == 0);
	see_memory(p);
	STEP(p, nic_take_over(p->dev, (struct nic_memory){ p->mem, SMALL_IOVA }, &p->nic) == 0);
	STEP(p, frame_arrives(p, 4, 4));
	say(p);
	hear(p); /* it has closed everything */
	for (unsigned int i = 0; i < RX_PAGES; i++)
		STEP(p, frame_arrives(p, i, 5 + i));
	said = wherry_mappings_name(mappings);
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
	go_on(p);
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

TEST(iommufd_handed_over_goes_on_with_a_device_that_never_stopped)
{
	struct party p = { .file = -1 };
	int pair[2], reports[2], status, failed = 0;
	char said[128] = "";
	size_t len = 0;
	ssize_t n;

	need_iommufd();
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	CHECK_EQ(pipe(reports), 0);
	p.report = reports[1];
	for (unsigned int i = 0; i < 2; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		p.socket = pair[i];
		if (pid != 0)
			continue;
		close(pair[1 - i]);
		close(reports[0]);
		if (i == 0)
			be_first(&p);
		else
			be_second(&p);
	}
	close(pair[0]);
	close(pair[1]);
	close(reports[1]);
	while ((n = read(reports[0], said + len, sizeof(said) - 1 - len)) > 0)
		len += (size_t)n;
	close(reports[0]);
	while (wait(&status) > 0)
		failed += status != 0;
	if (failed != 0)
		FAIL("%s", said);
	CHECK_EQ(strcmp(said, kernel_keeps() ? "kept" : "rebuilt"), 0);
}
