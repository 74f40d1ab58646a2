/* SPDX-License-Identifier: BSD-3-Clause */
/* The domain contract: what mapping makes reachable and unmapping takes away. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rig.h"

#define BASE UINT64_C(0x40000000)

TEST_EACH(domain_map_makes_memory_reachable_at_the_address, backends, spec)
{
	struct rig r;
	struct wherry_span span;
	char back[8];

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 3, 5);
	CHECK_EQ(span.iova, BASE);
	CHECK_EQ(rig_write(&r, 0, BASE + r.page - 3, "wherry", 7), 0);
	CHECK(memcmp(r.mem + 4 * r.page - 3, "wherry", 7) == 0);
	CHECK_EQ(rig_read(&r, 1, BASE + r.page - 3, back, 7), 0);
	CHECK(memcmp(back, "wherry", 7) == 0);
	CHECK_EQ(rig_poke(&r, 0, BASE - 1, 1), -EFAULT);
	CHECK_EQ(rig_poke(&r, 0, BASE + span.len, 1), -EFAULT);
	rig_close(&r);
}

TEST_EACH(domain_unmap_leaves_nothing_reachable, backends, spec)
{
	struct rig r;
	struct wherry_span span;

	rig_open(&r, spec);
	span = rig_map(&r, BASE, 0, 2);
	for (unsigned int dev = 0; dev < RIG_DEVICES; dev++)
		CHECK_EQ(rig_poke(&r, dev, BASE + 5, 1), 0); /* now it is cached */
	CHECK_EQ(wherry_domain_unmap(r.dom, span), 0);
	for (unsigned int dev = 0; dev < RIG_DEVICES; dev++)
		CHECK_EQ(rig_poke(&r, dev, BASE + 5, 7), -EFAULT);
	CHECK_EQ(r.mem[5], 1);
	rig_close(&r);
}

TEST_EACH(domain_map_keeps_devices_to_the_protection, backends, spec)
{
	struct wherry_span readable, writable;
	struct rig r;
	uint8_t byte;

	rig_open(&r, spec);
	readable = (struct wherry_span){ BASE, r.page };
	writable = (struct wherry_span){ BASE + r.page, r.page };
	CHECK_EQ(wherry_domain_map(r.dom, r.mem, WHERRY_DMA_READ, &readable), 0);
	CHECK_EQ(wherry_domain_map(r.dom, r.mem + r.page, WHERRY_DMA_WRITE, &writable), 0);
	CHECK_EQ(rig_read(&r, 0, readable.iova, &byte, 1), 0);
	CHECK_EQ(rig_poke(&r, 0, readable.iova, 1), -EFAULT);
	CHECK_EQ(rig_poke(&r, 0, writable.iova, 1), 0);
	CHECK_EQ(rig_read(&r, 0, writable.iova, &byte, 1), r.caps.write_only ? -EFAULT : 0);
	rig_close(&r);
}

TEST_EACH(domain_map_refuses_what_breaks_a_rule, backends, spec)
{
	const unsigned int rw = WHERRY_DMA_READ | WHERRY_DMA_WRITE;
	struct wherry_span ok, bad;
	struct rig r;

	rig_open(&r, spec);
	ok = (struct wherry_span){ BASE, r.page };
#define REFUSED(vaddr, prot, iova_, len_, want)                                      \
	do {                                                                         \
		bad = (struct wherry_span){ iova_, len_ };                           \
		CHECK_EQ(wherry_domain_map(r.dom, vaddr, prot, &bad), want);         \
		CHECK(bad.iova == (uint64_t)(iova_) && bad.len == (uint64_t)(len_)); \
	} while (0)
	REFUSED(r.mem, rw, BASE, 0, -EINVAL);
	REFUSED(r.mem, rw, WHERRY_IOVA_ANY, 0, -EINVAL);
	REFUSED(r.mem, rw, BASE, r.page - 1, -EINVAL);
	REFUSED(r.mem, rw, BASE + 1, r.page, -EINVAL);
	REFUSED(r.mem + 1, rw, BASE, r.page, -EINVAL);
	REFUSED(r.mem, 0, BASE, r.page, -EINVAL);
	REFUSED(r.mem, 4, BASE, r.page, -EINVAL);
	REFUSED(NULL, rw, BASE, r.page, -EFAULT);
	REFUSED(r.mem, rw, -(2 * r.page), 4 * r.page, -EOVERFLOW);
	if (wherry_span_last(r.caps.usable[r.caps.n_usable - 1]) != UINT64_MAX)
		REFUSED(r.mem, rw, -r.page, r.page, -EOVERFLOW);
	REFUSED((void *)(uintptr_t) - (2 * r.page), rw, BASE, 4 * r.page, -EFAULT);
	CHECK_EQ(wherry_domain_map(r.dom, r.mem, rw, &ok), 0);
	REFUSED(r.mem, rw, BASE, r.page, -EEXIST);
	REFUSED(r.mem, rw, BASE - r.page, 2 * r.page, -EEXIST);
#undef REFUSED
	rig_close(&r);
}

