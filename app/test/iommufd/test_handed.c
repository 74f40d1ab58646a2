/* SPDX-License-Identifier: BSD-3-Clause */
/* A domain changes hands, above a scripted kernel; test_handed_real.c does it with two processes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base_priv.h"
#include "fake_kernel.h"
#include "fault_priv.h"
#include "lend_priv.h"
#include "wherry_bitmap.h"
#include "wherry_lend.h"

#define BASE UINT64_C(0x40000000)
#define PAGE UINT64_C(4096)
#define PAGES 4u
#define RW (WHERRY_DMA_READ | WHERRY_DMA_WRITE)

/* Two domains of one process are to the kernel what those of two are: other descriptors. */
struct rig {
	int file;
	uint8_t *mem;
	struct wherry_domain *lender, *heir;
	struct wherry_device *dev;
	struct wherry_domain_files files;
	struct wherry_span kept, other; /* of file; the lender's own memory */
};

static uint8_t own_memory[4096] __attribute__((aligned(4096)));

static void
rig_open(struct rig *r, const struct fake_kernel *like)
{
	*r = (struct rig){ .kept = { BASE, PAGES * PAGE }, .other = { BASE - 8 * PAGE, PAGE } };
	fake_kernel_open(like);
	r->file = memfd_create("handed", MFD_CLOEXEC);
	CHECK_EQ(ftruncate(r->file, (off_t)r->kept.len), 0);
	r->mem = mmap(NULL, r->kept.len, PROT_READ | PROT_WRITE, MAP_SHARED, r->file, 0);
	CHECK(r->mem != MAP_FAILED);
	CHECK_EQ(wherry_domain_create("iommufd", &r->lender), 0);
	CHECK_EQ(wherry_device_open(fake_kernel_address(0), &r->dev), 0);
	CHECK_EQ(wherry_device_attach(r->dev, r->lender, NULL), 0);
	CHECK_EQ(wherry_domain_map_file(r->lender, r->file, 0, RW, &r->kept), 0);
	CHECK_EQ(wherry_domain_map(r->lender, own_memory, RW, &r->other), 0);
}

static void
rig_close(struct rig *r)
{
	wherry_domain_files_close(&r->files);
	wherry_device_close(r->dev);
	wherry_domain_destroy(r->lender);
	wherry_domain_destroy(r->heir);
	munmap(r->mem, PAGES * PAGE);
	close(r->file);
	fake_kernel_close();
}

static void
borrow(struct rig *r)
{
	CHECK_EQ(wherry_domain_lend(r->lender, &r->files), 0);
	CHECK_EQ(wherry_domain_borrow(&r->files, &r->heir), 0);
	r->files.n = 0;
}

/* The lender has gone; who goes on has the device, and what it does reaches the memory. */
static void
check_taken_over(struct rig *r, enum wherry_mappings expected)
{
	struct wherry_device *dev = NULL;
	enum wherry_mappings mappings;

	CHECK_EQ(wherry_domain_own(r->heir, &mappings), 0);
	CHECK_EQ(mappings, expected);
	CHECK_EQ(wherry_domain_let_go(r->lender), 0);
	wherry_device_close(r->dev);
	wherry_domain_destroy(r->lender);
	r->dev = NULL;
	r->lender = NULL;
	CHECK_EQ(wherry_device_open(fake_kernel_address(0), &dev), 0);
	CHECK_EQ(wherry_device_attach(dev, r->heir, NULL), 0);
	CHECK_EQ(fake_dma_write(0, BASE + PAGE, "here", 5), 0);
	CHECK_EQ(strcmp((const char *)r->mem + PAGE, "here"), 0);
	CHECK_EQ(fake_dma_write(0, r->other.iova, "x", 1), -EFAULT); /* it was not asked for */
	wherry_device_close(dev);
	CHECK_EQ(wherry_domain_unmap(r->heir, r->kept), 0);
}

