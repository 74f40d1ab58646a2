/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's test ioctl as far as it is needed. It is no uAPI and in no package; the
 * structure below is of our making and has its fields at the same places (Linux 6.12).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "base_priv.h"
#include "machine.h"
#include "mock_kernel.h"
#include "sys_priv.h"

#define TEST_IOCTL _IO(IOMMUFD_TYPE, IOMMUFD_CMD_BASE + 32)
#define OP_DEVICE 2u
#define OP_ACCESS 5u
#define OP_ACCESS_RW 8u
#define OP_REPLACE 10u
#define OP_DIRTY 13u
#define MOCK_PAGE UINT64_C(2048)

struct test_request {
	uint32_t size, op, id, reserved;
	union {
		struct {
			uint32_t out_stdev, out_table, out_device;
		} device;
		uint32_t replace_by;
		struct {
			uint32_t out_fd, flags;
		} access;
		struct {
			uint64_t iova, len, buf;
			uint32_t write;
		} rw;
		struct {
			uint32_t flags, pad;
			uint64_t iova, len, page, bits, out_n;
		} dirty;
	} u;
	uint32_t last, pad;
};

static struct mock {
	int fd;         /* of the made-up VFIO file; 0: closed */
	int iommufd;    /* it is bound to */
	uint32_t home;  /* an IOAS to be in while it is not attached */
	uint32_t stdev; /* the kernel's mock device */
	uint32_t table; /* it is attached to, or 0 */
} mocks[MOCK_DEVICES];

static struct {
	int iommufd;
	uint32_t table, ioas;
} made[64]; /* tables, and what they map */
static unsigned int n_made;
static struct machine machine;

static int
test_ioctl(int iommufd, struct test_request *req)
{
	req->size = sizeof(*req);
	return wherry_sys_kernel.ioctl(iommufd, TEST_IOCTL, req);
}

static void
destroy(int iommufd, uint32_t id)
{
	struct iommu_destroy arg = { .size = sizeof(arg), .id = id };

	(void)wherry_sys_kernel.ioctl(iommufd, IOMMU_DESTROY, &arg);
}

static int
replace(const struct mock *mock, uint32_t by)
{
	struct test_request req = { .op = OP_REPLACE, .id = mock->stdev, .u.replace_by = by };

	return test_ioctl(mock->iommufd, &req);
}

static int
bind(struct mock *mock, struct vfio_device_bind_iommufd *arg)
{
	struct iommu_ioas_alloc home = { .size = sizeof(home) };
	struct test_request req = { .op = OP_DEVICE };
	int rc = wherry_sys_kernel.ioctl(arg->iommufd, IOMMU_IOAS_ALLOC, &home);

	if (rc != 0)
		return rc;
	req.id = home.out_ioas_id;
	rc = test_ioctl(arg->iommufd, &req);
	if (rc != 0) {
		destroy(arg->iommufd, home.out_ioas_id);
		return rc;
	}
	mock->iommufd = arg->iommufd;
	mock->home = home.out_ioas_id;
	mock->stdev = req.u.device.out_stdev;
	arg->out_devid = req.u.device.out_device;
	return 0;
}

static int
attach(struct mock *mock, uint32_t table)
{
	int rc = replace(mock, table);

	if (rc == 0)
		mock->table = table;
	return rc;
}

static int
device_ioctl(struct mock *mock, unsigned long request, void *arg)
{
	struct vfio_device_info *info = arg;

	switch (request) {
	case VFIO_DEVICE_BIND_IOMMUFD:
		return bind(mock, arg);
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return attach(mock, ((struct vfio_device_attach_iommufd_pt *)arg)->pt_id);
	case VFIO_DEVICE_DETACH_IOMMUFD_PT:
		mock->table = 0;
		return replace(mock, mock->home);
	case VFIO_DEVICE_GET_INFO:
		info->flags = VFIO_DEVICE_FLAGS_PCI;
		return 0;
	default:
		return -ENOTTY;
	}
}

static struct mock *
mock_of(int fd)
{
	for (unsigned int i = 0; i < MOCK_DEVICES; i++)
		if (fd > 0 && mocks[i].fd == fd)
			return &mocks[i];
	return NULL;
}

static int
mock_open(const char *path, int flags)
{
	static const char node[] = "/dev/vfio/devices/vfio";
	const char *at = strstr(path, node);
	unsigned int dev;

	if (at == NULL)
		return wherry_sys_kernel.open(path, flags);
	dev = (unsigned int)(at[sizeof(node) - 1] - '0');
	if (dev >= MOCK_DEVICES)
		return -ENODEV;
	memset(&mocks[dev], 0, sizeof(mocks[dev]));
	mocks[dev].fd = wherry_sys_kernel.open("/dev/null", O_RDWR | O_CLOEXEC);
	return mocks[dev].fd;
}