TEST_EACH(domain_map_refuses_memory_that_is_not_there, backends, spec)
{
	struct wherry_span span;
	struct rig r;
	void *gone;

	rig_open(&r, spec);
	gone = mmap(NULL, 2 * r.page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(gone != MAP_FAILED);
	munmap(gone, 2 * r.page);
	span = (struct wherry_span){ BASE, 2 * r.page };
	CHECK_EQ(wherry_domain_map(r.dom, gone, WHERRY_DMA_READ, &span), -EFAULT);
	CHECK_EQ(wherry_domain_unmap(r.dom, span), -ENOENT);
	rig_close(&r);
}

TEST_EACH(domain_map_chooses_a_usable_free_address, backends, spec)
{
	struct wherry_span a, b;
	struct rig r;

	rig_open(&r, spec);
	a = rig_map(&r, WHERRY_IOVA_ANY, 0, 3);
	b = rig_map(&r, WHERRY_IOVA_ANY, 3, 1);
	CHECK(a.iova != 0 && b.iova != 0);
	CHECK(b.iova > wherry_span_last(a) || a.iova > wherry_span_last(b));
	CHECK_EQ(rig_poke(&r, 0, a.iova, 5), 0);
	CHECK_EQ(rig_poke(&r, 0, b.iova, 6), 0);
	CHECK(r.mem[0] == 5 && r.mem[3 * r.page] == 6);
	rig_close(&r);
}

TEST_EACH(domain_map_says_when_no_hole_is_left, backends, spec)
{
	struct wherry_span span = { .iova = WHERRY_IOVA_ANY };
	struct rig r;

	rig_open(&r, spec);
	span.len = -r.page; /* as much as there can be: some IOMMUs have 64 bits */
	CHECK_EQ(wherry_domain_map(r.dom, (void *)(uintptr_t)r.page, WHERRY_DMA_READ, &span),
		-ENOSPC);
	CHECK(span.iova == WHERRY_IOVA_ANY);
	rig_close(&r);
}

TEST_EACH(domain_unmap_takes_whole_mappings_only, backends, spec)
{
	struct wherry_span both, cut, hole;
	struct rig r;

	rig_open(&r, spec);
	both = (struct wherry_span){ BASE, 6 * r.page };
	cut = (struct wherry_span){ BASE, 3 * r.page };
	hole = (struct wherry_span){ BASE + 2 * r.page, 2 * r.page };
	rig_map(&r, BASE, 0, 2);
	rig_map(&r, BASE + 4 * r.page, 4, 2);
	CHECK_EQ(wherry_domain_unmap(r.dom, hole), -ENOENT);
	cut.len = r.page;
	CHECK_EQ(wherry_domain_unmap(r.dom, cut), -ENOENT);
	cut.iova = BASE + r.page;
	cut.len = 5 * r.page;
	CHECK_EQ(wherry_domain_unmap(r.dom, cut), -ENOENT);
	cut.len = r.page + 1;
	CHECK_EQ(wherry_domain_unmap(r.dom, cut), -EINVAL);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	CHECK_EQ(wherry_domain_unmap(r.dom, both), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), -EFAULT);
	CHECK_EQ(rig_poke(&r, 0, BASE + 4 * r.page, 1), -EFAULT);
	CHECK_EQ(wherry_domain_unmap(r.dom, both), -ENOENT);
	rig_close(&r);
}