TEST(iommufd_handed_over_mappings_are_kept_without_a_call)
{
	unsigned int maps;
	struct rig r;

	rig_open(&r, &(struct fake_kernel){ .map_file = true });
	borrow(&r);
	maps = fake_kernel.maps_by_file + fake_kernel.maps_by_address;
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &r.kept), 0);
	check_taken_over(&r, WHERRY_MAPPINGS_KEPT);
	CHECK_EQ(fake_kernel.maps_by_file + fake_kernel.maps_by_address, maps);
	CHECK_EQ(fake_kernel.claims, 1);
	CHECK_EQ(fake_kernel.attaches, 1); /* the lender's: the device stays where it is */
	rig_close(&r);
}

TEST(iommufd_handed_over_mappings_are_rebuilt_where_kernels_cannot_keep_them)
{
	struct rig r;

	rig_open(&r, &(struct fake_kernel){ 0 });
	borrow(&r);
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &r.kept), 0);
	check_taken_over(&r, WHERRY_MAPPINGS_REBUILT);
	CHECK_EQ(fake_kernel.maps_by_address, 3);
	CHECK_EQ(fake_kernel.attaches, 1);
	rig_close(&r);
	rig_open(&r, &(struct fake_kernel){ .map_file = true, .fail_claim = true });
	borrow(&r);
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &r.kept), 0);
	check_taken_over(&r, WHERRY_MAPPINGS_REBUILT);
	rig_close(&r);
}

/* Everything that a borrower may do, and then it gives up. */
TEST(iommufd_handed_over_and_not_owned_nothing_has_changed)
{
	struct wherry_span span = { BASE + 64 * PAGE, PAGE };
	struct wherry_device *dev = NULL;
	struct wherry_bitmap *bm = NULL;
	unsigned int maps;
	struct rig r;

	rig_open(&r, &(struct fake_kernel){ .map_file = true });
	CHECK_EQ(wherry_domain_dirty_start(r.lender), 0);
	CHECK_EQ(fake_dma_write(0, BASE, "x", 1), 0);
	maps = fake_kernel.maps_by_file + fake_kernel.maps_by_address;
	borrow(&r);
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &r.kept), 0);
	CHECK_EQ(wherry_domain_unmap(r.heir, r.kept), 0);
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &r.kept), 0);
	CHECK_EQ(wherry_domain_map(r.heir, own_memory, RW, &span), -ENOENT);
	CHECK_EQ(wherry_domain_dirty_start(r.heir), -EPERM);
	CHECK_EQ(wherry_domain_claim(r.heir), -EPERM);
	CHECK_EQ(wherry_domain_granule_prepare(r.heir, 2 << 20), -EPERM);
	CHECK_EQ(wherry_bitmap_create(r.kept, PAGE, &bm), 0);
	CHECK_EQ(wherry_domain_unmap_dirty(r.heir, r.kept, WHERRY_UNMAP_ASSUME, bm), -EPERM);
	wherry_bitmap_destroy(bm);
	CHECK_EQ(wherry_domain_lend(r.heir, &r.files), -EPERM);
	CHECK_EQ(wherry_device_open(fake_kernel_address(0), &dev), 0);
	CHECK_EQ(wherry_device_attach(dev, r.heir, NULL), -EPERM);
	wherry_device_close(dev);
	wherry_domain_destroy(r.heir);
	r.heir = NULL;
	CHECK_EQ(fake_kernel.maps_by_file + fake_kernel.maps_by_address, maps);
	CHECK_EQ(fake_kernel.claims, 0);
	CHECK_EQ(fake_dma_write(0, BASE + PAGE, "here", 5), 0);
	CHECK_EQ(fake_dma_write(0, r.other.iova, "too", 4), 0);
	CHECK_EQ(fake_kernel.enables, 1);
	rig_close(&r);
}