static int
mock_ioctl(int fd, unsigned long request, void *arg)
{
	const struct iommu_hwpt_alloc *alloc = arg;
	struct mock *mock = mock_of(fd);
	int rc;

	if (mock != NULL)
		return device_ioctl(mock, request, arg);
	rc = wherry_sys_kernel.ioctl(fd, request, arg);
	if (rc == 0 && request == IOMMU_HWPT_ALLOC) {
		made[n_made % 64].iommufd = fd;
		made[n_made % 64].table = alloc->out_hwpt_id;
		made[n_made++ % 64].ioas = alloc->pt_id;
	}
	return rc;
}

static void
mock_close(int fd)
{
	struct mock *mock = mock_of(fd);

	if (mock != NULL && mock->iommufd > 0) {
		destroy(mock->iommufd, mock->stdev);
		destroy(mock->iommufd, mock->home);
	}
	if (mock != NULL)
		memset(mock, 0, sizeof(*mock));
	wherry_sys_kernel.close(fd);
}

static bool
kernel_has_mock(void)
{
	struct vfio_device_bind_iommufd arg = { .argsz = sizeof(arg) };
	struct mock mock = { .fd = -1 };

	arg.iommufd = wherry_sys_kernel.open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (arg.iommufd < 0)
		return false;
	if (bind(&mock, &arg) != 0)
		mock.iommufd = 0;
	wherry_sys_kernel.close(arg.iommufd);
	return mock.iommufd != 0;
}

void
mock_kernel_open(void)
{
	static struct wherry_sys_calls calls;

	if (!kernel_has_mock())
		SKIP("no mock IOMMU in this kernel: devtools/vm/run mock -- ...");
	calls = wherry_sys_kernel;
	calls.open = mock_open;
	calls.ioctl = mock_ioctl;
	calls.close = mock_close;
	machine_open(&machine);
	machine_with_iommu(&machine);
	for (int i = 0; i < (int)MOCK_DEVICES; i++) {
		const char *const names[] = { "0000:01:00.0", "0000:02:00.0" };

		machine_add(&machine,
			&(struct machine_function){ .address = names[i],
				.driver = "vfio-pci",
				.iommu = "dmar0",
				.group = 8 + i,
				.cdev = i });
	}
	wherry_sys = &calls;
	n_made = 0;
}

void
mock_kernel_close(void)
{
	wherry_sys = &wherry_sys_kernel;
	machine_close(&machine);
}

/* Memory as the IOAS has it, which is what a device of that table reaches. */
static int
access_memory(const struct mock *mock, uint64_t iova, void *buf, size_t len, bool write)
{
	struct test_request req = { .op = OP_ACCESS };
	int rc, fd;

	for (unsigned int i = 0; i < 64; i++)
		if (made[i].iommufd == mock->iommufd && made[i].table == mock->table)
			req.id = made[i].ioas;
	rc = test_ioctl(mock->iommufd, &req);
	if (rc != 0)
		return -EFAULT;
	fd = (int)req.u.access.out_fd;
	req = (struct test_request){ .op = OP_ACCESS_RW, .id = (uint32_t)fd };
	req.u.rw.iova = iova;
	req.u.rw.len = len;
	req.u.rw.buf = (uint64_t)(uintptr_t)buf;
	req.u.rw.write = write;
	rc = test_ioctl(mock->iommufd, &req);
	wherry_sys_kernel.close(fd);
	return rc == 0 ? 0 : -EFAULT;
}

/* What hardware does by itself: pages of the table become dirty, if it tracks. */
static void
mark_dirty(const struct mock *mock, uint64_t iova, size_t len)
{
	uint64_t first = round_down(iova, MOCK_PAGE), end = round_up(iova + len, MOCK_PAGE);
	struct test_request req = { .op = OP_DIRTY, .id = mock->table };
	uint64_t bits[64];

	memset(bits, 0xff, sizeof(bits));
	CHECK(end - first <= sizeof(bits) * 8 * MOCK_PAGE);
	req.u.dirty.iova = first;
	req.u.dirty.len = end - first;
	req.u.dirty.page = MOCK_PAGE;
	req.u.dirty.bits = (uint64_t)(uintptr_t)bits;
	(void)test_ioctl(mock->iommufd, &req);
}

int
mock_dma_write(unsigned int dev, uint64_t iova, const void *buf, size_t len)
{
	uint8_t copy[4096];
	int rc;

	CHECK(len <= sizeof(copy));
	memcpy(copy, buf, len);
	rc = mocks[dev].table == 0 ? -EFAULT : access_memory(&mocks[dev], iova, copy, len, true);
	if (rc == 0)
		mark_dirty(&mocks[dev], iova, len);
	return rc;
}

int
mock_dma_read(unsigned int dev, uint64_t iova, void *buf, size_t len)
{
	return mocks[dev].table == 0 ? -EFAULT : access_memory(&mocks[dev], iova, buf, len, false);
}