TEST_EACH(domain_map_file_reaches_the_file_and_leaves_the_fd, backends, spec)
{
	struct wherry_span span, past;
	struct rig r;

	rig_open(&r, spec);
	span = (struct wherry_span){ BASE, 3 * r.page };
	past = (struct wherry_span){ BASE + 8 * r.page, 2 * r.page };
	CHECK_EQ(wherry_domain_map_file(
			 r.dom, r.fd, 2 * r.page, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
		0);
	CHECK_EQ(wherry_domain_map_file(r.dom, r.fd, 1, WHERRY_DMA_READ, &past), -EINVAL);
	CHECK_EQ(wherry_domain_map_file(r.dom, r.fd, RIG_MEM - r.page, WHERRY_DMA_READ, &past),
		-EFAULT);
	CHECK_EQ(wherry_domain_map_file(r.dom, -1, 0, WHERRY_DMA_READ, &past), -EFAULT);
	CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 9), 0);
	CHECK_EQ(r.mem[3 * r.page], 9);
	CHECK_EQ(wherry_domain_unmap(r.dom, span), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 8), -EFAULT);
	CHECK(ftruncate(r.fd, (off_t)RIG_MEM) == 0);
	rig_close(&r);
}

/* How often this process maps the rig's file. */
static unsigned int
count_mappings_of_file(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned int n = 0;
	char line[512];

	CHECK(maps != NULL);
	while (fgets(line, sizeof(line), maps) != NULL)
		n += strstr(line, "memfd:rig") != NULL;
	(void)fclose(maps);
	return n;
}

TEST_EACH(domain_unmap_lets_go_of_the_file, backends, spec)
{
	struct wherry_span span;
	unsigned int before;
	struct rig r;

	rig_open(&r, spec);
	before = count_mappings_of_file();
	span = (struct wherry_span){ BASE, 3 * r.page };
	CHECK_EQ(wherry_domain_map_file(r.dom, r.fd, 0, WHERRY_DMA_WRITE, &span), 0);
	CHECK_EQ(wherry_domain_map_file(r.dom, r.fd, 0, WHERRY_DMA_WRITE, &span), -EEXIST);
	CHECK_EQ(wherry_domain_unmap(r.dom, span), 0);
	CHECK_EQ(count_mappings_of_file(), before);
	rig_close(&r);
}

/* A map that fails leaves no trace, whichever step failed. */
TEST_EACH(domain_map_failure_changes_nothing, backends, spec)
{
	for (int from_file = 0; from_file < 2; from_file++) {
		FOR_EACH_FAULT(nth) {
			struct wherry_span span = { .iova = BASE, .len = 2 * 4096 };
			struct rig r;
			int rc;

			wherry_fault_disarm();
			rig_open(&r, spec);
			if (r.caps.dirty != WHERRY_DIRTY_NONE)
				CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
			wherry_fault_arm(nth);
			if (from_file == 1)
				rc = wherry_domain_map_file(
					r.dom, r.fd, 0, WHERRY_DMA_WRITE, &span);
			else
				rc = wherry_domain_map(r.dom, r.mem, WHERRY_DMA_WRITE, &span);
			wherry_fault_disarm();
			CHECK(rc == 0 || rc == -ENOMEM);
			CHECK_EQ(rig_poke(&r, 0, BASE, 1), rc == 0 ? 0 : -EFAULT);
			CHECK_EQ(wherry_domain_unmap(r.dom, span), rc == 0 ? 0 : -ENOENT);
			rig_map(&r, BASE, 0, 2);
			rig_close(&r);
		}
	}
}

TEST_EACH(domain_create_failure_leaves_nothing_behind, backends, spec)
{
	FOR_EACH_FAULT(nth) {
		struct wherry_device *dev = NULL;
		struct wherry_domain *dom = NULL;
		int rc;

		rig_arrive(spec);
		rc = rig_domain(spec, &dom);
		if (rc == 0)
			rc = wherry_device_open(rig_device_name(spec, 0), &dev);
		if (rc == 0)
			rc = wherry_device_attach(dev, dom, NULL);
		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		wherry_device_close(dev);
		wherry_domain_destroy(dom);
		rig_leave(spec);
	}
}