TEST(iommufd_handed_over_is_only_the_very_mapping)
{
	struct wherry_span part = { BASE, PAGE }, elsewhere = { BASE + 64 * PAGE, PAGES * PAGE };
	struct rig r;
	int stranger = memfd_create("stranger", MFD_CLOEXEC);

	rig_open(&r, &(struct fake_kernel){ .map_file = true });
	CHECK_EQ(ftruncate(stranger, PAGES * PAGE), 0);
	borrow(&r);
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &part), -ENOENT);
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &elsewhere), -ENOENT);
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, WHERRY_DMA_READ, &r.kept), -ENOENT);
	CHECK_EQ(wherry_domain_map_file(r.heir, stranger, 0, RW, &r.kept), -ENOENT);
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &r.kept), 0);
	rig_close(&r);
	close(stranger);
}

TEST(iommufd_let_go_reaches_nothing)
{
	struct wherry_span span = { BASE + 64 * PAGE, PAGE };
	enum wherry_mappings mappings;
	struct rig r;

	rig_open(&r, &(struct fake_kernel){ .map_file = true });
	borrow(&r);
	CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &r.kept), 0);
	CHECK_EQ(wherry_domain_own(r.heir, &mappings), 0);
	CHECK_EQ(wherry_domain_own(r.heir, &mappings), -EINVAL);
	CHECK_EQ(wherry_domain_let_go(r.lender), 0);
	CHECK_EQ(wherry_domain_let_go(r.lender), 0);
	CHECK_EQ(wherry_domain_map_file(r.lender, r.file, 0, RW, &span), -EPERM);
	CHECK_EQ(wherry_domain_unmap(r.lender, r.kept), 0);
	wherry_device_detach(r.dev);
	CHECK_EQ(fake_dma_write(0, BASE, "still", 6), 0);
	CHECK_EQ(wherry_domain_unmap(r.heir, r.kept), 0);
	rig_close(&r);
}

/* As in the state unknown: the other owns it, and the lender, who has not heard, gives up. */
TEST(iommufd_lent_and_torn_down_the_other_does_not_notice)
{
	enum wherry_mappings mappings;
	struct wherry_device *dev = NULL;
	unsigned int asked;
	struct rig r;

	for (unsigned int late = 0; late < 2; late++) { /* the lender is late, or the heir */
		rig_open(&r, &(struct fake_kernel){ .map_file = true });
		CHECK_EQ(wherry_domain_dirty_start(r.lender), 0);
		borrow(&r);
		CHECK_EQ(wherry_domain_map_file(r.heir, r.file, 0, RW, &r.kept), 0);
		if (late == 0)
			CHECK_EQ(wherry_domain_own(r.heir, &mappings), 0);
		asked = fake_kernel.ioctls;
		wherry_device_close(r.dev);
		wherry_domain_destroy(r.lender);
		CHECK_EQ(fake_kernel.ioctls, asked);
		r.dev = NULL;
		r.lender = NULL;
		CHECK_EQ(fake_dma_write(0, BASE, "still", 6), 0);
		if (late == 1)
			CHECK_EQ(wherry_domain_own(r.heir, &mappings), 0);
		CHECK_EQ(mappings, WHERRY_MAPPINGS_KEPT);
		CHECK_EQ(wherry_device_open(fake_kernel_address(0), &dev), 0);
		CHECK_EQ(wherry_device_attach(dev, r.heir, NULL), 0);
		CHECK_EQ(fake_dma_write(0, BASE + PAGE, "here", 5), 0);
		CHECK_EQ(strcmp((const char *)r.mem + PAGE, "here"), 0);
		wherry_device_close(dev);
		rig_close(&r);
	}
}

/* Nobody owns it: with the last file the kernel takes it down. */
TEST(iommufd_lent_and_torn_down_goes_with_its_last_file)
{
	struct rig r;

	rig_open(&r, &(struct fake_kernel){ .map_file = true });
	CHECK_EQ(wherry_domain_lend(r.lender, &r.files), 0);
	wherry_device_close(r.dev);
	wherry_domain_destroy(r.lender);
	r.dev = NULL;
	r.lender = NULL;
	CHECK_EQ(fake_dma_write(0, BASE, "here", 5), 0);
	wherry_domain_files_close(&r.files);
	CHECK_EQ(fake_dma_write(0, BASE, "here", 5), -EFAULT);
	rig_close(&r);
}

TEST(iommufd_lent_and_kept_is_as_any_other)
{
	struct wherry_span more = { BASE + 64 * PAGE, PAGE };
	struct rig r;

	rig_open(&r, &(struct fake_kernel){ .map_file = true });
	CHECK_EQ(wherry_domain_lend(r.lender, &r.files), 0);
	CHECK_EQ(wherry_domain_granule_prepare(r.lender, 2 << 20), -EBUSY);
	wherry_domain_keep(r.lender);
	CHECK_EQ(wherry_domain_granule_prepare(r.lender, 2 << 20), 0);
	wherry_domain_granule_cancel(r.lender);
	wherry_device_detach(r.dev);
	CHECK_EQ(fake_dma_write(0, BASE, "here", 5), -EFAULT); /* whoever has the files */
	CHECK_EQ(wherry_domain_let_go(r.lender), 0);
	wherry_domain_keep(r.lender);
	CHECK_EQ(wherry_domain_map(r.lender, own_memory, RW, &more), -EPERM);
	rig_close(&r);
}

TEST(iommufd_lend_fails_without_a_trace)
{
	struct rig r;

	rig_open(&r, &(struct fake_kernel){ .map_file = true });
	FOR_EACH_FAULT(nth) {
		int rc = wherry_domain_lend(r.lender, &r.files);

		CHECK(rc == 0 || rc == -ENOMEM);
		if (rc == 0) {
			rc = wherry_domain_borrow(&r.files, &r.heir);
			CHECK(rc == 0 || rc == -ENOMEM || rc == -EPROTO);
			r.files.n = rc == 0 ? 0 : r.files.n;
		}
		wherry_domain_files_close(&r.files);
		wherry_domain_destroy(r.heir);
		r.heir = NULL;
		CHECK_EQ(fake_dma_write(0, BASE, "here", 5), 0);
	}
	rig_close(&r);
}

/* The description of r with n bytes at `at` replaced, in a file with these seals. */
static int
forge(const struct rig *r, size_t at, const void *bytes, size_t n, int seals)
{
	uint8_t all[4096];
	ssize_t len = pread(r->files.fd[0], all, sizeof(all), 0);
	int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(len > 0 && fd >= 0 && at + n <= sizeof(all));
	memcpy(all + at, bytes, n);
	if (at + n > (size_t)len)
		len = (ssize_t)(at + n);
	CHECK_EQ(pwrite(fd, all, (size_t)len, 0), len);
	if (seals != 0)
		CHECK_EQ(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void
check_refused(const struct rig *r, int description)
{
	struct wherry_domain_files files = r->files;
	struct wherry_domain *dom = NULL;
	int rc;

	files.fd[0] = description;
	rc = wherry_domain_borrow(&files, &dom);
	CHECK(rc == -EPROTO || rc == -EOPNOTSUPP);
	CHECK(fcntl(description, F_GETFD) >= 0); /* on failure it stays the caller's */
	close(description);
}

/* One field of the description has another value: head is what was lent. */
#define FORGE(r, field, ...)                                                                \
	do {                                                                                \
		const __typeof__(head.field) value[] = { __VA_ARGS__ };                     \
		check_refused((r),                                                          \
			forge((r), offsetof(struct lent_head, field), value, sizeof(value), \
				LENT_SEALS));                                               \
	} while (0)

TEST(iommufd_borrow_believes_no_description)
{
	const uint64_t no_page = BASE + 1, wraps = UINT64_MAX - PAGE + 1;
	struct lent_head head;
	struct rig r;

	rig_open(&r, &(struct fake_kernel){ .map_file = true });
	CHECK_EQ(wherry_domain_lend(r.lender, &r.files), 0);
	CHECK_EQ(pread(r.files.fd[0], &head, sizeof(head), 0), sizeof(head));
	FORGE(&r, version, 2);
	FORGE(&r, n_mappings, 0);
	FORGE(&r, n_mappings, UINT32_MAX);
	FORGE(&r, half.space, 77);
	FORGE(&r, half.small, 2);
	FORGE(&r, half.n_tables, 0);
	FORGE(&r, half.n_tables, WHERRY_LENT_TABLES + 1);
	FORGE(&r, half.n_devices, 0);
	FORGE(&r, half.n_devices, WHERRY_LENT_DEVICES + 1);
	FORGE(&r, half.tables[0].tracks, 2);
	FORGE(&r, half.devices[0].id, 7);
	FORGE(&r, half.devices[0].table, 1);
	FORGE(&r, half.devices[0].address[0], '1');
	check_refused(&r, forge(&r, 0, "another!", 8, LENT_SEALS));
	check_refused(&r,
		forge(&r, offsetof(struct lent_head, backend), "sixteen letters!", 16, LENT_SEALS));
	check_refused(
		&r, forge(&r, offsetof(struct lent_head, backend), "soft\0\0\0", 8, LENT_SEALS));
	check_refused(&r,
		forge(&r, offsetof(struct lent_head, half.devices[0].address), "0000:01:00.0....",
			16, LENT_SEALS));
	check_refused(&r, forge(&r, sizeof(struct lent_head), &no_page, 8, LENT_SEALS));
	check_refused(&r, forge(&r, sizeof(struct lent_head), &wraps, 8, LENT_SEALS));
	check_refused(&r, forge(&r, 4000, "too long", 8, LENT_SEALS));
	check_refused(&r, forge(&r, 0, LENT_MAGIC, 8, 0)); /* may still change */
	check_refused(&r, open("/dev/zero", O_RDONLY | O_CLOEXEC));
	rig_close(&r);
}

TEST(iommufd_borrow_wants_the_files_to_be_what_they_should)
{
	struct wherry_domain_files files;
	struct wherry_domain *dom = NULL;
	struct rig r;

	rig_open(&r, &(struct fake_kernel){ .map_file = true });
	CHECK_EQ(wherry_domain_lend(r.lender, &r.files), 0);
	for (unsigned int n = 0; n < r.files.n; n++) {
		files = r.files;
		files.n = n;
		CHECK_EQ(wherry_domain_borrow(&files, &dom), -EPROTO);
		files = r.files;
		files.fd[n] = r.file; /* memory, where a domain or a device should be */
		CHECK_EQ(wherry_domain_borrow(&files, &dom), -EPROTO);
	}
	files = r.files;
	files.fd[files.n++] = r.file;
	CHECK_EQ(wherry_domain_borrow(&files, &dom), -EPROTO);
	files.n = WHERRY_DOMAIN_FILES + 1;
	CHECK_EQ(wherry_domain_borrow(&files, &dom), -EPROTO);
	files = r.files; /* each is the other */
	files.fd[1] = r.files.fd[2];
	files.fd[2] = r.files.fd[1];
	CHECK_EQ(wherry_domain_borrow(&files, &dom), -EPROTO);
	rig_close(&r);
}

TEST(domain_that_is_soft_is_not_lent)
{
	struct wherry_domain_files files;
	struct wherry_domain *dom = NULL;

	CHECK_EQ(wherry_domain_create("soft", &dom), 0);
	CHECK_EQ(wherry_domain_lend(dom, &files), -EOPNOTSUPP);
	CHECK_EQ(wherry_domain_let_go(dom), -EOPNOTSUPP);
	wherry_domain_destroy(dom);
	CHECK_EQ(strcmp(wherry_mappings_name(WHERRY_MAPPINGS_REBUILT), "rebuilt"), 0);
}
